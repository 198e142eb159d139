"""What a run leaves in its work directory besides checkpoints: config.json, metrics.jsonl,
result.json, TensorBoard events.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from ltjax import __version__
from ltjax.data import Dataset, StreamedDataset
from ltjax.fields import defaults, flat
from ltjax.workdir.results import as_json, stored

# Fields that may change between a run and its continuation: they do not enter the numbers.
FREE = (
    "by_dataset.",
    "published.",
    "logging.",
    "checkpoint.",
    "evaluation.",
    "hessian.",
    "posthoc.",
    "data.dir",
    "data.root",
    "data.class_names",
    "data.download",
    "data.workers",
    "training.cpu_devices",
    "training.unroll",
    "training.vmap_seeds",
    "seeds",
    "fork",
)
# And these between a run and its evaluation or analysis.
_FREE_SCORED = (
    *FREE,
    "seed",
    "init_",
    "training.",
    "data.test_list",
    "data.test_split",
    "data.image_size",
    "data.shorter_side",
    "data.crop_scale",
    "data.unreadable",
)
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml-collections")


class Workdir:
    """A run's folder; of several processes the lead one writes, the others read."""

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path, self._writes = path, writes

    def begin(
        self, config: ConfigDict, dataset: Dataset | StreamedDataset, class_counts: np.ndarray
    ) -> None:
        """Writes config.json, or checks that the one there agrees and adds this start to it.

        A folder in which nothing was trained yet may be begun anew with another config.

        Raises:
          ValueError: the folder belongs to another config or other data; names what differs.
        """
        record: dict[str, Any] = {
            "config": flat(config),
            "data": {
                "digest": dataset.digest(),
                "source": dataset.source,
                "class_counts": class_counts.tolist(),
            },
            "class_names": list(dataset.class_names),
            "class_ids": list(dataset.class_ids) or list(range(dataset.num_classes)),
            "image_shape": list(dataset.image_shape),
            "starts": [],
        }
        file = self.path / "config.json"
        if file.exists() and (
            self.read_metrics() or any((self.path / "checkpoints").glob("[0-9]*"))
        ):
            before = read_json(file)
            self._check_same(before, record, defaults(config))
            record["starts"] = before["starts"]
            record |= {"forked": before["forked"]} if "forked" in before else {}
        if not self._writes:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        record["starts"].append(_circumstances())
        write_atomically(file, json.dumps(record, indent=1))

    def check_scored(self, config: ConfigDict, dataset: Dataset | StreamedDataset) -> dict:
        """config.json, of a run that this config describes, whatever its seed and length.

        Raises:
          ValueError: the run is of another recipe or of other images; names what differs.
        """
        before, now = read_json(self.path / "config.json"), flat(config)
        differing = {
            name: (before["config"][name], now[name])
            for name in sorted(before["config"].keys() & now.keys())
            if not name.startswith(_FREE_SCORED) and name != "name"
            if before["config"][name] != now[name]
        }
        if differing:
            told = ", ".join(f"{name} ({a} there, {b} now)" for name, (a, b) in differing.items())
            raise ValueError(
                f"{self.path} holds a run of {before['config']['name']} with another config:"
                f" {told}; give the flags it was trained with, or another --workdir"
            )
        self._check_images(before, dataset.digest(), dataset.source)
        return before

    def _check_images(self, before: dict, digest: str, source: str) -> None:
        if before["data"]["digest"] != digest:
            raise ValueError(
                f"{self.path} was trained on other images (from {before['data']['source']}, now"
                f" {source}); give the same data, or use another --workdir"
            )

    def _check_same(self, before: dict, now: dict, defaults: dict[str, Any]) -> None:
        """`defaults`: of the fields; one that is at its own and that an older version did not know
        is no difference.
        """
        names = [
            name
            for name in {**before["config"], **now["config"]}
            if not name.startswith(FREE) and name != "name"
        ]
        absent = object()
        pairs = {
            name: (
                before["config"].get(name, defaults.get(name, absent)),
                now["config"].get(name, absent),
            )
            for name in names
        }
        differing = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
        if differing:
            told = ", ".join(
                f"{name} ({'absent' if a is absent else a} there,"
                f" {'absent' if b is absent else b} now)"
                for name, (a, b) in sorted(differing.items())
            )
            raise ValueError(
                f"{self.path} was made with another config: {told};"
                " use another --workdir, or the same config to continue"
            )
        self._check_images(before, now["data"]["digest"], now["data"]["source"])

    def read_metrics(self, before_epoch: int | None = None) -> list[dict]:
        """Lines of metrics.jsonl, of epochs before `before_epoch`; a line cut short by a kill is
        left out.
        """
        file = self.path / "metrics.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        rows = []
        for line in lines:
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return [row for row in rows if before_epoch is None or row["epoch"] < before_epoch]

    def fork(self, told: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
        """Notes in config.json which run this one begins with, and takes over its metrics."""
        if not self._writes:
            return
        file = self.path / "config.json"
        write_atomically(file, json.dumps({**read_json(file), "forked": told}, indent=1))
        self._write_rows(rows)

    def rewind_metrics(self, epoch: int) -> list[dict]:
        """Drops lines of epochs that a continued run does again; returns the kept ones."""
        rows = self.read_metrics(epoch)
        if not self._writes:
            return rows
        self._write_rows(rows)
        return rows

    def _write_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        lines = "".join(as_json(row) + "\n" for row in rows)
        write_atomically(self.path / "metrics.jsonl", lines)

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        if not self._writes:
            return
        path = self.path / "metrics.jsonl"
        with writing(path), open(path, "a", encoding="utf-8") as file:
            file.write(as_json(row) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def write_result(self, result: Mapping[str, Any]) -> None:
        if not self._writes:
            return
        confusion = stored(self.path, result["confusion"])
        content = as_json({**result, "confusion": confusion}, indent=1)
        write_atomically(self.path / "result.json", content)


class Scalars:
    """TensorBoard events and, when asked, Weights & Biases."""

    def __init__(self, workdir: Path, config: ConfigDict, writes: bool = True) -> None:
        """Raises ImportError if W&B is asked for and not installed."""
        self._folder = workdir
        self._tensorboard: Any = None
        self._wandb: Any = None
        if not writes:
            return
        if config.logging.tensorboard:
            from tensorboard.summary import Writer

            self._earlier = list((workdir / "tensorboard").glob("events.*"))
            self._tensorboard = Writer(str(workdir / "tensorboard"))
        if config.logging.wandb:
            try:
                import wandb
            except ImportError:
                raise ImportError(
                    "config.logging.wandb needs the wandb package: pip install 'ltjax[wandb]'"
                ) from None
            self._wandb = wandb.init(
                project=config.logging.wandb_project,
                dir=str(workdir),
                name=workdir.name,
                id=hashlib.sha256(str(workdir.absolute()).encode()).hexdigest()[:16],
                resume="allow",
                config=flat(config),
            )

    def begin(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes TensorBoard's events of these rows anew, in the place of all that earlier starts
        left: epochs that are done again would stand there twice.
        """
        if self._tensorboard is None:
            return
        with writing(self._folder):
            for row in rows:
                self._add(row)
            self._tensorboard.flush()
        for file in self._earlier:
            file.unlink(missing_ok=True)

    def write(self, row: Mapping[str, Any]) -> None:
        if self._tensorboard is not None:
            with writing(self._folder):
                self._add(row)
                self._tensorboard.flush()
        if self._wandb is not None:
            self._wandb.log(_numbers(row), step=row["epoch"])

    def _add(self, row: Mapping[str, Any]) -> None:
        for name, value in _numbers(row).items():
            self._tensorboard.add_scalar(name, value, step=row["epoch"])

    def close(self) -> None:
        if self._tensorboard is not None:
            with suppress(OSError):  # said when its last row was written
                self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in row.items()
        if isinstance(value, (int, float)) and name != "epoch"
    }


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Names the place in an error of the disk, in one line."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(
            f"{path} could not be written ({error.strerror or error}); the same command continues"
            " once it can"
        ) from None


def write_atomically(path: Path, text: str) -> None:
    """The file is either the old or the new one, never a part."""
    with writing(path):
        _write_atomically(path, text)


def _write_atomically(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # else the name may outlive a power cut, and the bytes not
    os.replace(partial, path)


def read_json(path: Path) -> dict:
    """A JSON file of a work directory. Raises ValueError, naming it, if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); use another --workdir, or delete this one to start anew"
        ) from None


def _circumstances() -> dict:
    device = jax.devices()[0]
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "device": f"{jax.device_count()} x {device.device_kind}",
        "python": platform.python_version(),
        "versions": {
            "ltjax": __version__,
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        "git": _git_revision(),
    }


def _git_revision() -> str | None:
    """Revision of the checkout that ltjax is imported from, "+" if it has changes; None outside
    one.
    """
    folder = Path(__file__).resolve().parents[2]
    if not (folder / "launch.py").is_file():  # installed, perhaps inside another project's checkout
        return None
    try:
        revision, changes = (
            subprocess.run(
                ["git", *arguments],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            ).stdout.strip()
            for arguments in (
                ["rev-parse", "--short=12", "HEAD"],
                ["status", "--porcelain", "--untracked-files=no"],
            )
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return revision + ("+" if changes else "")
