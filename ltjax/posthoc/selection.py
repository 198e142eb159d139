"""What is chosen without the test set, and what a classifier is worth under another test prior."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

BOUNDS = (0.05, 20.0)
"""Of a temperature."""


def held_out(labels: ArrayLike, share: float = 0.2, seed: int = 0) -> np.ndarray:
    """A part of the training images with the same long tail, to choose by.

    Args:
      labels: class ids of the training images, int [N].
      share: of each class's images, in (0, 1).
      seed: of the choice.

    Returns:
      bool [N]: True is held out. `share` of each class rounded, at least one image, and at least
      one image of each class is left; a class of one image has none held out.

    Raises:
      ValueError: a share outside (0, 1).

    Example:
      >>> import numpy as np
      >>> from ltjax import posthoc
      >>> labels = np.repeat([0, 1], [100, 10])
      >>> print(np.bincount(labels[posthoc.held_out(labels, share=0.2)]))
      [20  2]
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"share is {share}; expected a value in (0, 1), for instance 0.2")
    labels = np.asarray(labels)
    generator = np.random.default_rng(seed)
    out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        out[members[: min(max(1, round(share * len(members))), len(members) - 1)]] = True
    return out


def choose(scores: Sequence[float], distances: Sequence[float]) -> int:
    """Which candidate to take: the highest score on the held-out images; of equal ones the nearest
    to the default.

    Args:
      scores: of each candidate, higher is better.
      distances: of each candidate from the default, 0 for the default itself.

    Example:
      >>> from ltjax import posthoc
      >>> print(posthoc.choose(scores=[0.5, 0.7, 0.7], distances=[0, 3, 1]))
      2
    """
    return int(np.lexsort((np.asarray(distances), -np.asarray(scores)))[0])


def temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature T that minimises the class-balanced negative log-likelihood of
    softmax(logits / T).

    Every class counts the same, as in the balanced accuracy that everything else is chosen by.

    Args:
      logits: [N, C], of images that are not test images.
      labels: class ids [N].

    Returns:
      T in [0.05, 20]. Where it is a bound, the likelihood has no minimum between: the images are
      all classified right (0.05), or the logits say nothing of them (20).

    Source: Guo et al., ICML 2017, arXiv:1706.04599, section 4.2.

    Example:
      >>> import numpy as np
      >>> from ltjax import posthoc
      >>> logits = np.array([[9.0, 0.0]] * 10)  # far too sure: right in nine of ten
      >>> print(round(posthoc.temperature(logits, np.repeat([0, 1], [9, 1])), 1) > 1)
      True
    """
    scores, classes = np.asarray(logits, np.float64), np.asarray(labels)
    scores = scores - scores.max(axis=1, keepdims=True)
    weights = 1.0 / np.bincount(classes, minlength=scores.shape[1])[classes]
    own = scores[np.arange(len(classes)), classes]

    def slope(inverse: float) -> float:  # of the likelihood, which is convex in 1 / T
        powers = np.exp(inverse * scores)
        expected = np.sum(powers * scores, axis=1) / powers.sum(axis=1)
        return float(np.sum(weights * (expected - own)))

    low, high = 1.0 / BOUNDS[1], 1.0 / BOUNDS[0]
    if slope(low) >= 0:
        return BOUNDS[1]
    if slope(high) <= 0:
        return BOUNDS[0]
    for _ in range(50):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return float(1.0 / np.sqrt(low * high))


def shifted_prior(class_counts: ArrayLike, factor: float, *, backward: bool = False) -> np.ndarray:
    """A long-tailed test prior, float64 [C], sum 1: class probabilities fall by the factor from the
    first to the last class along an exponential.

    Args:
      class_counts: training images of each class; the classes in their descending order.
      factor: of the most to the least probable class, >= 1; 1 is uniform.
      backward: the training set's rarest class is the most probable one.

    Raises:
      ValueError: a factor below 1.

    Source: Zhang et al. (SADE), NeurIPS 2022, arXiv:2107.09249, section 5.

    Example:
      >>> import numpy as np
      >>> from ltjax import posthoc
      >>> print(np.array(posthoc.shifted_prior([900, 90, 9], 100.0)).round(3))
      [0.901 0.09  0.009]
    """
    if not factor >= 1.0:
        raise ValueError(f"factor is {factor}; expected at least 1, for instance 50")
    counts = np.asarray(class_counts)
    rank = np.empty(len(counts))
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    rank = len(counts) - 1 - rank if backward else rank
    prior = float(factor) ** (-rank / max(len(counts) - 1, 1))
    return prior / prior.sum()


def shifted_accuracy(
    recall: ArrayLike, class_counts: ArrayLike, factor: float, *, backward: bool = False
) -> float:
    """Accuracy under a `shifted_prior`: the classes' recall weighted by it, in [0, 1].

    That is what test sets drawn with this prior from the balanced one give on average, without the
    draw. Classes without test images (NaN) are left out.

    Example:
      >>> from ltjax import posthoc
      >>> recall, counts = [0.9, 0.5], [90, 10]
      >>> print(round(posthoc.shifted_accuracy(recall, counts, 9.0), 3))
      0.86
      >>> print(round(posthoc.shifted_accuracy(recall, counts, 9.0, backward=True), 3))
      0.54
    """
    recall = np.asarray(recall, np.float64)
    prior = shifted_prior(class_counts, factor, backward=backward)
    known = np.isfinite(recall)
    return float(np.sum(prior[known] * recall[known]) / prior[known].sum())
