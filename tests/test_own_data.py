"""One's own arrays: read, checked, trained with a validation split, and given back by name."""

import json

import numpy as np
import pytest

import ltjax
from ltjax import data
from ltjax.data.splits import validation_members
from ltjax.experiment import settings
from ltjax.experiment.experiment import build
from ltjax.training import loop, programs, scoring
from tests.runs import digits_config

SMALL = {
    "model.width": 4,
    "training.batch_size": 32,
    "training.cpu_devices": 1,
    "logging.tensorboard": False,
    "sam.enabled": False,
}


def digits(split):
    """Digits under other numbers: class ids are not in the order of the counts."""
    whole = data.load("digits")
    images, labels = getattr(whole, f"{split}_images"), getattr(whole, f"{split}_labels")
    kept = np.concatenate([np.flatnonzero(labels == c)[: (6, 40, 20)[c]] for c in range(3)])
    return images[kept][..., 0], labels[kept]


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    file = tmp_path_factory.mktemp("npz") / "digits.npz"
    (train_images, train_labels), (test_images, test_labels) = digits("train"), digits("test")
    np.savez(
        file,
        train_images=train_images,
        train_labels=train_labels[:, None].astype(np.uint8),
        val_images=test_images[::2],
        val_labels=test_labels[::2],
        test_images=test_images[1::2],
        test_labels=test_labels[1::2],
    )
    return file


def config_for(npz, **changes):
    config = digits_config()
    config.data.name, config.data.dir, config.data.groups = "npz", str(npz), ()
    config.update_from_flattened_dict(
        {"model.name": "tiny", "training.epochs": 3, **SMALL, **changes}
    )
    return settings.resolve(config)


def test_medmnists_layout_is_read_and_classes_are_ordered_by_count(npz):
    dataset = data.load("npz", str(npz))
    assert np.bincount(dataset.train_labels).tolist() == [40, 20, 6]
    assert dataset.class_names == ("1", "2", "0")
    assert dataset.class_ids == (1, 2, 0)
    assert dataset.train_images.shape == (66, 8, 8, 1)
    images, labels = digits("train")
    own = np.asarray(dataset.class_ids)[dataset.train_labels]
    np.testing.assert_array_equal(own, labels)
    np.testing.assert_array_equal(dataset.train_images[..., 0], images)
    assert len(dataset.val_labels) == len(dataset.test_labels) == 33
    with pytest.raises(FileNotFoundError, match=r"needs --config.data.dir=FILE.npz"):
        data.load("npz")


def test_the_normalisation_is_the_training_images(npz):
    experiment = build(config_for(npz))
    values = digits("train")[0] / 255
    assert experiment.config.data.mean == pytest.approx((values.mean(),), abs=1e-6)
    assert experiment.config.data.std == pytest.approx((values.std(),), abs=1e-6)
    assert experiment.recipe.mean == experiment.config.data.mean
    given = build(config_for(npz, **{"data.mean": (0.5,), "data.std": (0.25,)}))
    assert given.recipe.mean == (0.5,)


def test_labels_may_be_names():
    images = np.zeros((5, 4, 4, 3), np.uint8)
    labels = np.asarray(["cat", "ant", "bee", "bee", "bee"])
    dataset = data.from_arrays((images, labels), (images[:1], ["ant"]))
    assert dataset.class_names == ("bee", "ant", "cat")
    assert dataset.class_ids == (1, 0, 2)
    assert dataset.test_labels.tolist() == [1]
    assert dataset.notes == ("2 classes have one training image: ant, cat",)
    named = data.from_arrays((images, labels), class_names=["cat", "bee", "ant"])
    assert named.class_ids == (1, 0, 2)
    assert named.class_names == ("bee", "cat", "ant")
    assert len(named.test_labels) == 0


