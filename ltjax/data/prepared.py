"""Folders that tensorflow-datasets prepared, without TensorFlow: CIFAR whole, other sets image by
image.
"""

from __future__ import annotations

import dataclasses
import io
import os
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from ltjax.data.dataset import Dataset


def find_prepared(
    name: str, places: Sequence[Path], version: str = "", *, elsewhere: bool = True
) -> Path | None:
    """The newest version folder of a prepared data set (it holds dataset_info.json), or that
    version's, or None. `elsewhere`: look in tensorflow-datasets' own places too.
    """
    own = [os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets", "~/tensorflow_datasets"]
    others = [Path(place).expanduser() for place in own] if elsewhere else []
    for place in (*places, *others):
        versions = sorted(
            (place / name).glob(f"{version or '*'}/dataset_info.json"),
            key=lambda path: _version(path.parent.name),
        )
        if versions:
            return versions[-1].parent
    return None


def load_prepared(name: str, folder: Path) -> Dataset:
    """Reads a prepared folder in array_record or tfrecord format and restores the archive's order
    by the examples' ids.

    Raises:
      ValueError: a folder that can't be read, named.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(str(folder))
        splits = {split: _read(builder, split) for split in ("train", "test")}
        names = tuple(builder.info.features["label"].names)
    except Exception as error:  # many layers, many errors; the user needs the folder and the reason
        raise ValueError(
            f"{folder}: not a readable tensorflow-datasets folder ({str(error).splitlines()[0]})"
        ) from error
    return Dataset(
        name=name,
        train_images=splits["train"][0],
        train_labels=splits["train"][1],
        test_images=splits["test"][0],
        test_labels=splits["test"][1],
        class_names=names,
        source=str(folder),
    )


def find_builder(name: str, folder: str):
    """Of a prepared data set of images with labels, in array_record format.

    Args:
      name: NAME, NAME/CONFIG, or either with :VERSION; the newest version by default.
      folder: of prepared data sets; "" is $TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
      FileNotFoundError: not there. ValueError: no image and label in it, or another format. One
        line each.
    """
    import tensorflow_datasets as tfds

    name, _, version = name.partition(":")
    if not name:
        raise ValueError("config.data.name is 'tfds:'; expected tfds:NAME, such as tfds:eurosat")
    found = find_prepared(name, [Path(folder).expanduser()] if folder else [], version)
    if found is None:
        raise FileNotFoundError(
            f"tfds:{name}: nothing prepared under"
            f" {folder or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'};"
            " prepare it with tensorflow-datasets"
            f" (tfds build {name} --file_format=array_record) and give --config.data.dir=FOLDER"
        )
    try:
        builder = tfds.builder_from_directory(str(found))
    except Exception as error:  # many layers, many errors; the user needs the folder and the reason
        raise ValueError(
            f"{found}: not a readable tensorflow-datasets folder ({str(error).splitlines()[0]})"
        ) from error
    features = builder.info.features
    if builder.info.file_format.value != "array_record" or not {"image", "label"} <= set(features):
        raise ValueError(
            f"{found}: {builder.info.file_format.value} files of {', '.join(features)};"
            " expected array_record files (prepare with --file_format=array_record)"
            " with an image and a label"
        )
    return builder


@dataclasses.dataclass(frozen=True)
class Records:
    """Encoded images of one prepared split; opened by each process that reads it."""

    folder: str
    split: str

    def name(self, index: int) -> str:
        return f"{self.folder}, {self.split}, record {index}"

    def read(self, index: int) -> bytes:
        return _source(self.folder, self.split).__getitems__([index])[0]["image"]

    def labels(self) -> np.ndarray:
        """int64 [N]; reads through the split.

        Raises:
          ValueError: no such split.
        """
        source = _source(self.folder, self.split)
        found = [
            record["label"]
            for first in range(0, len(source), 512)
            for record in source.__getitems__(list(range(first, min(first + 512, len(source)))))
        ]
        return np.asarray(found, np.int64)


@lru_cache(maxsize=4)
def _source(folder: str, split: str):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    if split not in builder.info.splits:
        raise ValueError(
            f"{folder} has no split {split!r}; expected one of {', '.join(builder.info.splits)}"
        )
    return builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})


def _read(builder, split: str) -> tuple[np.ndarray, np.ndarray]:
    if builder.info.file_format.value == "tfrecord":
        records = [
            builder.info.features.deserialize_example_np(record)
            for record in _tfrecords(builder, split)
        ]
    else:
        source = builder.as_data_source(split=split)
        records = source.__getitems__(list(range(len(source))))
    expected = builder.info.splits[split].num_examples
    if len(records) != expected:
        raise ValueError(
            f"{split} holds {len(records)} examples; dataset_info.json says {expected}"
        )
    if "id" in records[0]:
        records.sort(key=lambda record: record["id"])
    images = np.stack([_image(record["image"]) for record in records])
    return images, np.asarray([record["label"] for record in records], np.int32)


def _image(value) -> np.ndarray:
    if isinstance(value, bytes):
        from PIL import Image

        value = Image.open(io.BytesIO(value)).convert("RGB")
    return np.asarray(value)


def _tfrecords(builder, split: str) -> Iterator[bytes]:
    """Records of a split: each is a length, its checksum, the bytes and theirs. PNG's own checksums
    guard the pixels.
    """
    for path in builder.info.splits[split].filepaths:
        with open(path, "rb") as file:
            while header := file.read(12):
                (length,) = struct.unpack("<Q", header[:8])
                record = file.read(length)
                if len(header) < 12 or len(record) < length or len(file.read(4)) < 4:
                    raise ValueError(f"{path} is truncated")
                yield record


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else -1 for part in name.split("."))
