"""What a network gets wrong: every misclassified image as a line, the worst as a picture."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

from ltjax import augment, devices, tiles
from ltjax.data import Dataset, StreamedDataset, stream
from ltjax.experiment.experiment import Experiment
from ltjax.experiment.recipe import Recipe, logit_scale
from ltjax.training.step import spread, targets
from ltjax.workdir.workdir import write_atomically, writing

TABLE, SHEET = "misclassified.csv", "misclassified.png"
PAIRS = 8
"""Confused pairs of classes in the picture, the most frequent."""
ACROSS = 8
"""Images of a row."""
CONFIDENT = 2 * ACROSS
"""Mistakes below the pairs, the most confident of all."""
_SIDE, _TEXT, _GAP = 96, 15, 6
"""Pixels: of an image, of a line of text, between images."""


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """What the network says of each image of a split.

    Attributes:
      labels: int [N], true classes; -1 of an image that could not be read.
      predicted: int [N].
      probability: float32 [N], of the predicted class.
      own: float32 [N], of the true class.
    """

    labels: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray
    own: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """Numbers of the misclassified images, the most confident mistake first."""
        wrong = np.flatnonzero((self.labels >= 0) & (self.predicted != self.labels))
        return wrong[np.argsort(-self.probability[wrong], kind="stable")]


def asked(experiment: Experiment) -> bool:
    """Whether they are to be written: of a network that tells classes."""
    wanted = experiment.config.evaluation.misclassified
    return wanted and experiment.stages[-1].config.target == "class"


def record(experiment: Experiment, variables: Any, split: str, folder: Path) -> None:
    """Writes `TABLE` and `SHEET` of a split into a folder; without mistakes a table without lines,
    and no picture. Of several processes, which must all come here, the leading one writes.

    Args:
      experiment: whose last stage's network it is.
      variables: of the network, on the experiment's devices.
      split: "val" or "test".
      folder: made if absent.

    Raises:
      OSError: they can't be written.
    """
    found = outcomes(experiment, variables, split)
    if not devices.is_lead():
        return
    dataset = experiment.dataset
    write_atomically(folder / TABLE, table(found, dataset, split))
    with writing(folder):
        if not len(found.wrong):
            (folder / SHEET).unlink(missing_ok=True)
            return
        tiles.save(sheet(found, dataset, split), folder / SHEET)


def outcomes(experiment: Experiment, variables: Any, split: str) -> Outcomes:
    """Passes every image of a split through the network, as in evaluation. Processes share the
    decoding, and each has all outcomes.
    """
    recipe = experiment.recipe
    scale = logit_scale(experiment.stages[-1].config)
    if "outcomes" not in recipe.compiled:
        recipe.compiled["outcomes"] = jax.jit(
            partial(_outcomes, recipe, scale), out_shardings=devices.replicated(experiment.devices)
        )
    program = recipe.compiled["outcomes"]
    made = [
        jax.device_get(program(variables, images, labels))
        for images, labels in _batches(experiment, split)
    ]
    count = len(getattr(experiment.dataset, f"{split}_labels"))
    return Outcomes(*(np.concatenate(parts)[:count] for parts in zip(*made, strict=True)))


def _outcomes(
    recipe: Recipe, scale: float, variables: Any, images: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """True and predicted class, the probability of the latter and of the former, each [B]."""
    images, labels = spread(recipe, (images, labels))
    images, labels = targets(recipe, augment.normalize(images, recipe.mean, recipe.std), labels)
    logits: Any = recipe.model.apply(variables, images, train=False)
    probabilities = jax.nn.softmax(scale * logits.astype(jnp.float32))
    own = jnp.take_along_axis(probabilities, jnp.maximum(labels, 0)[:, None], axis=1)[:, 0]
    return labels, jnp.argmax(logits, axis=-1), jnp.max(probabilities, axis=-1), own


def _batches(experiment: Experiment, split: str) -> Iterator[tuple[jax.Array, jax.Array]]:
    """Images and labels of one size on the devices; labels are -1 behind the end and where none
    could be read.
    """
    dataset, used = experiment.dataset, experiment.devices
    count = len(getattr(dataset, f"{split}_labels"))
    size = -(-min(experiment.config.evaluation.batch_size, count) // len(used)) * len(used)
    if isinstance(dataset, StreamedDataset):
        workers = stream.choose_workers(experiment.config.data.workers)
        place = experiment.recipe.batch_sharding
        rows = partial(devices.local_rows, place)
        for batch in stream.evaluation_batches(
            dataset, split=split, batch_size=size, rows=rows, workers=workers
        ):
            yield devices.put_batch((batch.images, batch.labels), size, place, used)
        return
    for first in range(0, count, size):
        places = np.arange(first, first + size)
        labels = getattr(dataset, f"{split}_labels")[places % count].astype(np.int32)
        labels[places >= count] = -1
        whole = dataset.read(split, places % count), labels
        yield devices.put(whole, devices.replicated(used))


def table(found: Outcomes, dataset: Dataset | StreamedDataset, split: str) -> str:
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


def sheet(found: Outcomes, dataset: Dataset | StreamedDataset, split: str) -> Image.Image:
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
    dataset: Dataset | StreamedDataset,
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
