"""Sharpness-aware minimisation around any optax optimiser, and schedules by epoch."""

from ltjax.optim.focus import focal_weights, tail_weights
from ltjax.optim.optimizers import OPTIMIZERS, sgd
from ltjax.optim.sam import SamState, ascend, sam
from ltjax.optim.schedules import (
    EpochSchedule,
    constant,
    cosine,
    linear,
    piecewise,
    warmup_piecewise,
)

__all__ = [
    "OPTIMIZERS",
    "EpochSchedule",
    "SamState",
    "ascend",
    "constant",
    "cosine",
    "focal_weights",
    "linear",
    "piecewise",
    "sam",
    "sgd",
    "tail_weights",
    "warmup_piecewise",
]
