"""EfficientNet-B0 to B7 and Lite0.

Source: Tan and Le, ICML 2019, arXiv:1905.11946, table 1 and section 4; Lite0 is the authors'
variant for mobile devices: no squeeze-excitation, ReLU6, stem and head of fixed width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ltjax.models.layers import BatchNorm, Conv, classified, torch_uniform


class Scaling(NamedTuple):
    """What tells the variants apart: multipliers of width and depth, published input pixels,
    dropout before the classifier.
    """

    width: float
    depth: float
    resolution: int
    dropout: float
    lite: bool = False


VARIANTS = {
    "efficientnet_b0": Scaling(1.0, 1.0, 224, 0.2),
    "efficientnet_b1": Scaling(1.0, 1.1, 240, 0.2),
    "efficientnet_b2": Scaling(1.1, 1.2, 260, 0.3),
    "efficientnet_b3": Scaling(1.2, 1.4, 300, 0.3),
    "efficientnet_b4": Scaling(1.4, 1.8, 380, 0.4),
    "efficientnet_b5": Scaling(1.6, 2.2, 456, 0.4),
    "efficientnet_b6": Scaling(1.8, 2.6, 528, 0.5),
    "efficientnet_b7": Scaling(2.0, 3.1, 600, 0.5),
    "efficientnet_lite0": Scaling(1.0, 1.0, 224, 0.2, lite=True),
}


class Block(NamedTuple):
    """One inverted bottleneck: its stage and place in it (from 0), and its shape."""

    stage: int
    place: int
    expand: int
    kernel: int
    stride: int
    in_channels: int
    out_channels: int


# Of B0: blocks, expansion, kernel, stride, channels in and out of each stage.
_STAGES = (
    *((1, 1, 3, 1, 32, 16), (2, 6, 3, 2, 16, 24), (2, 6, 5, 2, 24, 40), (3, 6, 3, 2, 40, 80)),
    *((3, 6, 5, 1, 80, 112), (4, 6, 5, 2, 112, 192), (1, 6, 3, 1, 192, 320)),
)


def blocks(variant: str) -> list[Block]:
    """The inverted bottlenecks of a variant, in order."""
    scaling = VARIANTS[variant]
    out = []
    for stage, (repeats, expand, kernel, stride, channels_in, channels_out) in enumerate(_STAGES):
        fixed = scaling.lite and stage in (0, len(_STAGES) - 1)
        count = repeats if fixed else math.ceil(repeats * scaling.depth)
        first = channels_in if scaling.lite and stage == 0 else _round(channels_in, scaling.width)
        last = _round(channels_out, scaling.width)
        for place in range(count):
            out.append(
                Block(
                    stage,
                    place,
                    expand,
                    kernel,
                    stride if place == 0 else 1,
                    first if place == 0 else last,
                    last,
                )
            )
    return out


class MBConv(nn.Module):
    """Inverted bottleneck: expand by 1x1, filter each channel, squeeze-excite, project by 1x1; a
    shortcut where the shape stays.

    Attributes:
      block: its shape.
      drop: probability of leaving the block out for an example in training (stochastic depth).
      activation: SiLU, or ReLU6 for Lite.
      squeeze: with squeeze-excitation.
      same: TensorFlow's "same" padding; else symmetric.
      norm: epsilon and momentum of BatchNorm.
    """

    block: Block
    drop: float
    activation: Callable[[jax.Array], jax.Array]
    squeeze: bool
    same: bool
    norm: dict[str, Any]
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool) -> jax.Array:
        block, types = self.block, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x, wide = inputs, self.block.in_channels * self.block.expand
        if block.expand != 1:
            x = _conv(wide, 1, 1, self.same, "conv_expand", **types)(x)
            x = self.activation(BatchNorm(name="bn_expand", **self.norm, **types)(x, train=train))
        x = _conv(
            wide, block.kernel, block.stride, self.same, "conv_depthwise", groups=wide, **types
        )(x)
        x = self.activation(BatchNorm(name="bn_depthwise", **self.norm, **types)(x, train=train))
        if self.squeeze:
            squeezed = jnp.mean(x, axis=(1, 2), keepdims=True)
            squeezed = _conv(
                max(1, block.in_channels // 4), 1, 1, self.same, "se_reduce", bias=True, **types
            )(squeezed)
            squeezed = _conv(wide, 1, 1, self.same, "se_expand", bias=True, **types)(
                self.activation(squeezed)
            )
            x = x * nn.sigmoid(squeezed)
        x = _conv(block.out_channels, 1, 1, self.same, "conv_project", **types)(x)
        x = BatchNorm(name="bn_project", **self.norm, **types)(x, train=train)
        if block.stride != 1 or block.in_channels != block.out_channels:
            return x
        if train and self.drop:
            kept = jax.random.bernoulli(
                self.make_rng("dropout"), 1.0 - self.drop, (x.shape[0], 1, 1, 1)
            )
            x = jnp.where(kept, x / (1.0 - self.drop), 0.0).astype(x.dtype)
        return inputs + x


class EfficientNet(nn.Module):
    """Stem, inverted bottlenecks, 1x1 head, global average pool, dropout, classifier.

    Apply to images [B, H, W, C] in floating point; returns logits [B, num_classes] in float32 or
    wider, with features=True a pair: the logits, and what the classifier reads, [B, D]. Training
    draws from the "dropout" stream: `apply(..., train=True, rngs={"dropout": key},
    mutable=["batch_stats"])`.

    Attributes:
      num_classes: C.
      variant: a key of `VARIANTS`.
      numerics: "tensorflow": "same" padding, BatchNorm epsilon 1e-3 and momentum 0.01, as published
        and in efficientnet-pytorch and timm's tf_ weights; "torch": symmetric padding, epsilon 1e-5
        and momentum 0.1, as torchvision's (B5 to B7: 1e-3 and 0.01) and timm's others.
      stochastic_depth: drop probability of the last block, rising evenly from 0 at the first.
      dropout: before the classifier; None is the variant's own.
      classifier, dtype, param_dtype: as `ResNetCifar`.
    """

    num_classes: int
    variant: str = "efficientnet_b0"
    numerics: str = "tensorflow"
    stochastic_depth: float = 0.2
    dropout: float | None = None
    classifier: str = "linear"
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, features: bool = False) -> Any:
        if self.numerics not in ("tensorflow", "torch"):
            raise ValueError(
                f"EfficientNet numerics is {self.numerics!r}; expected 'tensorflow' or 'torch'"
            )
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        scaling, same = VARIANTS[self.variant], self.numerics == "tensorflow"
        wide_norm = same or scaling.depth > 2
        norm: dict[str, Any] = (
            {"epsilon": 1e-3, "momentum": 0.01} if wide_norm else {"epsilon": 1e-5, "momentum": 0.1}
        )
        activation = nn.relu6 if scaling.lite else nn.silu
        x = _conv(
            32 if scaling.lite else _round(32, scaling.width), 3, 2, same, "conv_stem", **types
        )(images)
        x = activation(BatchNorm(name="bn_stem", **norm, **types)(x, train=train))
        all_blocks = blocks(self.variant)
        for k, block in enumerate(all_blocks):
            drop = self.stochastic_depth * k / len(all_blocks)
            x = MBConv(
                block, drop, activation, not scaling.lite, same, norm, name=f"block_{k}", **types
            )(x, train=train)
        x = _conv(
            1280 if scaling.lite else _round(1280, scaling.width), 1, 1, same, "conv_head", **types
        )(x)
        x = activation(BatchNorm(name="bn_head", **norm, **types)(x, train=train))
        # Pool and classify in float32 or wider.
        x = jnp.mean(x.astype(jnp.promote_types(x.dtype, self.param_dtype)), axis=(1, 2))
        x = nn.Dropout(
            scaling.dropout if self.dropout is None else self.dropout, deterministic=not train
        )(x)
        init = torch_uniform(x.shape[-1])
        return classified(self, x, features, kernel_init=init)


def _round(channels: int, width: float) -> int:
    """Channels times the width multiplier, to a multiple of 8 and not more than a tenth below."""
    if width == 1.0:
        return channels
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def _conv(
    features: int,
    size: int,
    stride: int,
    same: bool,
    name: str,
    *,
    groups: int = 1,
    bias: bool = False,
    dtype: Any,
    param_dtype: Any,
) -> nn.Conv:
    return Conv(
        features,
        (size, size),
        strides=stride,
        padding="SAME" if same else (size - 1) // 2,
        feature_group_count=groups,
        use_bias=bias,
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
        dtype=dtype,
        param_dtype=param_dtype,
        name=name,
    )
