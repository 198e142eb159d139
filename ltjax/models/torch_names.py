"""What PyTorch programs call the parameters that a network here has: one scheme or several a
network.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ltjax.models import efficientnet

Path = tuple[str, ...]

_LEAVES = {
    ("params", "kernel"): "weight",
    ("params", "scale"): "weight",
    ("params", "bias"): "bias",
    ("params", "factor"): "factor",
    ("batch_stats", "mean"): "running_mean",
    ("batch_stats", "var"): "running_var",
}


def schemes(name: str) -> dict[str, Callable[[Path], str]]:
    """Scheme -> function from a Flax path (collection, modules..., leaf) to torch's name; the first
    is the one written.
    """
    if name in efficientnet.VARIANTS:
        named = {
            "efficientnet_pytorch": _efficientnet_pytorch,
            "torchvision": _torchvision,
            "timm": _timm,
        }
        return {scheme: _efficientnet(name, module) for scheme, module in named.items()}
    if name.startswith("reslt_"):
        return {"authors": _reslt}
    if name.startswith("experts_"):
        return {"authors": _experts}
    if name.removesuffix("_cifar") == name and re.match(
        r"res(net(10|18|34|50|101|152)|next)", name
    ):
        return {"torchvision": _photographs}
    return {"authors": lambda path: _join(_resnet_modules(path), path)}


def _join(modules: list[str], path: Path) -> str:
    return ".".join([*modules, _LEAVES[path[0], path[-1]]])


def _resnet_modules(path: Path) -> list[str]:
    """layer2_0 -> layer2.0, shortcut_1 -> shortcut.1."""
    return [
        re.sub(r"^(layer\d+|shortcut|downsample)_(\d+)$", r"\1.\2", module) for module in path[1:-1]
    ]


def _photographs(path: Path) -> str:
    """As in torchvision and timm: the classifier is `fc`."""
    return _join(["fc"] if path[1] == "linear" else _resnet_modules(path), path)


def _reslt(path: Path) -> str:
    branches = {
        "bn_head": "BNH",
        "bn_medium": "BNM",
        "bn_tail": "BNT",
        "branches": "branches",
        "linear": "linear",
    }
    if path[1] in branches:
        return _join([branches[path[1]]], path)
    return _join(["model", *_resnet_modules(path)], path)


def _experts(path: Path) -> str:
    """As RIDE's and SADE's programs: layer2s.E.B of expert E, linears.E."""
    expert = re.match(r"expert(\d+)_layer(\d)_(\d+)$", path[1])
    if expert:
        number, stage, block = expert.groups()
        return _join([f"layer{stage}s", number, block, *path[2:-1]], path)
    if path[1].startswith("linear_"):
        return _join(["linears", path[1].removeprefix("linear_")], path)
    return _join(_resnet_modules(path), path)


def _efficientnet(
    name: str, module: Callable[[Path, efficientnet.Block | None], str]
) -> Callable[[Path], str]:
    blocks = efficientnet.blocks(name)

    def named(path: Path) -> str:
        block = re.match(r"block_(\d+)$", path[1])
        return _join([module(path[1:-1], blocks[int(block[1])] if block else None)], path)

    return named


def _efficientnet_pytorch(modules: Path, block: efficientnet.Block | None) -> str:
    if block is None:
        outer = {
            "conv_stem": "_conv_stem",
            "bn_stem": "_bn0",
            "conv_head": "_conv_head",
            "bn_head": "_bn1",
            "linear": "_fc",
        }
        return outer[modules[0]]
    inner = {
        **{
            "conv_expand": "_expand_conv",
            "bn_expand": "_bn0",
            "conv_depthwise": "_depthwise_conv",
            "bn_depthwise": "_bn1",
        },
        **{
            "se_reduce": "_se_reduce",
            "se_expand": "_se_expand",
            "conv_project": "_project_conv",
            "bn_project": "_bn2",
        },
    }
    return f"_blocks.{modules[0].removeprefix('block_')}.{inner[modules[1]]}"


def _torchvision(modules: Path, block: efficientnet.Block | None) -> str:
    if block is None:
        outer = {
            "conv_stem": "features.0.0",
            "bn_stem": "features.0.1",
            "conv_head": "features.8.0",
            "bn_head": "features.8.1",
        }
        return {**outer, "linear": "classifier.1"}[modules[0]]
    first = int(block.expand != 1)  # without an expansion the layers after it move up by one
    inner = {
        **{
            "conv_expand": "0.0",
            "bn_expand": "0.1",
            "conv_depthwise": f"{first}.0",
            "bn_depthwise": f"{first}.1",
        },
        **{"se_reduce": f"{first + 1}.fc1", "se_expand": f"{first + 1}.fc2"},
        **{"conv_project": f"{first + 2}.0", "bn_project": f"{first + 2}.1"},
    }
    return f"features.{block.stage + 1}.{block.place}.block.{inner[modules[1]]}"


def _timm(modules: Path, block: efficientnet.Block | None) -> str:
    if block is None:
        outer = {
            "conv_stem": "conv_stem",
            "bn_stem": "bn1",
            "conv_head": "conv_head",
            "bn_head": "bn2",
            "linear": "classifier",
        }
        return outer[modules[0]]
    if block.expand == 1:
        inner = {
            "conv_depthwise": "conv_dw",
            "bn_depthwise": "bn1",
            "conv_project": "conv_pw",
            "bn_project": "bn2",
        }
    else:
        inner = {
            "conv_expand": "conv_pw",
            "bn_expand": "bn1",
            "conv_depthwise": "conv_dw",
            "bn_depthwise": "bn2",
        }
        inner |= {"conv_project": "conv_pwl", "bn_project": "bn3"}
    inner |= {"se_reduce": "se.conv_reduce", "se_expand": "se.conv_expand"}
    return f"blocks.{block.stage}.{block.place}.{inner[modules[1]]}"
