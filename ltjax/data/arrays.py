"""Data sets in arrays: an .npz in MedMNIST's layout, or arrays in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ltjax.data.dataset import Dataset

Pair = tuple[Any, Any]
"""Images and labels of a split."""


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """A file's arrays; nothing in it is executed.

    Raises ValueError, one line, where it has none.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # zip, pickle and format errors are of many types
        reason = (str(error).splitlines() or [type(error).__name__])[0]
    if "Object arrays" in reason:
        reason += "; images of different sizes? give them one"
    elif "pickle" in reason:  # what numpy makes of any other file
        reason = "it is no zip archive; np.savez writes them"
    raise ValueError(f"{path}: not a readable .npz ({reason})")


def load_npz(file: str = "", *, download: bool = False) -> Dataset:
    """Reads train_images, train_labels and, where there are, val_* and test_*, train_groups (and
    val_groups, test_groups) and class_names.

    Args:
      file: of images uint8 [N, H, W] or [N, H, W, C] and labels [N] or [N, 1]; as `from_arrays`.
      download: ignored.

    Raises:
      FileNotFoundError: no file. ValueError: as `from_arrays`, or a file that can't be read. One
        line each.

    Source of the layout: Yang et al., MedMNIST v2, Scientific Data 10:41, 2023.
    """
    path = Path(file).expanduser()
    if not file or not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such .npz file; config.data.name=npz reads --config.data.dir=FILE.npz"
            if file
            else "config.data.name=npz needs --config.data.dir=FILE.npz (arrays that were given to"
            " ltjax.fit can be saved by np.savez: train_images, train_labels, ...)"
        )
    arrays = read_npz(path)
    splits: dict[str, Pair | None] = {}
    for split in ("train", "val", "test"):
        names = [f"{split}_images", f"{split}_labels"]
        missing = [name for name in names if name not in arrays]
        if len(missing) == 1 or (missing and split == "train"):
            raise ValueError(
                f"{path} has no {missing[0]}, only {', '.join(arrays) or 'nothing'}; expected"
                " train_images, train_labels and, if you like, val_* and test_*"
            )
        splits[split] = None if missing else (arrays[names[0]], arrays[names[1]])
    assert splits["train"] is not None
    given = arrays.get("class_names")
    return from_arrays(
        splits["train"],
        splits["test"],
        val=splits["val"],
        class_names=None if given is None else [str(name) for name in given],
        groups={
            split: arrays[f"{split}_groups"] for split in splits if f"{split}_groups" in arrays
        },
        source=str(path),
    )


def from_arrays(
    train: Pair,
    test: Pair | None = None,
    *,
    val: Pair | None = None,
    class_names: Sequence[str] | None = None,
    groups: ArrayLike | Mapping[str, ArrayLike] | None = None,
    source: str = "arrays",
) -> Dataset:
    """A data set of images and labels, classes numbered by descending training count.

    Args:
      train, val, test: images uint8 [N, H, W] or [N, H, W, C] of one size, and labels: class ids
        [N] or [N, 1] in 0..C-1, or names [N].
      class_names: of the classes by id; of labels that are names, their order. By default the ids,
        or the names in alphabetical order.
      groups: of each training image (patient, camera, site), numbers or names [N], which stay
        together when some are held out; or {"train": ..., "test": ...}, to have it checked that no
        two splits share one.
      source: for errors and the record.

    Returns:
      Where `class_ids` and `class_names` are as given, in the order of the counts.

    Raises:
      ValueError: images or labels of another kind, sizes or channels that differ, a class without
        training images, a group in two splits. One line each.
    """
    pairs = {"train": train, "val": val, "test": test}
    images, labels = {}, {}
    for split, pair in pairs.items():
        if pair is None:
            continue
        try:
            given_images, given_labels = pair
        except (TypeError, ValueError):
            raise ValueError(
                f"{source}: {split} is a {type(pair).__name__}; expected (images, labels)"
            ) from None
        images[split] = _images(given_images, f"{source}: {split} images")
        labels[split] = _labels(given_labels, f"{source}: {split} labels")
        if len(images[split]) != len(labels[split]):
            raise ValueError(
                f"{source}: {split} has {len(images[split])} images and"
                f" {len(labels[split])} labels; expected as many"
            )
        if images[split].shape[1:] != images["train"].shape[1:]:
            raise ValueError(
                f"{source}: {split} images are {list(images[split].shape[1:])}, training images"
                f" {list(images['train'].shape[1:])}; expected one size and number of channels"
            )
    if not len(labels["train"]):
        raise ValueError(f"{source}: no training images")
    train_groups = _groups(groups, labels, source)
    ids, names = _numbered(labels, class_names, source)
    counts = np.bincount(ids["train"], minlength=len(names))
    if not counts.all():
        absent = np.flatnonzero(counts == 0)
        some = ", ".join(repr(names[label]) for label in absent[:3])
        raise ValueError(
            f"{source}: {len(absent)} of {len(names)} classes have no training image ({some});"
            f" expected labels 0..{len(names) - 1}, each at least once"
        )
    if len(names) < 2:
        raise ValueError(f"{source}: one class, {names[0]!r}; expected at least two")
    order = np.argsort(-counts, kind="stable")
    new = np.empty(len(names), np.int32)
    new[order] = np.arange(len(names), dtype=np.int32)
    lone = [names[label] for label in np.flatnonzero(counts == 1)]
    notes = (f"{len(lone)} classes have one training image: {', '.join(lone[:5])}",) if lone else ()
    none = np.zeros((0, *images["train"].shape[1:]), np.uint8), np.zeros(0, np.int32)
    made = {split: (images[split], new[ids[split]]) for split in images}
    return Dataset(
        name="npz",
        train_images=made["train"][0],
        train_labels=made["train"][1],
        test_images=made.get("test", none)[0],
        test_labels=made.get("test", none)[1],
        class_names=tuple(names[label] for label in order),
        source=source,
        notes=notes,
        class_ids=tuple(int(label) for label in order),
        val_images=made.get("val", none)[0],
        val_labels=made.get("val", none)[1],
        train_groups=train_groups,
    )


