"""Predictions for images as people have them: a folder, a list, a file or an .npz in, a CSV out."""

from __future__ import annotations

import csv
import dataclasses
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ltjax.data import decode, is_streamed
from ltjax.data.arrays import read_npz
from ltjax.data.table import read_table
from ltjax.terminal import progress_bar
from ltjax.trained import Trained

TOP = 5
_THREADS = 16
_NAMED = 10
"""Unreadable images that are named one by one."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Images one by one.

    Attributes:
      names: of each.
      read: number -> uint8 [H, W] or [H, W, C]; raises decode.Unreadable.
      as_is: one of the network's own size is not scaled and cropped.
      notes: lines for the user.
    """

    names: Sequence[str]
    read: Callable[[int], np.ndarray]
    as_is: bool = False
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Summary:
    """What came out.

    Attributes:
      images: predicted.
      unreadable: names.
      classes: name -> how many images, the most frequent first.
    """

    images: int
    unreadable: tuple[str, ...]
    classes: dict[str, int]


def predict_to_csv(
    trained: Trained,
    source: Source,
    output: Path,
    *,
    prior: Any = None,
    flip: bool = False,
    five_crop: bool = False,
    quiet: bool = False,
) -> Summary:
    """Writes a line an image: path, class, probability, then the four next likely classes.

    An unreadable image has its path alone on its line. The file appears when it is complete.

    Args:
      trained: the run.
      source: see `open_source`.
      output: CSV file.
      prior, flip, five_crop: as `Trained.predict_proba`.
      quiet: no progress bar (there is none where the output is no terminal).

    Raises:
      ValueError: no image can be read, or options that do not fit.
    """
    count = min(TOP, trained.num_classes)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial_file = output.with_name(output.name + ".partial")
    unreadable: list[str] = []
    found: Counter[str] = Counter()
    with (
        open(partial_file, "w", newline="", encoding="utf-8") as file,
        progress_bar("predicting", quiet) as bar,
    ):
        task = bar.add_task("", total=len(source.names))
        writer = csv.writer(file)
        header = [[f"class_{k + 1}", f"probability_{k + 1}"] for k in range(1, count)]
        writer.writerow(["path", "class", "probability", *chain.from_iterable(header)])
        for numbers, views in _batches(trained, source, five_crop):
            good = [view for view in views if view is not None]
            rows = iter(
                trained.predict_views(np.stack(good), prior=prior, flip=flip) if good else ()
            )
            for number, view in zip(numbers, views, strict=True):
                name = source.names[number]
                if view is None:
                    unreadable.append(name)
                    writer.writerow([name, "", "", *[""] * 2 * (count - 1)])
                    continue
                row = next(rows)
                top = np.argsort(-row, kind="stable")[:count]
                found[trained.class_names[top[0]]] += 1
                pairs = [(trained.class_names[c], f"{row[c]:.6f}") for c in top]
                writer.writerow([name, *chain.from_iterable(pairs)])
            bar.advance(task, len(numbers))
    if not found:
        partial_file.unlink()
        raise ValueError(
            f"none of the {len(source.names)} images can be read, such as {unreadable[0]}"
        )
    os.replace(partial_file, output)
    return Summary(sum(found.values()), tuple(unreadable), dict(found.most_common()))


