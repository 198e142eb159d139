"""Pictures of class-wise Hessian spectra, of one run or of several over each other."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from ltjax import hessian

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ltjax.report.plots import literal, training_images


@dataclasses.dataclass(frozen=True)
class Analysis:
    """A work directory's hessian.json and hessian.npz.

    Attributes:
      title: for legends.
      record: hessian.json.
      arrays: nodes_NAME and weights_NAME of each class.
    """

    title: str
    record: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.record["rows"]

    def curve(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The density of a class on the published grid."""
        nodes, weights = self.arrays[f"nodes_{name}"], self.arrays[f"weights_{name}"]
        points = hessian.grid(nodes)
        return points, hessian.density(nodes, weights, points)


def load_analysis(workdir: Path, title: str = "") -> Analysis | None:
    """The analysis in a work directory; None if there is none.

    Raises:
      ValueError: a damaged file, named.
    """
    file, arrays = workdir / "hessian.json", workdir / "hessian.npz"
    if not (file.is_file() and arrays.is_file()):
        return None
    try:
        with np.load(arrays) as stored:
            return Analysis(
                title or workdir.name, json.loads(file.read_text(encoding="utf-8")), dict(stored)
            )
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{file} or {arrays.name} is damaged ({error}); run --mode=hessian again"
        ) from None


def class_density(analyses: Sequence[Analysis], name: str) -> Figure:
    """Density of one class's spectrum on a log axis, each run a line."""
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    _densities(axes, analyses, name)
    axes.legend(frameon=False, fontsize=8)
    return figure


def overview(analyses: Sequence[Analysis], class_counts: Sequence[int]) -> Figure:
    """Densities of a head, a medium and a tail class, and the extreme eigenvalues of every class
    beside the training counts.
    """
    rows = [row for row in analyses[0].rows if row["class"] >= 0]
    by_count = sorted(rows, key=lambda row: -class_counts[row["class"]])
    shown = (
        [by_count[0], by_count[len(by_count) // 2], by_count[-1]] if len(by_count) > 2 else by_count
    )
    figure = plt.figure(figsize=(11, 7), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.2))
    top, bottom = parts
    for axes, row in zip(
        np.atleast_1d(top.subplots(1, len(shown), sharey=True)), shown, strict=True
    ):
        _densities(axes, analyses, row["name"])
        axes.label_outer()
        axes.set_title(
            f"{literal(row['name'])}: {class_counts[row['class']]} training images", fontsize=9
        )
    axes.legend(frameon=False, fontsize=8)
    largest, ratio, counts = bottom.subplots(3, 1, sharex=True, height_ratios=(2, 2, 1))
    at = {row["name"]: k for k, row in enumerate(by_count)}
    for k, analysis in enumerate(analyses):
        known = [row for row in analysis.rows if row["name"] in at]
        places = [at[row["name"]] for row in known]
        largest.plot(
            places,
            [row["lambda_max"] for row in known],
            "o",
            color=f"C{k}",
            label=f"{literal(analysis.title)}: largest",
        )
        largest.plot(
            places,
            [row["lambda_min"] for row in known],
            "v",
            color=f"C{k}",
            label=f"{literal(analysis.title)}: smallest",
        )
        ratio.plot(places, [row["ratio"] for row in known], "o-", color=f"C{k}", linewidth=0.8)
    largest.set_yscale("symlog", linthresh=1e-2, linscale=2)
    largest.yaxis.get_major_locator().set_params(numticks=6)
    largest.set_ylabel("eigenvalues")
    largest.legend(frameon=False, fontsize=7, ncols=2)
    ratio.set_ylabel("smallest\n/ largest")
    shown_counts = [
        [analysis.record["class_counts"][row["class"]] for row in by_count] for analysis in analyses
    ]
    training_images(counts, shown_counts)
    counts.set_ylabel("training\nimages")
    if len(by_count) <= 20:
        counts.set_xticks(
            range(len(by_count)),
            [literal(row["name"]) for row in by_count],
            rotation=20,
            ha="right",
        )
    for axes in (largest, ratio):
        axes.axhline(0, color="0.7", linewidth=0.8)
        axes.grid(alpha=0.25)
    return figure


def _densities(axes: Any, analyses: Sequence[Analysis], name: str) -> None:
    for k, analysis in enumerate(analyses):
        if f"nodes_{name}" not in analysis.arrays:
            continue
        points, curve = analysis.curve(name)
        axes.semilogy(
            points,
            np.maximum(curve, 1e-7),
            color=f"C{k}",
            linewidth=0.9,
            label=literal(analysis.title),
        )
    axes.set(xlabel="eigenvalue", ylabel="density", ylim=(1e-6, None), title=literal(name))
    axes.grid(alpha=0.25)
