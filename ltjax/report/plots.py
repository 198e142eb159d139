"""Pictures: training curves, per-class accuracy beside the training counts, confusion matrix."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ltjax.report.runs import Summary
from ltjax.workdir.results import LISTED

MISTAKES = 25
"""Pairs of classes shown of a data set with more classes than a matrix can show."""


def curves(summaries: Sequence[Summary]) -> Figure:
    """Loss and accuracy by epoch: a line a seed, a colour a group; test solid, training dotted,
    validation (its balanced accuracy) dashed, rotation accuracy dash-dotted.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for k, summary in enumerate(summaries):
        colour = f"C{k % 10}"
        for number, run in enumerate(summary.runs):
            tested = [row for row in run.rows if "test_accuracy" in row]
            validated = [row for row in run.rows if "val_accuracy" in row]
            turned = [row for row in run.rows if "rotation_accuracy" in row]
            learned = [row for row in run.rows if "target" not in row]
            epochs, test_epochs, turned_epochs, learned_epochs = (
                [row["epoch"] + 1 for row in rows] for rows in (run.rows, tested, turned, learned)
            )
            label = _label(summary) if number == 0 else None
            style = {
                "color": colour,
                "linewidth": 1.2,
                "marker": "." if len(run.rows) <= 12 else "",
            }
            left.plot(epochs, [row["train_loss"] for row in run.rows], linestyle=":", **style)
            left.plot(test_epochs, [row["test_loss"] for row in tested], label=label, **style)
            right.plot(
                learned_epochs,
                [100 * row["train_accuracy"] for row in learned],
                linestyle=":",
                **style,
            )
            right.plot(
                turned_epochs,
                [100 * row["rotation_accuracy"] for row in turned],
                linestyle="-.",
                **style,
            )
            for axes, name, factor in (
                (left, "val_loss", 1),
                (right, "val_balanced_accuracy", 100),
            ):
                axes.plot(
                    [row["epoch"] + 1 for row in validated],
                    [factor * row[name] for row in validated],
                    linestyle="--",
                    **style,
                )
            right.plot(
                test_epochs, [100 * row["test_accuracy"] for row in tested], label=label, **style
            )
    left.set(xlabel="epoch", ylabel="loss", title="loss: test solid, training dotted")
    rotation = any(
        "rotation_accuracy" in row
        for summary in summaries
        for run in summary.runs
        for row in run.rows
    )
    title = "accuracy: test solid, training dotted" + (
        ", of rotations dash-dotted" if rotation else ""
    )
    right.set(xlabel="epoch", ylabel="accuracy, %", title=title)
    for axes in (left, right):
        axes.grid(alpha=0.25)
    right.legend(frameon=False, fontsize=8)
    return figure


def per_class(summaries: Sequence[Summary]) -> Figure:
    """Test accuracy of each class in its training order, above the training counts
    on a log axis.
    """
    names = [literal(name) for name in summaries[0].runs[0].record["class_names"]]
    many = len(names) > 20
    figure, (top, bottom) = plt.subplots(
        2,
        1,
        figsize=(11, 5),
        layout="constrained",
        sharex=True,
        gridspec_kw={"height_ratios": (3, 1)},
    )
    for k, summary in enumerate(summaries):
        values = 100 * np.asarray([run.recall for run in summary.runs])
        if many:
            top.plot(range(len(names)), values.mean(0), ".-", linewidth=0.8, label=_label(summary))
        else:
            width = 0.8 / len(summaries)
            at = np.arange(len(names)) + (k - (len(summaries) - 1) / 2) * width
            spread = values.std(0, ddof=1) if len(values) > 1 else None
            top.bar(at, values.mean(0), 0.92 * width, yerr=spread, capsize=2, label=_label(summary))
    top.set(ylabel="test accuracy, %", ylim=(0, 100))
    top.set_title("per class, last epoch", loc="left")
    place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.1}
    top.legend(frameon=False, fontsize=8, ncols=3, **place)  # above the bars, which reach the top
    training_images(bottom, [summary.runs[0].class_counts for summary in summaries])
    if many:
        bottom.set_xlabel("class")
    else:
        bottom.set_xticks(range(len(names)), names, rotation=20, ha="right")
    return figure


