"""Writes a report: the table on the terminal, the pictures, report.html and summary.json."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from ml_collections import ConfigDict
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ltjax.report.runs import FIGURES, Run, Summary, load_run, summarize
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
    from ltjax.report import plots, posthoc, spectra

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
    write_atomically(output / "report.html", _page(summaries, pictures, section))
    write_atomically(
        output / "summary.json",
        as_json([summary.as_json() for summary in summaries], indent=1) + "\n",
    )
    console = console or _console()
    for table in (*_tables(summaries), *_classifier_tables(classifiers)):
        console.print(table)
    console.print(f"report: {output / 'report.html'}", markup=False, soft_wrap=True)
    return summaries


def write_posthoc(workdirs: Sequence[Path], output: Path, console: Console | None = None) -> None:
    """Classifiers made after training in these folders: the tables on the terminal, posthoc.png
    (posthoc_K.png of several) and report.html, which holds the rest of a report too where the
    folders hold evaluated runs.

    Raises:
      FileNotFoundError: none of them has any; ValueError: a damaged file.
    """
    from ltjax.report import posthoc

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
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(_HEAD + posthoc.TEMPLATE + _FOOT)
    write_atomically(output / "report.html", page.render(title=title, classifiers=section))
    console = console or _console()
    for table in _classifier_tables(classifiers):
        console.print(table)
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
        figure.savefig(buffer, format="png", dpi=110)
        plots.plt.close(figure)
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
        figure.savefig(output / f"{name.replace('/', '_')}.png", dpi=110)
        plots.plt.close(figure)
    (console or _console()).print(
        f"spectra: {output / 'hessian.png'}", markup=False, soft_wrap=True
    )


def print_evaluation(
    config: ConfigDict, result: Mapping[str, Any], console: Console | None = None
) -> None:
    """The table of one evaluation."""
    table = _table(f"{config.name}, {config.data.name}")
    headings = {"test_loss": "loss", **FIGURES}
    names = [name for name in headings if name in result]
    for name in names:
        table.add_column(headings[name], justify="right")
    table.add_row(
        *(
            f"{result[name]:.4f}" if name == "test_loss" else f"{100 * result[name]:.2f} %"
            for name in names
        )
    )
    console = console or _console()
    console.print(table)
    pairs = zip(result["class_names"], result["per_class"], strict=True)
    shown = ", ".join(f"{name} {_percent(value)}" for name, value in pairs)
    console.print(f"per class, %: {shown}", markup=False)


def _console() -> Console:
    """The terminal; wide where there is none, so that a log's tables are not folded."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def _tables(summaries: Sequence[Summary]) -> list[Table]:
    table = _table("test accuracy, %: last epoch first, best epoch beside it")
    table.add_column("run", overflow="fold")
    for heading in _headings(summaries):
        table.add_column(heading, justify="right")
    for summary in summaries:
        table.add_row(*map(Text, _row(summary, _shown(summaries))))
    rows = _class_rows(summaries)
    if len(rows) > 20:
        return [table]
    classes = _table("per class, last epoch, %")
    for heading in _class_headings(summaries):
        classes.add_column(Text(heading), justify="left" if heading == "class" else "right")
    for row in rows:
        classes.add_row(*map(Text, row))
    return [table, classes]


def _classifier_tables(classifiers: Sequence[Any]) -> list[Table]:
    from ltjax.report import posthoc

    made = []
    for content in posthoc.tables(classifiers):
        table = _table(content.title)
        for k, heading in enumerate(content.headings):
            words = k == 0 or heading == "chosen"
            table.add_column(
                Text(heading),
                justify="left" if words else "right",
                style="grey50" if k == content.oracle else None,
                overflow="fold",
            )
        for row in content.rows:
            table.add_row(*map(Text, row))
        made.append(table)
    return made


def _table(title: str) -> Table:
    """Names are text here, not markup: a class may be called [b]."""
    return Table(title=Text(title, style="table.title"), title_justify="left", box=box.SIMPLE)


def _shown(summaries: Sequence[Summary]) -> list[str]:
    """Figures that some run has, in the tables' order."""
    return [name for name in FIGURES if any(name in summary.figures for summary in summaries)]


def _headings(summaries: Sequence[Summary]) -> list[str]:
    shown = [FIGURES[name] for name in _shown(summaries)]
    return [
        "seeds",
        *shown,
        "best epoch",
        *(["published"] if any(summary.published for summary in summaries) else []),
    ]


def _row(summary: Summary, shown: Sequence[str]) -> list[str]:
    unfinished = [run for run in summary.runs if not run.finished]
    title = summary.title + (f" (unfinished: {_progress(unfinished[0])})" if unfinished else "")
    figures = [_figure(summary.figures[name]) if name in summary.figures else "" for name in shown]
    best = "" if summary.best is None else _figure(summary.best)
    cells = [title, str(len(summary.runs)), *figures, best]
    return cells + ([f"{summary.published:.1f}"] if summary.published else [])


def _class_headings(summaries: Sequence[Summary]) -> list[str]:
    titles = [summary.title for summary in summaries]
    if _same_counts(summaries):
        return ["class", "training images", *titles]
    return ["class", *(f"{title} (training images)" for title in titles)]


