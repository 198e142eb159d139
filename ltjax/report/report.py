"""Writes a report: the table on the terminal, the pictures, report.html and summary.json."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from rich.console import Console

from ltjax.report import tables
from ltjax.report.runs import FIGURES, Summary, load_run, summarize
from ltjax.workdir.results import as_json
from ltjax.workdir.workdir import write_atomically


def write(
    workdirs: Sequence[Path],
    output: Path,
    console: Console | None = None,
    titles: Sequence[str] = (),
) -> list[Summary]:
    """Reports on runs side by side; runs that differ in the seed alone stand in one row, mean +-
    standard deviation.

    Writes report.html (self-contained), curves.png, per_class.png, confusion.png (confusion_K.png
    for several groups), hessian.png where --mode=hessian was run, posthoc.png where --mode=posthoc
    was, and summary.json into `output`, and prints the tables. `titles` names the runs' rows; those
    of one title stand in one.

    Raises:
      FileNotFoundError, ValueError: a folder without a run or with a damaged file; runs on
        different classes.
    """
    from ltjax.report import page, plots, posthoc, spectra

    runs = [load_run(path) for path in workdirs]
    if len({tuple(run.record["class_names"]) for run in runs}) > 1:
        raise ValueError("these runs have different classes; report on each data set by itself")
    summaries = summarize(runs, titles)
    output.mkdir(parents=True, exist_ok=True)
    figures = {"curves": plots.curves(summaries), "per_class": plots.per_class(summaries)}
    analysed = [spectra.load_analysis(run.path, f"{run.title}, seed {run.seed}") for run in runs]
    if any(
        analysis is not None and any(row["class"] >= 0 for row in analysis.rows)
        for analysis in analysed
    ):
        found = [analysis for analysis in analysed if analysis is not None]
        figures["hessian"] = spectra.overview(found, found[0].record["class_counts"])
    drawn = [
        summary for summary in summaries if any(run.confusion is not None for run in summary.runs)
    ]
    for k, summary in enumerate(drawn):
        figures["confusion" if len(drawn) == 1 else f"confusion_{k + 1}"] = plots.confusion(summary)
    made = [posthoc.load_classifiers(run.path, f"{run.title}, seed {run.seed}") for run in runs]
    classifiers = [one for one in made if one is not None]
    for stale in output.glob(
        "confusion*.png"
    ):  # of an earlier report with another number of groups
        if stale.stem not in figures:
            stale.unlink()
    pictures = _drawn(figures, output)
    section = posthoc.section(classifiers, _drawn(posthoc.figures(classifiers), output))
    write_atomically(output / "report.html", page.of_runs(summaries, pictures, section, output))
    write_atomically(
        output / "summary.json",
        as_json([summary.as_json() for summary in summaries], indent=1) + "\n",
    )
    console = console or tables.console()
    shown = [tables.accuracies(summaries), tables.per_class(summaries)]
    for table in (*shown, *posthoc.tables(classifiers)):
        if table is not shown[1] or len(table.rows) <= 20:
            console.print(tables.terminal(table))
    console.print(f"report: {output / 'report.html'}", markup=False, soft_wrap=True)
    return summaries


def write_posthoc(workdirs: Sequence[Path], output: Path, console: Console | None = None) -> None:
    """Classifiers made after training in these folders: the tables on the terminal, posthoc.png
    (posthoc_K.png of several) and report.html, which holds the rest of a report too where the
    folders hold evaluated runs.

    Raises:
      FileNotFoundError: none of them has any; ValueError: a damaged file.
    """
    from ltjax.report import page, posthoc

    found = [posthoc.load_classifiers(path) for path in workdirs]
    classifiers = [one for one in found if one is not None]
    if not classifiers:
        raise FileNotFoundError(
            f"{workdirs[0]} holds no classifiers made after training; make them with --mode=posthoc"
        )
    if all(_evaluated(path) for path in workdirs):
        write(workdirs, output, console)
        return
    output.mkdir(parents=True, exist_ok=True)
    section = posthoc.section(classifiers, _drawn(posthoc.figures(classifiers), output))
    title = " and ".join(one.title for one in classifiers)
    assert section is not None  # there are classifiers
    write_atomically(output / "report.html", page.of_classifiers(title, section))
    console = console or tables.console()
    for table in posthoc.tables(classifiers):
        console.print(tables.terminal(table))
    console.print(f"report: {output / 'report.html'}", markup=False, soft_wrap=True)


def _evaluated(path: Path) -> bool:
    try:
        load_run(path)
    except FileNotFoundError:
        return False
    return True


def _drawn(figures: Mapping[str, Any], output: Path) -> dict[str, str]:
    """Name -> picture in base64; written into the folder too."""
    from ltjax.report import plots

    pictures = {}
    for name, figure in figures.items():
        buffer = io.BytesIO()
        plots.save(figure, buffer)
        (output / f"{name}.png").write_bytes(buffer.getvalue())
        pictures[name] = base64.b64encode(buffer.getvalue()).decode()
    return pictures


def write_spectra(
    workdirs: Sequence[Path],
    output: Path,
    titles: Sequence[str] = (),
    console: Console | None = None,
) -> None:
    """Pictures of the Hessian analyses in these folders over each other: hessian.png, and
    hessian_NAME.png of each class.

    Raises:
      FileNotFoundError: none of them has an analysis; ValueError: a damaged file.
    """
    from ltjax.report import plots, spectra

    names = titles or [path.name for path in workdirs]
    found = [
        spectra.load_analysis(path, title) for path, title in zip(workdirs, names, strict=True)
    ]
    analyses = [analysis for analysis in found if analysis is not None]
    if not analyses:
        raise FileNotFoundError(
            f"{workdirs[0]} holds no Hessian analysis; make one with --mode=hessian"
        )
    counts = analyses[0].record["class_counts"]
    output.mkdir(parents=True, exist_ok=True)
    figures = {
        f"hessian_{row['name']}": spectra.class_density(analyses, row["name"])
        for row in analyses[0].rows
    }
    if any(row["class"] >= 0 for row in analyses[0].rows):
        figures["hessian"] = spectra.overview(analyses, counts)
    for name, figure in figures.items():
        plots.save(figure, output / f"{name.replace('/', '_')}.png")
    (console or tables.console()).print(
        f"spectra: {output / 'hessian.png'}", markup=False, soft_wrap=True
    )


def print_evaluation(
    config: ConfigDict, result: Mapping[str, Any], console: Console | None = None
) -> None:
    """The table of one evaluation."""
    headings = {"test_loss": "loss", **FIGURES}
    names = [name for name in headings if name in result]
    row = [
        f"{result[name]:.4f}" if name == "test_loss" else f"{100 * result[name]:.2f} %"
        for name in names
    ]
    title = f"{config.name}, {config.data.name}"
    table = tables.Table(title, [headings[name] for name in names], [row])
    console = console or tables.console()
    console.print(tables.terminal(table))
    pairs = zip(result["class_names"], result["per_class"], strict=True)
    shown = ", ".join(f"{name} {tables.percent(value)}" for name, value in pairs)
    console.print(f"per class, %: {shown}", markup=False)
    for number, expert in enumerate(result.get("experts", ()), 1):
        groups = [tables.percent(expert[name]) for name in expert if name != "test_accuracy"]
        told = f"expert {number} alone, %: {tables.percent(expert['test_accuracy'])}"
        console.print(f"{told} ({' / '.join(groups)})" if groups else told, markup=False)
