"""What the README promises is there: its code runs, its links lead somewhere,
CI runs its commands.
"""

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


def sentences(text):
    """Of the prose: without code, tables, headings and the addresses of links."""
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    text = re.sub(r"^(    .*|\|.*|#.*)$", "", text, flags=re.M)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    for paragraph in re.split(r"\n\s*\n|^- ", text, flags=re.M):
        yield from re.split(r"(?<=[.?!:;])\s+", " ".join(paragraph.split()))


def test_it_is_one_screen_of_short_sentences():
    assert len(TEXT.split()) <= 500
    assert len(TEXT.splitlines()) <= 80
    assert max(map(len, TEXT.splitlines())) <= 110
    long = [one for one in sentences(TEXT) if len(one.split()) > 25]
    assert not long


def test_a_long_sentence_is_found():
    text = "One. " + "word " * 26 + "end.\n\n| " + "cell " * 30 + "|\n\n    " + "code " * 30
    assert [len(one.split()) for one in sentences(text) if len(one.split()) > 25] == [27]


def test_every_link_leads_to_a_file():
    for page in (
        ROOT / "README.md",
        ROOT / "docs" / "results" / "README.md",
        ROOT / "CONTRIBUTING.md",
    ):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_ci_runs_the_commands():
    script = (ROOT / ".ci" / "run").read_text()
    commands = ("quickstart.py", "ldam_drw_sam.py")
    for command in (
        *(f"python launch.py --config=configs/{one}" for one in commands),
        "pytest -n 2",
    ):
        assert command in TEXT
        assert command in script
