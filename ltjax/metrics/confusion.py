"""Metrics from a confusion matrix."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ltjax.metrics.common import mean_of_known, wide


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> jax.Array:
    """Counts of (true, predicted) pairs; works under jit.

    Args:
      labels: class ids [N] of any integer dtype; an example with a negative label is not counted.
      predictions: class ids [N].
      num_classes: C.

    Returns:
      int32 [C, C]. Under jit, where it can't be refused, an example with a label or a prediction
      beyond the classes is not counted.

    Raises:
      ValueError: a label above C - 1, or a counted example's prediction outside 0..C-1.

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> print(metrics.confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), num_classes=2))
      [[1 1]
       [0 1]]
    """
    given = labels, predictions
    labels, predictions = wide(labels), wide(predictions)
    counted = labels >= 0
    fits = counted & (labels < num_classes) & (predictions >= 0) & (predictions < num_classes)
    if not any(isinstance(x, jax.core.Tracer) for x in given) and not (fits == counted).all():
        at = int(jnp.argmax(fits != counted))
        raise ValueError(
            f"example {at} has label {labels[at]} and prediction {predictions[at]};"
            f" expected 0..{num_classes - 1} (a label below 0 is left out)"
        )
    cell = jnp.where(fits, labels * num_classes + predictions, num_classes**2)
    return jnp.bincount(cell, length=num_classes**2 + 1)[:-1].reshape(num_classes, num_classes)


def accuracy(confusion: ArrayLike) -> float:
    """Share of examples on the diagonal, in [0, 1].

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> confusion = np.array([[90, 10], [5, 5]])  # rows are true classes
      >>> print(round(metrics.accuracy(confusion), 3))
      0.864
    """
    confusion = np.asarray(confusion)
    return float(np.trace(confusion) / max(confusion.sum(), 1))


def per_class_accuracy(confusion: ArrayLike) -> np.ndarray:
    """Recall of each class, float64 [C]; NaN for a class without examples.

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> confusion = np.array([[90, 10], [5, 5]])
      >>> print(metrics.per_class_accuracy(confusion))
      [0.9 0.5]
    """
    confusion = np.asarray(confusion)
    return _ratio(np.diag(confusion), confusion.sum(axis=1))


def balanced_accuracy(confusion: ArrayLike) -> float:
    """Mean recall of the classes that have examples, in [0, 1]; NaN without any.

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> confusion = np.array([[90, 10], [5, 5]])
      >>> print(round(metrics.balanced_accuracy(confusion), 3))
      0.7
    """
    return mean_of_known(per_class_accuracy(confusion))


def precision_recall_f1(confusion: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per-class precision, recall and F1, float64 [C] each; 0 where undefined, as scikit-learn's
    zero_division=0.

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> confusion = np.array([[90, 10], [5, 5]])
      >>> precision, recall, f1 = metrics.precision_recall_f1(confusion)
      >>> print(precision.round(2), recall.round(2), f1.round(2))
      [0.95 0.33] [0.9 0.5] [0.92 0.4 ]
    """
    confusion = np.asarray(confusion)
    precision = np.nan_to_num(_ratio(np.diag(confusion), confusion.sum(axis=0)))
    recall = np.nan_to_num(per_class_accuracy(confusion))
    f1 = np.nan_to_num(_ratio(2 * precision * recall, precision + recall))
    return precision, recall, f1


def weighted_f1(confusion: ArrayLike) -> float:
    """F1 averaged over classes by their number of examples; 0 without any, as `accuracy`.

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> confusion = np.array([[90, 10], [5, 5]])
      >>> print(round(metrics.weighted_f1(confusion), 3))
      0.876
    """
    return weighted_precision_recall_f1(confusion)[2]


def weighted_precision_recall_f1(confusion: ArrayLike) -> tuple[float, float, float]:
    """Precision, recall and F1 averaged over classes by their number of examples; the weighted
    recall is the accuracy. 0 without any example.

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> confusion = np.array([[90, 10], [5, 5]])
      >>> print([round(value, 3) for value in metrics.weighted_precision_recall_f1(confusion)])
      [0.892, 0.864, 0.876]
    """
    support = np.asarray(confusion).sum(axis=1)
    precision, recall, f1 = (
        float((values * support).sum() / max(support.sum(), 1))
        for values in precision_recall_f1(confusion)
    )
    return precision, recall, f1


def macro_precision_recall_f1(confusion: ArrayLike) -> tuple[float, float, float]:
    """Precision, recall and F1 averaged over the classes that have examples, each class alike; the
    macro recall is the balanced accuracy.

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> confusion = np.array([[90, 10], [5, 5]])
      >>> print([round(value, 3) for value in metrics.macro_precision_recall_f1(confusion)])
      [0.64, 0.7, 0.662]
    """
    present = np.asarray(confusion).sum(axis=1) > 0
    precision, recall, f1 = (
        float(np.mean(values[present])) if present.any() else float("nan")
        for values in precision_recall_f1(confusion)
    )
    return precision, recall, f1


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(
        part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) != 0
    )
