"""Metrics of a (long-tailed) classifier, from a confusion matrix or from logits. NumPy on the host;
no test label chooses anything.

A confusion matrix is int [C, C] with the true class in rows and the predicted one in columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

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

GROUPS = ("many", "medium", "few")


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
    labels, predictions = _wide(labels), _wide(predictions)
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
    return _mean_of_known(per_class_accuracy(confusion))


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


def auroc(scores: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Area under each class's one-against-the-rest ROC curve: how often an example of the class
    scores higher than one of another class, ties counting half. Their mean is the macro AUROC.

    Args:
      scores: of each class, [N, C]; probabilities, say. Only their order in a column matters.
      labels: class ids [N].

    Returns:
      float64 [C] in [0, 1]; NaN for a class without examples, or with all of them.

    Source: Hanley and McNeil, Radiology 143(1), 1982 (the Wilcoxon statistic).

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
      >>> print(metrics.auroc(scores, np.array([0, 0, 1, 1])))
      [0.75 0.75]
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    areas = np.full(scores.shape[1], np.nan)
    for c in range(scores.shape[1]):
        own = labels == c
        positives, negatives = int(own.sum()), int((~own).sum())
        if positives and negatives:
            _, place, times = np.unique(scores[:, c], return_inverse=True, return_counts=True)
            ranks = (np.cumsum(times) - (times - 1) / 2)[place]
            wins = ranks[own].sum() - positives * (positives + 1) / 2
            areas[c] = wins / (positives * negatives)
    return areas


def groups_by_index(num_classes: int, boundaries: Sequence[int]) -> dict[str, np.ndarray]:
    """Many, medium and few as index ranges: [0, a), [a, b), [b, C) for classes sorted by descending
    count.

    Args:
      num_classes: C.
      boundaries: (a, b), 0 < a < b < C; (3, 6) for CIFAR-10-LT, (36, 71) for CIFAR-100-LT.

    Raises:
      ValueError: boundaries that are not two ascending indices inside 1..C-1.

    Example:
      >>> from ltjax import metrics
      >>> print(metrics.groups_by_index(10, (3, 6)))
      {'many': array([0, 1, 2]), 'medium': array([3, 4, 5]), 'few': array([6, 7, 8, 9])}
    """
    if len(boundaries) != 2 or not 0 < boundaries[0] < boundaries[1] < num_classes:
        raise ValueError(
            f"group boundaries are {tuple(boundaries)};"
            f" expected two ascending class indices in 1..{num_classes - 1}"
        )
    first, second = boundaries
    return dict(
        zip(
            GROUPS,
            (np.arange(first), np.arange(first, second), np.arange(second, num_classes)),
            strict=True,
        )
    )


def groups_by_threshold(
    class_counts: ArrayLike, few: int = 20, many: int = 100
) -> dict[str, np.ndarray]:
    """Many: more than `many` training images; few: fewer than `few`; medium: the rest, both
    thresholds included.

    Source: Liu et al., CVPR 2019, arXiv:1904.05160, section 5; Kang et al., ICLR 2020.

    Example:
      >>> from ltjax import metrics
      >>> print(metrics.groups_by_threshold([5000, 100, 19], few=20, many=100))
      {'many': array([0]), 'medium': array([1]), 'few': array([2])}
    """
    counts = np.asarray(class_counts)
    masks = (counts > many, (counts >= few) & (counts <= many), counts < few)
    return {name: np.flatnonzero(mask) for name, mask in zip(GROUPS, masks, strict=True)}


def group_accuracy(confusion: ArrayLike, groups: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Mean recall of those classes of each group that have examples, in [0, 1]; NaN without any.

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> confusion = np.array([[90, 10], [5, 5]])
      >>> groups = metrics.groups_by_threshold([500, 10])
      >>> print(metrics.group_accuracy(confusion, groups))
      {'many': 0.9, 'medium': nan, 'few': 0.5}
    """
    recall = per_class_accuracy(confusion)
    return {name: _mean_of_known(recall[classes]) for name, classes in groups.items()}


def top_k_correct(logits: ArrayLike, labels: ArrayLike, k: int) -> jax.Array:
    """Whether the true class is among the k highest logits (ties count for the label), bool [...];
    works under jit.

    An example with a label outside 0..C-1 or a NaN logit at its label is never correct; a NaN
    elsewhere counts as higher.

    Args:
      logits: [..., C].
      labels: class ids [...] of any integer dtype.
      k: in 1..C.

    Raises:
      ValueError: another k.

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> print(metrics.top_k_correct(np.array([[3.0, 2.0, 1.0]] * 2), np.array([1, 2]), k=2))
      [ True False]
    """
    logits, labels = jnp.asarray(logits), _wide(labels)
    if not 1 <= k <= logits.shape[-1]:
        raise ValueError(f"k is {k}; expected 1 to {logits.shape[-1]}, the number of classes")
    ids = jnp.maximum(labels, 0)[..., None]
    own = jnp.take_along_axis(logits, ids, axis=-1, mode="fill", fill_value=jnp.nan)
    return (jnp.sum(~(logits <= own), axis=-1) < k) & (labels >= 0)


