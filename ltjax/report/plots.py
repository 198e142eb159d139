"""Pictures: training curves, per-class accuracy beside the training counts, confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ltjax.report.runs import Summary


def curves(summaries: Sequence[Summary]) -> Figure:
    """Loss and accuracy by epoch: a line a seed, a colour a group; test solid, training dotted,
    rotation accuracy dash-dotted.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for k, summary in enumerate(summaries):
        colour = f"C{k % 10}"
        for number, run in enumerate(summary.runs):
            tested = [row for row in run.rows if "test_accuracy" in row]
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
    """Test accuracy of each class in its training order, above the training counts on a log axis."""
    first = summaries[0].runs[0]
    names, counts = first.record["class_names"], np.asarray(first.record["data"]["class_counts"])
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
        values = 100 * np.asarray([run.last["per_class"] for run in summary.runs])
        if many:
            top.plot(range(len(names)), values.mean(0), ".-", linewidth=0.8, label=_label(summary))
        else:
            width = 0.8 / len(summaries)
            at = np.arange(len(names)) + (k - (len(summaries) - 1) / 2) * width
            spread = values.std(0, ddof=1) if len(values) > 1 else None
            top.bar(at, values.mean(0), 0.92 * width, yerr=spread, capsize=2, label=_label(summary))
    top.set(ylabel="test accuracy, %", ylim=(0, 100), title="per class, last epoch")
    top.legend(frameon=False, fontsize=8)
    bottom.bar(range(len(names)), counts, color="0.6")
    bottom.set(yscale="log", ylabel="training images", ylim=(0.5 * counts.min(), 2 * counts.max()))
    bottom.yaxis.set_minor_formatter(NullFormatter())
    if many:
        bottom.set_xlabel("class")
    else:
        bottom.set_xticks(range(len(names)), names, rotation=20, ha="right")
    return figure


def confusion(summary: Summary) -> Figure:
    """Share of each true class (rows) predicted as each class (columns), last epoch, summed over
    seeds.
    """
    run = summary.runs[0]
    names = run.record["class_names"]
    total = np.sum([run.confusion for run in summary.runs if run.confusion is not None], axis=0)
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


def _label(summary: Summary) -> str:
    seeds = len(summary.runs)
    return summary.title + (f" ({seeds} seeds)" if seeds > 1 else f", seed {summary.runs[0].seed}")
