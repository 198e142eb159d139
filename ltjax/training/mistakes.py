"""What a network gets wrong: every misclassified image as a line, the worst as a picture."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ltjax import devices, tiles
from ltjax.data import Dataset, StreamedDataset
from ltjax.experiment.experiment import Experiment
from ltjax.training.evaluation import Evaluation, Outcomes
from ltjax.workdir.workdir import write_atomically, writing

Data = Dataset | StreamedDataset
TABLE, SHEET = "misclassified.csv", "misclassified.png"
PAIRS = 8
"""Confused pairs of classes in the picture, the most frequent."""
ACROSS = 8
"""Images of a row."""
CONFIDENT = 2 * ACROSS
"""Mistakes below the pairs, the most confident of all."""
_SIDE, _TEXT, _GAP = 96, 15, 6
"""Pixels: of an image, of a line of text, between images."""


def asked(experiment: Experiment) -> bool:
    """Whether they are to be written: of a network that tells classes."""
    wanted = experiment.config.evaluation.misclassified
    return wanted and experiment.stages[-1].config.target == "class"


def record(dataset: Data, evaluated: Evaluation, split: str, folder: Path) -> None:
    """Writes `TABLE` and `SHEET` of a split into a folder; without mistakes a table without lines,
    and no picture. Of several processes the leading one writes.

    Args:
      dataset: whose images were evaluated.
      evaluated: every image of the split, by the network of the last stage.
      split: "val" or "test".
      folder: made if absent.

    Raises:
      OSError: they can't be written.
    """
    if not devices.is_lead():
        return
    found = evaluated.outcomes(len(getattr(dataset, f"{split}_labels")))
    write_atomically(folder / TABLE, table(found, dataset, split))
    with writing(folder):
        if not len(found.wrong):
            (folder / SHEET).unlink(missing_ok=True)
            return
        tiles.save(sheet(found, dataset, split), folder / SHEET)


def table(found: Outcomes, dataset: Data, split: str) -> str:
    """A CSV with a line a mistake, the most confident first: the image's path, or its number in the
    split's arrays; true and predicted class; the predicted class's probability and the true one's.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    first = "path" if isinstance(dataset, StreamedDataset) else "index"
    writer.writerow([first, "true", "predicted", "probability", "probability_of_true"])
    for number in found.wrong:
        name = getattr(dataset, split).name(number) if first == "path" else number
        classes = (dataset.class_names[c] for c in (found.labels[number], found.predicted[number]))
        shares = (f"{share[number]:.6f}" for share in (found.probability, found.own))
        writer.writerow([name, *classes, *shares])
    return text.getvalue()


def sheet(found: Outcomes, dataset: Data, split: str) -> Image.Image:
    """The picture: a row for each of the most frequent confused pairs with its most confident
    mistakes, then the most confident mistakes of all.
    """
    wrong, names = found.wrong, dataset.class_names
    pairs = Counter((int(found.labels[n]), int(found.predicted[n])) for n in wrong)
    of_class = np.bincount(found.labels[found.labels >= 0], minlength=len(names))
    rows: list[tuple[str, list[int], bool]] = []
    for (true, predicted), count in pairs.most_common(PAIRS):
        members = wrong[(found.labels[wrong] == true) & (found.predicted[wrong] == predicted)]
        heading = (
            f"{names[true]} taken for {names[predicted]}: {count:,} of {of_class[true]:,} images"
        )
        rows.append((heading, members[:ACROSS].tolist(), False))
    for k in range(math.ceil(min(CONFIDENT, len(wrong)) / ACROSS)):
        heading = "The most confident mistakes: true class, then the predicted one" if not k else ""
        rows.append((heading, wrong[k * ACROSS : (k + 1) * ACROSS].tolist(), True))
    total = int((found.labels >= 0).sum())
    title = f"{len(wrong):,} of {total:,} {'test' if split == 'test' else 'validation'} images"
    return _drawn(f"{title} misclassified", rows, found, dataset, split)


def _drawn(
    title: str,
    rows: list[tuple[str, list[int], bool]],
    found: Outcomes,
    dataset: Data,
    split: str,
) -> Image.Image:
    """Rows of a heading, images and, where asked, their classes by name."""
    heights = [
        _TEXT * bool(heading) + _SIDE + _TEXT * (1 + 2 * named) for heading, _, named in rows
    ]
    width = ACROSS * (_SIDE + _GAP) + _GAP
    picture = Image.new("RGB", (width, sum(heights) + len(rows) * 2 * _GAP + 2 * _TEXT), "white")
    pen, font = ImageDraw.Draw(picture), tiles.font(11)

    def text(x: int, y: int, words: str, room: int) -> None:
        pen.text((x, y), tiles.fitting(words, room, font), fill="black", font=font)

    text(_GAP, _GAP, title, width - 2 * _GAP)
    top = _GAP + 2 * _TEXT
    for (heading, members, named), height in zip(rows, heights, strict=True):
        y = top
        if heading:
            text(_GAP, y, heading, width - 2 * _GAP)
            y += _TEXT
        images = dataset.read(split, np.asarray(members))
        for k, (number, image) in enumerate(zip(members, images, strict=True)):
            x = _GAP + k * (_SIDE + _GAP)
            picture.paste(tiles.tile(image, _SIDE), (x, y + 2))
            lines = [f"{100 * found.probability[number]:.1f} %"]
            if named:
                pair = (found.labels[number], found.predicted[number])
                lines = [*(dataset.class_names[c] for c in pair), *lines]
            for line, words in enumerate(lines):
                text(x, y + 2 + _SIDE + line * _TEXT, words, _SIDE)
        top += height + 2 * _GAP
    return picture
