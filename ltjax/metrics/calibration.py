"""Whether a probability is how often it is right."""

from __future__ import annotations

import numpy as np
from jax.typing import ArrayLike


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


def _binned(
    confidence: np.ndarray, correct: np.ndarray, num_bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    count = np.bincount(bins, minlength=num_bins).astype(np.float64)
    sums = (np.bincount(bins, weights=x, minlength=num_bins) for x in (confidence, correct))
    mean, share = (total / np.maximum(count, 1) for total in sums)
    return count, mean, share
