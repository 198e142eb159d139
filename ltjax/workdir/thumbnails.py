"""One training image of each class, for reports: classes.png in the work directory."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from ltjax import tiles
from ltjax.data import Dataset, StreamedDataset
from ltjax.data.decode import Unreadable

FILE = "classes.png"
SIDE = 64
"""Pixels of a tile."""
COLUMNS = 10
MOST = 200
"""Classes up to which there are tiles."""
_TRIES = 3


def write(folder: Path, dataset: Dataset | StreamedDataset) -> None:
    """Writes a sheet of the first training image of each class, in label order; of more than `MOST`
    classes none. An image that can't be read leaves its place to the next.
    """
    if dataset.num_classes > MOST:
        return
    rows = -(-dataset.num_classes // COLUMNS)
    sheet = Image.new("RGB", (SIDE * min(COLUMNS, dataset.num_classes), SIDE * rows), "gray")
    for c in range(dataset.num_classes):
        for index in np.flatnonzero(dataset.train_labels == c)[:_TRIES]:
            image = _image(dataset, index)
            if image is not None:
                sheet.paste(tiles.tile(image, SIDE), (SIDE * (c % COLUMNS), SIDE * (c // COLUMNS)))
                break
    tiles.save(sheet, folder / FILE)


def read(folder: Path, num_classes: int) -> list[bytes]:
    """JPEG files of the tiles, in label order; none where the folder has no sheet of so many.

    Raises:
      ValueError: a damaged file, named.
    """
    if not (folder / FILE).is_file():
        return []
    try:
        with Image.open(folder / FILE) as opened:
            sheet = opened.convert("RGB")
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{folder / FILE} is damaged ({error}); delete it") from None
    expected = SIDE * min(COLUMNS, num_classes), SIDE * -(-num_classes // COLUMNS)
    if sheet.size != expected:
        return []
    found = []
    for c in range(num_classes):
        left, top = SIDE * (c % COLUMNS), SIDE * (c // COLUMNS)
        buffer = io.BytesIO()
        sheet.crop((left, top, left + SIDE, top + SIDE)).save(buffer, format="jpeg", quality=85)
        found.append(buffer.getvalue())
    return found


def _image(dataset: Dataset | StreamedDataset, index: int) -> np.ndarray | None:
    """uint8 [H, W, C]; None where it can't be read."""
    if isinstance(dataset, Dataset):
        return dataset.train_images[index]
    try:
        return dataset.evaluation_view(dataset.train.read(index))
    except Unreadable:
        return None
