"""Tables and pictures of classifiers made after training, of one run or of several side by side."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ltjax.report.tables import Table

NOTE = (
    "Test accuracy in %. What a method leaves open (tau, learning rate, epochs) is chosen on"
    " training images held out with the same long tail, by balanced accuracy; default is the"
    " published value; the oracle is the best of the candidates on the test set itself, so no"
    " result."
)
CALIBRATION_NOTE = (
    "ECE (expected calibration error), classwise ECE and NLL of the chosen classifiers, without and"
    " with T, the temperature chosen on the held-out images. A reliability line above the"
    " diagonal is too unsure, one below it too sure; a dot's area grows with its images."
)
SHIFT_NOTE = (
    "Accuracy in % under long-tailed test priors, of the chosen classifiers as they are: forward"
    " falls as the training set does, backward the other way; the number is the factor between the"
    " most and the least probable class."
)
_GROUPS = ("many", "medium", "few")


@dataclasses.dataclass(frozen=True)
class Part:
    """Of the page: tables, notes, and pictures as name -> base64."""

    title: str
    tables: list[Table]
    notes: list[str]
    pictures: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Section:
    """Of the page: accuracies, calibration, test priors."""

    parts: list[Part]


@dataclasses.dataclass(frozen=True)
class Classifiers:
    """A work directory's posthoc.json, and its title."""

    title: str
    record: dict[str, Any]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.record["rows"]

    @property
    def seen(self) -> str:
        """What to know of the held-out images."""
        if not self.record["held_out_seen"]:
            return ""
        own = self.record["own_on_held_out"]
        return (
            "The network was trained on the held-out images too"
            + (f" ({100 * own:.1f} % balanced accuracy there)" if own is not None else "")
            + ", so what they choose is chosen on features unlike a test image's."
        )


