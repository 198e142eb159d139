"""Losses for long-tailed classification: pure functions of JAX arrays; JAX and NumPy only."""

from __future__ import annotations

from collections.abc import Callable

import jax

from ltjax.losses.experts import balanced_experts, sade
from ltjax.losses.influence import influence_balanced
from ltjax.losses.per_example import (
    balanced_softmax,
    cross_entropy,
    focal,
    ldam,
    ldam_margins,
    logit_adjusted,
    mixup,
    reslt,
    vector_scaling,
    weighted_mean,
)
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
