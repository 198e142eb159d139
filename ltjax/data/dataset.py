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
      class_ids: the user's id of each class in label order, a permutation of 0..C-1; () where
        labels are the user's own.
      val_images, val_labels: of the validation split; none by default.
      train_groups: number of each training image's group (patient, camera, site), int [N]; None
        where none is told.
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
    val_images: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros((0, 1, 1, 1), np.uint8)
    )
    val_labels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))
    train_groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        for split in ("train", "val", "test"):
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels):
                raise ValueError(
                    f"{self.name} {split}: images {images.dtype}{list(images.shape)} with"
                    f" {len(labels)} labels; expected uint8 [N, H, W, C] and N labels"
                )
            if len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes:
                raise ValueError(
                    f"{self.name} {split}: labels span {labels.min()}..{labels.max()};"
                    f" expected 0..{self.num_classes - 1}"
                )

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.train_images.shape[1:]

    def read(self, split: str, indices: np.ndarray) -> np.ndarray:
        """Images of "train", "val" or "test": uint8 [len(indices), H, W, C]."""
        return getattr(self, f"{split}_images")[indices]

    def digest(self) -> str:
        """Of the training images and labels."""
        digest = hashlib.sha256(self.train_labels.tobytes())
        digest.update(np.ascontiguousarray(self.train_images).tobytes())
        return digest.hexdigest()

    def keep_training(self, indices: np.ndarray) -> Dataset:
        """The same data set with these training images alone."""
        return dataclasses.replace(
            self,
            train_images=self.train_images[indices],
            train_labels=self.train_labels[indices],
            train_groups=None if self.train_groups is None else self.train_groups[indices],
        )

    def hold_out(self, indices: np.ndarray) -> Dataset:
        """These training images become the validation split."""
        kept = self.keep_training(np.setdiff1d(np.arange(len(self.train_labels)), indices))
        return dataclasses.replace(
            kept, val_images=self.train_images[indices], val_labels=self.train_labels[indices]
        )

    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of the training pixels in [0, 1], a channel; a constant
        channel's deviation is 1.
        """
        channels = range(self.image_shape[2])
        # Exact counts of the 256 values: sums of floats would depend on their order.
        counts = [np.bincount(self.train_images[..., c].ravel(), minlength=256) for c in channels]
        values = np.arange(256) / 255
        means = [np.average(values, weights=count) for count in counts]
        deviations = [
            np.sqrt(np.average((values - mean) ** 2, weights=count))
            for mean, count in zip(means, counts, strict=True)
        ]
        return (
            tuple(round(float(mean), 6) for mean in means),
            tuple(round(float(deviation), 6) or 1.0 for deviation in deviations),
        )

    def with_channels(self, channels: int) -> Dataset:
        """Grey images repeated to `channels`; 0 leaves them.

        Raises:
          ValueError: images of another number of channels that are not grey.
        """
        own = self.image_shape[2]
        if channels in (0, own):
            return self
        if own != 1:
            raise ValueError(
                f"config.data.channels is {channels}, {self.name} has images of {own} channels;"
                " expected 0, or grey images"
            )
        return dataclasses.replace(
            self,
            train_images=np.repeat(self.train_images, channels, axis=3),
            val_images=np.repeat(self.val_images, channels, axis=3),
            test_images=np.repeat(self.test_images, channels, axis=3),
        )
