"""Runs that were stopped, damaged, moved or upgraded end where whole ones do, or say why not."""

import errno
import io
import json
import os
import signal
import threading
from functools import partial

import jax
import numpy as np
import pytest

from ltjax.experiment import experiment, initial, schedules, settings
from ltjax.training import loop
from ltjax.training.programs import Programs
from ltjax.training.progress import Display
from ltjax.workdir.checkpoint import Checkpoints
from ltjax.workdir.workdir import Workdir
from tests.runs import assert_equal, final_params, same_rows, train


def test_a_run_leaves_its_records_and_a_finished_one_is_not_trained_again(digits_config, tmp_path):
    digits_config.logging.tensorboard = True
    workdir = tmp_path / "run"
    result = train(digits_config, workdir)
    rows = Workdir(workdir).read_metrics()
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert result["last"] == rows[-1]
    assert result["best"] == max(rows, key=lambda row: row["test_accuracy"])
    assert np.trace(result["confusion"]) / 500 == rows[-1]["test_accuracy"]
    assert {
        "train_loss",
        "train_accuracy",
        "learning_rate",
        "rho",
        "many",
        "medium",
        "few",
        "balanced_accuracy",
        "per_class",
    } <= rows[0].keys()
    record = json.loads((workdir / "config.json").read_text())
    assert record["config"]["loss.name"] == "ldam"
    assert record["starts"][0]["versions"]["jax"] == jax.__version__
    assert list((workdir / "tensorboard").iterdir())
    again = train(digits_config, workdir)
    assert again["last"] == result["last"]
    assert again["confusion"] == result["confusion"]
    assert Workdir(workdir).read_metrics() == rows


@pytest.fixture
def whole(digits_config, tmp_path):
    """An uninterrupted run's rows and final parameters."""
    train(digits_config, tmp_path / "whole")
    return Workdir(tmp_path / "whole").read_metrics(), final_params(
        digits_config, tmp_path / "whole"
    )


def test_checkpoints_are_written_within_epochs_once_the_minutes_have_passed(
    digits_config, tmp_path, whole, monkeypatch
):
    """Killed before the fifth step of the first epoch, it continues from the fourth."""
    digits_config.checkpoint.every, digits_config.checkpoint.minutes = 100, 0.0
    digits_config.training.steps_per_call = 1  # of those of one call, to the bit
    advance, calls = Programs.advance, []

    def counted(self, *arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return advance(self, *arguments)

    monkeypatch.setattr(Programs, "advance", counted)
    workdir = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        train(digits_config, workdir)
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {"3", "4"}
    digits_config.checkpoint.minutes = 100.0
    train(digits_config, workdir)
    assert_equal(final_params(digits_config, workdir), whole[1])
    assert same_rows(Workdir(workdir).read_metrics(), whole[0])


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGINT])
def test_a_run_stopped_in_the_middle_of_an_epoch_ends_as_if_never_stopped(
    digits_config, tmp_path, whole, signum, monkeypatch, request
):
    """The signal comes after the third step of the second epoch; the steps of the whole run were
    one call an epoch.
    """
    digits_config.training.steps_per_call = 1
    if signal.getsignal(signum) is signal.SIG_IGN:  # under nohup
        request.addfinalizer(partial(signal.signal, signum, signal.SIG_IGN))
        signal.signal(signum, signal.SIG_DFL)
    calls = []
    advance = Programs.advance

    def counted(self, *arguments):
        calls.append(1)
        if len(calls) == 10:
            os.kill(os.getpid(), signum)
        return advance(self, *arguments)

    monkeypatch.setattr(Programs, "advance", counted)
    workdir = tmp_path / "stopped"
    with pytest.raises(
        loop.Stopped,
        match=r"saved at epoch 2, step 10; the same command with --workdir=.* continues",
    ) as stopped:
        train(digits_config, workdir)
    assert stopped.value.signum == signum
    train(digits_config, workdir)
    assert_equal(final_params(digits_config, workdir), whole[1])
    assert same_rows(Workdir(workdir).read_metrics(), whole[0])


