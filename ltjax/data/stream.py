"""Batches of decoded images from worker processes, ahead of their use: Grain's, in an order that
the caller gives.

What a batch holds depends on the seed, the epoch and the place in the epoch alone, not on the
workers or on where a run began, so a continued run sees what it would have seen.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from ltjax.data import decode
from ltjax.data.files import Images, StreamedDataset

MAX_WORKERS = 16
_PLANNED = 1_000_000
"""Places of epoch orders that go to each worker at once: 12 MB. The workers start anew for the
next.
"""


class Batch(NamedTuple):
    """Images of one step that this process decodes.

    Attributes:
      images: uint8 [b, S, S, 3].
      labels: int32 [b]; -1 where a test batch is padded.
      unreadable: numbers in the split of images that could not be read and were replaced by another
        of the batch.
    """

    images: np.ndarray
    labels: np.ndarray
    unreadable: np.ndarray


@dataclasses.dataclass(frozen=True)
class Step:
    """What one batch consists of: places of an epoch and the image that stands at each; -1 pads."""

    epoch: int
    places: np.ndarray
    indices: np.ndarray


@dataclasses.dataclass(frozen=True)
class Source:
    """Grain's random-access source: step number -> `Batch`. Goes to the workers by pickle.

    Attributes:
      images: the split.
      steps: what each batch holds.
      seed: of the crops; None is the view of evaluation.
      size, shorter_side: as `StreamedDataset`.
      scale: of the crop's area.
    """

    images: Images
    steps: list[Step]
    seed: int | None
    size: int
    shorter_side: int
    scale: tuple[float, float] = decode.SCALE

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, number: Any) -> dict[str, np.ndarray]:
        step = self.steps[number]
        count = len(step.indices)
        images = np.zeros((count, self.size, self.size, 3), np.uint8)
        labels = np.full(count, -1, np.int32)
        failed = []
        for at, (place, index) in enumerate(zip(step.places, step.indices, strict=True)):
            if index < 0:
                continue
            try:
                images[at] = self._view(self.images.read(index), step.epoch, place)
                labels[at] = self.images.labels[index]
            except decode.Unreadable:
                failed.append(at)
        if failed and self.seed is not None:
            good = [at for at in range(count) if at not in set(failed)]
            for at in (
                failed if good else ()
            ):  # another image of the batch in its stead, the same one in every run
                images[at], labels[at] = images[good[at % len(good)]], labels[good[at % len(good)]]
        return {
            "images": images,
            "labels": labels,
            "unreadable": step.indices[failed].astype(np.int64),
        }

    def _view(self, data: bytes, epoch: int, place: int) -> np.ndarray:
        if self.seed is None:
            return decode.center_crop(data, self.size, self.shorter_side)
        generator = np.random.default_rng((self.seed, epoch, int(place)))
        return decode.random_resized_crop(data, generator, self.size, self.scale)


def training_batches(
    dataset: StreamedDataset,
    order: Callable[[int], np.ndarray],
    *,
    seed: int,
    batch_size: int,
    epochs: range,
    first_step: int = 0,
    drop_last: bool = False,
    rows: Callable[[int], np.ndarray] = np.arange,
    scale: tuple[float, float] = decode.SCALE,
    workers: int = 0,
) -> Iterator[Batch]:
    """Batches of training, one a step, from a place in an epoch on.

    Args:
      dataset: streamed.
      order: epoch -> indices [N] of the training images.
      seed: of the crops.
      batch_size: global.
      epochs: to go through.
      first_step: of the first epoch.
      drop_last: whether an epoch's short last batch is left out.
      rows: global size of a batch -> which of its rows this process decodes.
      scale: of the crop's area.
      workers: processes; 0 decodes in threads of this one.
    """
    pending: list[Step] = []
    for epoch in epochs:
        indices = np.asarray(order(epoch))
        stop = len(indices) // batch_size * batch_size if drop_last else len(indices)
        for first in range(first_step * batch_size if epoch == epochs[0] else 0, stop, batch_size):
            places = first + rows(min(batch_size, stop - first))
            pending.append(Step(epoch, places, indices[places]))
        if sum(len(step.indices) for step in pending) > _PLANNED or epoch == epochs[-1]:
            source = Source(
                dataset.train, pending, seed, dataset.image_size, dataset.shorter_side, scale
            )
            yield from _decoded(source, workers)
            pending = []


def evaluation_batches(
    dataset: StreamedDataset,
    *,
    split: str = "test",
    batch_size: int,
    rows: Callable[[int], np.ndarray] = np.arange,
    workers: int = 0,
) -> Iterator[Batch]:
    """Every image of "test" or "val" once, in order, in batches of one size; the last is padded
    with label -1. Arguments as `training_batches`.
    """
    images: Images = getattr(dataset, split)
    count = len(images.labels)
    steps = []
    for first in range(0, count, batch_size):
        places = first + rows(batch_size)
        steps.append(Step(0, places, np.where(places < count, places, -1)))
    yield from _decoded(
        Source(images, steps, None, dataset.image_size, dataset.shorter_side), workers
    )


def choose_workers(wanted: int) -> int:
    """Worker processes for a config's number; -1 is one a core but one, at most 16, and threads on
    up to four cores.
    """
    return wanted if wanted >= 0 else min(_cores() - 1, MAX_WORKERS) if _cores() > 4 else 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_packages() -> None:
    """Raises ImportError, in one line, where a package that decoding needs is missing."""
    for name in ("cv2", "grain", "simplejpeg"):
        if importlib.util.find_spec(name) is None:
            raise ImportError(
                f"images in files need the package {name}: pip install 'ltjax[images]'"
            )


def _decoded(source: Source, workers: int) -> Iterator[Batch]:
    import grain

    # A worker decodes its batches one after the other; without workers a thread a core does, each
    # one batch ahead.
    ahead = 1 if workers else min(_cores(), 4)
    threads = grain.ReadOptions(num_threads=ahead, prefetch_buffer_size=ahead)
    batches = grain.MapDataset.source(source).to_iter_dataset(threads)
    if workers:
        if (
            not flags.FLAGS.is_parsed()
        ):  # Grain's processes read absl's flags; a program without absl.app has none to parse
            flags.FLAGS.mark_as_parsed()
        batches = batches.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        )
    for batch in batches:
        yield Batch(batch["images"], batch["labels"], batch["unreadable"])
