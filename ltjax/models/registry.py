"""Networks by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn

from ltjax.models import efficientnet
from ltjax.models.experts import Experts
from ltjax.models.reslt import ResLT, ResLTPhotographs
from ltjax.models.resnet import ResNet
from ltjax.models.resnet_cifar import ResNetCifar
from ltjax.names import unknown

_PHOTOGRAPHS = partial(ResNet, stem="imagenet")

MODELS: dict[str, Callable[..., nn.Module]] = {
    "resnet8": partial(ResNetCifar, blocks=1),
    "resnet20": partial(ResNetCifar, blocks=3),
    "resnet32": partial(ResNetCifar, blocks=5),
    "resnet44": partial(ResNetCifar, blocks=7),
    "resnet56": partial(ResNetCifar, blocks=9),
    "resnet110": partial(ResNetCifar, blocks=18),
    "resnet18_cifar": partial(ResNet, blocks=(2, 2, 2, 2)),
    "resnet34_cifar": partial(ResNet, blocks=(3, 4, 6, 3)),
    "resnet10": partial(_PHOTOGRAPHS, blocks=(1, 1, 1, 1)),
    "resnet18": partial(_PHOTOGRAPHS, blocks=(2, 2, 2, 2)),
    "resnet34": partial(_PHOTOGRAPHS, blocks=(3, 4, 6, 3)),
    "resnet50": partial(_PHOTOGRAPHS, blocks=(3, 4, 6, 3), bottleneck=True),
    "resnet101": partial(_PHOTOGRAPHS, blocks=(3, 4, 23, 3), bottleneck=True),
    "resnet152": partial(_PHOTOGRAPHS, blocks=(3, 8, 36, 3), bottleneck=True),
    "resnext50": partial(
        _PHOTOGRAPHS, blocks=(3, 4, 6, 3), bottleneck=True, groups=32, group_width=4
    ),
    "resnext101": partial(
        _PHOTOGRAPHS, blocks=(3, 4, 23, 3), bottleneck=True, groups=32, group_width=8
    ),
    "experts_resnet8": partial(Experts, blocks=1),
    "experts_resnet20": partial(Experts, blocks=3),
    "experts_resnet32": partial(Experts, blocks=5),
    "reslt_resnet8": partial(ResLT, blocks=1),
    "reslt_resnet20": partial(ResLT, blocks=3),
    "reslt_resnet32": partial(ResLT, blocks=5),
    "reslt_resnet10": partial(ResLTPhotographs, blocks=(1, 1, 1, 1), bottleneck=False),
    "reslt_resnet50": partial(ResLTPhotographs, blocks=(3, 4, 6, 3)),
    "reslt_resnet101": partial(ResLTPhotographs, blocks=(3, 4, 23, 3)),
    "reslt_resnext50": partial(ResLTPhotographs, blocks=(3, 4, 6, 3), groups=32, group_width=4),
    "reslt_resnext101": partial(ResLTPhotographs, blocks=(3, 4, 23, 3), groups=32, group_width=8),
    **{name: partial(efficientnet.EfficientNet, variant=name) for name in efficientnet.VARIANTS},
}
"""Name in a config -> network."""


def create(name: str, num_classes: int, **options: Any) -> nn.Module:
    """A network by name.

    `model.apply(variables, images NHWC, train=False)` gives logits; in training pass `train=True,
    mutable=["batch_stats"]`. `variables = model.init(key, images)` holds "params" and
    "batch_stats".

    Args:
      name: a key of `MODELS`.
      num_classes: C >= 1.
      **options: classifier="linear" | "normalized" | "scaled", dtype, param_dtype; width of the
        ResNets and ResLT; zero_init of those for photographs; head of ResLT; number and
        reduced of the experts; numerics,
        stochastic_depth and dropout of EfficientNet. The module's own docstring says more.

    Returns:
      A Flax Linen module.

    Raises:
      ValueError: an unknown name or option, or num_classes below 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import models
      >>> model = models.create("resnet8", num_classes=10, width=4)
      >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
      >>> print(model.apply(variables, jnp.zeros((2, 8, 8, 3))).shape)
      (2, 10)
    """
    if name not in MODELS:
        raise unknown("unknown model", name, MODELS)
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; expected at least 1")
    try:
        return MODELS[name](num_classes=num_classes, **options)
    except TypeError as error:
        raise ValueError(f"model {name!r}: {error}") from None