def test_signal_handlers_are_put_back(digits_config, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    digits_config.training.epochs = 1
    train(digits_config, tmp_path / "run")
    assert signal.getsignal(signal.SIGTERM) is before


def test_training_outside_the_main_thread_works(digits_config, tmp_path):
    digits_config.training.epochs = 1
    results = []
    thread = threading.Thread(target=lambda: results.append(train(digits_config, tmp_path / "run")))
    thread.start()
    thread.join(120)
    assert results[0]["epochs"] == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_truncated_newest_checkpoint_is_reported_and_the_run_ends_the_same(
    digits_config, tmp_path, whole, capsys
):
    workdir = tmp_path / "whole"
    newest = max((workdir / "checkpoints").iterdir(), key=lambda path: int(path.name))
    largest = max(
        (newest / "state").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0
    )
    largest.write_bytes(largest.read_bytes()[:100])
    train(digits_config, workdir)
    assert f"checkpoints/{newest.name} is damaged" in capsys.readouterr().out
    assert_equal(final_params(digits_config, workdir), whole[1])
    assert same_rows(Workdir(workdir).read_metrics(), whole[0])


def test_a_half_written_metrics_line_is_written_again(digits_config, tmp_path, whole):
    workdir = tmp_path / "whole"
    file = workdir / "metrics.jsonl"
    file.write_text(file.read_text()[:-40])
    assert len(Workdir(workdir).read_metrics()) == 2
    newest = max((workdir / "checkpoints").iterdir(), key=lambda path: int(path.name))
    import shutil

    shutil.rmtree(newest)
    train(digits_config, workdir)
    assert same_rows(Workdir(workdir).read_metrics(), whole[0])


@pytest.mark.parametrize("steps_per_call", [1, 0])
def test_a_diverging_run_stops_with_its_epoch_and_step_and_keeps_the_last_good_checkpoint(
    digits_config, tmp_path, steps_per_call, monkeypatch
):
    digits_config.training.steps_per_call = steps_per_call
    at = schedules.learning_rate_schedule

    def exploding(config, *span):
        schedule = at(config, *span)
        return lambda epoch: schedule(epoch) if epoch < 1 else float("nan")

    monkeypatch.setattr(schedules, "learning_rate_schedule", exploding)
    workdir = tmp_path / "run"
    # The rate of epoch 2 is NaN: its first step (7) ruins the parameters, the loss of the next is
    # NaN.
    with pytest.raises(
        loop.Diverged,
        match=r"training loss is NaN or infinite at epoch 2, step 8;"
        r" the last good checkpoint is kept",
    ):
        train(digits_config, workdir)
    monkeypatch.setattr(settings, "learning_rate_schedule", at)
    kept = Checkpoints(workdir).restore(
        experiment.build(settings.resolve(digits_config)).state_like
    )[0]
    assert int(kept.step) == 7
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(kept.params))


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("loss.ldam.scale", 10.0, r"loss.ldam.scale \(30.0 there, 10.0 now\)"),
        ("seed", 7, r"seed \(0 there, 7 now\)"),
    ],
)
def test_a_workdir_of_another_config_is_refused_with_the_differing_fields(
    digits_config, tmp_path, field, value, told
):
    digits_config.training.epochs = 1
    train(digits_config, tmp_path / "run")
    digits_config.update_from_flattened_dict({field: value})
    with pytest.raises(
        ValueError, match=f"was made with another config: {told}; use another --workdir"
    ):
        train(digits_config, tmp_path / "run")


def test_fields_that_do_not_enter_the_numbers_may_change(digits_config, tmp_path):
    digits_config.training.epochs = 1
    train(digits_config, tmp_path / "run")
    digits_config.checkpoint.keep = 5
    digits_config.logging.tensorboard = True
    assert train(digits_config, tmp_path / "run")["epochs"] == 1


def test_a_run_outlives_an_upgrade_that_brings_fields(digits_config, tmp_path):
    """One that the run's version did not know is no difference at its default."""
    digits_config.training.epochs = 1
    train(digits_config, tmp_path)
    record = json.loads((tmp_path / "config.json").read_text())
    for field in ("augment.cutout", "augment.padding", "model.zero_init"):
        del record["config"][field]
    (tmp_path / "config.json").write_text(json.dumps(record))
    assert initial.recorded_config(record).augment.padding == 1  # of the digits
    assert train(digits_config, tmp_path)["epochs"] == 1
    (tmp_path / "config.json").write_text(json.dumps(record))
    digits_config.augment.cutout = 3
    with pytest.raises(ValueError, match=r"another config: augment.cutout \(0 there, 3 now\)"):
        train(digits_config, tmp_path)


def test_a_full_disk_is_named_with_its_file(digits_config, tmp_path, monkeypatch):
    folder = Workdir(tmp_path)

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    told = r"metrics.jsonl could not be written \(No space left on device\); the same command"
    with pytest.raises(OSError, match=told):
        folder.append_metrics({"epoch": 0})


def test_who_listens_does_not_end_the_run_but_a_broken_pipe_stops_it(tmp_path):
    broken = []
    for error, called in ((OSError(errno.EIO, "lost"), 0), (BrokenPipeError(), 1)):
        display = Display(1, 1, broken=lambda: broken.append(1))
        display.console.file = Failing(error)
        display.say("one")
        display.say("two")
        assert len(broken) == called


class Failing(io.StringIO):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


def test_a_workdir_of_other_images_is_refused(digits_config, tmp_path, monkeypatch):
    digits_config.training.epochs = 1
    train(digits_config, tmp_path / "run")
    build = loop.build

    def other(config, *whole):
        built = build(config, *whole)
        built.dataset.train_images[0, 0, 0, 0] ^= 1
        return built

    monkeypatch.setattr(loop, "build", other)
    with pytest.raises(ValueError, match="was trained on other images"):
        train(digits_config, tmp_path / "run")


def test_a_workdir_in_which_nothing_was_trained_may_be_begun_anew(digits_config, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    digits_config.training.epochs = 1
    assert train(digits_config, tmp_path)["epochs"] == 1


def test_a_damaged_config_json_is_named(digits_config, tmp_path):
    digits_config.training.epochs = 1
    train(digits_config, tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is damaged"):
        train(digits_config, tmp_path)
