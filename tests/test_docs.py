"""The site's pages that the code writes itself say everything; the site itself is built by CI."""

import importlib
import inspect
import sys

import pytest

from configs import base
from ltjax.fields import flat
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "docs" / "_ext"))
import generate

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


@pytest.mark.parametrize("name", generate.API)
def test_every_public_name_has_a_docstring(name):
    module = importlib.import_module(name)
    for public in generate.public_names(module):
        value = getattr(module, public)
        if callable(value):
            assert inspect.getdoc(value), public
