"""Reports from work directories written here, so that what they should say is known."""

import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from ltjax import report
from ltjax.report import plots
from ltjax.workdir.workdir import Workdir

NAMES = [f"class {c}" for c in range(10)]


def write_run(
    path, seed=0, accuracies=(0.2, 0.6, 0.5), epochs=3, finished=True, name="ldam_drw_sam", **config
):
    path.mkdir(parents=True)
    config = {
        "name": name,
        "seed": seed,
        "data.name": "cifar10",
        "training.epochs": epochs,
        "training.published_epochs": 3,
        "published.cifar10": 81.9,
        "sam.rho": 0.8,
        **config,
    }
    start = {
        "time": "2026-01-01T00:00:00",
        "command": ["launch.py"],
        "device": "1 x cpu",
        "python": "3.11",
        "versions": {"jax": "0.10"},
        "git": None,
    }
    record = {
        "config": config,
        "data": {"class_counts": list(range(100, 0, -10)), "digest": "", "source": ""},
        "class_names": NAMES,
        "starts": [start],
    }
    (path / "config.json").write_text(json.dumps(record))
    rows = []
    for epoch, accuracy in enumerate(accuracies):
        per_class = np.clip(accuracy + np.linspace(0.2, -0.2, 10), 0, 1).tolist()
        rows.append(
            {
                "epoch": epoch,
                "train_loss": 1.0,
                "train_accuracy": 0.5,
                "seconds": 2.0,
                "test_loss": 1.0,
                "test_accuracy": accuracy,
            }
            | {
                "many": accuracy,
                "medium": accuracy,
                "few": accuracy,
                "balanced_accuracy": accuracy,
                "per_class": per_class,
            }
        )
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if finished:
        (path / "result.json").write_text(json.dumps({"confusion": np.diag(range(10)).tolist()}))
    return path


def written(workdirs, output):
    console = Console(record=True, width=200, file=io.StringIO())
    summaries = report.write(workdirs, output, console)
    return summaries, console.export_text()


def test_one_run_shows_the_last_epoch_first_and_the_best_beside_it(tmp_path):
    (summary,), text = written([write_run(tmp_path / "a")], tmp_path / "a")
    assert summary.figures["test_accuracy"] == (50.0, None)
    assert summary.best == (60.0, None)
    assert summary.published == 81.9
    row = next(
        line for line in text.splitlines() if "ldam_drw_sam, cifar10" in line and "81.9" in line
    )
    assert re.findall(r"\d+\.\d+", row)[0] == "50.00"
    assert "60.00" in row
    assert "class 9" in text
    for name in ("report.html", "curves.png", "per_class.png", "confusion.png", "summary.json"):
        assert (tmp_path / "a" / name).stat().st_size > 500


def test_seeds_of_one_config_stand_in_one_row_with_mean_and_deviation(tmp_path):
    runs = [
        write_run(tmp_path / f"s{seed}", seed, (0.1, last))
        for seed, last in enumerate((0.5, 0.6, 0.7))
    ]
    other = write_run(tmp_path / "other", name="ce")
    summaries, text = written([*runs, other], tmp_path / "out")
    assert [summary.title for summary in summaries] == ["ldam_drw_sam, cifar10", "ce, cifar10"]
    mean, std = summaries[0].figures["test_accuracy"]
    assert (round(mean, 6), round(std, 6)) == (60.0, 10.0)
    assert "60.00 ± 10.00" in text
    assert (tmp_path / "out" / "confusion_2.png").exists()
    (first, _) = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert first["seeds"] == [0, 1, 2]
    assert first["last_epoch"]["test_accuracy"] == {"mean": 60.0, "std": 10.0}


def test_equally_named_runs_are_told_apart_by_what_differs(tmp_path):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", **{"sam.rho": 0.1})]
    summaries, _ = written(runs, tmp_path / "out")
    assert [summary.title for summary in summaries] == [
        "ldam_drw_sam, cifar10, sam.rho=0.8",
        "ldam_drw_sam, cifar10, sam.rho=0.1",
    ]


def test_a_short_run_is_not_held_against_the_published_figure(tmp_path):
    (summary,), _ = written(
        [write_run(tmp_path / "a", **{"training.published_epochs": 200})], tmp_path / "a"
    )
    assert summary.published is None


