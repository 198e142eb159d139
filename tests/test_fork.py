"""A run that begins with another one's checkpoint is the run from the start, to the bit."""

import json

import pytest

from ltjax.experiment import experiment, settings
from ltjax.training import loop
from ltjax.workdir.checkpoint import Checkpoints
from ltjax.workdir.workdir import Workdir
from tests.runs import assert_equal, same_rows


@pytest.fixture
def plain(digits_config):
    """Three epochs of one stage; `deferred` makes it re-weight from the third on."""
    config = digits_config
    config.stages, config.stage = (), {}
    config.loss.name, config.model.classifier = "cross_entropy", "linear"
    config.sam.enabled = False
    config.checkpoint.every, config.checkpoint.at = 100, (2,)
    config.checkpoint.minutes, config.checkpoint.best = 100.0, False
    config.training.published_epochs = 3
    return config


def deferred(config):
    config = config.copy_and_resolve_references()
    config.stages = ("plain", "weighted")
    config.stage = {
        "plain": {"epochs": 2},
        "weighted": {"epochs": 1, "reweighting": {"name": "effective_number"}},
    }
    return config


def state(config, workdir):
    built = experiment.build(settings.resolve(config))
    checkpoints = Checkpoints(workdir)
    restored = checkpoints.restore(built.state_like)
    checkpoints.close()
    return restored.state


def train(config, workdir):
    return loop.train(settings.resolve(config), workdir)


def test_a_forked_run_is_the_run_from_the_start(plain, tmp_path):
    train(plain, tmp_path / "plain")
    config = deferred(plain)
    train(config, tmp_path / "whole")
    config.fork = str(tmp_path / "plain")
    result = train(config, tmp_path / "forked")
    whole, forked = (state(config, tmp_path / name) for name in ("whole", "forked"))
    assert_equal(whole.params, forked.params)
    assert_equal(whole.opt_state, forked.opt_state)
    assert result["epochs"] == 3
    rows = [Workdir(tmp_path / name).read_metrics() for name in ("whole", "forked")]
    assert same_rows(*rows)
    told = json.loads((tmp_path / "forked" / "config.json").read_text())["forked"]
    assert (told["run"], told["epoch"], told["step"]) == (config.fork, 2, 14)

    # Continued, it does not look at the other run again.
    config.training.epochs = None
    config.fork = str(tmp_path / "gone")
    assert train(config, tmp_path / "forked")["last"] == result["last"]

    # A classifier trained anew, on the whole of the plain run.
    config = plain.copy_and_resolve_references()
    config.stages = ("features", "classifier")
    config.stage = {
        "features": {"epochs": 3},
        "classifier": {
            "epochs": 1,
            "sampler": {"name": "class_balanced"},
            "parameters": {"trainable": "linear", "reset": "linear", "frozen_statistics": True},
        },
    }
    config.training.epochs = None
    train(config, tmp_path / "crt")
    config.fork = str(tmp_path / "plain")
    train(config, tmp_path / "crt_forked")
    assert_equal(
        state(config, tmp_path / "crt").params, state(config, tmp_path / "crt_forked").params
    )


def test_runs_that_differ_before_a_checkpoint_are_refused_with_the_first_difference(
    plain, tmp_path
):
    plain.checkpoint.at = ()
    train(plain, tmp_path / "plain")
    config = deferred(plain)
    config.fork = str(tmp_path / "plain")
    with pytest.raises(ValueError, match=r"no checkpoint of its first 2 epochs.*class weights"):
        train(config, tmp_path / "a")
    config.loss.name = "focal"
    with pytest.raises(ValueError, match=r"first epoch on: loss.name \(cross_entropy there, focal"):
        train(config, tmp_path / "b")
    config.loss.name, config.seed = "cross_entropy", 5
    with pytest.raises(ValueError, match=r"first epoch on: seed \(0 there, 5 here\)"):
        train(config, tmp_path / "c")
    config.seed, config.data.subset_seed = 0, 1
    with pytest.raises(ValueError, match=r"data.subset_seed \(0 there, 1 here\)"):
        train(config, tmp_path / "d")
    config.fork = str(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no run there"):
        train(config, tmp_path / "e")
