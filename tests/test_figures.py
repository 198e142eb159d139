"""Every figure in a recipe's docstring, a page or a table is that of its record.

A number of a table counts as recorded where it is the rounding of a value in one of the section's
records (or of 100 times it, or of the mean of a few), or the ratio of two numbers of its table in a
column of ratios. Columns of the sources' figures and tables of changes tried by hand have none.
"""

import importlib
import json
import re
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.test_configs import NAMES

RESULTS = ROOT / "docs" / "results"
NUMBER = re.compile(r"(?<![\w.,])-?\d[\d,]*(?:\.\d+)?(?!\w)")
NOT_OURS = re.compile(r"source|published|before programs were kept")


def leaves(value):
    """Numbers of a record, and the means of its short lists."""
    if isinstance(value, dict):
        for below in value.values():
            yield from leaves(below)
    elif isinstance(value, list):
        for below in value:
            yield from leaves(below)
        if 1 < len(value) <= 3 and all(type(one) in (int, float) for one in value):
            yield float(np.mean(value))
    elif type(value) in (int, float):
        yield float(value)


def sections(page):
    """Of a page: title, and text."""
    for part in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.M)[1:]:
        title, _, body = part.partition("\n")
        yield title, body


def tables(body):
    """Of a section: headings, and rows of cells."""
    for block in re.findall(r"(?:^\|.*\n)+", body, flags=re.M):
        rows = [
            [cell.strip() for cell in re.sub(r"\]\([^)]*\)", "]", line).strip("|\n ").split("|")]
            for line in block.splitlines()
        ]
        yield rows[0], rows[2:]


def records(page, body):
    """Files that a section links to, or says its command writes."""
    named = [page.parent / path for path in re.findall(r"\]\(([^)]*\.json)\)", body)]
    named += [ROOT / path for path in re.findall(r"--out (docs/results/\S+\.json)", body)]
    return [path for path in named if path.is_file()]


def rounds_to(value, text):
    decimals = len(text.partition(".")[2])
    return abs(abs(value) - abs(float(text.replace(",", "")))) <= 0.50001 * 10**-decimals


def unrecorded(page):
    """(section, heading, first cell, number) of every number that its records do not hold."""
    for title, body in sections(page):
        files = records(page, body)
        if not files:
            continue
        values = [
            one for path in files for one in leaves(json.loads(path.read_text(encoding="utf-8")))
        ]
        for headings, rows in tables(body):
            if headings[0] in ("change", "layer"):  # timed by hand
                continue
            shown = [
                float(text.replace(",", ""))
                for row in rows
                for heading, cell in zip(headings, row, strict=False)
                if " / " not in heading
                for text in NUMBER.findall(cell)
            ]
            ratios = [a / b for a, b in permutations(shown, 2) if b]
            for row in rows:
                for heading, cell in list(zip(headings, row, strict=False))[1:]:
                    if NOT_OURS.search(heading):
                        continue
                    for text in NUMBER.findall(cell):
                        known = any(rounds_to(w, text) for v in values for w in (v, 100 * v))
                        ratio = " / " in heading and any(rounds_to(r, text) for r in ratios)
                        if not known and not ratio:
                            yield title, heading, row[0], text


@pytest.mark.parametrize("page", ["results/README.md", "performance.md"])
def test_the_tables_are_their_records(page):
    assert list(unrecorded(ROOT / "docs" / page)) == []


def test_a_figure_that_no_record_holds_is_found(tmp_path):
    (tmp_path / "record.json").write_text('{"accuracy": 0.8264, "seconds": [2.0, 3.0]}')
    page = tmp_path / "page.md"
    table = "| run | accuracy | seconds |\n| --- | --- | --- |\n| a | {} | 2.5 |\n"
    text = "## Title\n\n" + table + "\nRecord: [record.json](record.json).\n"
    page.write_text(text.format("82.64"), encoding="utf-8")
    assert list(unrecorded(page)) == []
    page.write_text(text.format("82.46"), encoding="utf-8")
    assert list(unrecorded(page)) == [("Title", "accuracy", "a", "82.46")]


