"""Lists, folders and tfds data sources of photographs: what is read, what is refused, and the
batches that come out.
"""

import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltjax import augment, data
from ltjax.experiment import settings
from ltjax.experiment.experiment import build
from ltjax.training.loop import train
from ltjax.training.programs import StreamedPrograms
from ltjax.training.scoring import evaluate
from tests.photographs import COUNTS, TEST, write_list_set

pytest.importorskip("grain")
from ltjax.data import stream


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    write_list_set(folder)
    return folder


@pytest.fixture
def lists(root):
    return data.load_image_list(str(root), "train.txt", "test.txt", image_size=32, shorter_side=36)


@pytest.fixture
def copy(root, tmp_path):
    import shutil

    return shutil.copytree(root, tmp_path / "copy")


def config_for(root, **changes):
    from configs import imagenet_lt_ldam_drw_sam

    config = imagenet_lt_ldam_drw_sam.get_config()
    values = {
        **{
            "data.dir": str(root),
            "data.train_list": "train.txt",
            "data.test_list": "test.txt",
            "data.groups": (),
        },
        **{
            "data.image_size": 32,
            "data.shorter_side": 36,
            "model.name": "tiny",
            "model.width": 4,
            "training.batch_size": 8,
        },
        **{
            "training.epochs": 2,
            "training.cpu_devices": 1,
            "logging.tensorboard": False,
            "learning_rate.base": 0.02,
        },
        **{"evaluation.batch_size": 8, "checkpoint.every": 1},
    }
    config.update_from_flattened_dict(values | changes)
    return settings.resolve(config)


def test_classes_are_numbered_by_descending_count_in_both_lists(root, lists):
    assert np.bincount(lists.train_labels).tolist() == list(COUNTS)
    assert np.bincount(lists.test_labels).tolist() == [TEST] * len(COUNTS)
    listed = dict(line.rsplit(" ", 1) for line in (root / "train.txt").read_text().splitlines())
    for index, label in enumerate(lists.train_labels):
        assert listed[lists.train.name(index).removeprefix(f"{root}/")] == lists.class_names[label]
    assert lists.class_names != tuple("0123"), "the list's own order is another"


def test_equal_counts_keep_the_lists_order(tmp_path):
    write_list_set(tmp_path, counts=(5, 5, 5))
    assert data.load_image_list(str(tmp_path), "train.txt", "test.txt").class_names == (
        "0",
        "1",
        "2",
    )


def test_paths_may_hold_spaces(copy):
    (copy / "images" / "0-0.jpg").rename(copy / "images" / "a photo.jpg")
    text = (copy / "train.txt").read_text().replace("images/0-0.jpg", "images/a photo.jpg")
    (copy / "train.txt").write_text(text)
    loaded = data.load_image_list(str(copy), "train.txt", "test.txt")
    assert any(
        loaded.train.name(index).endswith("a photo.jpg")
        for index in range(len(loaded.train_labels))
    )


def test_a_byte_order_mark_is_no_part_of_the_first_path(copy):
    content = (copy / "train.txt").read_bytes()
    (copy / "train.txt").write_bytes(b"\xef\xbb\xbf" + content)
    assert len(data.load_image_list(str(copy), "train.txt", "test.txt").train_labels) == 46


def _append(line):
    return lambda folder: (folder / "train.txt").write_text(
        (folder / "train.txt").read_text() + line, encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (
            lambda f: [path.unlink() for path in (f / "images").glob("0-*.jpg")],
            FileNotFoundError,
            "listed images are not under",
        ),
        (
            _append("images/0-0.jpg 0\n"),
            ValueError,
            "1 paths are listed twice, within a list, such as images/0-0.jpg",
        ),
        (
            lambda f: _append((f / "test.txt").read_text())(f),
            ValueError,
            "12 paths are listed twice, 12 of them in both lists",
        ),
        (
            _append("images/0-0.jpg\n"),
            ValueError,
            "train.txt, line 47: 'images/0-0.jpg'; expected a path, a space and a label",
        ),
        (
            _append("images/0-0.jpg -1\n"),
            ValueError,
            "expected a path, a space and a label of 0 or above",
        ),
        (
            lambda f: (f / "test.txt").write_text((f / "test.txt").read_text().split()[0] + " 9"),
            ValueError,
            "label 4 has no training image",
        ),
        (_append("images/0-0.jpg ²\n"), ValueError, "expected a path, a space and a label"),
        (
            lambda f: (f / "train.txt").write_bytes(b"a.jpg 0\ncaf\xe9.jpg 0\n"),
            ValueError,
            "train.txt, line 2: byte 0xe9 is not UTF-8;"
            " save the list as UTF-8, for instance: iconv",
        ),
        (
            lambda f: (f / "train.txt").write_bytes("a.jpg 0".encode("utf-16")),
            ValueError,
            "train.txt is binary or UTF-16; expected a text file in UTF-8",
        ),
        (lambda f: (f / "train.txt").write_text("\n"), ValueError, "train.txt lists no images"),
        (
            lambda f: (f / "train.txt").unlink(),
            FileNotFoundError,
            "config.data.train_list is train.txt: no such file",
        ),
    ],
)
def test_bad_lists_are_refused_in_one_line(copy, damage, error, message):
    damage(copy)
    with pytest.raises(error, match=message) as raised:
        data.load_image_list(str(copy), "train.txt", "test.txt")
    assert "\n" not in str(raised.value)


