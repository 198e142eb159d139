"""A run's evaluation, and the metrics of one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from ltjax import devices, metrics
from ltjax.experiment.experiment import build
from ltjax.experiment.initial import scored_variables
from ltjax.experiment.settings import check_one_seed
from ltjax.training import mistakes, programs
from ltjax.training.evaluation import EvaluationSums
from ltjax.workdir import results


def evaluate(
    config: ConfigDict, workdir: Path | None, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Evaluates the newest checkpoint of `workdir`, or else `config.init_from`, on the test set, or
    the validation images where there is none.

    Args:
      config: resolved.
      workdir: of the run; misclassified.csv and .png go there (`ltjax.training.mistakes`).
      say: receives a line for each thing to know: what is scored, what was left out.

    Returns:
      Metrics as in metrics.jsonl, the names of the classes and the confusion matrix
      (`ltjax.workdir.results.shown`).

    Raises:
      ValueError, FileNotFoundError: nothing to evaluate, it can't be read, or it is a run of
        another recipe or of other images.
    """
    check_one_seed(config)
    experiment = build(config)
    variables, source = scored_variables(
        experiment.config, workdir, experiment.recipe.model, experiment.dataset
    )
    if not experiment.splits:
        raise ValueError("nothing to evaluate on: there are no test and no validation images")
    split = experiment.splits[-1]
    lines = [*experiment.dataset.notes, f"scored: {source}"]
    running = programs.create(experiment)
    variables = devices.put(variables, devices.replicated(experiment.devices))
    evaluated = jax.device_get(running.evaluate(variables, split=split))
    sums = evaluated.sums
    total = len(getattr(experiment.dataset, f"{split}_labels"))
    left_out = total - int(np.sum(sums.confusion))
    if left_out:
        lines.append(
            f"{left_out} of {total} {split} images could not be read and"
            " are left out of the figures:"
        )
    if devices.is_lead():
        for line in (*lines, *running.notes()):
            say(line)
    found = test_metrics(sums, experiment.groups) if split == "test" else val_metrics(sums)
    found.setdefault("per_class", found.get("val_per_class"))
    if workdir is not None and mistakes.asked(experiment):
        try:
            mistakes.record(experiment.dataset, evaluated, split, workdir)
        except OSError as error:  # of somebody else's folder the figures can be had all the same
            say(str(error))
    names = list(experiment.dataset.class_names)
    return {**found, "class_names": names, "confusion": results.shown(np.asarray(sums.confusion))}


def test_metrics(sums: EvaluationSums, groups: dict[str, np.ndarray]) -> dict[str, Any]:
    """Metrics of one evaluation: loss, top-1 (and top-5 for 100 classes or more), groups, balanced,
    per class, and of experts each one's accuracy and groups; shares in [0, 1]. A class without test
    images has None, a group of such is left out.

    Raises:
      ValueError: no image was evaluated.
    """
    count = int(sums.confusion.sum())
    if not count:
        raise ValueError("none of the test images could be read; there is nothing to evaluate")
    row: dict[str, Any] = {
        "test_loss": float(sums.loss) / count,
        "test_accuracy": metrics.accuracy(sums.confusion),
    }
    if len(sums.confusion) >= 100:
        row["test_top5"] = int(sums.top5) / count
    means = metrics.group_accuracy(sums.confusion, groups)
    row |= {name: value for name, value in means.items() if not math.isnan(value)}
    row["balanced_accuracy"] = metrics.balanced_accuracy(sums.confusion)
    row["weighted_precision"], _, row["weighted_f1"] = metrics.weighted_precision_recall_f1(
        sums.confusion
    )
    row["macro_precision"], _, row["macro_f1"] = metrics.macro_precision_recall_f1(sums.confusion)
    row["per_class"] = _rounded(metrics.per_class_accuracy(sums.confusion))
    if len(sums.experts):
        row["experts"] = [_of_expert(np.asarray(one), groups) for one in sums.experts]
    return row


def _of_expert(confusion: np.ndarray, groups: dict[str, np.ndarray]) -> dict[str, float]:
    """What one expert alone reaches: accuracy, and of the groups."""
    means = metrics.group_accuracy(confusion, groups)
    means = {name: float(value) for name, value in means.items() if not math.isnan(value)}
    return {"test_accuracy": metrics.accuracy(confusion), **means}


def _rounded(values: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else round(float(value), 6) for value in values]


def val_metrics(sums: EvaluationSums) -> dict[str, Any]:
    """Metrics of one evaluation on the validation images; shares in [0, 1]."""
    return {
        "val_loss": float(sums.loss) / int(sums.confusion.sum()),
        "val_accuracy": metrics.accuracy(sums.confusion),
        "val_balanced_accuracy": metrics.balanced_accuracy(sums.confusion),
        "val_macro_f1": metrics.macro_precision_recall_f1(sums.confusion)[2],
        "val_per_class": _rounded(metrics.per_class_accuracy(sums.confusion)),
    }
