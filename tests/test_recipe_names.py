"""Recipes by name, with the checkout and without."""

import shutil
import subprocess
import sys

import pytest

from ltjax import recipes
from tests.conftest import ROOT


def test_every_recipe_tells_what_it_is_and_its_figures():
    assert "base" not in recipes.names()
    for name in recipes.names():
        said = recipes.headings(name)
        assert list(said) == ["what", "source", "published", "ours"], name
        assert all(said.values()), name
    assert recipes.headings("crt")["published"].startswith("CIFAR-10-LT 74.99")


def test_another_package_called_configs_stays_the_users(monkeypatch, tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("OWN = True")
    (tmp_path / "mine.py").write_text(
        "from configs import base\n\ndef get_config():\n    return base.get_config()\n"
    )
    for name in [name for name in sys.modules if name.split(".")[0] == "configs"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    import configs

    assert configs.OWN
    assert recipes.load(tmp_path / "mine.py").name == "base"
    assert recipes.load("quickstart").data.name == "digits"
    assert sys.modules["configs"] is configs


def test_what_is_no_recipe_is_told(tmp_path):
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match="has no get_config"):
        recipes.load(tmp_path / "empty.py")
    assert recipes.path_of("configs/ce.py").name == "ce.py"


def test_an_installed_copy_needs_no_checkout(environment, tmp_path):
    """As the wheel lays it out: configs/ inside the package."""
    shutil.copytree(ROOT / "ltjax", tmp_path / "site" / "ltjax")
    shutil.copytree(ROOT / "configs", tmp_path / "site" / "ltjax" / "configs")

    def ltjax(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "ltjax", *arguments],
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": str(tmp_path / "site")},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    listed = ltjax("--list")
    assert listed.returncode == 0, listed.stderr
    assert "\nquickstart\n" in listed.stdout
    (tmp_path / "mine.py").write_text(
        "from configs import ce\n\ndef get_config():\n    return ce.get_config()\n"
    )
    for config, message in (
        ("--config=mine.py", "config.training.epochs is 0; expected at least 1"),
        ("--config=quickstrat", "unknown recipe 'quickstrat'; did you mean 'quickstart'?"),
    ):
        done = ltjax(config, "--config.training.epochs=0")
        assert done.returncode == 2
        assert done.stderr.startswith("ltjax: ")
        assert message in done.stderr