def test_missing_images_are_counted_and_the_first_are_named(copy):
    missing = sorted((copy / "images").glob("*.jpg"))[:5]
    for path in missing:
        path.unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"5 of 58 listed images are not under .*, such as images/\d-\d+.jpg, images/",
    ):
        data.load_image_list(str(copy), "train.txt", "test.txt")


def collected(batches):
    batches = list(batches)
    return [
        np.concatenate([getattr(batch, name) for batch in batches]) for name in ("images", "labels")
    ], [len(batch.labels) for batch in batches]


def order(epoch):
    return np.random.default_rng(epoch).permutation(sum(COUNTS))


def batches_of(lists, **options):
    return stream.training_batches(
        lists, order, **{"seed": 0, "batch_size": 8, "epochs": range(2)} | options
    )


def test_batches_follow_the_order_and_keep_the_short_last(lists):
    (images, labels), sizes = collected(batches_of(lists))
    assert sizes == [8, 8, 8, 8, 8, 6] * 2
    np.testing.assert_array_equal(labels, lists.train_labels[np.concatenate([order(0), order(1)])])
    assert images.shape == (92, 32, 32, 3)
    assert collected(batches_of(lists, drop_last=True))[1] == [8] * 10


def test_worker_processes_give_the_same_batches(lists):
    np.testing.assert_array_equal(
        collected(batches_of(lists, workers=2))[0][0], collected(batches_of(lists))[0][0]
    )


def test_a_run_continued_in_the_middle_sees_what_it_would_have_seen(lists):
    whole, _ = collected(batches_of(lists))
    rest, _ = collected(batches_of(lists, epochs=range(1, 2), first_step=2))
    np.testing.assert_array_equal(rest[0], whole[0][46 + 16 :])
    other, _ = collected(batches_of(lists, seed=1))
    assert (other[0] != whole[0]).any()


def test_two_hosts_together_hold_each_batch_once(lists):
    halves = [
        collected(
            batches_of(
                lists,
                drop_last=True,
                rows=lambda size, part=part: np.arange(size).reshape(2, -1)[part],
            )
        )[0]
        for part in range(2)
    ]
    whole, _ = collected(batches_of(lists, drop_last=True))
    joined = np.concatenate([half[0].reshape(10, 4, 32, 32, 3) for half in halves], axis=1).reshape(
        80, 32, 32, 3
    )
    np.testing.assert_array_equal(joined, whole[0])


def test_evaluation_sees_every_image_once_and_pads_with_minus_one(lists):
    (images, labels), sizes = collected(stream.evaluation_batches(lists, batch_size=5))
    assert sizes == [5, 5, 5]
    np.testing.assert_array_equal(labels, [*lists.test_labels, -1, -1, -1])
    np.testing.assert_array_equal(images[:12], lists.read("test", np.arange(12)))
    assert not images[12:].any()


