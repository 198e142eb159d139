"""A link of the site that leads nowhere is found;
so are pages' links to files of the repository.
"""

import re
import sys

import pytest
import yaml

import ltjax
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "docs" / "_ext"))
import links

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ROOT / "benchmarks" / "README.md",
    *(
        path
        for path in (ROOT / "docs").rglob("*.md")
        if not {"generated", "_build"} & set(path.parts)
    ),
]


def test_links_that_lead_nowhere_are_found(tmp_path):
    (tmp_path / "b c").mkdir()
    (tmp_path / "b c" / "index.html").write_text('<h1 id="there">B</h1><img src="../a.png">')
    (tmp_path / "a.png").write_text("")
    good = [
        "b%20c/index.html#there",
        "b%20c/",
        "#here",
        "https://arxiv.org/abs/2101.10633",
        "a.png",
    ]
    bad = {
        "b%20c/index.html#elsewhere": "no such anchor",
        "#elsewhere": "no such anchor",
        "c.html": "no such file",
        "https://": "host '' is none",
        "https://localhost/x": "host 'localhost' is none",
        "https://a b.org": "host 'a b.org' is none",
        "https://example.org/a b": "a space in it",
        "htps://example.org": "scheme 'htps'; expected https",
        "https://[example.org": "Invalid IPv6 URL",
    }
    anchors = "".join(f'<a href="{link}">x</a>' for link in [*good, *bad])
    (tmp_path / "a.html").write_text(f'<p id="here">{anchors}</p>')
    assert {link: wrong for _, link, wrong in links.broken(tmp_path)} == bad


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_pages_links_lead_to_files_and_headings(page):
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            assert links._wrong_outside(target) == "", target
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if "generated" in file.parts:
            continue  # by the site, whose build checks it
        file = file if file.exists() else file.with_suffix(".md")
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.M)
            slugs = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
            assert anchor in slugs, target


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(cited)
    assert all({"name"} <= set(author) for author in cited["authors"])
    assert cited["version"] == ltjax.__version__
    assert f'license = "{cited["license"]}"' in (ROOT / "pyproject.toml").read_text(
        encoding="utf-8"
    )
