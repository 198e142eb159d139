"""Classifiers after training, on features computed once: formulas, heads, temperature, shifted
tests.

Pure functions of arrays, for anyone's features; JAX and NumPy only. docs/posthoc.md says what they
are good for; `--mode=posthoc` runs them all on a run.
"""

from ltjax.posthoc.classifiers import (
    NCM_KINDS,
    disalign,
    marc,
    nearest_class_mean,
    scaled,
    tau_normalized,
)
from ltjax.posthoc.heads import HEADS, Head, Training, start, training
from ltjax.posthoc.scores import Classifier, logits, uncalibrated
from ltjax.posthoc.selection import choose, held_out, shifted_accuracy, shifted_prior, temperature
from ltjax.posthoc.sgd import train

__all__ = [
    "HEADS",
    "NCM_KINDS",
    "Classifier",
    "Head",
    "Training",
    "choose",
    "disalign",
    "held_out",
    "logits",
    "marc",
    "nearest_class_mean",
    "scaled",
    "shifted_accuracy",
    "shifted_prior",
    "start",
    "tau_normalized",
    "temperature",
    "train",
    "training",
    "uncalibrated",
]
