"""Long-tailed class-count profiles, and the seeded choice of the images that fill them.

NumPy only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["PROFILES", "exponential", "full", "single_majority", "step", "subset"]


def exponential(num_classes: int, max_count: int, factor: float) -> np.ndarray:
    """Exponential profile: floor(max_count * factor^(c / (C - 1))), class 0 the head.

    Args:
      num_classes: C >= 2.
      max_count: images of the fullest class.
      factor: n_min / n_max in (0, 1]; 0.01 is the usual "imbalance ratio 100".

    Returns:
      int64 [C].

    Raises:
      ValueError: a factor outside (0, 1], fewer than 2 classes, or a class left with 0 images.

    Source: Cao et al., NeurIPS 2019, arXiv:1906.07413, section 4; Cui et al., CVPR 2019.

    Example:
      >>> from ltjax import imbalance
      >>> print(imbalance.exponential(num_classes=10, max_count=5000, factor=0.01))
      [5000 2997 1796 1077  645  387  232  139   83   50]
    """
    _check_factor(num_classes, factor)
    return _counts(
        [int(max_count * factor ** (c / (num_classes - 1.0))) for c in range(num_classes)]
    )


def step(num_classes: int, max_count: int, factor: float) -> np.ndarray:
    """Step profile: max_count images for the first C // 2 classes, floor(max_count * factor) for
    the rest.

    Args, Returns and Raises as `exponential`.

    Source: Buda et al., Neural Networks 2018, arXiv:1710.05381; Cao et al., NeurIPS 2019, section
    4.

    Example:
      >>> from ltjax import imbalance
      >>> print(imbalance.step(num_classes=4, max_count=5000, factor=0.01))
      [5000 5000   50   50]
    """
    _check_factor(num_classes, factor)
    half = num_classes // 2
    return _counts([max_count] * half + [int(max_count * factor)] * (num_classes - half))


def single_majority(
    num_classes: int, majority_class: int, majority_count: int, minority_count: int
) -> np.ndarray:
    """One class keeps `majority_count` images, each other class `minority_count`.

    Returns:
      int64 [C].

    Raises:
      ValueError: a majority class outside 0..C-1, or a count below 1.

    Example:
      >>> from ltjax import imbalance
      >>> print(imbalance.single_majority(3, 1, majority_count=5000, minority_count=150))
      [ 150 5000  150]
    """
    if not 0 <= majority_class < num_classes:
        raise ValueError(f"majority_class is {majority_class}; expected 0..{num_classes - 1}")
    counts = [minority_count] * num_classes
    counts[majority_class] = majority_count
    return _counts(counts)


def full(labels: ArrayLike, num_classes: int) -> np.ndarray:
    """The counts a data set has: nothing is left out.

    Returns:
      int64 [C].

    Raises:
      ValueError: a class without images.

    Example:
      >>> from ltjax import imbalance
      >>> print(imbalance.full([0, 0, 1, 2], num_classes=3))
      [2 1 1]
    """
    return _counts(np.bincount(np.asarray(labels), minlength=num_classes))


def subset(
    labels: ArrayLike, class_counts: Sequence[int] | np.ndarray, seed: int = 0
) -> np.ndarray:
    """Chooses `class_counts[c]` images of each class c; the same choice on every machine.

    It is the authors' choice: NumPy's legacy generator, class by class in label order, the class's
    ascending indices shuffled in place, the first n_c kept. With the published CIFAR archive and
    seed 0 it gives their very subset.

    Args:
      labels: class ids of the whole training set, int [N].
      class_counts: images to keep of each class, [C].
      seed: of the choice, apart from the training seed, so that training seeds share a subset.

    Returns:
      int64 [sum(class_counts)]: indices into labels, class by class.

    Raises:
      ValueError: a count below 1 or not whole, a label outside 0..C-1, or more images asked for
        than a class has.

    Source: the LDAM-DRW authors' imbalance_cifar.py.

    Example:
      >>> import numpy as np
      >>> from ltjax import imbalance
      >>> labels = np.array([0, 1, 0, 1, 0, 1])
      >>> kept = imbalance.subset(labels, class_counts=[3, 1], seed=0)
      >>> print(labels[kept])
      [0 0 0 1]
    """
    labels, counts = np.asarray(labels), _counts(class_counts)
    if labels.size and not 0 <= labels.min() <= labels.max() < len(counts):
        raise ValueError(
            f"labels span {labels.min()}..{labels.max()};"
            f" expected 0..{len(counts) - 1}, one count a class"
        )
    generator = np.random.RandomState(seed)
    chosen = []
    for label, count in enumerate(counts):
        indices = np.flatnonzero(labels == label)
        if count > len(indices):
            raise ValueError(
                f"class {label}: {count} images asked for, but the data set has {len(indices)};"
                " lower the count"
            )
        generator.shuffle(indices)
        chosen.append(indices[:count])
    return np.concatenate(chosen)


PROFILES: dict[str, Callable[..., np.ndarray]] = {
    "exponential": exponential,
    "step": step,
    "single_majority": single_majority,
}
"""Name in a config -> profile (besides "full" and "counts", which need no rule)."""


def _check_factor(num_classes: int, factor: float) -> None:
    if num_classes < 2:
        raise ValueError(f"num_classes is {num_classes}; expected at least 2")
    if not 0.0 < factor <= 1.0:
        raise ValueError(
            f"imbalance factor is {factor}; expected n_min / n_max in (0, 1], for instance 0.01"
        )


def _counts(values: ArrayLike) -> np.ndarray:
    given = np.asarray(values)
    if given.ndim != 1 or not given.size:
        raise ValueError(f"class counts have shape {list(given.shape)}; expected [C]")
    counts = np.where(np.isfinite(given), given, 0).astype(np.int64)
    if (counts != given).any():
        wrong = (counts != given).argmax()
        raise ValueError(f"class {wrong} would have {given[wrong]} images; expected a whole number")
    if counts.min() < 1:
        raise ValueError(
            f"class {counts.argmin()} would have {counts.min()} images;"
            " expected at least 1 (raise the imbalance factor or the count)"
        )
    return counts