def _class_rows(summaries: Sequence[Summary]) -> list[list[str]]:
    """A class's name, training images and accuracies; where runs differ in the images, each has its
    own beside the accuracy.
    """
    values = [np.mean([run.recall for run in summary.runs], axis=0) for summary in summaries]
    counts = [summary.runs[0].class_counts for summary in summaries]
    rows = []
    for c, name in enumerate(summaries[0].runs[0].record["class_names"]):
        if _same_counts(summaries):
            cells = [str(counts[0][c]), *(_percent(value[c]) for value in values)]
        else:
            pairs = zip(values, counts, strict=True)
            cells = [f"{_percent(value[c])} ({count[c]})" for value, count in pairs]
        rows.append([name, *cells])
    return rows


def _same_counts(summaries: Sequence[Summary]) -> bool:
    counts = [run.class_counts for summary in summaries for run in summary.runs]
    return all(one == counts[0] for one in counts)


def _percent(share: float | None) -> str:
    return "none" if share is None or np.isnan(share) else f"{100 * share:.1f}"


def _precision_rows(summaries: Sequence[Summary]) -> list[list[str]]:
    """Precision, recall and F1 of each class, a cell a run."""
    names = summaries[0].runs[0].record["class_names"]
    values = [summary.precision_recall_f1() for summary in summaries]
    if len(names) > 20 or None in values:
        return []
    table = np.asarray(
        [[value[name] for name in ("precision", "recall", "f1")] for value in values if value]
    )
    return [
        [name, *(" / ".join(f"{100 * x:.1f}" for x in table[k, :, c]) for k in range(len(table)))]
        for c, name in enumerate(names)
    ]


def _progress(run: Run) -> str:
    return f"epoch {len(run.rows)} of {run.config['training.epochs']}"


def _figure(pair: tuple[float, float | None]) -> str:
    mean, std = pair
    return f"{mean:.2f}" + (f" ± {std:.2f}" if std is not None else "")


def _page(
    summaries: Sequence[Summary], pictures: Mapping[str, str], classifiers: Mapping[str, Any]
) -> str:
    from ltjax.report import posthoc

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    rows = [_row(summary, _shown(summaries)) for summary in summaries]
    width = max(len(row) for row in rows)
    runs = [run for summary in summaries for run in summary.runs]
    return environment.from_string(
        _HEAD + _TEMPLATE.replace("CLASSIFIERS", posthoc.TEMPLATE) + _FOOT
    ).render(
        classifiers=classifiers,
        title=" and ".join(dict.fromkeys(run.title for run in runs)),
        headings=["run", *_headings(summaries)],
        rows=[row + [""] * (width - len(row)) for row in rows],
        class_headings=_class_headings(summaries),
        class_rows=_class_rows(summaries),
        precision_headings=["class", *(summary.title for summary in summaries)],
        precision_rows=_precision_rows(summaries),
        pictures=pictures,
        runs=[
            {
                "title": f"{run.title}, seed {run.seed}",
                "path": run.path.name,
                "start": run.record["starts"][-1],
                "minutes": run.seconds / 60,
                "memory": run.memory,
                "epochs": _progress(run),
                "images": sum(run.class_counts),
                "config": {
                    name: value
                    for name, value in sorted(run.config.items())
                    if not name.startswith("by_dataset.")
                },
            }
            for run in runs
        ],
    )


_HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25em .8em; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; } code { font-size: .9em; } details { margin: .5em 0; }
.note { color: #666; font-size: .9em; } .oracle { color: #999; }
</style></head><body>
<h1>{{ title }}</h1>
"""

_TEMPLATE = """\
<table><tr>{% for heading in headings %}<th>{{ heading }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
<p class="note">Test accuracy in %, of the last epoch; ± is the standard deviation over seeds. The best epoch is chosen by balanced
accuracy on the validation images where there are any; else by test accuracy, as published figures are, and stands beside it for comparison only. Many, medium and few are mean accuracies of the
classes with many, medium and few training images.</p>
{% for name, picture in pictures.items() %}<p><img alt="{{ name }}" src="data:image/png;base64,{{ picture }}"></p>
{% endfor %}
<h2>Per class</h2>
<table><tr>{% for heading in class_headings %}<th>{{ heading }}</th>{% endfor %}</tr>
{% for row in class_rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% if precision_rows %}<h2>Precision / recall / F1 a class</h2>
<table><tr>{% for heading in precision_headings %}<th>{{ heading }}</th>{% endfor %}</tr>
{% for row in precision_rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
<p class="note">In %, last epoch, mean over seeds. Precision and F1 in the first table are means weighted by test images; the weighted
recall is the accuracy.</p>
{% endif %}
CLASSIFIERS<h2>Runs</h2>
{% for run in runs %}<details><summary>{{ run.title }}: {{ run.epochs }}, {{ "{:,}".format(run.images) }} training images,
{{ "%.1f"|format(run.minutes) }} minutes of training on {{ run.start.device }}
{%- for place, mebibytes in run.memory.items() %}, {{ "{:,}".format(mebibytes) }} MiB on {{ place }}{% endfor %} ({{ run.path }})</summary>
<p>Started {{ run.start.time }}; revision {{ run.start.git or "unknown" }}; Python {{ run.start.python }};
{% for name, version in run.start.versions.items() %}{{ name }} {{ version }}{{ ", " if not loop.last }}{% endfor %}.<br>
<code>{{ run.start.command|join(" ") }}</code></p>
<table>{% for name, value in run.config.items() %}<tr><td><code>{{ name }}</code></td><td>{{ value }}</td></tr>
{% endfor %}</table></details>
{% endfor %}
"""

_FOOT = "</body></html>\n"
