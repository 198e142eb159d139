"""ResLT: a ResNet whose last map feeds a head, a medium and a tail branch that share one
classifier.

Source: Cui et al., TPAMI 2022, arXiv:2101.10633; the BatchNorm head is the authors' CIFAR
program's, the grouped convolution the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ltjax.models.layers import BatchNorm, Conv, Linear, torch_uniform
from ltjax.models.resnet import backbone
from ltjax.models.resnet_cifar import cifar_backbone

BRANCHES = ("head", "medium", "tail")


class ResLT(nn.Module):
    """Three residual branches over one backbone; the prediction is the sum of their logits.

    Apply to images [B, H, W, C]; returns the summed logits [B, num_classes], or with branches=True
    each branch's [3, B, num_classes]. features=True gives a pair: the logits, and what the
    classifier reads, [B, D] (the branches' sum) or [3, B, D].

    Attributes:
      num_classes: C.
      blocks: basic blocks a stage; depth = 6 * blocks + 2.
      width: channels of the first stage.
      head: "batch_norm": a BatchNorm a branch on the last map (4 * width channels), as the authors'
        CIFAR program; "grouped": one 1x1 convolution in three groups on a last stage narrowed to a
        multiple of 3 (48 channels at width 16), a third a branch.
      classifier: "linear" only; shared by the branches.
      dtype, param_dtype: as `ResNetCifar`.
    """

    num_classes: int
    blocks: int
    width: int = 16
    head: str = "batch_norm"
    classifier: str = "linear"
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        train: bool = False,
        branches: bool = False,
        features: bool = False,
    ) -> Any:
        _check(self)
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        grouped = self.head == "grouped"
        last = 3 * self.width if grouped else 4 * self.width
        x = cifar_backbone(
            images, self.blocks, (self.width, 2 * self.width, last), train=train, **types
        )
        return _branched(self, x, train, branches, features)


class ResLTPhotographs(nn.Module):
    """`ResLT` over a ResNet or ResNeXt for photographs.

    Apply as `ResLT`. The grouped head is a 1x1 convolution in three groups to as many channels
    (made a multiple of 3), before it one ungrouped 1x1 convolution where the last stage's channels
    do not divide by 3.

    Attributes:
      num_classes: C.
      blocks, bottleneck, groups, group_width, zero_init, width: as `ResNet`.
      head, classifier, dtype, param_dtype: as `ResLT`.
    """

    num_classes: int
    blocks: Sequence[int]
    stem: str = "imagenet"
    bottleneck: bool = True
    groups: int = 1
    group_width: int = 64
    zero_init: bool = False
    width: int = 64
    head: str = "batch_norm"
    classifier: str = "linear"
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        train: bool = False,
        branches: bool = False,
        features: bool = False,
    ) -> Any:
        _check(self)
        x = backbone(self, images, train)
        if self.head == "grouped" and x.shape[-1] % 3:
            channels, types = x.shape[-1], {"dtype": self.dtype, "param_dtype": self.param_dtype}
            x = Conv(
                channels - channels % 3,
                (1, 1),
                name="narrow",
                kernel_init=torch_uniform(channels),
                **types,
            )(x)
        return _branched(self, x, train, branches, features)


def _check(network: Any) -> None:
    if network.head not in ("batch_norm", "grouped"):
        raise ValueError(f"ResLT head is {network.head!r}; expected 'batch_norm' or 'grouped'")
    if network.classifier != "linear":
        raise ValueError(f"ResLT has a linear classifier; classifier is {network.classifier!r}")


def _branched(network: Any, x: jax.Array, train: bool, branches: bool, features: bool) -> Any:
    """The three branches and their classifier, inside the calling module."""
    types = {"dtype": network.dtype, "param_dtype": network.param_dtype}
    if network.head == "grouped":
        # Group g sees its third of the channels and makes the g-th branch of them.
        channels = x.shape[-1]
        x = Conv(
            channels,
            (1, 1),
            feature_group_count=3,
            name="branches",
            kernel_init=torch_uniform(channels // 3),
            **types,
        )(x)
        maps = jnp.split(x, 3, axis=-1)
    else:
        maps = [BatchNorm(name=f"bn_{branch}", **types)(x, train=train) for branch in BRANCHES]
    # Pool and classify in float32 or wider.
    pooled = jnp.stack(
        [
            jnp.mean(m.astype(jnp.promote_types(m.dtype, network.param_dtype)), axis=(1, 2))
            for m in maps
        ]
    )
    logits = Linear(
        network.num_classes,
        kernel_init=torch_uniform(pooled.shape[-1]),
        param_dtype=network.param_dtype,
        name="linear",
    )(pooled)
    if not branches:  # the sum of the branches' logits is the classifier's of the sum, three biases
        logits, pooled = jnp.sum(logits, axis=0), jnp.sum(pooled, axis=0)
    return (logits, pooled) if features else logits
