"""What a report's tables say, and how the terminal shows them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table as Shown
from rich.text import Text

from ltjax.report.runs import FIGURES, Run, Summary


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text under headings; `oracle` is the column that is no result, -1 for none."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    oracle: int = -1


def accuracies(summaries: Sequence[Summary]) -> Table:
    """A row a group of runs: the last epoch's figures, the best epoch, the source's figure."""
    shown = [name for name in FIGURES if any(name in summary.figures for summary in summaries)]
    published = any(summary.published for summary in summaries)
    headings = ["run", "seeds", *(FIGURES[name] for name in shown), "best epoch"]
    rows = []
    for summary in summaries:
        unfinished = [run for run in summary.runs if not run.finished]
        title = summary.title + (f" (unfinished: {progress(unfinished[0])})" if unfinished else "")
        figures = [
            _figure(summary.figures[name]) if name in summary.figures else "" for name in shown
        ]
        best = "" if summary.best is None else _figure(summary.best)
        source = [f"{summary.published:.1f}" if summary.published else ""] if published else []
        rows.append([title, str(len(summary.runs)), *figures, best, *source])
    return Table(
        "test accuracy, %: last epoch first, best epoch beside it",
        headings + (["published"] if published else []),
        rows,
    )


def per_class(summaries: Sequence[Summary]) -> Table:
    """A class's name, training images and accuracies; where runs differ in the images, each has its
    own beside the accuracy.
    """
    values = [mean_recall(summary) for summary in summaries]
    counts = [summary.runs[0].class_counts for summary in summaries]
    titles, rows = [summary.title for summary in summaries], []
    same = same_counts(summaries)
    for c, name in enumerate(summaries[0].runs[0].record["class_names"]):
        if same:
            cells = [str(counts[0][c]), *(percent(value[c]) for value in values)]
        else:
            pairs = zip(values, counts, strict=True)
            cells = [f"{percent(value[c])} ({count[c]})" for value, count in pairs]
        rows.append([name, *cells])
    own = [f"{title} (training images)" for title in titles]
    headings = ["class", "training images", *titles] if same else ["class", *own]
    return Table("per class, last epoch, %", headings, rows)


def precisions(summaries: Sequence[Summary]) -> Table | None:
    """Precision, recall and F1 of each class, a column a group of runs; None where they are not
    known, or of too many classes.
    """
    names = summaries[0].runs[0].record["class_names"]
    values = [summary.precision_recall_f1() for summary in summaries]
    if len(names) > 20 or None in values:
        return None
    table = np.asarray(
        [[value[name] for name in ("precision", "recall", "f1")] for value in values if value]
    )
    rows = [
        [name, *(" / ".join(f"{100 * x:.1f}" for x in table[k, :, c]) for k in range(len(table)))]
        for c, name in enumerate(names)
    ]
    return Table(
        "precision / recall / F1 a class, %", ["class", *(one.title for one in summaries)], rows
    )


def mean_recall(summary: Summary) -> np.ndarray:
    """Of each class in the last epoch, mean over seeds, shares; float64 [C]."""
    return np.mean([run.recall for run in summary.runs], axis=0)


def same_counts(summaries: Sequence[Summary]) -> bool:
    """Whether all runs trained on as many images of each class."""
    counts = [run.class_counts for summary in summaries for run in summary.runs]
    return all(one == counts[0] for one in counts)


def percent(share: float | None) -> str:
    return "none" if share is None or np.isnan(share) else f"{100 * share:.1f}"


def progress(run: Run) -> str:
    return f"epoch {len(run.rows)} of {run.config['training.epochs']}"


def _figure(pair: tuple[float, float | None]) -> str:
    mean, std = pair
    return f"{mean:.2f}" + (f" ± {std:.2f}" if std is not None else "")


def terminal(table: Table) -> Shown:
    """As the terminal shows it. Names are text here, not markup: a class may be called [b]."""
    title = Text(table.title, style="table.title")
    shown = Shown(title=title, title_justify="left", box=box.SIMPLE)
    for k, heading in enumerate(table.headings):
        words = k == 0 or heading == "chosen"
        shown.add_column(
            Text(heading),
            justify="left" if words else "right",
            style="grey50" if k == table.oracle else None,
            overflow="fold" if words else "ellipsis",
        )
    for row in table.rows:
        shown.add_row(*map(Text, row))
    return shown


def console() -> Console:
    """The terminal; wide where there is none, so that a log's tables are not folded."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=160)