def load_classifiers(workdir: Path, title: str = "") -> Classifiers | None:
    """What --mode=posthoc left in a work directory; None if there is nothing.

    Raises:
      ValueError: a damaged file, named.
    """
    file = workdir / "posthoc.json"
    if not file.is_file():
        return None
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        record["rows"][0]["chosen"]["accuracy"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{file} is damaged ({error}); run --mode=posthoc again") from None
    named = f"{record['name']}, {record['data']}, seed {record['seed']}"
    return Classifiers(title or named, record)


def tables(found: Sequence[Classifiers]) -> list[Table]:
    """Of one run: accuracy, calibration and shifted tests; of several: chosen accuracies side by
    side.
    """
    if len(found) != 1:
        return [_side_by_side(found)] if found else []
    return [_accuracies(found[0]), _calibration(found[0]), _shifts(found[0])]


def figures(found: Sequence[Classifiers]) -> dict[str, Figure]:
    """Name -> reliability diagrams and accuracies by test prior of each run."""
    made = {}
    for k, one in enumerate(found):
        number = "" if len(found) == 1 else f"_{k + 1}"
        made[f"posthoc{number}"] = reliability(one)
        made[f"priors{number}"] = by_prior(one)
    return made


def section(found: Sequence[Classifiers], pictures: Mapping[str, str]) -> Section | None:
    """Of several runs, the table of all and those of each; None of none."""
    if not found:
        return None
    shown = tables(found) if len(found) > 1 else []
    seen = [f"{one.title}: {one.seen}" for one in found if one.seen]
    reliable = {name: one for name, one in pictures.items() if name.startswith("posthoc")}
    priors = {name: one for name, one in pictures.items() if name.startswith("priors")}
    accuracies = [*shown, *map(_accuracies, found)]
    return Section(
        [
            Part("Classifiers after training", accuracies, [NOTE, *seen], {}),
            Part("Calibration", list(map(_calibration, found)), [CALIBRATION_NOTE], reliable),
            Part("Other test priors", list(map(_shifts, found)), [SHIFT_NOTE], priors),
        ]
    )


def _accuracies(one: Classifiers) -> Table:
    groups = [name for name in _GROUPS if name in one.rows[0]["chosen"]]
    rows = []
    for row in one.rows:
        chosen = row["chosen"]
        rows.append(
            [
                row["title"],
                _parameters(row),
                _percent(chosen["accuracy"]),
                *(_percent(chosen[name]) for name in groups),
                _percent(row["default"]["accuracy"]),
                _percent(row["oracle"]["accuracy"]),
                _percent(chosen["held_out"]),
            ]
        )
    headings = ["classifier", "chosen", "accuracy", *groups, "default", "oracle", "held-out"]
    return Table(
        f"classifiers after training, %: {one.title}", headings, rows, headings.index("oracle")
    )


def _calibration(one: Classifiers) -> Table:
    rows = []
    for row in one.rows:
        plain, scaled = row["chosen"], row["chosen"]["scaled"]
        rows.append(
            [
                row["title"],
                *(_percent(plain[name]) for name in ("ece", "classwise_ece")),
                f"{plain['nll']:.3f}",
                f"{plain['temperature']:.2f}",
                *(_percent(scaled[name]) for name in ("ece", "classwise_ece")),
                f"{scaled['nll']:.3f}",
            ]
        )
    names = ("ECE", "classwise ECE", "NLL")
    headings = ["classifier", *names, "T", *(f"{name} at T" for name in names)]
    return Table(f"calibration of the chosen classifiers (ECE in %): {one.title}", headings, rows)


def _shifts(one: Classifiers) -> Table:
    rows = [[row["title"], *map(_percent, _by_prior(row).values())] for row in one.rows]
    headings = ["classifier", *_by_prior(one.rows[0])]
    return Table(f"accuracy under long-tailed test priors, %: {one.title}", headings, rows)


def _by_prior(row: dict[str, Any]) -> dict[str, float]:
    """Test prior, from that of training to its opposite -> accuracy."""
    shifted = row["chosen"]["shifted"]
    forward = sorted(shifted["forward"], key=float, reverse=True)
    backward = sorted(shifted["backward"], key=float)
    return {
        **{f"forward {name}": shifted["forward"][name] for name in forward},
        "uniform": row["chosen"]["balanced_accuracy"],
        **{f"backward {name}": shifted["backward"][name] for name in backward},
    }


def _side_by_side(found: Sequence[Classifiers]) -> Table:
    titles = dict.fromkeys(row["title"] for one in found for row in one.rows)
    by_title = [{row["title"]: row for row in one.rows} for one in found]
    rows = []
    for title in titles:
        cells = []
        for rows_of in by_title:
            row = rows_of.get(title)
            cells.append(
                ""
                if row is None
                else f"{_percent(row['chosen']['accuracy'])}"
                f" ({_percent(row['default']['accuracy'])})"
            )
        rows.append([title, *cells])
    return Table(
        "classifiers after training, %: chosen on held-out training images (default)",
        ["classifier", *(one.title for one in found)],
        rows,
    )


def reliability(one: Classifiers) -> Figure:
    """Reliability diagrams: accuracy by confidence of each chosen classifier, a line a group."""
    names = [name for name in _GROUPS if name in one.rows[0]["chosen"]["reliability"]]
    columns = min(4, len(one.rows))
    lines = -(-len(one.rows) // columns)
    figure, grid = plt.subplots(
        lines,
        columns,
        figsize=(2.75 * columns, 2.6 * lines + 0.3),
        layout="constrained",
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for axes, row in zip(grid.flat, one.rows, strict=False):
        axes.plot((0, 1), (0, 1), color="0.7", linewidth=0.8)
        for k, name in enumerate(names):
            count, confidence, correct = np.asarray(row["chosen"]["reliability"][name]).T
            some = count > 0
            sizes = 60 * np.sqrt(count[some] / count.sum())
            axes.plot(confidence[some], correct[some], color=f"C{k}", linewidth=0.9, label=name)
            axes.scatter(confidence[some], correct[some], s=sizes, color=f"C{k}")
        ece = 100 * row["chosen"]["ece"]
        axes.set_title(f"{row['title']}\nECE {ece:.1f} %", fontsize=8)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.grid(alpha=0.25)
    for axes in grid.flat[len(one.rows) :]:
        axes.set_axis_off()
    for axes in grid[-1]:
        axes.set_xlabel("confidence", fontsize=8)
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy", fontsize=8)
    grid[0, 0].legend(frameon=False, fontsize=7, loc="upper left")
    figure.suptitle(f"reliability by group: {one.title}", fontsize=10)
    return figure


def by_prior(one: Classifiers) -> Figure:
    """Accuracy of each chosen classifier by test prior, a line each."""
    figure, axes = plt.subplots(figsize=(11, 4.2), layout="constrained")
    for k, row in enumerate(one.rows):
        values = _by_prior(row)
        style = ("-", "--", ":")[k // 10 % 3]
        axes.plot(
            range(len(values)),
            [100 * value for value in values.values()],
            "." + style,
            linewidth=1,
            color=f"C{k % 10}",
            label=row["title"],
        )
    axes.set_xticks(range(len(values)), list(values), rotation=20, ha="right")
    axes.set(xlabel="test prior", ylabel="accuracy, %")
    axes.grid(alpha=0.25)
    figure.legend(frameon=False, fontsize=8, loc="outside right upper")
    figure.suptitle(f"accuracy by test prior: {one.title}", fontsize=10)
    return figure


def _parameters(row: dict[str, Any]) -> str:
    """The chosen values, and how many candidates do as well on the held-out images."""
    values = row["chosen"]["parameters"]
    if "tau" in values:
        told = f"tau {values['tau']:g}"
    elif values:
        told = f"rate {values['learning_rate']:g}, {values['epochs']} epochs"
    else:
        return ""
    return told + (f" (of {row['ties']} equal)" if row["ties"] > 1 else "")


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"
