"""ResNets for 32x32 images: ResNet-20, 32, 44, 56, 110.

Source: He et al., CVPR 2016, arXiv:1512.03385, section 4.2; shortcut "A" and initialisation as in
the LDAM-DRW authors' program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ltjax.models.layers import BatchNorm, Conv, classified, he_normal


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; shortcut "A": subsample by the stride and zero-pad the channels."""

    channels: int
    stride: int
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        out = conv3x3(self.channels, self.stride, name="conv1", **types)(x)
        out = nn.relu(BatchNorm(name="bn1", **types)(out, train=train))
        out = conv3x3(self.channels, 1, name="conv2", **types)(out)
        out = BatchNorm(name="bn2", **types)(out, train=train)
        if self.stride != 1 or x.shape[-1] != self.channels:
            missing = self.channels - x.shape[-1]
            x = x[:, :: self.stride, :: self.stride]
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))
        return nn.relu(out + x)


class ResNetCifar(nn.Module):
    """A 3x3 stem, three stages of basic blocks with `width`, 2 and 4 times `width` channels, global
    average pool, classifier.

    Apply to images [B, H, W, C] in floating point; returns logits [B, num_classes] in float32 or
    wider, with features=True a pair: the logits, and what the classifier reads, [B, D].

    Attributes:
      num_classes: C.
      blocks: basic blocks a stage; depth = 6 * blocks + 2.
      width: channels of the first stage; 16 as published.
      classifier: "linear", "normalized" (cosines, for LDAM) or "scaled" (linear, with a learned
        scale a class).
      dtype: of the computation; None follows the images and parameters. "bfloat16" keeps parameters
        and statistics in float32.
      param_dtype: of parameters and BatchNorm statistics.
    """

    num_classes: int
    blocks: int
    width: int = 16
    classifier: str = "linear"
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, features: bool = False) -> Any:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        widths = (self.width, 2 * self.width, 4 * self.width)
        x = cifar_backbone(images, self.blocks, widths, train=train, **types)
        # Pool and classify in float32 or wider: the cosines of a normalised classifier are scaled
        # by 30 in the loss.
        x = x.astype(jnp.promote_types(x.dtype, self.param_dtype))
        x = jnp.mean(x, axis=(1, 2))
        return classified(self, x, features)


def cifar_backbone(
    images: jax.Array,
    blocks: int,
    widths: Sequence[int],
    *,
    train: bool,
    dtype: Any,
    param_dtype: Any,
) -> jax.Array:
    """Stem and three stages, inside the calling module: the last map
    [B, H / 4, W / 4, widths[2]].
    """
    types = {"dtype": dtype, "param_dtype": param_dtype}
    x = conv3x3(widths[0], 1, name="conv1", **types)(images)
    x = nn.relu(BatchNorm(name="bn1", **types)(x, train=train))
    for stage, width in enumerate(widths):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            x = BasicBlock(width, stride, name=f"layer{stage + 1}_{block}", **types)(x, train=train)
    return x


def conv3x3(features: int, stride: int, *, name: str, dtype: Any, param_dtype: Any) -> nn.Conv:
    return Conv(
        features,
        (3, 3),
        strides=stride,
        padding=1,
        use_bias=False,
        kernel_init=he_normal,
        dtype=dtype,
        param_dtype=param_dtype,
        name=name,
    )
