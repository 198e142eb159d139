"""CIFAR from a folder that tensorflow-datasets prepared, without TensorFlow."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ltjax.data.dataset import Dataset


def find_prepared(name: str, places: Sequence[Path]) -> Path | None:
    """The newest version folder of a prepared data set (it holds dataset_info.json), or None."""
    others = [Path(os.environ["TFDS_DATA_DIR"])] if os.environ.get("TFDS_DATA_DIR") else []
    for place in (*places, *others, Path("~/tensorflow_datasets").expanduser()):
        versions = sorted((place / name).glob("*/dataset_info.json"), key=lambda path: _version(path.parent.name))
        if versions:
            return versions[-1].parent
    return None


def load_prepared(name: str, folder: Path) -> Dataset:
    """Reads a prepared folder in array_record or tfrecord format and restores the archive's order by the examples' ids.

    Raises:
      ValueError: a folder that can't be read, named.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(str(folder))
        splits = {split: _read(builder, split) for split in ("train", "test")}
        names = tuple(builder.info.features["label"].names)
    except Exception as error:  # many layers, many errors; the user needs the folder and the reason
        raise ValueError(f"{folder}: not a readable tensorflow-datasets folder ({str(error).splitlines()[0]})") from error
    return Dataset(
        name=name,
        train_images=splits["train"][0],
        train_labels=splits["train"][1],
        test_images=splits["test"][0],
        test_labels=splits["test"][1],
        class_names=names,
        source=str(folder),
    )


def _read(builder, split: str) -> tuple[np.ndarray, np.ndarray]:
    if builder.info.file_format.value == "tfrecord":
        records = [builder.info.features.deserialize_example_np(record) for record in _tfrecords(builder, split)]
    else:
        source = builder.as_data_source(split=split)
        records = source.__getitems__(list(range(len(source))))
    expected = builder.info.splits[split].num_examples
    if len(records) != expected:
        raise ValueError(f"{split} holds {len(records)} examples; dataset_info.json says {expected}")
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
    """Records of a split: each is a length, its checksum, the bytes and theirs. PNG's own checksums guard the pixels."""
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