IMAGES = np.zeros((4, 8, 8), np.uint8)
LABELS = np.asarray([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        ((IMAGES / 255.0, LABELS), {}, r"train images are float64; expected uint8.*make \(images"),
        ((IMAGES * np.nan, LABELS), {}, "are float64 with 256 values that are not finite"),
        (([IMAGES[0], IMAGES[1, :4]], [0, 1]), {}, "train images have different shapes"),
        ((IMAGES[0], LABELS), {}, r"train images have shape \[8, 8\]"),
        ((IMAGES, LABELS[:3]), {}, "train has 4 images and 3 labels"),
        ((IMAGES, LABELS / 2), {}, "train labels are float64; expected whole numbers or names"),
        ((IMAGES, np.eye(4, dtype=int)), {}, "several labels an image are not supported"),
        ((IMAGES, LABELS * 2), {}, r"1 of 3 classes have no training image \('1'\)"),
        ((IMAGES, LABELS - 1), {}, "train labels hold -1"),
        ((IMAGES, LABELS * 0), {}, "one class, '0'; expected at least two"),
        ((IMAGES, LABELS), {"class_names": ["a"]}, "label 1 with 1 class_names"),
        ((IMAGES, LABELS), {"class_names": ["a", "a"]}, "class_names hold 'a' twice"),
        ((IMAGES, LABELS), {"test": (IMAGES[:, :4], LABELS)}, r"test images are \[4, 8, 1\]"),
        ((IMAGES, ["a", "a", "b", "b"]), {"val": (IMAGES, list("abbc"))}, "val has the label 'c'"),
        (IMAGES, {}, r"train is a ndarray; expected \(images, labels\)"),
    ],
)
def test_bad_arrays_are_refused_in_one_line(train, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        data.from_arrays(train, **options)
    assert "\n" not in str(caught.value)


def test_bad_files_are_refused_in_one_line(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no zip")
    np.savez(tmp_path / "b.npz", train_images=IMAGES)
    np.savez(tmp_path / "c.npz", train_images=np.asarray([1, "a"], object), train_labels=LABELS)
    for name, message in (
        ("a", "not a readable .npz"),
        ("b", "has no train_labels, only train_images"),
        ("c", "images of different sizes"),
    ):
        with pytest.raises(ValueError, match=message):
            data.load("npz", str(tmp_path / f"{name}.npz"))
    with pytest.raises(FileNotFoundError, match="no such"):
        data.load("npz", str(tmp_path / "d.npz"))


def test_grey_images_meet_weights_of_three_channels_in_one_line(npz, tmp_path):
    from safetensors.numpy import save_file

    from ltjax import models

    model = models.create("resnet8", 3, width=4)
    import jax

    variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))
    save_file(models.to_torch("resnet8", variables), tmp_path / "rgb.safetensors")
    changes = {
        "model.name": "resnet8",
        "init_from": str(tmp_path / "rgb.safetensors"),
        "init_except": "linear",
        "model.classifier": "linear",
    }
    with pytest.raises(ValueError, match="is for images of 3 channels, these have 1"):
        build(config_for(npz, **changes)).create_state()
    repeated = build(config_for(npz, **changes, **{"data.channels": 3}))
    kernel = repeated.create_state().params["conv1"]["kernel"]
    np.testing.assert_array_equal(kernel, variables["params"]["conv1"]["kernel"])
    assert repeated.recipe.mean == 3 * build(config_for(npz)).recipe.mean


def test_the_held_out_share_is_of_every_class_that_has_three():
    labels = np.repeat(np.arange(5), (100, 10, 3, 2, 1))
    members = validation_members(labels, 0.2, seed=0)
    assert np.bincount(labels[members], minlength=5).tolist() == [20, 2, 1, 0, 0]
    np.testing.assert_array_equal(members, validation_members(labels, 0.2, seed=0))
    assert members.tolist() != validation_members(labels, 0.2, seed=1).tolist()
    assert np.bincount(labels[validation_members(labels, 0.99, 0)])[2] == 2


