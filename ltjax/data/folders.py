"""A folder of photographs with one sub-folder a class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltjax.data import decode
from ltjax.data.files import Files, StreamedDataset, numbered, root_folder
from ltjax.data.splits import held_out_share

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Name of a folder, in lower case -> the split it holds."""


def load_folder(
    folder: str, *, test_fraction: float = 0.1, split_seed: int = 0, **options: Any
) -> StreamedDataset:
    """One sub-folder a class: FOLDER/CLASS/*.jpg, split by a seed; or FOLDER/train/CLASS/,
    FOLDER/test/CLASS/ and, if you like, FOLDER/val/CLASS/.

    An image is whatever Pillow reads, at any depth below its class's folder, through links to other
    folders too (each folder once). Where there is no test/, val/ stands in for it. `notes` of the
    result tell that, and what was passed over.

    Args:
      folder: root.
      test_fraction: of each class's images, rounded, at least one; not used where the folders are
        split already.
      split_seed: of that choice.
      **options: image_size and shorter_side of `StreamedDataset`.

    Raises:
      FileNotFoundError: no folder, or no images in it. ValueError: a class that is left without
        training images, splits without train/, a class folder whose name is not UTF-8. One line
        each.
    """
    root = root_folder(folder, "folder")
    halves, notes = _halves(root)
    passed: Counter[str] = Counter()
    if halves:
        names = sorted({path.name for half in halves for path in _folders(half)})
        found = [_class_folders(root, half, names, passed) for half in halves]
    else:
        names = [path.name for path in _folders(root)]
        paths, labels = _class_folders(root, root, names, passed)
        held_out = held_out_share(labels, len(names), test_fraction, split_seed)
        found = [
            (
                [path for path, out in zip(paths, held_out, strict=True) if out == half],
                labels[held_out == half],
            )
            for half in (False, True)
        ]
    _check(root, names, found[0][1], found[1][1])
    if passed:
        notes.append(f"passed over in {root}: {_told(passed)}")
    readers = [Files(str(root), paths) for paths, _ in found]
    labels_of = [labels for _, labels in found]
    return numbered("folder", readers, labels_of, names, str(root), notes=tuple(notes), **options)


def _halves(root: Path) -> tuple[list[Path], list[str]]:
    """The folders of the training, the test and perhaps the validation images where `root` is split
    already, and what there is to say about them.
    """
    folders = _folders(root)
    found: dict[str, Path] = {}
    for path in folders:
        split = SPLITS.get(path.name.lower(), "")
        if split in found:
            raise ValueError(
                f"{root} holds {found[split].name}/ and {path.name}/, two folders of one split;"
                " leave one there"
            )
        if split:
            found[split] = path
    if len(found) < 2 or ("train" not in found and len(found) < len(folders)):
        return [], []  # a class may be called test
    if "train" not in found:
        raise ValueError(
            f"{root} holds {' and '.join(path.name + '/' for path in found.values())} but no"
            " train/; expected train/CLASS beside them, or a folder a class"
        )
    notes = []
    if "test" not in found:
        name = found["val"].name
        notes.append(f"{name}/ stands in for the test set, since {root} holds no test/")
    used = [found[split] for split in ("train", "test", "val") if split in found]
    aside = [path.name for path in folders if path not in used]
    if aside:
        notes.append(f"left aside in {root}: {', '.join(name + '/' for name in aside)}")
    return used, notes


def _folders(folder: Path) -> list[Path]:
    """Sub-folders that are not hidden, sorted by name."""
    found = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    for path in found:
        try:
            path.name.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"{folder} holds a folder whose name is not UTF-8, {path.name!a}; rename it"
            ) from None
    return found


def _class_folders(
    root: Path, half: Path, names: Sequence[str], passed: Counter[str]
) -> tuple[list[str], np.ndarray]:
    """Paths under `root` of the images below each of `half`'s class folders, sorted, and their
    labels; `passed` counts the other files by kind.
    """
    paths: list[str] = []
    labels: list[int] = []
    above = {_identity(root), _identity(half)}
    known = decode.suffixes()
    for label, name in enumerate(names):
        found = []
        for path in _files(half / name, set(above)) if (half / name).is_dir() else ():
            kind = _kind(path, known)
            if kind:
                passed[kind] += 1
            else:
                found.append(path)
        paths += [str(path.relative_to(root)) for path in sorted(found)]
        labels += [label] * len(found)
    for path in half.iterdir():
        if not path.is_dir():
            passed[_kind(path, known) or "images outside the class folders"] += 1
    if not paths:
        raise FileNotFoundError(
            f"{half} holds no images; expected {half}/CLASS/*.jpg, .png or whatever else Pillow"
            f" reads{'; there are ' + _told(passed) if passed else ''}"
        )
    return paths, np.asarray(labels, np.int64)


def _told(passed: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(passed.items()))


def _kind(path: Path, known: frozenset[str]) -> str:
    """What a file is that is passed over; "" for an image."""
    if path.name.startswith("."):
        return "hidden"
    if path.suffix.lower() not in known:
        return ascii(path.suffix.lower())[1:-1] if path.suffix else "without a suffix"
    return "" if path.is_file() else "links that lead nowhere"


def _files(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Files below a folder, through links too, but through no folder that was `seen`."""
    identity = _identity(folder)
    if identity in seen:
        return
    seen.add(identity)
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir() and not entry.name.startswith("."):
                yield from _files(Path(entry.path), seen)
            else:
                yield Path(entry.path)


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _check(root: Path, names: Sequence[str], train: np.ndarray, test: np.ndarray) -> None:
    if len(names) == 1:
        raise ValueError(
            f"{root} holds one class folder, {names[0]}; expected at least two, {root}/CLASS/*.jpg"
        )
    counts = np.bincount(train, minlength=len(names))
    if not counts.all():
        raise ValueError(
            f"{root}: no training images of {names[int(np.argmin(counts))]}; expected"
            f" {root}/CLASS/*.jpg with at least two images a class"
        )
    if not len(test):
        raise ValueError(
            f"{root}: no test images; expected {root}/test/CLASS/*.jpg beside train, or"
            " config.data.test_fraction above 0"
        )
