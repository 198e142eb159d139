"""JSON without NaN, and confusion matrices of any number of classes."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

LISTED = 200
"""Classes up to which result.json holds the confusion matrix itself, and a result a nested list."""
CONFUSION = "confusion.npz"


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON in which what is not finite is null: NaN is no JSON."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(below) for name, below in value.items()}
    return [_finite(below) for below in value] if isinstance(value, (list, tuple)) else value


def shown(confusion: np.ndarray | None) -> list | np.ndarray | None:
    """A matrix as a result holds it: int [C, C] as a nested list,
    above `LISTED` classes as it is.
    """
    if confusion is None or len(confusion) > LISTED:
        return confusion
    return confusion.tolist()


def stored(folder: Path, confusion: list | np.ndarray | None) -> list | str | None:
    """What stands for it in result.json; a large matrix goes into a file of its own, its counts
    above 0 alone.
    """
    if not isinstance(confusion, np.ndarray):
        return confusion
    true, predicted = (places.astype(np.int32) for places in np.nonzero(confusion))
    counts = confusion[true, predicted]
    partial = folder / f"partial-{CONFUSION}"
    size = np.asarray(len(confusion))
    np.savez_compressed(partial, true=true, predicted=predicted, counts=counts, size=size)
    os.replace(partial, folder / CONFUSION)
    return CONFUSION


def read_confusion(folder: Path, value: list | str | None) -> np.ndarray | None:
    """Int [C, C] from what stands in result.json.

    Raises:
      ValueError: a damaged file, named.
    """
    if not isinstance(value, str):
        return None if value is None else np.asarray(value)
    try:
        with np.load(folder / value) as file:
            size = int(file["size"])
            confusion = np.zeros((size, size), np.int32)
            confusion[file["true"], file["predicted"]] = file["counts"]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ValueError(f"{folder / value} is damaged or missing ({error})") from None
    return confusion