@pytest.mark.parametrize("name", NAMES)
def test_a_docstring_states_the_published_figures_of_its_recipe(name):
    module = importlib.import_module(f"configs.{name}")
    stated = " ".join(module.__doc__.split()).partition("Published")[2].partition("Ours:")[0]
    published = module.get_config().published
    for data, known in (("CIFAR-10-LT", published.cifar10), ("CIFAR-100-LT", published.cifar100)):
        found = re.search(rf"{data} (?:about )?(\d+\.\d+)", stated)
        assert (float(found[1]) if found else None) == known, data
    if published.image_list is not None:
        assert re.search(r"\d+\.\d+", stated)[0] == str(published.image_list)


def our_figure(record):
    """Mean and deviation in % of a summary's last epoch."""
    pair = json.loads((RESULTS / record).read_text(encoding="utf-8"))[0]["last_epoch"]
    accuracy = pair["test_accuracy"]
    spread = f" ± {accuracy['std']:.2f}" if accuracy["std"] is not None else ""
    return f"{accuracy['mean']:.2f}{spread}"


OURS = {"quickstart": "quickstart.json"}
"""Recipe whose docstring states a figure of ours -> its record."""


@pytest.mark.parametrize("name", NAMES)
def test_a_docstring_states_our_figure_as_recorded(name):
    text = importlib.import_module(f"configs.{name}").__doc__.partition("Ours:")[2]
    figures = re.findall(r"\d+\.\d+(?: ± \d+\.\d+)?(?= %)", text)
    assert figures == ([our_figure(OURS[name])] if name in OURS else [])


@pytest.mark.parametrize("page", [ROOT / "README.md", RESULTS / "README.md"], ids=["readme", "all"])
def test_the_tables_of_published_figures_are_the_configs(page):
    """Rows that begin with one recipe; a figure may be rounded to one decimal."""
    seen = 0
    for line in page.read_text(encoding="utf-8").splitlines():
        row = re.match(r"\| \[(\w+)\]\([^)]*configs/(\w+)\.py\)([^\[]*?)\|(.*)\|", line)
        if not row or row[1] != row[2]:
            continue
        published = importlib.import_module(f"configs.{row[1]}").get_config().published
        known = [one for one in (published.cifar10, published.cifar100) if one is not None]
        cells = [cell.strip() for cell in row[4].split("|")]
        shown = [re.match(r"\d+\.\d+(?! ±)", cell) for cell in cells[:2]]
        shown = [match[0] for match in shown if match]
        if row[1] != "quickstart":
            assert len(shown) in (0, 1, len(known)), line
            assert all(rounds_to(value, text) for value, text in zip(known, shown, strict=False)), (
                line
            )
            assert bool(shown) == bool(known), line
        else:
            assert our_figure("quickstart.json") in line
        seen += 1
    assert seen >= 3


def test_the_readmes_caption_is_the_short_runs():
    runs = json.loads((RESULTS / "short_run.json").read_text(encoding="utf-8"))["runs"]
    caption = (ROOT / "README.md").read_text(encoding="utf-8").partition("*LDAM")[2]
    means, spreads = [], []
    for each in runs.values():
        accuracies = [100 * run["accuracy"] for run in each]
        means.append(np.mean(accuracies))
        spreads.append(max(accuracies) - min(accuracies))
    told = re.findall(r"\d+\.\d", caption.partition("*\n\n")[0])
    assert all(rounds_to(value, text) for value, text in zip((*means, *spreads), told, strict=True))


def test_records_are_kept_for_what_the_results_link_to():
    page = RESULTS / "README.md"
    for target in re.findall(r"\]\(([^)#]+\.json)\)", page.read_text(encoding="utf-8")):
        assert isinstance(
            json.loads(Path(page.parent / target).read_text(encoding="utf-8")), (dict, list)
        )
