"""ResNets and ResNeXts of He et al. and Xie et al., for photographs and, with a small stem, for
32x32 images.

Source: He et al., CVPR 2016, arXiv:1512.03385, table 1; the stride on the 3x3 convolution of a
bottleneck as in torchvision ("v1.5"); Xie et al., CVPR 2017, arXiv:1611.05431; the 3x3 stem without
pooling as in the CIFAR programs of the field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ltjax.models.layers import BatchNorm, Conv, classified, torch_uniform

he_normal_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; shortcut "B": a strided 1x1 convolution with BatchNorm where the shape
    changes.

    Attributes:
      channels: of the block.
      stride: of its first convolution.
      shortcut: prefix of the shortcut's two layers, `shortcut` or `downsample` as in the program
        whose weights are read.
      kernel_init: initialiser from (input channels, size).
      zero_init: whether the last BatchNorm starts at 0, so that the block starts as its shortcut.
    """

    channels: int
    stride: int
    shortcut: str
    kernel_init: Any
    zero_init: bool
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        out = _conv(
            self.channels, 3, self.stride, "conv1", self.kernel_init(x.shape[-1], 3), **types
        )(x)
        out = nn.relu(BatchNorm(name="bn1", **types)(out, train=train))
        out = _conv(self.channels, 3, 1, "conv2", self.kernel_init(self.channels, 3), **types)(out)
        out = BatchNorm(name="bn2", zero_init=self.zero_init, **types)(out, train=train)
        return nn.relu(
            out + _shortcut(x, out, self.stride, self.shortcut, self.kernel_init, train, types)
        )


class Bottleneck(nn.Module):
    """1x1, 3x3 (strided, grouped in ResNeXt) and 1x1 convolutions; four times `channels` come out.

    Attributes:
      channels: of the block before its expansion.
      groups, group_width: of the 3x3 convolution, whose channels are channels * group_width / 64 *
        groups.
      stride, shortcut, kernel_init, zero_init: as `BasicBlock`.
    """

    channels: int
    stride: int
    shortcut: str
    kernel_init: Any
    zero_init: bool
    dtype: Any
    param_dtype: Any
    groups: int = 1
    group_width: int = 64

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        inner = self.channels * self.group_width // 64 * self.groups
        if inner < 1:
            raise ValueError(
                f"{self.groups} groups of {self.group_width} / 64 of {self.channels} channels are"
                " empty; expected a greater width"
            )
        out = _conv(inner, 1, 1, "conv1", self.kernel_init(x.shape[-1], 1), **types)(x)
        out = nn.relu(BatchNorm(name="bn1", **types)(out, train=train))
        out = _conv(
            inner,
            3,
            self.stride,
            "conv2",
            self.kernel_init(inner // self.groups, 3),
            groups=self.groups,
            **types,
        )(out)
        out = nn.relu(BatchNorm(name="bn2", **types)(out, train=train))
        out = _conv(4 * self.channels, 1, 1, "conv3", self.kernel_init(inner, 1), **types)(out)
        out = BatchNorm(name="bn3", zero_init=self.zero_init, **types)(out, train=train)
        return nn.relu(
            out + _shortcut(x, out, self.stride, self.shortcut, self.kernel_init, train, types)
        )


class ResNet(nn.Module):
    """A stem, four stages with `width`, 2, 4 and 8 times `width` channels, global average pool,
    classifier.

    Apply to images [B, H, W, C] in floating point; returns logits [B, num_classes] in float32 or
    wider, with features=True a pair: the logits, and what the classifier reads, [B, D].

    Attributes:
      num_classes: C.
      blocks: of each stage.
      stem: "cifar", a 3x3 convolution, weights starting as PyTorch's defaults; "imagenet", a
        strided 7x7 convolution and a strided max-pool, convolutions starting He-normal by fan-out,
        as torchvision's.
      bottleneck: whether the blocks are bottlenecks (ResNet-50 and deeper).
      groups, group_width: of the bottlenecks (ResNeXt).
      zero_init: whether each block's last BatchNorm starts at 0.
      width: channels of the first stage; 64 as published.
      classifier, dtype, param_dtype: as `ResNetCifar`.

    Raises:
      ValueError: another stem.
    """

    num_classes: int
    blocks: Sequence[int]
    stem: str = "cifar"
    bottleneck: bool = False
    groups: int = 1
    group_width: int = 64
    zero_init: bool = False
    width: int = 64
    classifier: str = "linear"
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, features: bool = False) -> Any:
        x = backbone(self, images, train)
        x = jnp.mean(x.astype(jnp.promote_types(x.dtype, self.param_dtype)), axis=(1, 2))
        init = torch_uniform(x.shape[-1])
        return classified(self, x, features, kernel_init=init)


def backbone(network: Any, images: jax.Array, train: bool) -> jax.Array:
    """Stem and stages of a module with `ResNet`'s attributes, inside it: the last map."""
    types = {"dtype": network.dtype, "param_dtype": network.param_dtype}
    if network.stem not in ("cifar", "imagenet"):
        raise ValueError(f"stem is {network.stem!r}; expected 'cifar' or 'imagenet'")
    photographs = network.stem == "imagenet"
    init = (
        (lambda channels, size: he_normal_fan_out)
        if photographs
        else (lambda channels, size: torch_uniform(channels * size * size))
    )
    size = 7 if photographs else 3
    x = _conv(
        network.width, size, 2 if photographs else 1, "conv1", init(images.shape[-1], size), **types
    )(images)
    x = nn.relu(BatchNorm(name="bn1", **types)(x, train=train))
    if photographs:
        x = _max_pool(x)
    options = {
        "shortcut": "downsample" if photographs else "shortcut",
        "kernel_init": init,
        "zero_init": network.zero_init,
        **types,
    }
    block: Any = BasicBlock
    if network.bottleneck:
        block, options = (
            Bottleneck,
            options | {"groups": network.groups, "group_width": network.group_width},
        )
    for stage, blocks in enumerate(network.blocks):
        for number in range(blocks):
            stride = 2 if stage > 0 and number == 0 else 1
            x = block(
                network.width * 2**stage, stride, name=f"layer{stage + 1}_{number}", **options
            )(x, train=train)
    return x


def _max_pool(x: jax.Array) -> jax.Array:
    """The maximum of 3x3, every second pixel."""
    if isinstance(x.shape[0], int):
        return nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
    # Exported: jax2onnx pads no pool itself. The padding never wins, since x is behind a ReLU.
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return nn.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding="VALID")


def _shortcut(
    x: jax.Array,
    out: jax.Array,
    stride: int,
    name: str,
    init: Any,
    train: bool,
    types: dict[str, Any],
) -> jax.Array:
    if x.shape == out.shape:
        return x
    x = _conv(out.shape[-1], 1, stride, f"{name}_0", init(x.shape[-1], 1), **types)(x)
    return BatchNorm(name=f"{name}_1", **types)(x, train=train)


def _conv(
    features: int, size: int, stride: int, name: str, init: Any, groups: int = 1, **types: Any
) -> nn.Conv:
    options = {
        "padding": (size - 1) // 2,
        "use_bias": False,
        "feature_group_count": groups,
        "kernel_init": init,
        "name": name,
    }
    return Conv(features, (size, size), strides=stride, **options, **types)
