"""Losses for long-tailed classification: pure functions, one value an example, never reduced.

Every loss takes logits ``[..., C]`` and labels that are class ids ``[...]`` (any integer dtype) or,
where stated, probabilities ``[..., C]`` (any floating dtype), and returns ``[...]``. Arithmetic is
float64 for float64 logits and float32 otherwise, so bfloat16 logits are safe. Values and gradients
are finite for logits up to 1e36 in size (float32 ends at 3e38, and LDAM multiplies by its scale;
1e306 in float64), and all work under jit, grad and vmap.

Bad labels and class counts raise ValueError before tracing, where their values can be seen. Inside
jit a class id outside 0..C-1 gives a NaN loss, so it is never silently trained on.
"""

from __future__ import annotations

from collections.abc import Callable

import jax

from ltjax.losses.branches import reslt
from ltjax.losses.experts import balanced_experts, sade
from ltjax.losses.influence import influence_balanced
from ltjax.losses.means import mixup, weighted_mean
from ltjax.losses.per_example import cross_entropy, focal, ldam, ldam_margins
from ltjax.losses.priors import balanced_softmax, logit_adjusted, vector_scaling
from ltjax.losses.smoothing import label_aware_smoothing
from ltjax.losses.views import balanced_contrastive, glmc

__all__ = [
    "LOSSES",
    "balanced_contrastive",
    "balanced_experts",
    "balanced_softmax",
    "cross_entropy",
    "focal",
    "glmc",
    "influence_balanced",
    "label_aware_smoothing",
    "ldam",
    "ldam_margins",
    "logit_adjusted",
    "mixup",
    "reslt",
    "sade",
    "vector_scaling",
    "weighted_mean",
]

LOSSES: dict[str, Callable[..., jax.Array]] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "ldam": ldam,
    "vector_scaling": vector_scaling,
    "balanced_softmax": balanced_softmax,
    "logit_adjusted": logit_adjusted,
    "label_aware_smoothing": label_aware_smoothing,
}
"""Name in a config -> loss of (logits, labels, *, options)."""
