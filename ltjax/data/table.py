"""A CSV's rows, or those of train.csv, test.csv and val.csv in one folder."""

from __future__ import annotations

import csv
import dataclasses
import difflib
import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from ltjax.data.files import read_text

COLUMNS = {"path": "path", "label": "label", "split": "split", "group": "group"}
"""What a row tells -> the column that tells it; "" for one that is not used."""
_NEEDED = ("path", "label")
_ADVICE = "name yours by --config.data.columns.{what}={name}"
SPLIT_FILES = {"train": "train.csv", "test": "test.csv", "val": "val.csv"}
"""Split -> the file in a folder that lists it."""


@dataclasses.dataclass(frozen=True)
class Table:
    """The rows of a CSV, or of several one after the other.

    Attributes:
      path: of the file, or of the folder that holds several.
      files: path of each row's file.
      lines: number of each row's (first) line in it.
      columns: "path" and, as far as the file has them, "label", "split", "group" -> a value a row.
      unused: names of the other columns.
    """

    path: Path
    files: Sequence[Path]
    lines: Sequence[int]
    columns: Mapping[str, Sequence[str]]
    unused: Sequence[str]

    def place(self, row: int) -> str:
        """File and line of a row."""
        return f"{self.files[row]}, line {self.lines[row]}"

    def seen_from(self, row: int, other: int) -> str:
        """Where another row is: its line, and its file's name if that is not this row's."""
        elsewhere = self.files[other] != self.files[row]
        return f"line {self.lines[other]}" + f" of {self.files[other].name}" * elsewhere

    def fail(self, row: int, told: str) -> NoReturn:
        """Raises ValueError with the row's place."""
        raise ValueError(f"{self.place(row)}: {told}")


def read_table(
    path: Path,
    columns: Mapping[str, str] = COLUMNS,
    needed: Sequence[str] = _NEEDED,
    advice: str = _ADVICE,
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
        [path] * len(rows),
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


def read_split_files(folder: Path, columns: Mapping[str, str] = COLUMNS) -> Table:
    """Reads train.csv, test.csv and, if it is there, val.csv (or that instead of test.csv) of a
    folder; the file that a row stands in is its split.

    Args:
      folder: that holds them.
      columns: as `COLUMNS`.

    Returns:
      The rows of all, with a column "split".

    Raises:
      FileNotFoundError: no train.csv, or neither of the others. ValueError: as `read_table`; a
        column that tells splits too; groups in one file and not in another. One line each.
    """
    paths = {split: folder / name for split, name in SPLIT_FILES.items()}
    there = {split: path for split, path in paths.items() if path.is_file()}
    if "train" not in there:
        others = sorted(path.name for path in folder.glob("*.[ct]sv"))
        some = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise FileNotFoundError(
            f"{folder} holds no train.csv{f' but {some}' if others else ''}; expected train.csv"
            " beside test.csv (and val.csv, if you like), or --config.data.dir=FILE.csv"
        )
    if len(there) == 1:
        raise FileNotFoundError(
            f"{folder} holds train.csv but no test.csv or val.csv; with --config.data.dir="
            f"{there['train']} a share of it is the test set (config.data.test_fraction)"
        )
    advice = f"{_ADVICE}, or leave the file out by --config.data.dir={there['train']}"
    tables = {
        split: read_table(path, columns, advice=_ADVICE if split == "train" else advice)
        for split, path in there.items()
    }
    first = tables["train"]
    for table in tables.values():
        if "split" in table.columns:
            raise ValueError(
                f"{table.path} has a column {columns['split']!r}, but the file's name tells the"
                " split; take the column out, or leave it unread by --config.data.columns.split=''"
            )
        if ("group" in table.columns) != ("group" in first.columns):
            having, lacking = (first, table) if "group" in first.columns else (table, first)
            raise ValueError(
                f"{lacking.path} has no column {columns['group']!r}, which {having.path.name} has;"
                " tell the groups in all files, or none by --config.data.columns.group=''"
            )
    joined = {
        name: list(itertools.chain.from_iterable(table.columns[name] for table in tables.values()))
        for name in first.columns
    }
    joined["split"] = [split for split, table in tables.items() for _ in table.lines]
    return Table(
        folder,
        [path for table in tables.values() for path in table.files],
        [line for table in tables.values() for line in table.lines],
        joined,
        list(dict.fromkeys(name for table in tables.values() for name in table.unused)),
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
