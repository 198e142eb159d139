"""Metrics of a (long-tailed) classifier, from a confusion matrix or from logits. NumPy on the host;
no test label chooses anything.

A confusion matrix is int [C, C] with the true class in rows and the predicted one in columns.
"""

from ltjax.metrics.calibration import calibration_error, classwise_calibration_error, reliability
from ltjax.metrics.confusion import (
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    macro_precision_recall_f1,
    per_class_accuracy,
    precision_recall_f1,
    weighted_f1,
    weighted_precision_recall_f1,
)
from ltjax.metrics.groups import group_accuracy, groups_by_index, groups_by_threshold
from ltjax.metrics.scores import adjust_logits, auroc, negative_log_likelihood, top_k_correct

__all__ = [
    "accuracy",
    "adjust_logits",
    "auroc",
    "balanced_accuracy",
    "calibration_error",
    "classwise_calibration_error",
    "confusion_matrix",
    "group_accuracy",
    "groups_by_index",
    "groups_by_threshold",
    "macro_precision_recall_f1",
    "negative_log_likelihood",
    "per_class_accuracy",
    "precision_recall_f1",
    "reliability",
    "top_k_correct",
    "weighted_f1",
    "weighted_precision_recall_f1",
]
