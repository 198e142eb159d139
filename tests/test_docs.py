"""The site's pages that the code writes itself say everything; the site itself is built by CI."""

import copy
import importlib
import inspect
import re
import shlex
import sys
import tomllib

import jax
import pytest
from absl import flags
from ml_collections import config_flags

import ltjax
from configs import base
from ltjax import command
from ltjax.experiment import settings
from ltjax.fields import flat
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "docs" / "_ext"))
import generate

FREE = ("by_dataset.", "published.")
PAGES = [
    page
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if not {"generated", "_build"} & set(page.parts)
]


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


def test_the_install_page_tells_every_extra_and_package():
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra in project["optional-dependencies"]:
        assert f"| `{extra}` |" in page or f".[{extra}]" in page, extra
    rows = generate.versions(ROOT).splitlines()
    assert len(rows) == 3 + len(project["dependencies"])
    assert f"| jax | `>=0.10,<0.13` | {jax.__version__} |" in rows


def test_every_public_function_and_class_has_an_example_that_doctest_runs(monkeypatch):
    assert generate.without_example() == []
    for name in ltjax._LAZY:  # fit, load, Trained, inspect
        assert getattr(ltjax, name).__module__ in generate.API, name
    monkeypatch.setattr(ltjax.Trained, "__doc__", "A class without an example.")
    monkeypatch.setattr(ltjax.fit, "__doc__", None)
    assert generate.without_example() == ["ltjax.fitting.fit", "ltjax.trained.Trained"]


def flags_of(page):
    """Of each table row of a page, our flags."""
    for line in page.splitlines():
        for code in re.findall(r"`([^`]*)`", line) if line.startswith("|") else ():
            if re.match(r"--(config|mode)\b", code):
                yield shlex.split(code)


def commands_of(page):
    """Flags of each command of a page, outside of what it runs itself; not those with "..."."""
    text = re.sub(r"^```.*?^```", "", page, flags=re.S | re.M).replace("\\\n", " ")
    for block, inline in re.findall(r"^    (.*)$|`([^`\n]*)`", text, flags=re.M):
        for told in re.findall(r"(?:python launch\.py|\bltjax) (--[^#&|]*)", block or inline):
            if "..." not in told:
                yield shlex.split(told)


def resolved(arguments, monkeypatch):
    """The config of a command: parsed by the command's own parser, and checked."""
    argv = command._with_paths(["launch.py", *arguments])
    monkeypatch.setattr(sys, "argv", argv)  # where its parser looks
    values = flags.FlagValues()
    for flag in flags.FLAGS.flags_by_module_dict()[command.__name__]:
        if flag.name != "config":
            values[flag.name] = copy.deepcopy(flag)
    base_file = str(ROOT / "configs" / "base.py")
    config = config_flags.DEFINE_config_file("config", base_file, flag_values=values)
    assert values(argv)[1:] == []
    return settings.resolve(config.value)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
def test_our_flags_beside_the_authors_are_flags(monkeypatch):
    rows = list(flags_of((ROOT / "docs" / "pytorch.md").read_text(encoding="utf-8")))
    assert len(rows) >= 40
    for row in rows:
        resolved([one for one in row if "FILE" not in one], monkeypatch)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_a_pages_commands_can_be_given(monkeypatch):
    found = [one for page in PAGES for one in commands_of(page.read_text(encoding="utf-8"))]
    assert len(found) >= 20
    for arguments in found:
        resolved(arguments, monkeypatch)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_a_command_with_a_wrong_flag_is_found(monkeypatch):
    page = (
        "Run `python launch.py --config=ce --config.sam.radius=1`:\n\n"
        "    ltjax --mod=hessian  # x\n"
    )
    one, other = commands_of(page)
    with pytest.raises(AttributeError, match="radius"):
        resolved(one, monkeypatch)
    with pytest.raises(flags.UnrecognizedFlagError, match="mod"):
        resolved(other, monkeypatch)


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
