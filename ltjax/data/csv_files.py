"""Photographs listed in a CSV with a header: path, label and, where there are, split and group."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltjax.data.files import Files, StreamedDataset, missing_files, numbered
from ltjax.data.folders import SPLITS
from ltjax.data.splits import grouped_members, held_out_share, lacking
from ltjax.data.table import COLUMNS, Table, read_split_files, read_table


def load_csv(
    file: str,
    *,
    root: str = "",
    columns: Mapping[str, str] = COLUMNS,
    test_fraction: float = 0.1,
    split_seed: int = 0,
    **options: Any,
) -> StreamedDataset:
    """A CSV with a line an image: path, label and, where there are, split and group; or a folder
    with one each for training, test and validation.

    Args:
      file: see `read_table`; or a folder, see `read_split_files`. A label is a name, or a number if
        all are; a split is train, val or test; a group (patient, camera, site) is anything. Where
        no split is told, `test_fraction` of each class becomes the test set, whole groups where
        these are told.
      root: of relative paths; "" is the folder of the file or files.
      columns: as `COLUMNS`.
      test_fraction: in [0, 1); 0 is no test set.
      split_seed: of that choice.
      **options: image_size and shorter_side of `StreamedDataset`.

    Returns:
      Classes are named by their labels and have their ids in the alphabet's order, or the
      numbers'.

    Raises:
      FileNotFoundError: no such file or folder, or images that are not there. ValueError: as
        `read_table` and `read_split_files`, a path listed twice, a class without training images,
        an unknown split, a group in two splits. One line each, with file and line number.
    """
    path = Path(file).expanduser()
    if not file or not path.exists():
        either = "--config.data.dir=FILE.csv, or a folder with train.csv and test.csv"
        raise FileNotFoundError(
            f"{path}: no such file or folder; config.data.name=csv reads {either}"
            if file
            else f"config.data.name=csv needs {either}, with a header: path,label"
        )
    folder = Path(root).expanduser() if root else path if path.is_dir() else path.parent
    if not folder.is_dir():
        raise FileNotFoundError(f"config.data.root is {root}: no such folder")
    table = read_split_files(path, columns) if path.is_dir() else read_table(path, columns)
    _check_paths(table, folder)
    names, labels = _classes(table.columns["label"])
    groups = _groups(table)
    notes = []
    if table.unused:
        notes.append(f"columns of {path.name} that are not used: {', '.join(table.unused)}")
    if "split" in table.columns:
        splits = _told(table)
    else:
        splits = _chosen(labels, len(names), groups, test_fraction, split_seed)
        notes.append(
            f"{path.name} tells no splits: {np.sum(splits == 'test')} images are the test set,"
            f" about {100 * test_fraction:g} % of each class (config.data.test_fraction)"
        )
        if test_fraction:
            what = "images" if groups is None else "groups"
            notes += lacking("test", labels[splits == "test"], names, what)
    _check_classes(table, names, labels, splits)
    parts = [np.flatnonzero(splits == split) for split in ("train", "test", "val")]
    if groups is not None and "split" in table.columns:
        _check_shared(table, splits)
    if not len(parts[2]):
        parts.pop()
    readers = [
        Files(str(folder), [table.columns["path"][row] for row in part.tolist()]) for part in parts
    ]
    return numbered(
        *("csv", readers, [labels[part] for part in parts], names, str(path)),
        groups=None if groups is None else [groups[part] for part in parts],
        notes=tuple(notes),
        **options,
    )


def _check_paths(table: Table, folder: Path) -> None:
    """Each image once, and all there."""
    seen: dict[str, int] = {}
    for row, name in enumerate(table.columns["path"]):
        before = seen.setdefault(os.path.normpath(name), row)
        if before != row:
            labels = table.columns["label"]
            other = "" if labels[row] == labels[before] else " with another label"
            table.fail(
                row,
                f"{name} is there already, in {table.seen_from(row, before)}{other}; list it once",
            )
    missing = missing_files(folder, table.columns["path"])
    if missing:
        name = table.columns["path"][missing[0]]
        hint = "; write / for \\" if "\\" in name else "; is config.data.root their folder?"
        raise FileNotFoundError(
            f"{table.place(missing[0])}: {name} is not under {folder}"
            f" ({len(missing)} of {len(seen)} are not){hint}"
        )


def _classes(labels: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Their names in the order of their ids, and each image's id."""
    numbers = all(label.isascii() and label.isdigit() for label in labels)
    names = sorted(set(labels), key=(lambda name: (int(name), name)) if numbers else None)
    number = {name: label for label, name in enumerate(names)}
    return names, np.asarray([number[label] for label in labels], np.int64)


def _groups(table: Table) -> np.ndarray | None:
    """Number of each image's group."""
    if "group" not in table.columns:
        return None
    return np.unique(np.asarray(table.columns["group"]), return_inverse=True)[1]


def _told(table: Table) -> np.ndarray:
    """Of each row: train, val or test."""
    splits = [SPLITS.get(told.casefold(), "") for told in table.columns["split"]]
    if "" in splits:
        row = splits.index("")
        table.fail(
            row, f"split {table.columns['split'][row]!r}; expected one of {', '.join(SPLITS)}"
        )
    return np.asarray(splits)


def _chosen(
    labels: np.ndarray, num_classes: int, groups: np.ndarray | None, fraction: float, seed: int
) -> np.ndarray:
    """Of each row: train or test."""
    splits = np.full(len(labels), "train", object)
    if groups is None:
        splits[held_out_share(labels, num_classes, fraction, seed)] = "test"
    elif fraction > 0:
        splits[grouped_members(labels, groups, fraction, seed)] = "test"
    return splits


def _check_classes(
    table: Table, names: Sequence[str], labels: np.ndarray, splits: np.ndarray
) -> None:
    if len(names) < 2:
        raise ValueError(f"{table.path}: one class, {names[0]!r}; expected at least two")
    train = np.bincount(labels[splits == "train"], minlength=len(names))
    if not train.all():
        label = int(np.argmin(train))
        row = int(np.flatnonzero(labels == label)[0])
        told = Counter(splits[labels == label])
        where = " and ".join(f"{count} in {split}" for split, count in sorted(told.items()))
        table.fail(
            row, f"class {names[label]!r} has no training image ({where}); expected one at least"
        )


def _check_shared(table: Table, splits: np.ndarray) -> None:
    first: dict[str, int] = {}
    for row, group in enumerate(table.columns["group"]):
        before = first.setdefault(group, row)
        if splits[before] != splits[row]:
            table.fail(
                row,
                f"group {group!r} is in {splits[row]} here and in {splits[before]} in"
                f" {table.seen_from(row, before)}; give a group one split",
            )
