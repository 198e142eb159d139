"""report.html: one self-contained file from page/*.html, style.css and sort.js."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import numpy as np

from ltjax.report import posthoc, tables
from ltjax.report.runs import Run, Summary
from ltjax.workdir import thumbnails

_NEIGHBOURS = {
    "misclassified.csv": "misclassified images",
    "misclassified.png": "contact sheet of the misclassified",
}
"""What a run may leave beside the report -> what the link says."""


def of_runs(
    summaries: Sequence[Summary],
    pictures: Mapping[str, str],
    classifiers: posthoc.Section | None,
    output: Path,
) -> str:
    """The page of these runs; `pictures`: name -> base64; `output`: its folder."""
    runs = [run for summary in summaries for run in summary.runs]
    return _render(
        "runs.html",
        title=" and ".join(dict.fromkeys(run.title for run in runs)),
        accuracies=tables.accuracies(summaries),
        classes=tables.per_class(summaries),
        shares=_shares(summaries),
        thumbnails=_thumbnails(runs),
        precisions=tables.precisions(summaries),
        pictures=pictures,
        classifiers=classifiers,
        runs=[_told(run, output) for run in runs],
    )


def of_classifiers(title: str, classifiers: posthoc.Section) -> str:
    """The page of classifiers alone."""
    return _render("classifiers.html", title=title, classifiers=classifiers)


def _render(name: str, **values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )

    def part(file: str) -> markupsafe.Markup:
        source = (Path(__file__).parent / "templates" / file).read_text(encoding="utf-8")
        return markupsafe.Markup(source)

    return environment.get_template(name).render(
        style=part("style.css"), script=part("sort.js"), **values
    )


def _shares(summaries: Sequence[Summary]) -> list[list[float | None]]:
    """Of each class, the length of each cell's bar in %; None for a cell without one."""
    values = np.stack([tables.mean_recall(summary) for summary in summaries], axis=1)
    before = [None, None] if tables.same_counts(summaries) else [None]
    return [
        [*before, *(None if np.isnan(share) else round(100 * float(share), 1) for share in row)]
        for row in values
    ]


def _thumbnails(runs: Sequence[Run]) -> list[str]:
    """A JPEG of each class in base64, of the first run that has them; empty if none has."""
    for run in runs:
        found = thumbnails.read(run.path, len(run.record["class_names"]))
        if found:
            return [base64.b64encode(tile).decode() for tile in found]
    return []


def _told(run: Run, output: Path) -> dict[str, Any]:
    return {
        "title": f"{run.title}, seed {run.seed}",
        "path": run.path.name,
        "start": run.record["starts"][-1],
        "minutes": run.seconds / 60,
        "memory": run.memory,
        "epochs": tables.progress(run),
        "images": sum(run.class_counts),
        "links": [
            (Path(os.path.relpath(run.path / name, output)).as_posix(), said)
            for name, said in _NEIGHBOURS.items()
            if (run.path / name).is_file()
        ],
        "config": {
            name: value
            for name, value in sorted(run.config.items())
            if not name.startswith("by_dataset.")
        },
    }
