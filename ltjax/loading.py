"""A work directory read back: `ltjax.load(path)` gives the `Trained` network of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ltjax.data import is_streamed
from ltjax.experiment.initial import recorded_config, run_checkpoint
from ltjax.trained import Trained
from ltjax.workdir.workdir import read_json

_SHAPES = {"cifar10": (32, 32, 3), "cifar100": (32, 32, 3), "digits": (8, 8, 1)}
"""Of runs recorded before config.json said it."""


def load(path: str | Path, *, checkpoint: str = "last") -> Trained:
    """A run read back from its work directory, for use.

    Args:
      path: the work directory; of seeds trained together, that of one of them.
      checkpoint: "last", the newest; or "best", the epoch that result.json calls best.

    Raises:
      FileNotFoundError: no run there, or nothing saved yet.
      ValueError: a damaged run, one that has not reached its classifier's stage, or no best epoch
        saved. One line each.

    Example:
      >>> import contextlib, io, tempfile, numpy as np, ltjax
      >>> folder, labels = tempfile.TemporaryDirectory(), np.repeat([0, 1, 2], [40, 15, 5])
      >>> images = np.random.default_rng(0).integers(0, 256, (60, 8, 8)).astype(np.uint8)
      >>> small = {"model": "resnet8", "model.width": 4, "epochs": 1}
      >>> with contextlib.redirect_stdout(io.StringIO()):  # what the run says
      ...     trained = ltjax.fit("ce", (images, labels), workdir=folder.name, **small)
      >>> again = ltjax.load(folder.name)
      >>> print(np.array_equal(again.predict_proba(images), trained.predict_proba(images)))
      True
    """
    folder = Path(path).expanduser()
    if not (folder / "config.json").is_file():
        seeds = sorted(seed.parent.name for seed in folder.glob("seed*/config.json"))
        raise FileNotFoundError(
            f"{folder} holds the runs of several seeds ({', '.join(seeds)}); give one of them"
            if seeds
            else f"{folder} is no work directory: it holds no config.json"
        )
    if checkpoint not in ("last", "best"):
        raise ValueError(f"checkpoint is {checkpoint!r}; expected 'last' or 'best'")
    step = _best_step(folder) if checkpoint == "best" else None
    record = read_json(folder / "config.json")
    config = recorded_config(record)
    restored, stage = run_checkpoint(folder, step)
    if step not in (None, int(restored.state.step)):
        raise ValueError(
            f"{folder}: the best epoch's checkpoint (step {step}) is not there;"
            " config.checkpoint.best keeps it"
        )
    if stage.config.target != "class":
        raise ValueError(
            f"{folder} is still in stage {stage.name!r}, which learns no classes; train it on"
        )
    names, ids = record["class_names"], _class_ids(record, config)
    shape = record.get("image_shape") or _image_shape(config)
    return Trained(
        config=config,
        class_names=tuple(str(names[label]) for label in np.argsort(ids)),
        class_counts=np.asarray(record["data"]["class_counts"], np.int64)[np.argsort(ids)],
        image_shape=(int(shape[0]), int(shape[1]), int(shape[2])),
        variables=restored.state.variables,
        label_ids=ids,
        stage=stage.config,
        figures=_figures(folder),
    )


def _best_step(folder: Path) -> int:
    file = folder / "result.json"
    best = (read_json(file) if file.is_file() else {}).get("best")
    if not best:
        raise ValueError(f"{folder} names no best epoch: it has not finished; take the last")
    return int(best["step"])


def _figures(folder: Path) -> dict[str, Any]:
    """Single numbers of the last and the best epoch."""
    file = folder / "result.json"
    result = read_json(file) if file.is_file() else {}
    return {
        which: {
            name: value for name, value in (result.get(which) or {}).items() if np.isscalar(value)
        }
        for which in ("last", "best")
        if result.get(which)
    }


def _class_ids(record: dict[str, Any], config: ConfigDict) -> np.ndarray:
    """The user's id of each of the network's classes; of runs before config.json said it, from the
    names.
    """
    names = record["class_names"]
    if "class_ids" in record:
        return np.asarray(record["class_ids"], np.int64)
    if config.data.name == "image_list":
        return np.asarray([int(name) for name in names], np.int64)
    if config.data.name == "folder":
        return np.argsort(np.argsort(names)).astype(np.int64)
    return np.arange(len(names))


def _image_shape(config: ConfigDict) -> Sequence[int]:
    if is_streamed(config.data.name):
        return config.data.image_size, config.data.image_size, 3
    return _SHAPES[config.data.name]
