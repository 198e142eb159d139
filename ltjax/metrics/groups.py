"""Many, medium and few: groups of classes and their accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jax.typing import ArrayLike

from ltjax.metrics.common import mean_of_known
from ltjax.metrics.confusion import per_class_accuracy

GROUPS = ("many", "medium", "few")


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
    return {name: mean_of_known(recall[classes]) for name, classes in groups.items()}
