"""What every data set is once loaded."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images in memory.

    Attributes:
      name: as in a config.
      train_images, test_images: uint8 [N, H, W, C].
      train_labels, test_labels: int32 [N] in 0..C-1.
      class_names: C names, in label order.
      source: where the bytes came from, for the record.
      notes: lines that its user should see.
      class_ids: the user's id of each class in label order, a permutation of 0..C-1; () where labels
        are the user's own.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    source: str
    notes: tuple[str, ...] = ()
    class_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for split in ("train", "test"):
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels):
                raise ValueError(
                    f"{self.name} {split}: images {images.dtype}{list(images.shape)} with {len(labels)} labels;"
                    " expected uint8 [N, H, W, C] and N labels"
                )
            if len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes:
                raise ValueError(
                    f"{self.name} {split}: labels span {labels.min()}..{labels.max()}; expected 0..{self.num_classes - 1}"
                )

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.train_images.shape[1:]

    def read(self, split: str, indices: np.ndarray) -> np.ndarray:
        """Images of "train" or "test": uint8 [len(indices), H, W, C]."""
        return getattr(self, f"{split}_images")[indices]

    def digest(self) -> str:
        """Of the training images and labels."""
        digest = hashlib.sha256(self.train_labels.tobytes())
        digest.update(np.ascontiguousarray(self.train_images).tobytes())
        return digest.hexdigest()

    def keep_training(self, indices: np.ndarray) -> Dataset:
        """The same data set with these training images alone."""
        return dataclasses.replace(
            self, train_images=self.train_images[indices], train_labels=self.train_labels[indices]
        )
