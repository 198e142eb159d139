"""Photographs listed in a CSV with a header: path, label and, where there are, split and group."""

from __future__ import annotations

import csv
import dataclasses
import difflib
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ltjax.data.files import Files, StreamedDataset, missing_files, numbered, read_text
from ltjax.data.folders import SPLITS
from ltjax.data.splits import grouped_members, held_out_share, lacking

COLUMNS = {"path": "path", "label": "label", "split": "split", "group": "group"}
"""What a row tells -> the column that tells it; "" for one that is not used."""
_NEEDED = ("path", "label")


@dataclasses.dataclass(frozen=True)
class Table:
    """A CSV's rows.

    Attributes:
      path: of the file.
      lines: number of each row's (first) line.
      columns: "path" and, as far as the file has them, "label", "split", "group" -> a value a row.
      unused: names of the other columns.
    """

    path: Path
    lines: Sequence[int]
    columns: Mapping[str, Sequence[str]]
    unused: Sequence[str]

    def fail(self, row: int, told: str) -> NoReturn:
        """Raises ValueError with the row's place."""
        raise ValueError(f"{self.path}, line {self.lines[row]}: {told}")


def read_table(
    path: Path,
    columns: Mapping[str, str] = COLUMNS,
    needed: Sequence[str] = _NEEDED,
    advice: str = "name yours by --config.data.columns.{what}={name}",
) -> Table:
    """Reads a CSV: UTF-8 with or without a byte-order mark, commas, semicolons or tabs, fields in
    quotes where they hold one of these, any order of columns, capitals or not in their names.

    Args:
      path: of the file.
      columns: as `COLUMNS`.
      needed: which of them must be there, and filled in every row.
      advice: what to do about one that is missing.

    Raises:
      ValueError: no header, a column that is missing, doubled or nearly named as one that is
        looked for, a row with another number of fields or with one left empty, quotes that do not
        close, another encoding. One line each, with file and line number.
    """
    text = read_text(path)
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(",;\t", key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, lines, began = [], [], 1
    try:
        for row in reader:
            if any(row):
                rows.append([field.strip() for field in row])
                lines.append(began)
            began = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {began}: {error}; is there a quote that is not closed?"
        ) from None
    if not rows:
        raise ValueError(f"{path} is empty; expected a header: {','.join(columns.values())}")
    header, rows = rows[0], rows[1:]
    place = _places(path, lines[0], header, columns, needed, advice)
    table = Table(
        path,
        lines[1:],
        {name: [row[at] if at < len(row) else "" for row in rows] for name, at in place.items()},
        [name for at, name in enumerate(header) if at not in place.values() and name],
    )
    if not rows:
        raise ValueError(f"{path} lists no images, only a header")
    for number, row in enumerate(rows):
        if len(row) != len(header):
            marks = {",": "comma", ";": "semicolon", "\t": "tab"}
            table.fail(
                number,
                f"{len(row)} fields, the header has {len(header)}; put a field with a"
                f" {marks[delimiter]} in it between double quotes",
            )
        for name, values in table.columns.items():
            if not values[number] and (name in needed or name in ("split", "group")):
                table.fail(number, f"column {columns[name]!r} is empty; expected a {name}")
    return table


def load_csv(
    file: str,
    *,
    root: str = "",
    columns: Mapping[str, str] = COLUMNS,
    test_fraction: float = 0.1,
    split_seed: int = 0,
    **options: Any,
) -> StreamedDataset:
    """A CSV with a line an image: path, label and, where there are, split and group.

    Args:
      file: see `read_table`. A label is a name, or a number if all are; a split is train, val or
        test; a group (patient, camera, site) is anything. Where no split is told, `test_fraction`
        of each class becomes the test set, whole groups where these are told.
      root: of relative paths; "" is the file's folder.
      columns: as `COLUMNS`.
      test_fraction: in [0, 1); 0 is no test set.
      split_seed: of that choice.
      **options: image_size and shorter_side of `StreamedDataset`.

    Returns:
      Classes are named by their labels and have their ids in the alphabet's order, or the
      numbers'.

    Raises:
      FileNotFoundError: no such file or folder, or images that are not there. ValueError: as
        `read_table`, a path listed twice, a class without training images, an unknown split, a
        group in two splits. One line each, with file and line number.
    """
    path = Path(file).expanduser()
    if not file or not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; config.data.name=csv reads --config.data.dir=FILE.csv"
            if file
            else "config.data.name=csv needs --config.data.dir=FILE.csv, with a header: path,label"
        )
    folder = Path(root).expanduser() if root else path.parent
    if not folder.is_dir():
        raise FileNotFoundError(f"config.data.root is {root}: no such folder")
    table = read_table(path, columns)
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


def _places(
    path: Path,
    line: int,
    header: Sequence[str],
    columns: Mapping[str, str],
    needed: Sequence[str],
    advice: str,
) -> dict[str, int]:
    """Number of each column that is there."""
    lower = [name.casefold() for name in header]
    place: dict[str, int] = {}
    for what, name in columns.items():
        at = [k for k, column in enumerate(lower) if name and column == name.casefold()]
        if len(at) > 1:
            raise ValueError(f"{path}, line {line}: two columns are named {name!r}; leave one")
        if at:
            place[what] = at[0]
    others = [name for k, name in enumerate(header) if k not in place.values()]
    for what, name in columns.items():
        if what in place or not name:
            continue
        near = difflib.get_close_matches(name.casefold(), [o.casefold() for o in others], 1, 0.75)
        if what in needed or near:
            told = advice.format(what=what, name=near[0] if near else "NAME")
            none = "" if what in needed else " ('' for none)"
            raise ValueError(
                f"{path}, line {line}: no column {name!r}; the header has"
                f" {', '.join(map(repr, header))}; {told}{none}"
            )
    return place


def _check_paths(table: Table, folder: Path) -> None:
    """Each image once, and all there."""
    seen: dict[str, int] = {}
    for row, name in enumerate(table.columns["path"]):
        before = seen.setdefault(os.path.normpath(name), row)
        if before != row:
            labels = table.columns["label"]
            other = "" if labels[row] == labels[before] else " with another label"
            table.fail(
                row, f"{name} is there already, in line {table.lines[before]}{other}; list it once"
            )
    missing = missing_files(folder, table.columns["path"])
    if missing:
        name = table.columns["path"][missing[0]]
        hint = "; write / for \\" if "\\" in name else "; is config.data.root their folder?"
        raise FileNotFoundError(
            f"{table.path}, line {table.lines[missing[0]]}: {name} is not under {folder}"
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
                f"group {group!r} is in {splits[row]} here and in {splits[before]} in line"
                f" {table.lines[before]}; give a group one split",
            )