@pytest.mark.parametrize(
    ("changes", "published"),
    [
        ({"data.factor": 0.1}, None),
        ({"data.factor": 0.1, "published.factor": 0.1}, 81.9),
        ({"data.profile": "step"}, None),
        ({"data.factor": 0.01, "data.profile": "exponential"}, 81.9),
    ],
)
def test_a_published_figure_is_shown_at_its_own_imbalance(tmp_path, changes, published):
    (summary,) = report.summarize([report.load_run(write_run(tmp_path / "a", **changes))])
    assert summary.published == published


def test_runs_on_other_counts_have_their_own_beside_their_accuracy(tmp_path):
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", name="ce")
    record = json.loads((b / "config.json").read_text(encoding="utf-8"))
    record["data"]["class_counts"] = list(range(50, 0, -5))
    (b / "config.json").write_text(json.dumps(record), encoding="utf-8")
    _, text = written([a, b], tmp_path / "out")
    row = next(line for line in text.splitlines() if "class 0" in line)
    assert re.findall(r"\((\d+)\)", row) == ["100", "50"]
    assert "ce, cifar10 (training images)" in text


def test_a_result_of_an_earlier_run_in_the_folder_is_not_drawn(tmp_path):
    path = write_run(tmp_path / "a")
    result = {"confusion": np.eye(10, dtype=int).tolist(), "last": {"epoch": 2, "seconds": 9.0}}
    (path / "result.json").write_text(json.dumps(result), encoding="utf-8")
    assert report.load_run(path).confusion is None
    last = json.loads((path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    (path / "result.json").write_text(json.dumps({**result, "last": last}), encoding="utf-8")
    np.testing.assert_array_equal(report.load_run(path).confusion, np.eye(10))


def test_brackets_and_dollars_in_names_are_no_markup(tmp_path):
    path = write_run(tmp_path / "a", name="[red]ce[/red] $x_$")
    record = json.loads((path / "config.json").read_text(encoding="utf-8"))
    record["class_names"] = ["[bold]", "[/]", "a$b$c", *NAMES[3:]]
    (path / "config.json").write_text(json.dumps(record), encoding="utf-8")
    _, text = written([path], path)
    for name in ("[red]ce[/red] $x_$", "[bold]", "[/]", "a$b$c"):
        assert name in text


def test_an_unfinished_run_is_reported_as_such(tmp_path):
    _, text = written([write_run(tmp_path / "a", epochs=9, finished=False)], tmp_path / "a")
    assert "unfinished: epoch 3 of 9" in text
    assert not (tmp_path / "a" / "confusion.png").exists()


def test_the_page_is_self_contained_well_formed_and_escapes_names(tmp_path):
    written([write_run(tmp_path / "a", name="<script>alert(1)</script>")], tmp_path / "a")
    page = (tmp_path / "a" / "report.html").read_text()
    assert page.count("<script>") == 1
    assert "<script>alert" not in page
    assert page.count("data:image/png;base64,") == 3
    assert not re.search(r'(src|href)="(?!data:)', page)
    open_tags = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "img", "br"):
                open_tags.append(tag)
            if tag == "script":
                assert not attrs

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Checker().feed(page)
    assert open_tags == []


def test_classes_have_their_thumbnails_and_bars(tmp_path):
    from ltjax.data import from_arrays
    from ltjax.workdir import thumbnails

    path = write_run(tmp_path / "a")
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(30) % 10
    images[10:] = 0  # of each class the first is taken
    data = from_arrays((images, labels), class_names=NAMES)
    thumbnails.write(path, data)
    tiles = thumbnails.read(path, 10)
    assert len(tiles) == 10
    with Image.open(io.BytesIO(tiles[3])) as tile:
        middle = np.asarray(tile, float)[4::8, 4::8]  # of the 8 pixels each has become
    first = data.train_images[np.flatnonzero(data.train_labels == 3)[0]]
    assert np.abs(middle - first).mean() < 30
    assert thumbnails.read(path, 12) == []
    written([path], tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 10
    assert re.findall(r"--share: ([\d.]+)%", page)[:2] == ["70.0", "65.6"]
    (path / thumbnails.FILE).write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"classes.png is damaged"):
        written([path], tmp_path / "out")


def test_the_page_links_to_what_a_run_left_of_its_mistakes(tmp_path):
    path = write_run(tmp_path / "a b")
    written([path], tmp_path / "out")
    assert "misclassified" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    (path / "misclassified.csv").touch()
    written([path], tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'href="(.*?)"', page) == ["../a%20b/misclassified.csv"]


CLICKS = """<script>
const heading = (k) => document.querySelectorAll("table.sortable")[1].tHead.rows[0].cells[k];
const first = () => document.querySelectorAll("table.sortable")[1].tBodies[0].rows[0].cells[0].\
textContent.trim();
const told = [first()];
for (const k of [2, 2, 0, 0]) {
  heading(k).querySelector("button").focus();
  document.activeElement.click();
  told.push(first(), heading(k).getAttribute("aria-sort"));
}
const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
document.body.innerHTML = `TOLD ${told.join(", ")}, ${wide ? "wide" : "fits"} END`;
</script></body>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Debian's chromium")
def test_a_browser_sorts_the_tables_and_shows_the_page_without_overflow(tmp_path):
    path = write_run(tmp_path / "a")
    written([path], path)
    page = (path / "report.html").read_text(encoding="utf-8").replace("</body>", CLICKS)
    (path / "clicked.html").write_text(page, encoding="utf-8")
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=400,900"]
    browser += ["--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}"]
    told = subprocess.run(
        [*browser, "--dump-dom", (path / "clicked.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert re.search("TOLD (.*) END", told)[1].split(", ") == [
        "class 0",
        *("class 0", "descending", "class 9", "ascending"),
        *("class 0", "ascending", "class 9", "descending"),
        "fits",
    ]


def test_hundred_classes_are_drawn_as_a_line(tmp_path):
    path = write_run(tmp_path / "a")
    record = json.loads((path / "config.json").read_text())
    record["class_names"] = [str(c) for c in range(100)]
    record["data"]["class_counts"] = list(range(500, 0, -5))
    (path / "config.json").write_text(json.dumps(record))
    row = json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])
    (path / "metrics.jsonl").write_text(
        json.dumps(row | {"per_class": [0.5] * 100, "test_top5": 0.7}) + "\n"
    )
    (path / "result.json").write_text(json.dumps({"confusion": np.eye(100, dtype=int).tolist()}))
    (summary,), text = written([path], path)
    assert summary.figures["test_top5"] == (70.0, None)
    assert "top-5" in text


def test_thousands_of_classes_are_stored_small_and_drawn_as_groups_and_mistakes(tmp_path):
    count = 1500
    path = write_run(tmp_path / "a", **{"data.groups": (), "data.group_thresholds": (20, 100)})
    record = json.loads((path / "config.json").read_text(encoding="utf-8"))
    record["class_names"] = [str(c) for c in range(count)]
    record["data"]["class_counts"] = [max(300 - c, 5) for c in range(count)]
    (path / "config.json").write_text(json.dumps(record), encoding="utf-8")
    row = json.loads((path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    row |= {"per_class": [0.5] * count}
    (path / "metrics.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    confusion = np.zeros((count, count), np.int32)
    confusion[np.arange(count), np.arange(count)] = 3
    confusion[1400, 7] = 4
    Workdir(path).write_result({"confusion": confusion, "last": row})
    assert sum((path / name).stat().st_size for name in ("result.json", "confusion.npz")) < 60_000
    assert json.loads((path / "result.json").read_text(encoding="utf-8"))["confusion"] == (
        "confusion.npz"
    )
    (summary,), _ = written([path], path)
    np.testing.assert_array_equal(summary.runs[0].confusion, confusion)
    figure = plots.confusion(summary)
    shares, mistakes = figure.axes
    assert [text.get_text() for text in shares.get_xticklabels()] == ["many", "medium", "few"]
    assert [text.get_text() for text in mistakes.get_yticklabels()] == ["1400 as 7 (4)"]
    assert mistakes.patches[0].get_width() == pytest.approx(100 * 4 / 7)
    plots.plt.close(figure)
    (path / "confusion.npz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"confusion.npz is damaged"):
        report.load_run(path)


def test_runs_on_different_classes_are_not_mixed(tmp_path):
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    record = json.loads((b / "config.json").read_text())
    record["class_names"] = [*NAMES[:-1], "another"]
    (b / "config.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="different classes"):
        written([a, b], tmp_path / "out")


def test_folders_that_hold_no_run_or_a_damaged_one_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing holds no run"):
        report.load_run(tmp_path / "nothing")
    path = write_run(tmp_path / "a")
    (path / "result.json").write_text("{")
    with pytest.raises(ValueError, match=r"result.json is damaged"):
        report.load_run(path)
    (path / "result.json").unlink()
    (path / "metrics.jsonl").write_text("")
    with pytest.raises(FileNotFoundError, match="no evaluated epoch yet"):
        report.load_run(path)
