"""Which training images are held out for validation."""

from __future__ import annotations

import numpy as np


def validation_members(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """A seeded share of each class, rounded; at least one image of a class that has three, none of
    a smaller one.

    Args:
      labels: class ids of the training images, int [N].
      share: in (0, 1).
      seed: of the choice.

    Returns:
      int64, ascending indices into labels.
    """
    generator = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        count = len(members)
        chosen.append(members[: min(max(round(share * count), 1), count - 1) if count > 2 else 0])
    return np.sort(np.concatenate(chosen))
