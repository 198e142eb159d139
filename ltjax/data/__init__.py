"""Data sets: CIFAR, the embedded digits and the user's own as arrays, lists and folders of
photographs as files; the long-tailed subset of each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ltjax import imbalance
from ltjax.data.arrays import from_arrays, load_npz
from ltjax.data.cifar import load_cifar10, load_cifar100
from ltjax.data.csv_files import load_csv
from ltjax.data.dataset import Dataset
from ltjax.data.digits import load_digits
from ltjax.data.files import StreamedDataset, load_image_list, load_tfds, read_text
from ltjax.data.folders import load_folder
from ltjax.data.table import SPLIT_FILES
from ltjax.names import unknown

__all__ = [
    "DATASETS",
    "STREAMED",
    "Dataset",
    "StreamedDataset",
    "class_counts",
    "from_arrays",
    "is_streamed",
    "load",
    "load_csv",
    "load_folder",
    "load_image_list",
    "load_npz",
    "load_tfds",
    "long_tailed",
    "opened",
    "renamed",
    "training_counts",
]

DATASETS: dict[str, Callable[..., Dataset]] = {
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
    "digits": load_digits,
    "npz": load_npz,
}
"""Name in a config -> loader(folder, download)."""

STREAMED = ("image_list", "folder", "csv", "tfds:NAME")
"""Names of what is decoded while training: `load_image_list`, `load_folder`, `load_csv`,
`load_tfds`.
"""


def is_streamed(name: str) -> bool:
    """Whether a config's data.name is one of `STREAMED`."""
    return name in STREAMED[:-1] or name.startswith("tfds:")


def load(name: str, folder: str = "", *, download: bool = True) -> Dataset:
    """A whole, balanced data set by name.

    Args:
      name: a key of `DATASETS`.
      folder: where to look first; "" means $LTJAX_DATA_DIR. See `ltjax.data.cifar.load_cifar10` for
        the order.
      download: whether a download is allowed as the last resort.

    Raises:
      ValueError: an unknown name, or a corrupt file, named.
      FileNotFoundError: no data found, with the ways to provide them.
    """
    if name not in DATASETS:
        raise unknown("unknown data set", name, DATASETS)
    return DATASETS[name](folder, download=download)


def opened(path: str | Path) -> Dataset | StreamedDataset:
    """The data set of a path: an .npz, a .csv or .tsv, a folder with train.csv and test.csv (or
    val.csv), or a folder with a sub-folder a class.

    Raises:
      FileNotFoundError: nothing there. ValueError: another kind of file, or as `load_npz`,
        `load_csv`, `load_folder`.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        split = {name for name, file in SPLIT_FILES.items() if (path / file).is_file()}
        listed = "train" in split and len(split) > 1
        return load_csv(str(path)) if listed else load_folder(str(path))
    if path.suffix.lower() == ".npz":
        return load_npz(str(path))
    if path.suffix.lower() in (".csv", ".tsv"):
        return load_csv(str(path))
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    raise ValueError(
        f"{path}: expected a folder with a sub-folder a class, or with train.csv and test.csv, a"
        " .csv or an .npz"
    )


def training_counts(dataset: Dataset | StreamedDataset) -> np.ndarray:
    """Training images of each class, int64 [C]."""
    return np.bincount(dataset.train_labels, minlength=dataset.num_classes)


def class_counts(
    dataset: Dataset | StreamedDataset,
    profile: str,
    *,
    factor: float = 0.01,
    max_count: int = 0,
    majority_class: int = 0,
    majority_count: int = 0,
    minority_count: int = 0,
    counts: Sequence[int] = (),
) -> np.ndarray:
    """Training images to keep of each class.

    Args:
      dataset: whose number of classes and fullest class the profile starts from.
      profile: "full", "counts", or a key of `ltjax.imbalance.PROFILES`.
      factor: n_min / n_max (exponential, step).
      max_count: images of the fullest class; 0 is what every class has.
      majority_class, majority_count, minority_count: for "single_majority".
      counts: the counts themselves, for "counts".

    Classes are numbered as their source does it: CIFAR's labels, a list's labels, the names of a
    folder's or a CSV's classes in alphabetical order.

    Returns:
      int64 [C], in the data set's label order.

    Raises:
      ValueError: an unknown profile, counts of the wrong length, or a class left with 0 images.
    """
    num_classes = dataset.num_classes
    available = training_counts(dataset)
    max_count = max_count or int(available.min())
    if profile in ("exponential", "step"):
        return imbalance.PROFILES[profile](num_classes, max_count, factor)
    if profile == "single_majority":
        kept = imbalance.single_majority(
            num_classes, majority_class, majority_count, minority_count
        )
        return _from_source_order(dataset, kept)
    if profile == "full":
        return imbalance.full(dataset.train_labels, num_classes)
    if profile == "counts":
        if len(counts) != num_classes:
            raise ValueError(
                f"data.counts has {len(counts)} entries;"
                f" expected {num_classes}, one a class of {dataset.name}"
            )
        kept = _from_source_order(dataset, np.asarray(counts, np.int64))
        if kept.min() < 1:
            name = dataset.class_names[int(np.argmin(kept))]
            raise ValueError(
                f"data.counts keeps {kept.min()} images of class {name}; expected at least 1"
            )
        return kept
    raise unknown("unknown profile", profile, (*imbalance.PROFILES, "full", "counts"))


def long_tailed(
    dataset: Dataset | StreamedDataset, counts: np.ndarray, seed: int = 0
) -> Dataset | StreamedDataset:
    """The data set with `counts[c]` training images of each class, a seeded choice; the test set is
    untouched.

    Raises:
      ValueError: more images asked for than a class has.
    """
    available = training_counts(dataset)
    for name, count, there in zip(dataset.class_names, counts, available, strict=True):
        if count > there:
            raise ValueError(
                f"class {name}: {count} training images asked for, {dataset.name} has {there};"
                " lower the count"
            )
    return dataset.keep_training(imbalance.subset(dataset.train_labels, counts, seed))


def renamed(dataset: Dataset | StreamedDataset, given: str) -> Dataset | StreamedDataset:
    """The data set with these class names.

    Args:
      dataset: any.
      given: a text file with a name a line, or the names with commas between, in the order of the
        classes' ids; "" leaves the data set's own.

    Raises:
      FileNotFoundError: no such file. ValueError: another number of names, or one twice.
    """
    if not given:
        return dataset
    path = Path(given).expanduser()
    if not path.is_file() and "," not in given:
        raise FileNotFoundError(
            f"config.data.class_names is {given}: no such file; expected one with a name a line, or"
            " names with commas between"
        )
    lines = read_text(path).splitlines() if path.is_file() else given.split(",")
    names = [line.strip() for line in lines if line.strip()]
    if len(names) != dataset.num_classes:
        raise ValueError(
            f"config.data.class_names gives {len(names)} names; expected {dataset.num_classes}, one"
            f" a class of {dataset.name}"
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"config.data.class_names holds {twice!r} twice; expected different names")
    ids = dataset.class_ids or range(len(names))
    return dataclasses.replace(dataset, class_names=tuple(names[label] for label in ids))


def _from_source_order(dataset: Dataset | StreamedDataset, counts: np.ndarray) -> np.ndarray:
    return counts[list(dataset.class_ids)] if dataset.class_ids else counts
