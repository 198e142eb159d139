"""Every figure of a page is taken from a record;
those of docstrings and of the README equal theirs.
"""

import importlib
import json
import re
import sys

import pytest

from tests.conftest import ROOT
from tests.test_configs import NAMES

sys.path.insert(0, str(ROOT / "docs" / "_ext"))
import records
import tables

RESULTS = ROOT / "docs" / "results"
PAGES = [
    page
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if page.name != "tried.md" and not {"generated", "_build", "_static"} & set(page.parts)
]
"""Without the one that says of itself that it has no records."""
WITH_UNIT = r"\b\d[\d,]*(?:\.\d+)? ?(?:%|points\b|times\b|s\b|ms\b|images/s)"
LIKE_AN_ACCURACY = r"(?<![\w.^-])[1-9]\d?\.\d\d?(?!\.?\d)"
"""1.0 to 99.99, such as "ends at 69.33"; no part of a version, a name or an exponent."""
MEASURED = re.compile(f"{WITH_UNIT}|{LIKE_AN_ACCURACY}")
ALLOWED = {
    "faq.md": ("1.0",),  # a version
    "install.md": ("3.11", "3.13"),  # versions
    "performance.md": ("2.48", "2.1", "2 s", "7 s", "4.3"),  # arithmetic from a datasheet
    "photographs.md": (
        *("4.1", "8.2", "10.4", "39.4", "1.94", "1.4", "5.5", "2.7", "1.8"),  # the same
        *("10 %", "20 %", "30 %", "90 %"),  # shares of a datasheet's rate, supposed
    ),
    "sam.md": ("2.66 times", "2.00 times"),  # counted by JAX, as the sentence says
}
RECORDS = records.load(RESULTS)


def rounds_to(value, text):
    decimals = len(text.partition(".")[2])
    return abs(abs(value) - abs(float(text.replace(",", "")))) <= 0.50001 * 10**-decimals


def typed(text):
    """Numbers of a page's author that look measured: outside of code, roles, tables of records and
    the addresses of links.
    """
    prose = re.sub(r"^```.*?^```|`[^`\n]*`|^    [^\n]*|\]\([^)]*\)", "", text, flags=re.S | re.M)
    return MEASURED.findall(prose)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_pages_figures_are_those_of_records(page):
    text = page.read_text(encoding="utf-8")
    for expression in re.findall(r"\{figure\}`([^`]*)`", text):
        assert records.shown(RECORDS, expression)
    for name in re.findall(r"```\{measured\} (\w+)", text):
        assert name in tables.TABLES
    allowed = ALLOWED.get(page.name, ())
    assert [number for number in typed(text) if number not in allowed] == []
    assert [number for number in allowed if number not in typed(text)] == []


def test_a_figure_that_was_typed_is_found():
    text = (
        "In 12 ms,\n\n    code of 5 %\n\n82.64 %, {figure}`a/b` % and `0.5 %` of 12,406 images.\n"
        "It ends at 69.33 (81.9 published,\n79.4, 90.07 ± 3.23) with rho 0.05 and 1e-5.\n\n"
        "```python\nrate = 12.5\n```\n\nSee [there](v1.5/a-2.25.png), jax 0.10.1, x^-1.2 and arXiv"
        " 2101.10633; | cell | 33.4 |\n"
    )
    accuracies = ["69.33", "81.9", "79.4", "90.07", "3.23", "33.4"]
    assert typed(text) == ["12 ms", "82.64 %", *accuracies]


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


def our_figure(record, which="accuracy"):
    """Mean and deviation in % of a record."""
    accuracy = json.loads((RESULTS / record).read_text(encoding="utf-8"))[0][which]
    spread = f" ± {accuracy['std']:.2f}" if accuracy["std"] is not None else ""
    return f"{accuracy['mean']:.2f}{spread}"


OURS = {"quickstart": "quickstart.json", "finetune": "own_data.json"}
"""Recipe whose docstring states a figure of ours -> its record."""


@pytest.mark.parametrize("name", NAMES)
def test_a_docstring_states_our_figure_as_recorded(name):
    text = importlib.import_module(f"configs.{name}").__doc__.partition("Ours:")[2]
    figures = re.findall(r"\d+\.\d+(?: ± \d+\.\d+)?(?= %)", text)
    assert figures == ([our_figure(OURS[name])] if name in OURS else [])


def test_the_readmes_table_of_published_figures_is_the_configs():
    """Rows that begin with one recipe; a figure may be rounded to one decimal."""
    seen = 0
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        row = re.match(r"\| \[(\w+)\]\([^)]*configs/(\w+)\.py\)([^\[]*?)\|(.*)\|", line)
        if not row or row[1] != row[2]:
            continue
        published = importlib.import_module(f"configs.{row[1]}").get_config().published
        known = [one for one in (published.cifar10, published.cifar100) if one is not None]
        cells = [cell.strip() for cell in row[4].split("|")]
        shown = [re.match(r"\d+\.\d+(?!\d| ±| \()", cell) for cell in cells[:2]]
        shown = [match[0] for match in shown if match]
        if row[1] != "quickstart":
            assert len(shown) in (0, 1, len(known)), line
            assert all(rounds_to(value, text) for value, text in zip(known, shown, strict=False)), (
                line
            )
            assert bool(shown) == bool(known), line
            finished = f"full/{row[1]}-cifar10/summary.json"
            if (RESULTS / finished).exists():
                best = our_figure(finished, "best_epoch")
                assert f"| {our_figure(finished)} ({best}), " in line
            else:
                assert "not run yet" in line
        else:
            assert our_figure("quickstart.json") in line
        seen += 1
    assert seen >= 3


def test_the_readmes_caption_is_of_the_finished_runs():
    caption = (ROOT / "README.md").read_text(encoding="utf-8").partition("*CIFAR-10-LT")[2]
    told = re.findall(r"\d+\.\d+", caption.partition("*\n\n")[0])
    shown = ("ce", "ldam_drw_sam")
    assert told == [our_figure(f"full/{name}-cifar10/summary.json") for name in shown]


def test_the_mutants_of_contributing_are_the_records():
    told = " ".join((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
    found = re.search(r"(\d+) of (\d+) killed", told)
    modules = RECORDS["mutants"]["modules"].values()
    assert [int(n) for n in found.groups()] == [
        sum(one[key] for one in modules) for key in ("killed", "judged")
    ]