@pytest.fixture
def damaged(copy):
    """Three damaged files, one in each way: cut off, empty, no image."""
    names = [path for path in (copy / "train.txt").read_text().split() if path.endswith(".jpg")]
    content = (copy / names[0]).read_bytes()
    (copy / names[0]).write_bytes(content[: len(content) // 2])
    (copy / names[1]).write_bytes(b"")
    (copy / names[2]).write_text("not found")
    return copy, names[:3]


def test_an_unreadable_image_stops_the_run_and_is_named(damaged, tmp_path):
    folder, names = damaged
    with pytest.raises(ValueError, match="can't be read") as raised:
        train(config_for(folder), tmp_path / "run")
    assert any(name in str(raised.value) for name in names)
    assert "--config.data.unreadable=skip" in str(raised.value)


def test_unreadable_images_are_skipped_counted_and_never_trained_on(damaged, tmp_path, capsys):
    folder, names = damaged
    lists = data.load_image_list(
        str(folder), "train.txt", "test.txt", image_size=32, shorter_side=36
    )
    seen = dict.fromkeys(names, 0)
    for batch in batches_of(lists):
        for index in batch.unreadable:
            seen[lists.train.name(index).removeprefix(f"{folder}/")] += 1
        assert (batch.labels >= 0).all()
        assert batch.images.any(axis=(1, 2, 3)).all(), "a black image stands for none"
    assert seen == dict.fromkeys(names, 2)
    train(config_for(folder, **{"data.unreadable": "skip"}), tmp_path / "run")
    output = capsys.readouterr().out
    for number, name in enumerate(sorted(names, key=output.find), 1):
        assert (
            f"unreadable image {number}: {folder}/{name} (another image stands in for it)" in output
        )


def test_unreadable_test_images_are_left_out_of_the_figures_and_told(copy, tmp_path, capsys):
    name = (copy / "test.txt").read_text().split()[0]
    (copy / name).write_bytes(b"")
    config = config_for(copy, **{"data.unreadable": "skip", "training.epochs": 1})
    result = train(config, tmp_path / "run")
    assert np.sum(result["confusion"]) == 11
    assert f"{copy}/{name} (not counted in the figures)" in capsys.readouterr().out
    said: list[str] = []
    evaluate(config, tmp_path / "run", said.append)
    assert said[1:] == [
        "1 of 12 test images could not be read and are left out of the figures:",
        f"unreadable image 1: {copy}/{name} (not counted in the figures)",
    ]


def test_a_streamed_run_killed_in_an_epoch_ends_in_the_same_parameters(root, tmp_path):
    """Stopped after 3 of 12 steps and restored from its checkpoint, as the loop does; the whole
    run's calls are of several steps.
    """
    one, several = (
        build(config_for(root, **{"training.steps_per_call": 1})),
        build(config_for(root)),
    )
    calls = []

    def steps(state, position, count, experiment=one):
        programs = StreamedPrograms(experiment)
        done = int(state.step) + count
        calls.append(0)
        while int(state.step) < done:
            calls[-1] += 1
            epoch = int(state.epoch)
            state, position = programs.advance(
                state, position, experiment.settings(epoch), experiment.stage_at(epoch)
            )
            if position == experiment.steps_per_epoch:
                state, position = programs.next_epoch(state), 0
        return state

    whole = steps(several.create_state(), 0, 12, several)
    halted = steps(one.create_state(), 0, 3)
    continued = steps(halted, 3, 9)
    assert calls[0] < sum(calls[1:]) == 12
    jax.tree.map(np.testing.assert_array_equal, whole.params, continued.params)


def test_samplers_drive_the_streamed_order(root):
    config = config_for(
        root, **{"sampler.name": "class_balanced", "stages": (), "training.batch_size": 46}
    )
    experiment = build(config)
    programs = StreamedPrograms(experiment)
    labels = []
    for images, batch_labels in programs._training(experiment.create_state(), 0, 0):
        labels += np.asarray(batch_labels).tolist()
        assert images.shape == (46, 32, 32, 3)
    counts = np.bincount(labels, minlength=4)
    assert len(labels) == 92
    assert counts.min() > 10, "23 expected of each class; 24, 12, 6 and 4 of 46 there are"


def test_the_record_of_a_run_tells_its_images(root, tmp_path, copy):
    run = tmp_path / "run"
    train(config_for(root, **{"training.epochs": 1}), run)
    record = json.loads((run / "config.json").read_text())
    assert record["data"]["class_counts"] == list(COUNTS)
    lines = (copy / "train.txt").read_text().splitlines()
    (copy / "train.txt").write_text("\n".join([*lines[1:], lines[0]]))
    with pytest.raises(ValueError, match="was trained on other images"):
        train(config_for(copy, **{"training.epochs": 1}), run)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.crop_scale", (0.5, 0.1), "expected two shares of the area, ascending"),
        ("augment.jitter", (0.4,), "expected brightness, contrast and saturation"),
        ("data.shorter_side", 16, "expected at least config.data.image_size, 32"),
        ("data.test_fraction", 1.0, "expected 0 or more, below 1"),
        ("data.unreadable", "ignore", "config.data.unreadable is 'ignore'; known: error, skip"),
        ("training.accumulate", 3, "expected a divisor of config.training.batch_size, 8"),
        (
            "data.groups",
            (390, 835),
            "config.data.groups do not fit image_list: .* --config.data.groups='\\(\\)' groups by",
        ),
        ("data.train_list", "", "config.data.train_list is empty"),
        ("data.name", "image_lists", "did you mean 'image_list'"),
    ],
)
def test_bad_values_are_refused_before_the_first_step(root, field, value, message):
    with pytest.raises(ValueError, match=message):
        build(config_for(root, **{field: value}))


def test_a_missing_package_is_named_before_the_first_step(root, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "simplejpeg" else found(name)
    )
    with pytest.raises(
        ImportError, match=r"need the package simplejpeg: pip install 'ltjax\[images\]'"
    ):
        build(config_for(root))


def test_jitter_of_ones_changes_nothing_and_draws_differ():
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3)), jnp.uint8)
    np.testing.assert_allclose(
        augment.color_jitter(images, jnp.ones((5, 3)), jnp.arange(5)), images, atol=1e-4
    )
    drawn = augment.random_color_jitter(jax.random.key(0), images, 0.4, 0.4, 0.4)
    assert drawn.min() >= 0
    assert drawn.max() <= 255
    same = augment.random_color_jitter(
        jax.random.key(1), jnp.tile(images[:1], (2, 1, 1, 1)), 0.4, 0.4, 0.4
    )
    assert np.abs(same[0] - same[1]).max() > 1
