"""What there is to know about a data set before training on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ltjax import metrics
from ltjax.data import Dataset, StreamedDataset, opened, stream, training_counts
from ltjax.inspection.advice import advice
from ltjax.inspection.scan import SPLITS, Look, copies, kinds, of_split, scan

THRESHOLDS = (20, 100)
"""Few below the first, many above the second, as `config.data.group_thresholds`."""
_LISTED = 1000
"""Groups of copies, and unreadable images, that are told one by one."""


def inspect(
    source: Dataset | StreamedDataset | str | Path,
    folder: str | Path | None = None,
    *,
    groups: Mapping[str, np.ndarray] | None = None,
    at: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Looks at every image of a data set once. Nothing is trained.

    Args:
      source: a data set (`ltjax.data.load`, `load_csv`, `load_folder`, `from_arrays`, ...), or the
        path of an .npz, of a CSV, or of a folder with a sub-folder a class or with train.csv and
        test.csv.
      folder: where inspect.json, inspect.png and contact_sheet.png go; None writes nothing.
      groups: "many", "medium", "few" -> labels; by default more than 100 training images, 20 to
        100, and fewer.
      at: is told how many images have been read, now and then.

    Returns:
      What inspect.json holds: "classes" with their counts, the most frequent first;
      "imbalance_factor", the fullest class's images over the rarest's; "groups"; "sizes"; "pixels";
      "unreadable"; "copies", images of the same pixels; "advice".

    Raises:
      FileNotFoundError, ValueError: no such data, or data that can't be used; one line.

    Example:
      >>> import numpy as np, ltjax
      >>> from ltjax import data
      >>> images = np.random.default_rng(0).integers(0, 256, (60, 8, 8)).astype(np.uint8)
      >>> images[1] = images[0]
      >>> found = ltjax.inspect(data.from_arrays((images, np.repeat([0, 1], [50, 10]))))
      >>> print(found["imbalance_factor"], len(found["copies"]["groups"]))
      5.0 1
    """
    dataset = opened(source) if isinstance(source, (str, Path)) else source
    if isinstance(dataset, StreamedDataset):
        stream.check_packages()
    looks = scan(dataset, at)
    counts = training_counts(dataset)
    if groups is None:
        groups = metrics.groups_by_threshold(counts, *THRESHOLDS)
    found: dict[str, Any] = {
        "data": dataset.name,
        "source": dataset.source,
        "notes": list(dataset.notes),
        "images": {split: len(of_split(dataset, split)) for split in SPLITS},
        "classes": _classes(dataset, counts, groups),
        "imbalance_factor": round(float(counts.max() / counts.min()), 2),
        "groups": {
            name: {"classes": len(ids), "images": int(counts[ids].sum())}
            for name, ids in groups.items()
        },
        "kept_together": _kept_together(dataset),
        "sizes": _sizes(looks),
        "pixels": kinds(looks),
        "turned": sum(look.turned for look in looks),
        "paged": sum(look.paged for look in looks),
        "unreadable": [
            {"image": look.name, "reason": look.reason} for look in looks if look.reason
        ][:_LISTED],
        "unreadable_images": sum(bool(look.reason) for look in looks),
        "copies": _copies(dataset, looks),
    }
    if isinstance(dataset, Dataset):
        found["mean"], found["std"] = dataset.normalisation()
    found["advice"] = advice(found, in_files=isinstance(dataset, StreamedDataset))
    if folder is not None:
        from ltjax.inspection.pictures import write

        write(dataset, found, looks, Path(folder).expanduser())
    return found


def _classes(
    dataset: Dataset | StreamedDataset, counts: np.ndarray, groups: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """By descending count."""
    group_of = {int(label): name for name, labels in groups.items() for label in labels}
    ids = dataset.class_ids or range(dataset.num_classes)
    each = {
        split: np.bincount(of_split(dataset, split), minlength=dataset.num_classes)
        for split in SPLITS
    }
    return [
        {
            "name": dataset.class_names[label],
            "id": int(ids[label]),
            "label": int(label),
            **{split: int(each[split][label]) for split in SPLITS},
            "group": group_of[int(label)],
        }
        for label in np.argsort(-counts, kind="stable")
    ]


def _kept_together(dataset: Dataset | StreamedDataset) -> dict[str, int]:
    """Split -> number of groups (patients, cameras, sites), where these are told."""
    if isinstance(dataset, Dataset):
        told = {"train": dataset.train_groups}
    else:
        told = {
            split: None if images is None else images.groups
            for split, images in (
                ("train", dataset.train),
                ("val", dataset.val),
                ("test", dataset.test),
            )
        }
    return {split: len(np.unique(of)) for split, of in told.items() if of is not None}


def _sizes(looks: list[Look]) -> dict[str, Any]:
    """Of the images that can be read: smallest, median and largest width and height, how many
    different sizes, the most frequent ones.
    """
    sizes = [look.size for look in looks if look.digest]
    if not sizes:
        return {}
    array, often = np.asarray(sizes), Counter(sizes)
    return {
        "smallest": array.min(axis=0).tolist(),
        "median": np.median(array, axis=0).astype(int).tolist(),
        "largest": array.max(axis=0).tolist(),
        "different": len(often),
        "most_frequent": [[*size, count] for size, count in often.most_common(5)],
    }


def _copies(dataset: Dataset | StreamedDataset, looks: list[Look]) -> dict[str, Any]:
    """Images of the same pixels: superfluous ones within a split, those of a split that another
    one has too, groups whose labels differ.
    """
    same = copies(looks)
    within: Counter[str] = Counter()
    across: Counter[str] = Counter()
    for group in same:
        in_splits = Counter(look.split for look in group)
        within.update({split: count - 1 for split, count in in_splits.items() if count > 1})
        held_out = [split for split in ("val", "test") if split in in_splits]
        for split in held_out if "train" in in_splits else ():
            across[f"{split} images that are in train"] += in_splits[split]
        if len(held_out) == 2:
            across["test images that are in val"] += in_splits["test"]
    return {
        "within": dict(within),
        "across": dict(across),
        "labels_differ": sum(len({look.label for look in group}) > 1 for group in same),
        "groups": [
            [
                {"image": look.name, "split": look.split, "class": dataset.class_names[look.label]}
                for look in group
            ]
            for group in same[:_LISTED]
        ],
    }
