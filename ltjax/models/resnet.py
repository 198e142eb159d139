"""ResNets of He et al. with projection shortcuts: ResNet-18 and 34 with the small stem for 32x32 images.

Source: He et al., CVPR 2016, arXiv:1512.03385, table 1; the 3x3 stem without pooling as in the CIFAR programs of the field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ltjax.models.layers import BatchNorm, classifier, torch_uniform


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; shortcut "B": a strided 1x1 convolution with BatchNorm where the shape changes."""

    channels: int
    stride: int
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        out = _conv(self.channels, 3, self.stride, "conv1", x.shape[-1], **types)(x)
        out = nn.relu(BatchNorm(name="bn1", **types)(out, train=train))
        out = _conv(self.channels, 3, 1, "conv2", self.channels, **types)(out)
        out = BatchNorm(name="bn2", **types)(out, train=train)
        if self.stride != 1 or x.shape[-1] != self.channels:
            x = _conv(self.channels, 1, self.stride, "shortcut_0", x.shape[-1], **types)(x)
            x = BatchNorm(name="shortcut_1", **types)(x, train=train)
        return nn.relu(out + x)


class ResNet(nn.Module):
    """A 3x3 stem, four stages with `width`, 2, 4 and 8 times `width` channels, global average pool, classifier.

    Apply to images [B, H, W, C] in floating point; returns logits [B, num_classes] in float32 or wider. Weights start as PyTorch's
    defaults.

    Attributes:
      num_classes: C.
      blocks: basic blocks of each stage.
      width: channels of the first stage; 64 as published.
      classifier, dtype, param_dtype: as `ResNetCifar`.
    """

    num_classes: int
    blocks: Sequence[int]
    width: int = 64
    classifier: str = "linear"
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = _conv(self.width, 3, 1, "conv1", images.shape[-1], **types)(images)
        x = nn.relu(BatchNorm(name="bn1", **types)(x, train=train))
        for stage, blocks in enumerate(self.blocks):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                x = BasicBlock(self.width * 2**stage, stride, name=f"layer{stage + 1}_{block}", **types)(x, train=train)
        x = jnp.mean(x.astype(jnp.promote_types(x.dtype, self.param_dtype)), axis=(1, 2))
        init = torch_uniform(x.shape[-1])
        return classifier(self.classifier, self.num_classes, dtype=None, param_dtype=self.param_dtype, name="linear", kernel_init=init)(x)


def _conv(features: int, size: int, stride: int, name: str, channels: int, **types: Any) -> nn.Conv:
    init = torch_uniform(channels * size * size)
    return nn.Conv(features, (size, size), strides=stride, padding=(size - 1) // 2, use_bias=False, kernel_init=init, name=name, **types)
