"""Every image of a data set read once: its size, its kind of pixels, a digest of them."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ltjax.data import Dataset, StreamedDataset, decode

SPLITS = ("train", "val", "test")
_THREADS = 16
_KINDS = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with transparency",
    "I": "grey of more than 8 bits",
    "P": "palette",
    "RGBA": "RGB with transparency",
}


@dataclasses.dataclass(frozen=True)
class Look:
    """One image.

    Attributes:
      split, index: where it stands.
      label: of its class.
      name: of its file, or split[index].
      digest: of its decoded pixels and their shape; b"" where it can't be read.
      size: width and height in pixels.
      kind: RGB, grey, ...
      turned: whether its file asks to be turned (EXIF), which training does not do.
      paged: whether its file holds further pages or frames, of which training takes the first.
      reason: why it can't be read; "" if it can.
    """

    split: str
    index: int
    label: int
    name: str
    digest: bytes = b""
    size: tuple[int, int] = (0, 0)
    kind: str = ""
    turned: bool = False
    paged: bool = False
    reason: str = ""


def scan(
    dataset: Dataset | StreamedDataset, at: Callable[[int], None] = lambda done: None
) -> list[Look]:
    """A `Look` at each image, by split and place.

    Args:
      dataset: any.
      at: is told how many images have been read, now and then.
    """
    looks = list(_looks(dataset, at))
    at(len(looks))
    return looks


def of_split(dataset: Dataset | StreamedDataset, split: str) -> np.ndarray:
    """Labels of a split, int [N]; empty where there is none."""
    return getattr(dataset, f"{split}_labels")


def copies(looks: list[Look]) -> list[list[Look]]:
    """Images of the same pixels, in the order of their first."""
    found: dict[bytes, list[Look]] = {}
    for look in looks:
        if look.digest:
            found.setdefault(look.digest, []).append(look)
    return [same for same in found.values() if len(same) > 1]


def _looks(dataset: Dataset | StreamedDataset, at: Callable[[int], None]) -> Iterator[Look]:
    places = [(split, k) for split in SPLITS for k in range(len(of_split(dataset, split)))]

    def look(place: tuple[str, int]) -> Look:
        if isinstance(dataset, Dataset):
            return _at_array(dataset, *place)
        return _at_file(dataset, *place)

    with ThreadPoolExecutor(min(os.cpu_count() or 1, _THREADS)) as pool:
        for done, found in enumerate(pool.map(look, places)):
            if done % 256 == 0:
                at(done)
            yield found


def _at_array(dataset: Dataset, split: str, index: int) -> Look:
    image = getattr(dataset, f"{split}_images")[index]
    height, width, channels = image.shape
    kind = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
    label = int(of_split(dataset, split)[index])
    digest = _digest(image)
    return Look(split, index, label, f"{split}[{index}]", digest, (width, height), kind)


def _at_file(dataset: StreamedDataset, split: str, index: int) -> Look:
    from PIL import Image

    images = getattr(dataset, split)
    plain = Look(split, index, int(images.labels[index]), images.name(index))
    try:
        data = images.read(index)
        pixels = decode.decoded(data)
    except decode.Unreadable as error:
        return dataclasses.replace(plain, reason=str(error))
    with Image.open(io.BytesIO(data)) as image:
        size, mode = image.size, image.mode
        turned = image.getexif().get(_ORIENTATION, 1) not in (0, 1)
        paged = getattr(image, "n_frames", 1) > 1
    kind = "grey of 16 bits" if mode.startswith("I;16") else _KINDS.get(mode, mode)
    return dataclasses.replace(
        plain, digest=_digest(pixels), size=size, kind=kind, turned=turned, paged=paged
    )


_ORIENTATION = 0x0112
"""EXIF's number of it."""


def _digest(pixels: np.ndarray) -> bytes:
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(pixels.tobytes())
    return digest.digest()


def kinds(looks: list[Look]) -> dict[str, int]:
    """Kind of pixels -> images, the most frequent first."""
    return dict(Counter(look.kind for look in looks if look.digest).most_common())