def _images(given: Any, what: str) -> np.ndarray:
    """uint8 [N, H, W, C]."""
    try:
        images = np.asarray(given)
    except ValueError:
        images = np.asarray(None)
    if images.dtype == object:
        raise ValueError(
            f"{what} have different shapes, or are no arrays; expected one uint8 [N, H, W, C]"
        )
    if images.dtype != np.uint8:
        floating = np.issubdtype(images.dtype, np.floating)
        bad = int(np.sum(~np.isfinite(images))) if floating else 0
        told = f" with {bad:,} values that are not finite" if bad else ""
        hint = "; of values in [0, 1] make (images * 255).round().astype(np.uint8)"
        raise ValueError(
            f"{what} are {images.dtype}{told}; expected uint8 in 0..255"
            + (hint if floating and not bad else "")
        )
    if images.ndim not in (3, 4) or 0 in images.shape[1:]:
        raise ValueError(
            f"{what} have shape {list(images.shape)}; expected [N, H, W] or [N, H, W, C]"
        )
    return images[..., None] if images.ndim == 3 else images


def _labels(given: Any, what: str) -> np.ndarray:
    """Whole numbers or names, [N]."""
    labels = np.asarray(given)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        many = "; several labels an image are not supported" if labels.ndim == 2 else ""
        raise ValueError(f"{what} have shape {list(labels.shape)}; expected [N] or [N, 1]{many}")
    if labels.dtype == object and all(isinstance(label, str) for label in labels):
        labels = labels.astype(str)
    if labels.dtype.kind in "US":
        return labels.astype(str)
    if labels.dtype.kind not in "iub":
        raise ValueError(f"{what} are {labels.dtype}; expected whole numbers or names")
    labels = labels.astype(np.int64)
    if len(labels) and labels.min() < 0:
        raise ValueError(f"{what} hold {labels.min()}; expected 0 or above")
    return labels


def _groups(given: Any, labels: Mapping[str, np.ndarray], source: str) -> np.ndarray | None:
    """Number of each training image's group."""
    of_splits = given if isinstance(given, Mapping) else {} if given is None else {"train": given}
    groups: dict[str, np.ndarray] = {}
    for split, values in of_splits.items():
        if split not in labels:
            raise ValueError(
                f"{source}: groups of {split!r}; expected of {', '.join(map(repr, labels))}"
            )
        groups[split] = np.asarray(values)
        if groups[split].ndim == 2 and groups[split].shape[1] == 1:
            groups[split] = groups[split][:, 0]
        if groups[split].shape != labels[split].shape:
            raise ValueError(
                f"{source}: {split} groups have shape {list(groups[split].shape)}; expected"
                f" {list(labels[split].shape)}, one an image"
            )
        for other in groups.keys() - {split}:
            shared = np.intersect1d(groups[split], groups[other])
            if len(shared):
                raise ValueError(
                    f"{source}: group {shared[0].item()!r} is in {other} and in {split}"
                    f" ({len(shared)} such groups); give a group one split"
                )
    return np.unique(groups["train"], return_inverse=True)[1] if "train" in groups else None


def _numbered(
    labels: dict[str, np.ndarray], class_names: Sequence[str] | None, source: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Class ids of each split, and the names by id."""
    kinds = {split: array.dtype.kind == "U" for split, array in labels.items()}
    if len(set(kinds.values())) > 1:
        raise ValueError(f"{source}: labels are numbers in one split and names in another")
    if kinds["train"]:
        names = list(class_names) if class_names is not None else sorted(set(labels["train"]))
        number = {name: label for label, name in enumerate(names)}
        unknown = [(split, n) for split, array in labels.items() for n in array if n not in number]
        if unknown:
            raise ValueError(
                f"{source}: {unknown[0][0]} has the label {str(unknown[0][1])!r}, which is no class"
                f" of {'class_names' if class_names is not None else 'the training labels'}"
            )
        ids = {
            split: np.asarray([number[name] for name in array], np.int64)
            for split, array in labels.items()
        }
    else:
        highest = max(int(array.max()) for array in labels.values() if len(array))
        names = [str(name) for name in class_names or range(highest + 1)]
        if len(names) <= highest:
            raise ValueError(
                f"{source}: label {highest} with {len(names)} class_names; expected a name for each"
                f" of 0..{highest}"
            )
        ids = labels
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{source}: class_names hold {twice!r} twice; expected different names")
    return ids, [str(name) for name in names]
