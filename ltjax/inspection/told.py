"""What was found, in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ltjax.inspection.pictures import FILES

_ALL, _ENDS = 40, 10
"""Classes that are all shown; of more, so many at either end."""
_NAMED = 5
"""Unreadable images, and groups of copies, that are named."""


def tell(found: Mapping[str, Any], folder: Path, console: Console | None = None) -> None:
    """The classes as a table, the rest in lines."""
    console = console or Console(highlight=False)
    if not console.is_terminal and console.width < 160:
        console = Console(highlight=False, width=160, file=console.file)
    console.print(_table(found))
    for line in _lines(found):
        console.print(Text(line), soft_wrap=True)
    for number, one in enumerate(found["advice"], 1):
        console.print(Text(f"{number}. {one['do']}"), soft_wrap=True)
        console.print(Text(f"   since {one['why']} ({one['see']})"), soft_wrap=True)
    console.print(Text(", ".join(str(folder / name) for name in FILES)), soft_wrap=True)


def _table(found: Mapping[str, Any]) -> Table:
    """Names are text, not markup: a class may be called [b]."""
    title = Text(f"{found['data']}: {found['source']}", style="table.title")
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    splits = [split for split, count in found["images"].items() if count or split == "train"]
    table.add_column("class")
    for heading in ("id", *splits):
        table.add_column(heading, justify="right")
    table.add_column("group")
    classes = found["classes"]
    left_out = len(classes) - 2 * _ENDS if len(classes) > _ALL else 0
    for k, one in enumerate(classes):
        if left_out and k == _ENDS:
            table.add_row(Text(f"... {left_out:,} more"))
        if not left_out or k < _ENDS or k >= _ENDS + left_out:
            counts = [f"{one[split]:,}" for split in splits]
            table.add_row(*map(Text, [one["name"], str(one["id"]), *counts, one["group"]]))
    return table


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield from found["notes"]
    images = ", ".join(f"{count:,} {split}" for split, count in found["images"].items() if count)
    classes = found["classes"]
    yield (
        f"{images} images of {len(classes):,} classes; imbalance factor"
        f" {found['imbalance_factor']:g} ({classes[0]['train']:,} to {classes[-1]['train']:,})"
    )
    groups = [
        f"{name} {one['classes']:,} class{'es' * (one['classes'] > 1)} with"
        f" {one['images']:,} images"
        for name, one in found["groups"].items()
        if one["classes"]
    ]
    yield "groups: " + ", ".join(groups)
    if found["kept_together"]:
        told = [f"{count:,} in {split}" for split, count in found["kept_together"].items()]
        yield f"kept together (patients, cameras, sites): {', '.join(told)}"
    yield from _pixels(found)
    yield from _copies(found["copies"])
    for one in found["unreadable"][:_NAMED]:
        yield f"unreadable: {one['image']} ({one['reason']})"
    if found["unreadable_images"] > _NAMED:
        yield f"and {found['unreadable_images'] - _NAMED:,} more unreadable images"


def _pixels(found: Mapping[str, Any]) -> Iterator[str]:
    sizes = found["sizes"]
    if not sizes:
        return
    pixels = ", ".join(f"{count:,} {kind}" for kind, count in found["pixels"].items())
    wide, high = sizes["median"]
    if sizes["different"] == 1:
        yield f"pixels: {wide} x {high}, {pixels}"
    else:
        low, top = sizes["smallest"], sizes["largest"]
        yield (
            f"pixels: {low[0]} to {top[0]} wide, {low[1]} to {top[1]} high, median {wide} x {high},"
            f" {sizes['different']:,} sizes; {pixels}"
        )
    if found["turned"]:
        yield f"{found['turned']:,} files ask to be turned (EXIF); training takes them as stored"
    if found["paged"]:
        yield f"{found['paged']:,} files hold several pages or frames; training takes the first"


def _copies(copies: Mapping[str, Any]) -> Iterator[str]:
    if not copies["groups"]:
        yield "copies: none; no two images have the same pixels"
        return
    told = [f"{count:,} superfluous in {split}" for split, count in copies["within"].items()]
    told += [f"{count:,} {which}" for which, count in copies["across"].items()]
    if copies["labels_differ"]:
        told.append(f"{copies['labels_differ']:,} groups with different labels")
    yield f"copies (same pixels): {', '.join(told)}"
    for group in copies["groups"][:_NAMED]:
        yield "  " + " = ".join(f"{one['image']} ({one['class']}, {one['split']})" for one in group)
