"""The leaderboard has every figure once, and its tables sort and filter in a browser."""

import importlib
import json
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "docs" / "_ext"))
import leaderboard
import records

RECORDS = records.load(ROOT / "docs" / "results")
FIGURES = [one for one in RECORDS.values() if "status" in one]
THEIRS = {name: one for name, one in RECORDS.items() if one.get("status") == "published"}
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


def test_every_figure_stands_in_one_section():
    named = [
        one["id"] for section in leaderboard.SECTIONS for one in leaderboard.rows(RECORDS, section)
    ]
    assert sorted(named) == sorted(one["id"] for one in FIGURES)


def test_a_short_run_never_stands_beside_a_published_figure():
    for section in leaderboard.SECTIONS:
        found = {one["status"] for one in leaderboard.rows(RECORDS, section)}
        assert "published" not in found or found <= {"published", "measured"}
    for one in FIGURES:
        if one["status"] != "measured":
            assert leaderboard.cells(one, RECORDS)["published"] == ("", None)


def test_ours_stands_beside_what_was_published():
    ours = RECORDS["quickstart"] | {
        "id": "ours",
        "recipe": "ldam_drw_sam",
        "data": {"name": "CIFAR-10-LT", "imbalance": 100.0},
        "accuracy": {"mean": 81.0, "std": 0.4},
    }
    theirs = RECORDS["published-cifar10-ldam_drw_sam"]
    known = THEIRS | {"ours": ours}
    assert leaderboard.status(theirs, THEIRS) == "published only"
    assert leaderboard.status(theirs, known) == "published"
    assert leaderboard.status(RECORDS["published-cifar100-ldam_drw_sam"], known) == "published only"
    beside = leaderboard.cells(ours, known)["published"][0]
    assert re.search(r"81\.90 \(<a href=.*>README</a>, best epoch\)", beside)
    rows = [one["id"] for one in leaderboard.rows(known, "cifar10")]
    place = rows.index("ours")
    assert rows[place + 1 : place + 2] == ["published-cifar10-ldam_drw_sam"]


def test_a_figure_stands_in_the_column_of_its_epoch():
    last = leaderboard.cells(RECORDS["published-cifar10-proco"], RECORDS)
    assert (last["last epoch"][0], last["best epoch"][0]) == ("85.63", "85.93")
    best = leaderboard.cells(RECORDS["published-cifar10-mislas"], RECORDS)
    assert (best["last epoch"][0], best["best epoch"][0]) == ("", "82.50")
    neither = leaderboard.cells(RECORDS["published-cifar10-crt"], RECORDS)
    assert [neither[name][0] for name in ("last epoch", "best epoch", "epoch not stated")] == [
        "",
        "",
        "74.99",
    ]


def test_a_row_without_a_figure_of_ours_says_published_only_beside_its_method():
    rows = leaderboard.html(THEIRS, "cifar10").partition("<tbody>")[2].split("<tr ")[1:]
    assert len(rows) > 20
    for row in rows:
        assert re.findall(r"<td[^>]*>(.*?)</td>", row)[1] == "published only"


def test_columns_that_no_row_fills_are_left_out():
    headings = re.findall(r"<th[^>]*>([^<]*)</th>", leaderboard.html(THEIRS, "cifar10"))
    assert headings[:2] == ["method", "figure"]
    assert not {"published", "hours a run"} & set(headings)
    assert "hours a run" in leaderboard.html(RECORDS, "digits")


def test_what_a_record_says_is_text_not_markup():
    odd = RECORDS["quickstart"] | {"method": "<b>&", "footnote": '"<script>'}
    page = leaderboard.html({"quickstart": odd}, "digits")
    assert "&lt;b&gt;&amp;" in page
    assert "<script>" not in page


