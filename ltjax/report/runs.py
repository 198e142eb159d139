"""Runs read back from their work directories, and groups of them that differ in the seed alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltjax import metrics
from ltjax.experiment.experiment import class_groups
from ltjax.experiment.initial import recorded_config
from ltjax.workdir.results import read_confusion
from ltjax.workdir.workdir import FREE, Workdir, read_json

FIGURES = {
    "test_accuracy": "accuracy",
    "test_top5": "top-5",
    "many": "many",
    "medium": "medium",
    "few": "few",
    "balanced_accuracy": "balanced",
    "macro_f1": "macro F1",
    "weighted_precision": "precision",
    "weighted_f1": "F1",
    "val_balanced_accuracy": "validation, balanced",
}
"""Key in metrics.jsonl -> heading, in the tables' order."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One work directory.

    Attributes:
      path: its folder.
      record: config.json.
      rows: metrics.jsonl, one dict an epoch.
      last: metrics of the last evaluated epoch, on the test images if there are any.
      best: metrics of the epoch with the highest balanced accuracy on the validation images, or, of
        a run without any, the highest test accuracy.
      confusion: int [C, C] of the last epoch on the test images, or the validation images of a run
        without any; None while a run is unfinished.
    """

    path: Path
    record: dict[str, Any]
    rows: list[dict[str, Any]]
    last: dict[str, Any]
    best: dict[str, Any]
    confusion: np.ndarray | None

    @property
    def config(self) -> dict[str, Any]:
        return self.record["config"]

    @property
    def seed(self) -> int:
        return self.config["seed"]

    @property
    def title(self) -> str:
        return f"{self.config['name']}, {self.config['data.name']}"

    @property
    def class_counts(self) -> list[int]:
        """Training images of each class."""
        return self.record["data"]["class_counts"]

    @property
    def groups(self) -> dict[str, np.ndarray]:
        """Many, medium and few: class ids."""
        return class_groups(recorded_config(self.record).data, np.asarray(self.class_counts))

    @property
    def recall(self) -> np.ndarray:
        """Of each class in the last epoch, float64 [C]; NaN for a class without test images."""
        return np.asarray(self.last["per_class"], float)

    @property
    def validated(self) -> bool:
        """Whether validation images chose the best epoch."""
        return any("val_accuracy" in row for row in self.rows)

    @property
    def best_accuracy(self) -> float | None:
        """Test accuracy at the best epoch; None where it is not known (yet)."""
        return self.best.get("test_accuracy")

    @property
    def finished(self) -> bool:
        return len(self.rows) == self.config["training.epochs"] or self.confusion is not None

    @property
    def seconds(self) -> float:
        """Training time, without compilation of the evaluation, data loading and evaluation."""
        return float(sum(row["seconds"] for row in self.rows))

    @property
    def memory(self) -> dict[str, int]:
        """Peak MiB of the host process and of a device, as far as recorded."""
        places = {"host": "peak_host_mib", "a device": "peak_device_mib"}
        return {
            place: max(row.get(name, 0) for row in self.rows)
            for place, name in places.items()
            if name in self.rows[-1]
        }


def load_run(path: Path) -> Run:
    """Reads a work directory, finished or not.

    Raises:
      FileNotFoundError: no run there, or none that was evaluated yet.
      ValueError: a damaged file, named.
    """
    if not (path / "config.json").exists():
        raise FileNotFoundError(
            f"{path} holds no run (no config.json); give the --workdir of a training run"
        )
    record = read_json(path / "config.json")
    result = read_json(path / "result.json") if (path / "result.json").exists() else {}
    rows = Workdir(path).read_metrics()
    evaluated = [row for row in rows if "test_accuracy" in row or "val_accuracy" in row]
    if not evaluated:
        raise FileNotFoundError(f"{path} has no evaluated epoch yet; let it train on first")
    if "last" in result and result["last"] != rows[-1]:
        result = {}  # of an earlier run here, whose checkpoints were deleted to begin anew
    validated = [row for row in evaluated if "val_accuracy" in row]
    criterion = "val_balanced_accuracy" if validated else "test_accuracy"
    best = max(validated or evaluated, key=lambda row: row[criterion])
    chosen = result.get("best") or {}
    last = evaluated[-1]
    return Run(
        path=path,
        record=record,
        rows=rows,
        last=last if "per_class" in last else last | {"per_class": last["val_per_class"]},
        best=chosen if validated and chosen.get("epoch") == best["epoch"] else best,
        confusion=read_confusion(path, result.get("confusion")),
    )


@dataclasses.dataclass(frozen=True)
class Summary:
    """Runs of one config with different seeds.

    Attributes:
      title: for tables; names the fields in which equally named groups differ.
      runs: by seed.
      figures: key of `FIGURES` -> (mean, standard deviation) of the last epoch in %, the deviation
        None for one run.
      best: (mean, standard deviation) of the best epoch's accuracy in %; None where it is not
        known.
      published: the source's figure in % (its best epoch), or None.
    """

    title: str
    runs: list[Run]
    figures: dict[str, tuple[float, float | None]]
    best: tuple[float, float | None] | None
    published: float | None

    def precision_recall_f1(self) -> dict[str, list[float]] | None:
        """Of each class in the last epoch, mean over seeds, shares in [0, 1]; None while no run is
        finished.
        """
        values = [
            metrics.precision_recall_f1(run.confusion)
            for run in self.runs
            if run.confusion is not None
        ]
        if not values:
            return None
        means = np.mean(np.asarray(values), axis=0).round(6).tolist()
        return dict(zip(("precision", "recall", "f1"), means, strict=True))

    def as_json(self) -> dict[str, Any]:
        first = self.runs[0].record
        return {
            "title": self.title,
            "config": {
                name: value
                for name, value in first["config"].items()
                if not name.startswith("by_dataset.")
            },
            "class_counts": first["data"]["class_counts"],
            "subset_digest": first["data"].get("digest"),
            "command": first["starts"][0]["command"],
            "device": first["starts"][-1]["device"],
            "versions": first["starts"][-1]["versions"],
            "git": first["starts"][-1]["git"],
            "time": first["starts"][-1]["time"],
            "seeds": [run.seed for run in self.runs],
            "epochs": [len(run.rows) for run in self.runs],
            "training_seconds": [round(run.seconds, 1) for run in self.runs],
            "peak_memory_mib": [run.memory for run in self.runs],
            "last_epoch": {name: _json_pair(pair) for name, pair in self.figures.items()},
            "last_epoch_each": [
                {name: run.last[name] for name in self.figures} for run in self.runs
            ],
            "last_epoch_per_class": [run.last["per_class"] for run in self.runs],
            "last_epoch_precision_recall_f1": self.precision_recall_f1(),
            "best_epoch_accuracy": None if self.best is None else _json_pair(self.best),
            "published_best_epoch": self.published,
        }


def summarize(runs: Sequence[Run], titles: Sequence[str] = ()) -> list[Summary]:
    """Groups runs whose configs differ in the seed alone, in order of first appearance; with
    `titles`, those of one title.
    """
    groups: dict[str, list[Run]] = {}
    if titles:
        for run, title in zip(runs, titles, strict=True):
            groups.setdefault(title, []).append(run)
        return [
            _summary(title, sorted(group, key=lambda run: run.seed))
            for title, group in groups.items()
        ]
    for run in runs:
        config = {
            name: value for name, value in run.config.items() if _tells(name) and name != "seed"
        }
        groups.setdefault(json.dumps(config, sort_keys=True), []).append(run)
    titles = _titles([group[0] for group in groups.values()])
    return [
        _summary(title, sorted(group, key=lambda run: run.seed))
        for title, group in zip(titles, groups.values(), strict=True)
    ]


def _summary(title: str, runs: list[Run]) -> Summary:
    names = [name for name in FIGURES if all(name in run.last for run in runs)]
    config = runs[0].config
    best = [100 * run.best_accuracy for run in runs if run.best_accuracy is not None]
    return Summary(
        title=title,
        runs=runs,
        figures={name: _mean_std([100 * run.last[name] for run in runs]) for name in names},
        best=_mean_std(best) if len(best) == len(runs) else None,
        published=_published(config),
    )


def _published(config: dict[str, Any]) -> float | None:
    """The source's figure, of a run as long and as imbalanced as the source's."""
    profile, factor = config.get("data.profile", "exponential"), config.get("data.factor", 0.01)
    same_images = profile == "full" or (
        profile == "exponential" and factor == config.get("published.factor", 0.01)
    )
    if not same_images or config["training.epochs"] != config["training.published_epochs"]:
        return None
    return config.get(f"published.{config['data.name']}")


def _titles(firsts: list[Run]) -> list[str]:
    """Each group's title; where two would be the same, the fields that tell them apart
    are added.
    """
    titles = []
    for run in firsts:
        alike = [other for other in firsts if other.title == run.title]
        differing = [
            name
            for name in run.config
            if _tells(name)
            and name != "seed"
            and any(other.config.get(name) != run.config[name] for other in alike)
        ]
        titles.append(run.title + "".join(f", {name}={run.config[name]}" for name in differing))
    return titles


def _tells(name: str) -> bool:
    return not name.startswith(FREE)


def _mean_std(values: list[float]) -> tuple[float, float | None]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def _json_pair(pair: tuple[float, float | None]) -> dict[str, float | None]:
    return {"mean": round(pair[0], 3), "std": None if pair[1] is None else round(pair[1], 3)}