def test_validation_chooses_the_epoch_and_the_test_set_is_seen_twice(npz, tmp_path):
    config = config_for(npz)
    result = loop.train(config, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert ["test_accuracy" in row for row in rows] == [False, False, True]
    balanced = [row["val_balanced_accuracy"] for row in rows]
    assert result["best"]["epoch"] == int(np.argmax(balanced))
    best, last = ltjax.load(tmp_path, checkpoint="best"), ltjax.load(tmp_path)
    with np.load(npz) as file:
        for trained, found in ((best, result["best"]), (last, result["last"])):
            figures = trained.evaluate(file["test_images"], file["test_labels"])
            assert figures["accuracy"] == found["test_accuracy"]
            figures = trained.evaluate(file["val_images"], file["val_labels"])
            assert figures["balanced_accuracy"] == pytest.approx(found["val_balanced_accuracy"])
    assert loop.train(config, tmp_path) == result, "started again, it tells the same"
    from ltjax import report

    (summary,) = report.write([tmp_path], tmp_path)
    assert summary.best[0] == pytest.approx(100 * result["best"]["test_accuracy"])


def test_a_run_out_of_patience_ends_and_stays_ended(npz, tmp_path, capsys):
    """At a rate of 0 nothing improves after the first epoch."""
    config = config_for(
        npz,
        **{"training.epochs": 6, "training.patience": 2, "stages": (), "learning_rate.base": 0.0},
        **{"optimizer.weight_decay": 0.0},
    )
    result = loop.train(config, tmp_path)
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    epochs = len(rows)
    assert epochs == result["best"]["epoch"] + 3 <= 5
    assert "test_accuracy" in result["last"]
    assert "best epoch" in capsys.readouterr().out
    again = loop.train(config, tmp_path)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == epochs
    assert again["last"] == result["last"]


def test_each_of_several_seeds_has_its_own_patience_and_best_epoch(npz, tmp_path):
    changes = {"training.patience": 1, "training.epochs": 5, "stages": (), "model.name": "resnet8"}
    config = config_for(npz, **changes, **{"seeds": (0, 1, 2), "evaluation.batch_size": 50})
    found = loop.train_seeds(config, tmp_path)
    for seed, result in zip((0, 1, 2), found, strict=True):
        rows = (tmp_path / f"seed{seed}" / "metrics.jsonl").read_text().splitlines()
        assert len(rows) == result["epochs"] == min(result["best"]["epoch"] + 2, 5)
    assert len({result["epochs"] for result in found}) > 1
    assert loop.train_seeds(config, tmp_path) == found, "started again, they tell the same"
    with pytest.raises(ValueError, match=r"patience is 1 with config.training.vmap_seeds 1: seeds"):
        config_for(npz, **changes, **{"seeds": (0, 1), "training.vmap_seeds": 1})


def test_patience_and_two_validation_splits_are_refused(npz):
    with pytest.raises(ValueError, match="has a validation split of its own"):
        build(config_for(npz, **{"data.validation": 0.1}))
    config = digits_config()
    config.training.patience = 3
    with pytest.raises(ValueError, match="patience is 3 without validation images"):
        build(settings.resolve(config))
    config.data.validation = 1.0
    with pytest.raises(ValueError, match="expected 0 or more, below 1"):
        settings.resolve(config)


def test_fit_takes_arrays_and_gives_back_names(tmp_path):
    (images, labels), names = digits("train"), ["zero", "one", "two"]
    trained = ltjax.fit(
        "quickstart",
        train=(images, np.asarray(names)[labels]),
        validation=0.2,
        class_names=names,
        workdir=tmp_path,
        epochs=3,
        model="tiny",
        **SMALL,
        **{"data.groups": [], "learning_rate.base": 0.05},
    )
    assert trained.class_names == ("zero", "one", "two")
    assert trained.class_counts.tolist() == [5, 32, 16]
    probabilities = trained.predict_proba(images)
    assert probabilities.shape == (66, 3)
    result = json.loads((tmp_path / "result.json").read_text())
    assert "test_accuracy" not in result["last"]
    assert trained.config.learning_rate.base == 0.05
    with pytest.raises(FileNotFoundError, match=r"given to ltjax.fit can be saved by np.savez"):
        scoring.evaluate(trained.config, tmp_path)


def test_images_of_five_channels_train_and_others_are_refused(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 5), np.uint8)
    groups = np.arange(12) // 2
    trained = ltjax.fit(
        *("ce", (images, np.arange(12) % 2)),
        **{"groups": groups, "validation": 0.3, "workdir": tmp_path, "epochs": 1},
        **{"model": "tiny", **SMALL},
    )
    assert trained.image_shape == (8, 8, 5)
    assert len(trained.config.data.mean) == 5
    assert trained.class_counts.sum() in (6, 8, 10), "pairs are held out"
    assert trained.predict_proba(images).shape == (12, 2)
    with pytest.raises(ValueError, match="channels"):
        trained.predict(images[..., :4])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sam.roh": 0.1}, "unknown config field 'sam.roh'; did you mean 'sam.rho'"),
        ({"sam.rho": "much"}, "config.sam.rho is 'much'; expected a value like"),
        ({"model": "resnet33"}, "config.model.name is 'resnet33'"),
    ],
)
def test_fit_refuses_wrong_fields_in_one_line(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        ltjax.fit("ce", train=(IMAGES, LABELS), workdir=tmp_path, **options)


def test_fit_refuses_an_unknown_recipe(tmp_path):
    with pytest.raises(ValueError, match="unknown recipe 'ldam_dwr'; did you mean 'ldam_drw'"):
        ltjax.fit("ldam_dwr", train=(IMAGES, LABELS), workdir=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no such .* file; did you mean configs/ce\.py\?"):
        ltjax.fit("conf/ce.py", train=(IMAGES, LABELS), workdir=tmp_path)
    (tmp_path / "mine.py").touch()
    with pytest.raises(FileNotFoundError, match=r"no such .*; did you mean \S+/mine\.py\?"):
        ltjax.fit(tmp_path / "mien.py", train=(IMAGES, LABELS), workdir=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no such config file$"):
        ltjax.fit(tmp_path / "there" / "qqq.py", train=(IMAGES, LABELS), workdir=tmp_path)


def test_lists_and_photographs_validate_too(tmp_path):
    pytest.importorskip("grain")
    from tests.runs import photographs_config

    config = photographs_config(tmp_path)
    config.data.validation = 0.2
    experiment = build(settings.resolve(config))
    assert experiment.splits == ["val", "test"]
    assert experiment.class_counts.tolist() == [19, 10, 5, 3]
    running = programs.create(experiment)
    sums = running.evaluate(experiment.create_state().variables, split="val").sums
    assert np.asarray(sums.confusion).sum(axis=1).tolist() == [5, 2, 1, 1]
    lines = (tmp_path / "train.txt").read_text().splitlines()
    (tmp_path / "val.txt").write_text("\n".join(lines[::4]))
    rest = [line for number, line in enumerate(lines) if number % 4]
    (tmp_path / "train.txt").write_text("\n".join(rest))
    loaded = data.load_image_list(str(tmp_path), "train.txt", "test.txt", "val.txt")
    assert len(loaded.val_labels) == len(lines[::4])
    names = {loaded.val.name(index) for index in range(len(loaded.val_labels))}
    assert names == {str(tmp_path / line.rsplit(" ", 1)[0]) for line in lines[::4]}