def training_images(axes: Axes, counts: Sequence[Sequence[int]]) -> None:
    """Bars of each class's training images on a log axis; a line a run where the runs differ."""
    different = {tuple(one) for one in counts}
    places = range(len(counts[0]))
    if len(different) == 1:
        axes.bar(places, counts[0], color="0.6")
    else:
        for k, one in enumerate(counts):
            axes.step(places, one, where="mid", color=f"C{k % 10}", linewidth=1)
    everything = np.asarray(list(different))
    limits = 0.5 * everything.min(), 2 * everything.max()
    axes.set(yscale="log", ylabel="training images", ylim=limits)
    axes.yaxis.set_minor_formatter(NullFormatter())


def confusion(summary: Summary) -> Figure:
    """Share of each true class (rows) predicted as each class (columns), last epoch, summed over
    seeds; of more classes than can be read, groups of them and the most frequent mistakes.
    """
    names = [literal(name) for name in summary.runs[0].record["class_names"]]
    matrices = [run.confusion for run in summary.runs if run.confusion is not None]
    total = matrices[0].copy()
    for matrix in matrices[1:]:
        total += matrix
    if len(names) > LISTED:
        return _mistakes(summary, total, names)
    shares = total / np.maximum(total.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(6.4, 5.4), layout="constrained")
    image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, label="% of the true class", shrink=0.85)
    axes.set(xlabel="predicted", ylabel="true", title=_label(summary))
    if len(names) <= 20:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        for (row, column), share in np.ndenumerate(100 * shares):
            axes.text(
                column,
                row,
                f"{share:.0f}",
                ha="center",
                va="center",
                fontsize=7,
                color="white" if share > 55 else "black",
            )
    return figure


def _mistakes(summary: Summary, total: np.ndarray, names: Sequence[str]) -> Figure:
    """Left: how the classes of each group are predicted, by group. Right: the most frequent
    mistakes.
    """
    groups = {name: ids for name, ids in summary.runs[0].groups.items() if len(ids)}
    of_class = np.zeros(len(names), int)
    for k, ids in enumerate(groups.values()):
        of_class[ids] = k
    true, predicted = np.nonzero(total)
    counts = total[true, predicted]
    between = np.zeros((len(groups), len(groups)))
    np.add.at(between, (of_class[true], of_class[predicted]), counts)
    shares = 100 * between / np.maximum(between.sum(axis=1, keepdims=True), 1)
    wrong = np.flatnonzero(true != predicted)
    worst = wrong[np.argsort(-counts[wrong], kind="stable")[:MISTAKES]]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(12, 6), layout="constrained", gridspec_kw={"width_ratios": (2, 3)}
    )
    left.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 55 else "black"
        left.text(column, row, f"{share:.1f}", ha="center", va="center", color=colour)
    left.set_xticks(range(len(groups)), list(groups))
    left.set_yticks(range(len(groups)), list(groups))
    left.set(xlabel="predicted", ylabel="true", title="% of a group's test images")
    support = np.bincount(true, weights=counts, minlength=len(names))
    right.barh(range(len(worst)), 100 * counts[worst] / support[true[worst]], color="0.6")
    labels = [f"{names[true[k]]} as {names[predicted[k]]} ({counts[k]})" for k in worst]
    right.set_yticks(range(len(worst)), labels, fontsize=7)
    right.invert_yaxis()
    right.set(xlabel="% of the true class", title="most frequent mistakes (test images)")
    figure.suptitle(_label(summary))
    return figure


def save(figure: Figure, place: Path | IO[bytes]) -> None:
    """Writes a PNG and closes the figure. Letters of a name that the font lacks become boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(place, format="png", dpi=110)
    plt.close(figure)


def literal(name: str) -> str:
    """A name as matplotlib shows it as it is."""
    return name.replace("$", r"\$")


def _label(summary: Summary) -> str:
    seeds = len(summary.runs)
    return literal(summary.title) + (
        f" ({seeds} seeds)" if seeds > 1 else f", seed {summary.runs[0].seed}"
    )
