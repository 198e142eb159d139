"""Every file of docs/results is as its schema asks, and says what the configs say."""

import copy
import importlib
import json
import re

import jsonschema
import numpy as np
import pytest

from benchmarks import records
from ltjax.report.runs import load_run, summarize
from tests.conftest import ROOT
from tests.runs import digits_config, save_run
from tests.test_configs import NAMES

RESULTS = ROOT / "docs" / "results"
FILES = [path for path in sorted(RESULTS.rglob("*.json")) if path != records.SCHEMA]
DATA = {"cifar10": "CIFAR-10-LT", "cifar100": "CIFAR-100-LT"}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def figures():
    return [one for path in FILES if isinstance(content := read(path), list) for one in content]


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(read(records.SCHEMA))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(RESULTS)))
def test_a_record_is_as_the_schema_asks(path):
    assert records.complaints(read(path)) == []


BREAKS = {
    "no status": lambda one: one.pop("status"),
    "a status of its own": lambda one: one.update(status="nearly done"),
    "ours without a device": lambda one: one.pop("device"),
    "ours without a revision": lambda one: one.update(revision="yesterday"),
    "a share for a percentage": lambda one: one["accuracy"].update(mean="0.82"),
    "over 100 %": lambda one: one["accuracy"].update(mean=101.0),
    "a digest cut short": lambda one: one["data"].update(digest="96efb1b9"),
    "a key that no page knows": lambda one: one.update(acuracy=1.0),
    "published without a source": lambda one: (
        [one.pop(k) for k in ("device",)] and one.update(status="published")
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_wrong_with_a_record_is_found(name):
    (record,) = copy.deepcopy(read(RESULTS / "quickstart.json"))
    assert records.complaints([record]) == []
    BREAKS[name](record)
    assert records.complaints([record])


def test_a_measurement_says_what_on_what_of_what_and_when():
    whole = read(RESULTS / "startup.json")
    for key in ("what", "device", "revision", "time"):
        assert records.complaints({name: one for name, one in whole.items() if name != key})


def test_a_command_is_told_without_one_machines_folders():
    given = ["launch.py", "--config=/home/me/configs/crt.py", "--config.data.dir=/data/cifar"]
    given += [
        "--config.fork=/home/me/runs/ce-seed0",
        "--config.init_from=/home/me/runs/features/seed0",
        "--config.seed=1",
        "--workdir=/home/me/runs/x",
    ]
    assert records.told(given) == (
        "python launch.py --config=configs/crt.py --config.data.dir=DIR --config.fork=ce-seed0"
        " --config.init_from=features/seed0 --config.seed=1"
    )


def test_a_figure_has_one_name():
    names = [one["id"] for one in figures()]
    assert len(set(names)) == len(names)


def test_a_record_names_a_recipe_that_there_is():
    assert {one.get("recipe") for one in figures()} - {None} <= set(NAMES)


def test_ours_and_a_short_run_are_told_apart():
    for one in figures():
        if one["status"] in ("published", "classifier after training"):
            continue
        recipe = importlib.import_module(f"configs.{one['recipe']}").get_config()
        length = recipe.training.epochs or recipe.training.published_epochs
        images = one["details"].get("config", {}).get("data.max_count", 0)
        thinned = images not in (0, recipe.data.max_count)
        whole = one["epochs"] >= length and not thinned
        assert whole == (one["status"] == "measured"), one["id"]


@pytest.mark.parametrize("name", NAMES)
def test_the_published_figures_of_a_config_are_recorded(name):
    published = importlib.import_module(f"configs.{name}").get_config().published
    for key, data in DATA.items():
        known = [
            one["accuracy"]["mean"]
            for one in figures()
            if one["status"] == "published" and one["recipe"] == name
            if one["data"]["name"] == data
        ]
        assert published.get(key) is None or published[key] in known, (key, known)
    if published.image_list is not None:
        (record,) = [
            one for one in figures() if one["status"] == "published" and one["recipe"] == name
        ]
        assert record["accuracy"]["mean"] == published.image_list


def test_a_summary_becomes_a_record():
    (record,) = read(RESULTS / "quickstart.json")
    kept = ("device", "versions", "time", "seeds", "peak_memory_mib")
    summary = {
        "title": "quickstart, digits",
        "config": record["details"]["config"] | {"data.dir": "somewhere"},
        "class_counts": record["data"]["class_counts"],
        "subset_digest": record["data"]["digest"],
        "command": ["launch.py", "--config=quickstart", "--workdir=W", "--config.data.dir=/here"],
        "git": record["revision"],
        "epochs": [60, 60, 60],
        "training_seconds": [36.0, 72.0, 72.0],
        "last_epoch": {"test_accuracy": record["accuracy"], **record["groups"]},
        "best_epoch_accuracy": record["best_epoch"],
        "published_best_epoch": None,
        **{name: record[name] for name in kept},
    }
    made = records.figure(summary, "again", "measured", record["network"]["parameters"])
    assert records.complaints([made]) == []
    for key in ("data", "network", "accuracy", "groups", "augmentation", "batch_size", "runs"):
        if key != "data":
            assert made[key] == record[key], key
    assert made["data"] | {"test_images": 500} == record["data"]
    assert made["hours"] == [0.01, 0.02, 0.02]
    assert made["command"] == "python launch.py --config=quickstart --config.data.dir=DIR"
    assert "data.dir" not in made["details"]["config"]


@pytest.mark.parametrize(("epochs", "status"), [(60, "measured"), (2, "short run")])
def test_a_run_becomes_a_record(tmp_path, epochs, status):
    config = digits_config()
    config.training.epochs = epochs
    run = save_run(config, tmp_path / "run")
    record = read(run / "config.json")
    record["starts"][-1]["git"] = "0123456789ab"
    (run / "config.json").write_text(json.dumps(record))
    row = {"epoch": epochs - 1, "seconds": 36.0, "test_accuracy": 0.5, "per_class": [0.5] * 10}
    (run / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    (run / "result.json").write_text(
        json.dumps({"confusion": (5 * np.eye(10, dtype=int)).tolist()})
    )
    (summary,) = summarize([load_run(run)])
    made = records.figure_of(summary, records.slug("System B", "alpha 0.9"))
    assert records.complaints([made]) == []
    assert made["id"] == "system_b-alpha_0.9"
    assert made["status"] == status
    assert made["accuracy"] == {"mean": 50.0, "std": None}
    assert made["network"] == {"name": "resnet8, width 4", "parameters": 4924, "pretraining": None}
    assert made["data"]["test_images"] == 50
    assert made["data"]["digest"] == record["data"]["digest"]
    assert made["hours"] == [0.01]


def test_what_is_saved_is_checked_and_kept(tmp_path):
    record = read(RESULTS / "short_run.json")
    records.save(tmp_path / "new" / "short_run.json", record)
    assert read(tmp_path / "new" / "short_run.json") == record
    record[0].pop("revision")
    with pytest.raises(SystemExit, match="'revision' is a required property"):
        records.save(tmp_path / "wrong.json", record)
    assert read(tmp_path / "wrong.json") == record


def test_no_record_holds_a_path_of_a_machine():
    for file in sorted((ROOT / "docs" / "results").rglob("*.json")):
        found = re.findall(
            r"[\" =](/(?:home|root|tmp|work|Users|mnt)/[^\" ]*)", file.read_text(encoding="utf-8")
        )
        assert not found, file.name
