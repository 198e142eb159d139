"""ResLT: a CIFAR ResNet whose last map feeds a head, a medium and a tail branch that share one classifier.

Source: Cui et al., TPAMI 2022, arXiv:2101.10633; the BatchNorm head is the authors' CIFAR program's, the grouped convolution the paper's.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ltjax.models.layers import BatchNorm, Linear, torch_uniform
from ltjax.models.resnet_cifar import cifar_backbone

BRANCHES = ("head", "medium", "tail")


class ResLT(nn.Module):
    """Three residual branches over one backbone; the prediction is the sum of their logits.

    Apply to images [B, H, W, C]; returns the summed logits [B, num_classes], or with branches=True each branch's [3, B, num_classes].

    Attributes:
      num_classes: C.
      blocks: basic blocks a stage; depth = 6 * blocks + 2.
      width: channels of the first stage.
      head: "batch_norm": a BatchNorm a branch on the last map (4 * width channels), as the authors' CIFAR program; "grouped": one
        1x1 convolution in three groups on a last stage narrowed to a multiple of 3 (48 channels at width 16), a third a branch.
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
    def __call__(self, images: jax.Array, train: bool = False, branches: bool = False) -> jax.Array:
        if self.head not in ("batch_norm", "grouped"):
            raise ValueError(f"ResLT head is {self.head!r}; expected 'batch_norm' or 'grouped'")
        if self.classifier != "linear":
            raise ValueError(f"ResLT has a linear classifier; classifier is {self.classifier!r}")
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        grouped = self.head == "grouped"
        last = 3 * self.width if grouped else 4 * self.width
        x = cifar_backbone(images, self.blocks, (self.width, 2 * self.width, last), train=train, **types)
        if grouped:
            # Group g sees its third of the channels and makes the g-th branch of them.
            x = nn.Conv(last, (1, 1), feature_group_count=3, name="branches", kernel_init=torch_uniform(last // 3), **types)(x)
            maps = jnp.split(x, 3, axis=-1)
        else:
            maps = [BatchNorm(name=f"bn_{branch}", **types)(x, train=train) for branch in BRANCHES]
        # Pool and classify in float32 or wider.
        pooled = jnp.stack([jnp.mean(m.astype(jnp.promote_types(m.dtype, self.param_dtype)), axis=(1, 2)) for m in maps])
        linear = Linear(self.num_classes, kernel_init=torch_uniform(pooled.shape[-1]), param_dtype=self.param_dtype, name="linear")
        logits = linear(pooled)
        return logits if branches else jnp.sum(logits, axis=0)
