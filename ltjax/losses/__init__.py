"""Losses for long-tailed classification: pure functions of JAX arrays; JAX and NumPy only."""

from ltjax.losses.per_example import (
    LOSSES,
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

__all__ = [
    "LOSSES",
    "balanced_softmax",
    "cross_entropy",
    "focal",
    "ldam",
    "ldam_margins",
    "logit_adjusted",
    "mixup",
    "reslt",
    "vector_scaling",
    "weighted_mean",
]
