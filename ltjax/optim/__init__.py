"""Sharpness-aware minimisation around any optax optimiser, and schedules by epoch."""

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
    "linear",
    "piecewise",
    "sam",
    "sgd",
    "warmup_piecewise",
]
