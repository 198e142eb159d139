"""The site's pages that the code writes itself say everything; the site itself is built by CI."""

import importlib
import inspect
import re
import shlex
import sys

import pytest
from absl import flags
from ml_collections import config_flags

from configs import base
from ltjax.experiment import settings
from ltjax.fields import flat
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "docs" / "_ext"))
import generate

MODES = ("train", "evaluate", "predict", "export", "hessian", "posthoc", "report")
FREE = ("by_dataset.", "published.")


def test_every_field_of_a_config_is_explained():
    fields = generate.fields(ROOT)
    leaves = [name for name in flat(base.get_config()) if not name.startswith(FREE)]
    assert not set(leaves) - set(fields)
    page = generate.configuration(ROOT)
    for name in leaves:
        assert f"| `{name}` |" in page, name
    for name, (default, comment) in fields.items():
        above = fields.get(name.rpartition(".")[0], ("", ""))[1]
        assert comment or above or default == "ConfigDict()", f"{name} has no comment"


def test_every_recipe_has_a_fold_with_its_command():
    page = generate.recipes(ROOT)
    for file in (ROOT / "configs").glob("[a-z]*.py"):
        if file.stem != "base":
            assert f"## {file.stem}\n" in page
            assert f"configs/{file.stem}.py" in page.split(f"## {file.stem}\n")[1].split("\n## ")[0]


def test_a_fold_tells_idea_paper_figures_command_and_config():
    fold = generate.recipes(ROOT).split("\n## imbsam\n")[1].split("\n## ")[0]
    heads = re.findall(r"\*\*(\w+)[^:]*:\*\*", fold)
    assert {"Source", "Published"} <= set(heads)
    assert "](https://arxiv.org/abs/2308.07815)" in fold
    assert "{literalinclude} ../../configs/imbsam.py" in fold
    parts = generate.docstring_parts(
        "A title\nof two lines.\n\nSource: a.\nPublished: 1. Ours: 2.\nRun: c\n  d"
    )
    assert parts == {
        "": ["A title of two lines."],
        "Source": ["a."],
        "Published": ["1."],
        "Ours": ["2."],
        "Run": ["c", "d"],
    }
    with pytest.raises(ValueError, match="no Run: A title"):
        generate.docstring_parts("A title.\n\nSource: a.\nPublished: 1.")


def test_every_public_function_has_an_example_that_doctest_runs(monkeypatch):
    assert generate.without_example() == []
    monkeypatch.setattr(generate, "SHOWN_IN_PAGES", ())
    assert generate.without_example() == ["ltjax.fitting.fit", "ltjax.loading.load"]


def flags_of(page):
    """Of each table row of a page, our flags."""
    for line in page.splitlines():
        for code in re.findall(r"`([^`]*)`", line) if line.startswith("|") else ():
            if re.match(r"--(config|mode)\b", code):
                yield shlex.split(code)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
def test_our_flags_beside_the_authors_are_flags(monkeypatch):
    """Each is parsed by the command's own parser, and its config resolved."""
    rows = list(flags_of((ROOT / "docs" / "pytorch.md").read_text(encoding="utf-8")))
    assert len(rows) >= 40
    for row in rows:
        given = [one.replace("=configs/", f"={ROOT}/configs/") for one in row if "FILE" not in one]
        monkeypatch.setattr(sys, "argv", ["launch.py", *given])  # where its parser looks
        values = flags.FlagValues()
        flags.DEFINE_enum("mode", "train", MODES, "", flag_values=values)
        config = config_flags.DEFINE_config_file(
            "config", str(ROOT / "configs" / "base.py"), flag_values=values
        )
        values(sys.argv)
        settings.resolve(config.value)


def test_a_wrong_flag_beside_an_authors_is_found():
    (row,) = flags_of("| `--rho 0.8` | `--config.sam.radius=0.8` (theirs) |\n`--config.x=1`")
    assert row == ["--config.sam.radius=0.8"]


@pytest.mark.parametrize("name", generate.API)
def test_every_public_name_has_a_docstring(name):
    module = importlib.import_module(name)
    for public in generate.public_names(module):
        value = getattr(module, public)
        if callable(value):
            assert inspect.getdoc(value), public
