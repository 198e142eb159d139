"""The list of misclassified images and their picture."""

import csv

import numpy as np
import pytest
from PIL import Image

import ltjax
from ltjax import data
from ltjax.data import Dataset
from ltjax.experiment import settings
from ltjax.training import loop, mistakes, scoring
from ltjax.training.evaluation import Evaluation, Outcomes
from tests.runs import digits_config, photographs_config, save_run


def rows_of(folder):
    with open(folder / "misclassified.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def confused(names=("cat", "dog", "emu")):
    """A data set of grey squares, a grey each, and what a network might say of them."""
    labels = np.asarray([0, 0, 0, 1, 1, 2, 2])
    predicted = np.asarray([0, 1, 1, 1, 0, 2, 0])
    probability = np.asarray([0.9, 0.5, 0.8, 0.9, 0.7, 0.9, 0.6], np.float32)
    images = np.arange(10, 80, 10, dtype=np.uint8)[:, None, None, None] + np.zeros(
        (1, 8, 8, 1), np.uint8
    )
    dataset = Dataset("npz", images, labels, images, labels, names, "here")
    return Outcomes(labels, predicted, probability, 1 - probability), dataset


def test_a_finished_run_leaves_each_mistake_with_what_predict_says_of_it(tmp_path):
    config = digits_config()
    config.training.epochs, config.evaluation.batch_size = 1, 128  # 500 images: the last is padded
    result = loop.train(settings.resolve(config), tmp_path)
    test = data.load("digits")
    shares = ltjax.load(tmp_path).predict_proba(test.test_images)
    predicted = shares.argmax(axis=1)
    rows = rows_of(tmp_path)
    numbers = [int(row["index"]) for row in rows]
    assert sorted(numbers) == np.flatnonzero(predicted != test.test_labels).tolist()
    assert len(rows) == 500 - np.trace(result["confusion"])
    for row, number in zip(rows, numbers, strict=True):
        true, said = int(test.test_labels[number]), int(predicted[number])
        assert (row["true"], row["predicted"]) == (str(true), str(said))
        # Six decimals; the scale of 30 enlarges float32's rounding of a cosine.
        assert float(row["probability"]) == pytest.approx(shares[number, said], abs=1e-4)
        assert float(row["probability_of_true"]) == pytest.approx(shares[number, true], abs=1e-4)
    certain = [float(row["probability"]) for row in rows]
    assert certain == sorted(certain, reverse=True)
    with Image.open(tmp_path / "misclassified.png") as picture:
        assert picture.size[0] > 800


def test_photographs_are_named_by_their_paths(tmp_path):
    pytest.importorskip("grain")
    config = photographs_config(tmp_path)
    run = save_run(config, tmp_path / "run")
    (tmp_path / "images" / "1-4.jpg").write_bytes(b"")  # a test image
    config.data.unreadable = "skip"
    found = scoring.evaluate(settings.resolve(config), run)
    listed = dict(line.rsplit(" ", 1) for line in (tmp_path / "test.txt").read_text().splitlines())
    listed = {str(tmp_path / path): label for path, label in listed.items()}
    rows = rows_of(run)
    assert len(rows) == np.sum(found["confusion"]) - np.trace(found["confusion"]) > 0
    assert all(listed[row["path"]] == row["true"] != row["predicted"] for row in rows)
    assert "1-4.jpg" not in {row["path"].rsplit("/", 1)[1] for row in rows}
    assert (run / "misclassified.png").is_file()


def test_two_devices_find_the_same_mistakes(tmp_path):
    config = digits_config()
    run = save_run(config, tmp_path / "run")
    tables = []
    for count in (1, 2):
        config.training.cpu_devices, config.evaluation.batch_size = count, 333
        scoring.evaluate(settings.resolve(config), run)
        tables.append(rows_of(run))
    places = [{(row["index"], row["predicted"]) for row in rows} for rows in tables]
    assert len(places[0]) > 100
    assert places[0] == places[1]


def test_the_most_frequent_confusions_come_first_in_the_picture():
    found, dataset = confused()
    table = mistakes.table(found, dataset, "test").splitlines()
    assert table[0] == "index,true,predicted,probability,probability_of_true"
    assert table[1:3] == ["2,cat,dog,0.800000,0.200000", "4,dog,cat,0.700000,0.300000"]
    picture = np.asarray(mistakes.sheet(found, dataset, "test"))
    greys = [[], []]
    for at, x in enumerate((50, 152)):  # middle of the first and of the second image of each row
        column = picture[:, x, 0]
        starts = np.flatnonzero(np.diff(column.astype(int)) != 0) + 1
        runs = np.split(column, starts)
        greys[at] = [int(run[0]) for run in runs if len(run) >= 90 and run[0] < 100]
    # cat for dog twice: images 2 and 1; then one each of dog for cat, emu for cat; then all.
    assert greys == [[30, 50, 70, 30], [20, 50]]


def test_without_mistakes_there_is_a_table_without_lines_and_no_picture(tmp_path):
    found, dataset = confused()
    right = Outcomes(found.labels, found.labels, found.probability, found.probability)
    (tmp_path / "misclassified.png").write_bytes(b"of an earlier epoch")
    mistakes.record(dataset, Evaluation(None, [right]), "test", tmp_path)
    assert rows_of(tmp_path) == []
    assert not (tmp_path / "misclassified.png").exists()


def test_of_several_processes_the_leading_one_writes(tmp_path, monkeypatch):
    found, dataset = confused()
    for lead, files in ((False, 0), (True, 2)):
        monkeypatch.setattr(mistakes.devices, "is_lead", lambda lead=lead: lead)
        mistakes.record(dataset, Evaluation(None, [found]), "test", tmp_path)
        assert len(list(tmp_path.iterdir())) == files


def test_names_of_any_length_and_alphabet_are_drawn():
    found, dataset = confused(("a" * 300, "собака", "犬 | $x_"))
    assert mistakes.sheet(found, dataset, "test").size[0] > 800


def test_they_can_be_left_out(tmp_path):
    config = digits_config()
    run = save_run(config, tmp_path / "run")
    config.evaluation.misclassified = False
    scoring.evaluate(settings.resolve(config), run)
    assert not list(run.glob("misclassified*"))