def open_source(
    path: Path, channels: int = 3, roots: Sequence[Path] = (), column: str = "path"
) -> Source:
    """What --input names.

    Args:
      path: a folder (all images below it), an image, an .npz (its array `images`, else
        `test_images`, else its only array of images: uint8 [N, H, W] or [N, H, W, C]), or a list: a
        text file with a line an image, its path (a label after it is ignored), or a .csv whose
        header has `column` (its other columns are ignored).
      channels: that the network takes; photographs become grey for one.
      roots: where a list's relative paths are looked for, besides the list's own folder.
      column: of a .csv that has the paths.

    Raises:
      FileNotFoundError: nothing there, or no images in it. ValueError: a file of another kind.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        images = [file for file in files if file.suffix.lower() in decode.suffixes()]
        if not images:
            raise FileNotFoundError(
                f"{path} holds no images; expected files such as .jpg, .png or .tif"
            )
        others = len(files) - len(images)
        notes = (f"{others} other files in {path} were passed over",) if others else ()
        return Source(
            [str(file) for file in images], partial(_read_file, channels, images), notes=notes
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file or folder; --input takes a folder, an image, a list or an .npz"
        )
    if path.suffix.lower() == ".npz":
        return _arrays(path)
    if path.suffix.lower() in decode.suffixes():
        return Source([str(path)], partial(_read_file, channels, [path]))
    names = _listed(path, column)
    files = [_placed(name, (path.parent, *roots)) for name in names]
    return Source(names, partial(_read_file, channels, files))


def tell(summary: Summary, source: Source, output: Path) -> None:
    """The result in a few lines; what could not be read on the error stream."""
    for line in source.notes:
        print(line, file=sys.stderr)
    for name in summary.unreadable[:_NAMED]:
        print(f"unreadable image: {name}", file=sys.stderr)
    if len(summary.unreadable) > _NAMED:
        print(f"and {len(summary.unreadable) - _NAMED} more", file=sys.stderr)
    shown = [f"{name} {count:,}" for name, count in islice(summary.classes.items(), 10)]
    more = len(summary.classes) - len(shown)
    print(
        f"{summary.images:,} images:"
        f" {', '.join(shown)}{f' and {more} more classes' if more else ''}"
    )
    left = f", {len(summary.unreadable):,} unreadable" if summary.unreadable else ""
    print(f"{output}{left}")


def parse_prior(text: str) -> str | list[float] | None:
    """--prior: "" (none), train, uniform, or numbers with commas between them.

    Raises:
      ValueError: anything else.
    """
    if text in ("", "train", "uniform"):
        return text or None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--prior is {text!r}; expected train, uniform, or a count for each class: 120,30,7"
        ) from None


def _batches(
    trained: Trained, source: Source, five_crop: bool
) -> Iterator[tuple[list[int], list[np.ndarray | None]]]:
    """Numbers and views of a batch at a time, the next one decoded meanwhile."""

    def view(number: int) -> np.ndarray | None:
        try:
            return trained.views(source.read(number), five_crop, source.as_is)
        except decode.Unreadable:
            return None

    size = trained.batch_size(5 if five_crop else 1)
    batches = [
        list(range(first, min(first + size, len(source.names))))
        for first in range(0, len(source.names), size)
    ]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _THREADS)) as pool:
        ahead = pool.map(view, batches[0]) if batches else None
        for k, numbers in enumerate(batches):
            views = list(ahead)  # type: ignore[arg-type]
            ahead = pool.map(view, batches[k + 1]) if k + 1 < len(batches) else None
            yield numbers, views


def _read_file(channels: int, files: Sequence[Path], number: int) -> np.ndarray:
    try:
        data = files[number].read_bytes()
    except OSError as error:
        raise decode.Unreadable(error.strerror or str(error)) from None
    image = decode.decoded(data)
    return np.asarray(Image.fromarray(image).convert("L")) if channels == 1 else image


def _arrays(path: Path) -> Source:
    arrays = read_npz(path)
    pictures = [name for name, array in arrays.items() if array.ndim >= 3]
    chosen = next((name for name in ("images", "test_images") if name in pictures), "")
    if not chosen and len(pictures) != 1:
        raise ValueError(
            f"{path} holds {', '.join(arrays) or 'nothing'}; expected an array named images,"
            " uint8 [N, H, W] or [N, H, W, C]"
        )
    images = arrays[chosen or pictures[0]]
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise ValueError(
            f"{path}: {chosen or pictures[0]} is {images.dtype}{list(images.shape)};"
            " expected uint8 [N, H, W] or [N, H, W, C]"
        )
    names = [f"{chosen or pictures[0]}[{number}]" for number in range(len(images))]
    if not names:
        raise ValueError(f"{path}: {chosen or pictures[0]} holds no images")
    return Source(names, images.__getitem__, as_is=True)


def _listed(path: Path, column: str) -> Sequence[str]:
    """Paths in a list, a line each, or in a CSV's column."""
    if path.suffix.lower() in (".csv", ".tsv"):
        advice = f"call the one of the paths {column}"
        return read_table(path, {"path": column}, ("path",), advice).columns["path"]
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(
            f"{path} is neither an image (.jpg, .png, .tif, ...), an .npz nor a list in UTF-8"
        ) from None
    names = [_without_label(line.strip()) for line in text.splitlines() if line.strip()]
    if not names:
        raise ValueError(f"{path} lists no images")
    return names


def _without_label(line: str) -> str:
    name, _, label = line.rpartition(" ")
    return name.strip() if name and label.isdigit() else line


def _placed(name: str, roots: Sequence[Path]) -> Path:
    """The first of the places where a listed image is; the last if nowhere."""
    places = [root / Path(name).expanduser() for root in roots]
    return next((place for place in places if place.is_file()), places[-1])


def roots_of(trained: Trained) -> tuple[Path, ...]:
    """Where a run's own lists have their images."""
    config = trained.config.data
    folder = Path(config.root or config.dir).expanduser()
    if not config.dir or not is_streamed(config.name):
        return ()
    beside = config.name == "csv" and not config.root and not folder.is_dir()
    return (folder.parent if beside else folder,)
