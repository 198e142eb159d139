"""A data set's counts and sizes as a chart, and some images of every class as a sheet."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from ltjax import tiles
from ltjax.data import Dataset, StreamedDataset, decode
from ltjax.inspection.advice import LONG_TAILED
from ltjax.inspection.scan import Look
from ltjax.report import plots
from ltjax.workdir.workdir import write_atomically, writing

FILES = ("inspect.json", "inspect.png", "contact_sheet.png")
COLOURS = {"many": "C0", "medium": "C1", "few": "C3"}
_NAMED = 40
"""Classes whose names fit below the chart."""
_TILES = ((100, 8, 64), (400, 4, 64), (1000, 2, 48), (math.inf, 1, 32))
"""Of a sheet: up to so many classes, images of each, pixels of each."""
_TEXT = 150
"""Pixels of a class's name."""


def write(
    dataset: Dataset | StreamedDataset, found: dict[str, Any], looks: list[Look], folder: Path
) -> None:
    """Writes `FILES`. Raises OSError where it can't, in one line."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        plots.save(overview(found, looks), folder / FILES[1])
        tiles.save(contact_sheet(dataset, found, looks), folder / FILES[2])
    write_atomically(folder / FILES[0], json.dumps(found, indent=1))


def overview(found: dict[str, Any], looks: list[Look]) -> Figure:
    """Images of each class, on a log axis where they are long-tailed and else from 0, coloured by
    group, held-out images as marks; beside it the sizes, where they differ.
    """
    classes, sizes = found["classes"], found["sizes"]
    differ = sizes.get("different", 1) > 1
    figure, axes = plots.plt.subplots(
        *(1, 1 + differ),
        figsize=(11, 4.2),
        layout="constrained",
        squeeze=False,
        gridspec_kw={"width_ratios": (3, 1)[: 1 + differ]},
    )
    bars, places = axes[0, 0], np.arange(len(classes))
    for name, colour in COLOURS.items():
        of = [k for k, one in enumerate(classes) if one["group"] == name]
        if of:
            counts = [classes[k]["train"] for k in of]
            bars.bar(
                of,
                counts,
                0.85,
                color=colour,
                label=f"{name}: {len(of)} class{'es' * (len(of) > 1)}",
            )
    for split, mark in (("val", "^"), ("test", "o")):
        if found["images"][split]:
            counts = [one[split] or np.nan for one in classes]
            bars.plot(places, counts, mark, color="0.2", markersize=4, label=split)
    tailed = found["imbalance_factor"] >= LONG_TAILED
    bars.set(
        yscale="log" if tailed else "linear",
        ylim=(0.8 if tailed else 0, None),  # one image is still seen
        ylabel="images",
    )
    bars.set_title(
        f"{found['images']['train']:,} training images, imbalance factor"
        f" {found['imbalance_factor']:g}",
        pad=20,
    )
    bars.yaxis.set_major_formatter("{x:,.0f}")
    # Above the bars and marks, whatever their heights.
    bars.legend(frameon=False, fontsize=8, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    if len(classes) <= _NAMED:
        names = [plots.literal(one["name"]) for one in classes]
        bars.set_xticks(places, names, rotation=35, ha="right", fontsize=8)
    else:
        bars.set_xlabel("class, by count")
    if differ:
        seen = np.asarray([look.size for look in looks if look.digest])
        axes[0, 1].plot(seen[:, 0], seen[:, 1], ".", markersize=2, alpha=0.4)
        axes[0, 1].set(xlabel="width", ylabel="height", title="pixels")
    return figure


def contact_sheet(
    dataset: Dataset | StreamedDataset, found: dict[str, Any], looks: list[Look]
) -> Image.Image:
    """Some training images of every class, a seeded choice, the most frequent class first."""
    per_class, side = next(
        (count, side) for most, count, side in _TILES if len(found["classes"]) <= most
    )
    of_class: dict[int, list[int]] = {}
    for look in looks:
        if look.split == "train" and look.digest:
            of_class.setdefault(look.label, []).append(look.index)
    generator = np.random.default_rng(0)
    wide, high = _TEXT + per_class * (side + 2) + 8, side + 4
    # About as wide as high.
    columns = max(1, round(math.sqrt(len(found["classes"]) * high / wide)))
    rows = math.ceil(len(found["classes"]) / columns)
    sheet = Image.new("RGB", (columns * wide, rows * high), "white")
    pen = ImageDraw.Draw(sheet)
    font = tiles.font(12)
    for number, one in enumerate(found["classes"]):
        left, top = number // rows * wide, number % rows * high
        told = f"{one['train']:,}"
        lines = (
            [tiles.fitting(one["name"], _TEXT - 8, font), told]
            if side > 40
            else [tiles.fitting(f"{told}  {one['name']}", _TEXT - 8, font)]
        )
        pen.multiline_text((left + 4, top + 2), "\n".join(lines), fill="black", font=font)
        members = of_class.get(one["label"], [])
        for k, index in enumerate(generator.permutation(members)[:per_class]):
            image = _image(dataset, int(index))
            sheet.paste(tiles.tile(image, side), (left + _TEXT + k * (side + 2), top))
    return sheet


def _image(dataset: Dataset | StreamedDataset, index: int) -> np.ndarray:
    """A training image that can be read, uint8 [H, W, C]."""
    if isinstance(dataset, StreamedDataset):
        return decode.decoded(dataset.train.read(index))
    return dataset.train_images[index]
