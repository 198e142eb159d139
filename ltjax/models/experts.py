"""Experts: one first stage, and copies of the later stages with a classifier each.

Source: Wang et al. (RIDE), ICLR 2021, arXiv:2010.01809, whose network SADE and BalPoE take.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ltjax.models.layers import BatchNorm, classifier
from ltjax.models.resnet_cifar import BasicBlock, conv3x3


class Experts(nn.Module):
    """ResNets for 32x32 images that share their first stage; the mean of their logits predicts.

    Apply to images [B, H, W, C]; returns the mean logits [B, num_classes], or with branches=True
    each expert's [E, B, num_classes]. features=True gives a pair: the logits, and the experts'
    features side by side, [B, E * D].

    Attributes:
      num_classes: C.
      blocks: basic blocks a stage; depth = 6 * blocks + 2.
      width: channels of the first stage; the later ones have 2 and 4 times as many.
      number: of experts, E.
      reduced: later stages of 1.5 and 3 times `width`, as RIDE and SADE have them.
      classifier, dtype, param_dtype: as `ResNetCifar`.
    """

    num_classes: int
    blocks: int
    width: int = 16
    number: int = 3
    reduced: bool = False
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
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = conv3x3(self.width, 1, name="conv1", **types)(images)
        x = nn.relu(BatchNorm(name="bn1", **types)(x, train=train))
        for block in range(self.blocks):
            x = BasicBlock(self.width, 1, name=f"layer1_{block}", **types)(x, train=train)
        later = (3 * self.width // 2, 3 * self.width)
        if not self.reduced:
            later = (2 * self.width, 4 * self.width)
        logits, seen = [], []
        for expert in range(self.number):
            y = x
            for stage, width in enumerate(later, 2):
                for block in range(self.blocks):
                    name = f"expert{expert}_layer{stage}_{block}"
                    stride = 2 if block == 0 else 1
                    y = BasicBlock(width, stride, name=name, **types)(y, train=train)
            y = jnp.mean(y.astype(jnp.promote_types(y.dtype, self.param_dtype)), axis=(1, 2))
            options = {"dtype": None, "param_dtype": self.param_dtype}
            head = classifier(self.classifier, self.num_classes, name=f"linear_{expert}", **options)
            logits.append(head(y))
            seen.append(y)
        each = jnp.stack(logits)
        out = each if branches else jnp.mean(each, axis=0)
        return (out, jnp.concatenate(seen, axis=-1)) if features else out
