"""What the README promises is there: its code runs, its links lead somewhere, CI runs its commands."""

import re

import numpy as np

from tests.conftest import ROOT

TEXT = (ROOT / "README.md").read_text()


def test_the_library_in_ten_lines_runs():
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    names: dict = {}
    exec(code, names)
    np.testing.assert_array_equal(names["counts"][[0, -1]], [5000, 50])
    assert names["loss"].shape == ()
    assert np.isfinite(names["loss"])
    assert {"init", "update"} <= set(names["optimizer"]._fields)


def test_every_link_leads_to_a_file():
    for page in (
        ROOT / "README.md",
        ROOT / "docs" / "results" / "README.md",
        ROOT / "CONTRIBUTING.md",
    ):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_ci_runs_the_two_commands():
    script = (ROOT / ".ci" / "run").read_text()
    for command in ("python launch.py --config=configs/quickstart.py", "pytest -n 2"):
        assert command in TEXT
        assert command in script
