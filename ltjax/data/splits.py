"""Which training images are held out: a share of each class, or of the groups that hold it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

_PASSES = 10
"""Over all groups, at most; two or three are usual."""
_ORDERS = 20
"""Of the groups, from which the search begins, and of which the best end is taken."""


def validation_members(
    labels: np.ndarray, share: float, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """A seeded share of each class, rounded; at least one image of a class that has three, none of
    a smaller one.

    Args:
      labels: class ids of the training images, int [N].
      share: in (0, 1).
      seed: of the choice.
      groups: of each image, [N]: whole groups are held out then, see `grouped_members`.

    Returns:
      int64, ascending indices into labels.
    """
    if groups is not None:
        return grouped_members(labels, groups, share, seed)
    generator = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        count = len(members)
        chosen.append(members[: min(max(round(share * count), 1), count - 1) if count > 2 else 0])
    return np.sort(np.concatenate(chosen))


def lacking(
    split: str, labels: np.ndarray, names: Sequence[str], what: str = "images"
) -> tuple[str, ...]:
    """A line about the classes of which none was held out, if there are any.

    Args:
      split: what the held-out images are for.
      labels: theirs.
      names: of the classes.
      what: was held out, "images" or "groups".
    """
    none = np.flatnonzero(np.bincount(labels, minlength=len(names)) == 0)
    if not len(none):
        return ()
    some = ", ".join(names[label] for label in none[:5]) + (", ..." if len(none) > 5 else "")
    return (
        f"{split}: {len(none)} of {len(names)} classes have too few {what} to hold one out"
        f" ({some}); the balanced accuracy is the others'",
    )


def held_out_share(labels: np.ndarray, num_classes: int, fraction: float, seed: int) -> np.ndarray:
    """Which are, [N]: a seeded share of each class, at least one image of every class that has
    two.
    """
    generator = np.random.default_rng(seed)
    out = np.zeros(len(labels), bool)
    for label in range(num_classes):
        members = generator.permutation(np.flatnonzero(labels == label))
        share = max(round(fraction * len(members)), 1) if fraction > 0 and len(members) > 1 else 0
        out[members[:share]] = True
    return out


def grouped_members(labels: ArrayLike, groups: ArrayLike, share: float, seed: int) -> np.ndarray:
    """Whole groups (patients, cameras, sites) that together hold about a share of each class.

    Chosen to make sum_c (h_c / n_c - share)^2 small, with h_c of a class's n_c images held out: one
    group after the other goes in or out as long as the sum falls, from several seeded orders. No
    class loses its last group; one of three groups or more has at least one held out, if that is
    possible. scikit-learn's StratifiedGroupKFold knows only shares 1 / k, and may take all of a
    rare class out of training.

    Args:
      labels: class ids, int [N].
      groups: of each image, whole numbers or names [N].
      share: in (0, 1).
      seed: of the orders.

    Returns:
      int64, ascending indices into labels; the same for the same arguments.
    """
    classes, labels = np.unique(np.asarray(labels), return_inverse=True)
    names, groups = np.unique(np.asarray(groups), return_inverse=True)
    pairs, counts = np.unique(groups * len(classes) + labels, return_counts=True)
    starts = np.searchsorted(pairs, np.arange(1, len(names)) * len(classes))
    of_groups = list(
        zip(np.split(pairs % len(classes), starts), np.split(counts, starts), strict=True)
    )
    total = np.bincount(labels)
    generator = np.random.default_rng(seed)
    ends = [
        _settled(of_groups, total, share, generator.permutation(len(names)))
        for _ in range(max(1, min(_ORDERS, 20_000 // len(pairs))))
    ]
    out = min(ends, key=lambda end: end[1])[0]
    return np.flatnonzero(out[groups])


def _settled(
    of_groups: Sequence[tuple[np.ndarray, np.ndarray]],
    total: np.ndarray,
    share: float,
    order: np.ndarray,
) -> tuple[np.ndarray, tuple[int, float]]:
    """Where the search from an order of the groups ends: which are out, bool [G]; and how many
    classes lack held-out images that could have some, and the sum.

    of_groups: of each group its classes and how many images it has of each.
    """
    held, out = np.zeros(len(total), np.int64), np.zeros(len(of_groups), bool)

    def gain(group: int) -> float:
        """By how much the sum falls if the group changes sides; -inf if it may not."""
        of, count = of_groups[group]
        after = held[of] + (-count if out[group] else count)
        if (after == total[of]).any():
            return -np.inf
        before = (held[of] / total[of] - share) ** 2
        return float(np.sum(before - (after / total[of] - share) ** 2))

    def change(group: int) -> None:
        of, count = of_groups[group]
        held[of] += -count if out[group] else count
        out[group] = not out[group]

    for _ in range(_PASSES):
        before = out.copy()
        for group in order:
            if gain(group) > 1e-12:
                change(group)
        if (out == before).all():
            break
    having: list[list[int]] = [[] for _ in total]
    for group in order:
        for label in of_groups[group][0]:
            having[label].append(group)
    lacking = 0
    for label in np.argsort(total, kind="stable"):  # the rarest first
        if held[label] or len(having[label]) < 3:
            continue
        best = max(having[label], key=gain)
        if gain(best) > -np.inf:
            change(best)
        lacking += not held[label]
    return out, (lacking, float(np.sum((held / total - share) ** 2)))