DRIVER = """
<script>
addEventListener("load", () => {
  const table = document.querySelector("table.leaderboard");
  const rows = () => [...table.tBodies[0].rows].map((row) => row.id);
  const heading = (name) => [...table.tHead.rows[0].cells].\
find((one) => one.textContent.trim() === name);
  const order = (name) => { (heading(name).querySelector("[role=button]") || heading(name)).\
click(); };
  const search = (words) => {
    const field = document.querySelector(".dt-search input");
    field.value = words;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const said = { start: rows() };
  const steps = [
    () => order("best epoch"),
    () => { said.descending = rows(); order("best epoch"); },
    () => { said.ascending = rows(); search("ProCo log"); },
    () => { said.filtered = rows(); document.title = JSON.stringify(said); },
  ];
  steps.forEach((step, k) => setTimeout(step, 500 * (k + 1)));
});
</script>
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The leaderboard's page as Sphinx builds it, without the rest of the site."""
    pytest.importorskip("myst_parser", reason="needs the docs extra")
    source = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "docs" / "leaderboard.md", source / "index.md")
    (source / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'docs' / '_ext')!r})\n"
        "extensions = ['myst_parser', 'records']\n"
        f"records_folder = {str(ROOT / 'docs/results')!r}\n"
        f"html_static_path = [{str(ROOT / 'docs' / '_static')!r}]\nhtml_theme = 'basic'\n"
        "suppress_warnings = ['myst.xref_missing']\n",
        encoding="utf-8",
    )
    # Apart, since warnings are errors here, those of Sphinx's extensions too.
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", source, source / "out"]
    subprocess.run(command, check=True)
    return source / "out" / "index.html"


def test_without_a_script_it_is_a_plain_table(page):
    text = page.read_text(encoding="utf-8")
    assert text.count('<table class="leaderboard">') == len(leaderboard.SECTIONS)
    for one in FIGURES:
        assert text.count(f'id="figure-{one["id"]}"') == 1
    for script in re.findall(r'<script src="([^"?]*)', text):
        assert "://" not in script
        assert (page.parent / script).is_file()


@pytest.mark.skipif(BROWSER is None, reason="no chromium here to open the page in")
def test_a_browser_sorts_and_filters(page):
    driven = page.with_name("driven.html")
    text = page.read_text(encoding="utf-8")
    driven.write_text(text.replace("</body>", DRIVER + "</body>"), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += [f"--user-data-dir={page.parent / 'profile'}", "--virtual-time-budget=10000"]
    done = subprocess.run(
        [BROWSER, *flags, "--dump-dom", driven.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert title, done.stdout[:500] + done.stderr[-2000:]
    said = json.loads(title[1])
    assert said["start"] == [f"figure-{one['id']}" for one in leaderboard.rows(RECORDS, "cifar10")]

    def figures(names):
        found = [
            leaderboard.cells(RECORDS[name.removeprefix("figure-")], RECORDS) for name in names
        ]
        return [cells["best epoch"][1] for cells in found]

    assert figures(said["descending"]) == sorted(figures(said["start"]), reverse=True)
    assert figures(said["ascending"]) == sorted(figures(said["start"]))
    assert said["filtered"] == ["figure-published-cifar10-proco"]


def test_the_roles_of_a_page_are_numbers_of_its_records():
    known = {
        "a": {"accuracy": {"mean": 90.067, "std": 3.233}, "each": [0.25, 0.5], "name": "x"},
        "b": {"seconds": 4},
    }
    assert records.shown(known, "a/accuracy") == "90.07 ± 3.23"
    assert records.shown(known, "a/accuracy/mean:.1f") == "90.1"
    assert records.shown(known, "a/each/1:.1%") == "50.0"
    assert records.shown(known, "a/each/0 * b/seconds:.0f") == "1"
    assert records.shown(known, "b/seconds / 1e3:.3f") == "0.004"
    assert records.shown(known, "a/name") == "x"


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("c/accuracy", "no record 'c'; expected one of a"),
        ("a/acuracy", "no 'acuracy'; there is accuracy"),
        ("a/each/7", "no '7'"),
        ("a/each", "expected a number or a text"),
    ],
)
def test_a_role_without_a_record_ends_the_build(expression, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        records.shown({"a": {"accuracy": {"mean": 1.0, "std": None}, "each": [1]}}, expression)


def test_two_records_of_one_name_are_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"what": "one"}')
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.json").write_text('{"what": "another"}')
    with pytest.raises(ValueError, match="a second record of the name 'a'"):
        records.load(tmp_path)


def test_every_table_can_be_made():
    tables = importlib.import_module("tables")
    for name, build in tables.TABLES.items():
        lines = build(RECORDS).strip().splitlines()
        assert len(lines) > 2, name
        assert len({line.count("|") for line in lines}) == 1, name