def adjust_logits(logits: ArrayLike, class_counts: ArrayLike, tau: float = 1.0) -> jax.Array:
    """Post-hoc logit adjustment: logits - tau * log(n / N); predict by its argmax.

    Args:
      logits: [..., C].
      class_counts: training images of each class, [C], all > 0.
      tau: weight of the prior.

    Returns:
      [..., C] in float32 or wider.

    Raises:
      ValueError: a count below 1, or not one count a class of the logits.

    Source: Menon et al., ICLR 2021, arXiv:2007.07314, eq. 9.

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> adjusted = metrics.adjust_logits(np.array([[1.0, 0.0]]), class_counts=[90, 10])
      >>> print(np.array(adjusted).round(2))  # the rare class wins
      [[1.11 2.3 ]]
    """
    logits = jnp.asarray(logits)
    if np.shape(class_counts) != logits.shape[-1:]:
        raise ValueError(
            f"class_counts has shape {list(np.shape(class_counts))}; expected [{logits.shape[-1]}],"
            " one count a class of the logits"
        )
    if not isinstance(class_counts, jax.core.Tracer) and not np.min(class_counts) >= 1:
        raise ValueError(
            f"class_counts holds {np.min(class_counts)} (class {np.argmin(class_counts)});"
            " expected at least 1 image a class"
        )
    counts = jnp.asarray(class_counts, jnp.result_type(float))
    return logits - tau * jnp.log(counts / jnp.sum(counts))


def calibration_error(probabilities: ArrayLike, labels: ArrayLike, num_bins: int = 15) -> float:
    """Expected calibration error over equal-width confidence bins, in [0, 1].

    Args:
      probabilities: [N, C], rows sum to 1.
      labels: class ids [N].
      num_bins: bins of (0, 1].

    Source: Guo et al., ICML 2017, arXiv:1706.04599, eq. 3.

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> sure = np.array([[0.9, 0.1]] * 10)
      >>> labels = np.repeat([0, 1], [5, 5])  # right in half
      >>> print(round(metrics.calibration_error(sure, labels), 3))
      0.4
    """
    count, confidence, correct = reliability(probabilities, labels, num_bins)
    return float(np.sum(count * np.abs(confidence - correct)) / max(count.sum(), 1))


def reliability(
    probabilities: ArrayLike, labels: ArrayLike, num_bins: int = 15
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A reliability diagram: over equal-width bins of the highest probability, how many examples,
    how confident and how often right.

    Args:
      probabilities: [N, C], rows sum to 1.
      labels: class ids [N].
      num_bins: bins of (0, 1].

    Returns:
      Examples, mean confidence and accuracy of each bin, float64 [num_bins] each; 0 in an empty
      one.

    Source: Guo et al., ICML 2017, arXiv:1706.04599, section 2.

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> sure = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])
      >>> count, confidence, correct = metrics.reliability(sure, np.array([0, 1, 0]), num_bins=2)
      >>> print(count, correct[1].round(2))
      [0. 3.] 0.67
    """
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    return _binned(confidence, correct, num_bins)


def classwise_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, num_bins: int = 15
) -> float:
    """Classwise ECE: the calibration error of each class's probability against "is this class",
    over all examples, averaged over classes; in [0, 1].

    Args:
      probabilities: [N, C], rows sum to 1.
      labels: class ids [N].
      num_bins: bins of (0, 1].

    Source: Kull et al., NeurIPS 2019, arXiv:1910.12656, section 2.

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> sure = np.array([[0.9, 0.1]] * 10)
      >>> print(round(metrics.classwise_calibration_error(sure, np.repeat([0, 1], [9, 1])), 3))
      0.0
    """
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    errors = []
    for c in range(probabilities.shape[1]):
        count, mean, share = _binned(probabilities[:, c], labels == c, num_bins)
        errors.append(np.sum(count * np.abs(mean - share)) / max(len(labels), 1))
    return float(np.mean(errors))


def negative_log_likelihood(logits: ArrayLike, labels: ArrayLike) -> float:
    """Mean of -log softmax(logits)[label] in nats; logits [N, C], class ids [N].

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> logits, labels = np.zeros((2, 4)), np.array([0, 3])
      >>> print(round(metrics.negative_log_likelihood(logits, labels), 3))  # log 4
      1.386
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    top = logits.max(axis=1, keepdims=True)
    norms = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return float(np.mean(norms - logits[np.arange(len(labels)), labels]))


def _binned(
    confidence: np.ndarray, correct: np.ndarray, num_bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    count = np.bincount(bins, minlength=num_bins).astype(np.float64)
    sums = (np.bincount(bins, weights=x, minlength=num_bins) for x in (confidence, correct))
    mean, share = (total / np.maximum(count, 1) for total in sums)
    return count, mean, share


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(
        part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) != 0
    )


def _wide(ids: ArrayLike) -> jax.Array:
    """Class ids in at least int32: uint8 ends at 255."""
    ids = jnp.asarray(ids)
    return ids.astype(jnp.int32) if ids.dtype.itemsize < 4 else ids


def _mean_of_known(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
