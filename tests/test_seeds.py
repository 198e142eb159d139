"""Seeds trained together are the runs that each would be alone, stopped and continued too."""

import json
import shutil
from functools import partial

import jax
import numpy as np
import pytest

from ltjax.experiment import experiment, settings
from ltjax.training import loop, scoring
from ltjax.training.record import Record, restore_together
from ltjax.workdir.checkpoint import Checkpoints
from ltjax.workdir.workdir import Workdir

SEEDS = (3, 8)


def params_of(config, workdir):
    return (
        Checkpoints(workdir)
        .restore(experiment.build(settings.resolve(config)).state_like)
        .state.params
    )


def alone(config, seed, workdir):
    config = config.copy_and_resolve_references()
    config.seed, config.seeds = seed, ()
    return loop.train(settings.resolve(config), workdir)


def together(config, workdir, seeds=SEEDS):
    config = config.copy_and_resolve_references()
    config.seeds = seeds
    return loop.train_seeds(settings.resolve(config), workdir)


TURNED = {
    "stages": ("turned", "plain"),
    "stage": {
        "turned": {"epochs": 1, "target": "rotation"},
        "plain": {
            "epochs": 1,
            "parameters": {"trainable": "linear|bn1", "reset": "linear"},
            "sampler": {"name": "class_balanced"},
        },
    },
    "sam": {"enabled": False},
}


@pytest.mark.parametrize(
    ("vmap", "fields"), [(1, TURNED), (0, {})], ids=["one program, two stages", "in turn, with SAM"]
)
def test_each_seed_is_the_run_it_would_be_alone(digits_config, tmp_path, vmap, fields):
    """To rounding in one program (in float64: SAM's steps amplify float32's), bitwise in turn."""
    digits_config.update(fields)
    digits_config.training.epochs, digits_config.training.vmap_seeds = 2, vmap
    digits_config.training.steps_per_call, digits_config.training.drop_last = 1 - vmap, True
    digits_config.data.validation = 0.2 * vmap
    with jax.enable_x64(bool(vmap)):
        results = together(digits_config, tmp_path / "together")
        for seed, result in zip(SEEDS, results, strict=True):
            ours, own = tmp_path / f"together/seed{seed}", tmp_path / f"alone{seed}"
            single = alone(digits_config, seed, own)
            rows, expected = (Workdir(path).read_metrics() for path in (ours, own))
            losses = [[row["train_loss"] for row in run] for run in (rows, expected)]
            np.testing.assert_allclose(*losses, rtol=1e-4 if vmap else 0)
            same = partial(
                np.testing.assert_allclose, rtol=2e-3 if vmap else 0, atol=2e-4 if vmap else 0
            )
            jax.tree.map(same, params_of(digits_config, ours), params_of(digits_config, own))
            assert np.abs(np.subtract(result["confusion"], single["confusion"])).sum() <= (
                4 if vmap else 0
            )
            assert [row["seeds_together"] for row in rows] == [2, 2]
            if vmap:  # each seed's best epoch, restored and evaluated on the test set
                best, expected_best = result["best"], single["best"]
                assert best["epoch"] == expected_best["epoch"] == 1
                for name in ("val_balanced_accuracy", "balanced_accuracy"):
                    assert best[name] == pytest.approx(expected_best[name], abs=0.03)
    assert results[0]["confusion"] != results[1]["confusion"]


@pytest.fixture
def trained(digits_config, tmp_path):
    """Two seeds after two of three epochs."""
    digits_config.training.epochs = 3
    stop_after(digits_config, tmp_path / "run", 2)
    return tmp_path / "run"


def stop_after(config, workdir, epochs):
    before, loop._Run._finish_epoch = loop._Run._finish_epoch, stopping(epochs)
    try:
        with pytest.raises(KeyboardInterrupt):
            together(config, workdir)
    finally:
        loop._Run._finish_epoch = before


def stopping(epochs):
    finish = loop._Run._finish_epoch

    def stopped(self, state, epoch, *rest):
        state = finish(self, state, epoch, *rest)
        if epoch + 1 == epochs:
            raise KeyboardInterrupt
        return state

    return stopped


def test_killed_between_two_seeds_saving_they_continue_from_the_step_they_share(
    digits_config, trained
):
    for file in (trained / "seed8/checkpoints").glob("14"):
        shutil.rmtree(file)
    assert (
        Checkpoints(trained / "seed3")
        .restore(experiment.build(settings.resolve(digits_config)).state_like)
        .state.step
        == 14
    )
    results = together(digits_config, trained)
    for seed, result in zip(SEEDS, results, strict=True):
        single = alone(digits_config, seed, trained.parent / f"alone{seed}")
        assert result["confusion"] == single["confusion"]
        assert [row["epoch"] for row in Workdir(trained / f"seed{seed}").read_metrics()] == [
            0,
            1,
            2,
        ]


def test_each_keeps_two_checkpoints_and_killed_between_their_first_they_begin_anew(
    digits_config, tmp_path
):
    digits_config.checkpoint.keep, digits_config.checkpoint.best = 1, False
    stop_after(digits_config, tmp_path / "run", 2)
    for seed in SEEDS:  # so that they share one at every moment
        kept = {path.name for path in (tmp_path / f"run/seed{seed}/checkpoints").iterdir()}
        assert kept == {"7", "14"}
    shutil.rmtree(tmp_path / "run/seed8/checkpoints")
    built = experiment.build(settings.resolve(digits_config))
    records = [Record(built.of_seed(seed), tmp_path / f"run/seed{seed}", True) for seed in SEEDS]
    assert restore_together(records) is None
    for record in records:
        record.close()


def test_one_of_them_continues_alone(digits_config, trained):
    result = alone(digits_config, 8, trained / "seed8")
    assert result["epochs"] == 3
    assert result["confusion"] == alone(digits_config, 8, trained.parent / "alone")["confusion"]


def test_seeds_at_different_steps_are_refused_with_where_they_stand(digits_config, trained):
    with pytest.raises(
        ValueError,
        match="do not stand at the same step: seed3 at step 14, seed8 at step 14,"
        " seed9 at the start; train them",
    ):
        together(digits_config, trained, (3, 8, 9))


def test_one_that_diverges_is_named_and_the_others_keep_what_they_have(
    digits_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        loop.programs.Programs, "evaluate", spoiled(loop.programs.Programs.evaluate)
    )
    with pytest.raises(
        loop.Diverged,
        match="test loss of seed 8 is NaN or infinite at epoch 2, step 14;"
        " the last good checkpoint is kept",
    ):
        together(digits_config, tmp_path / "run")
    for seed in SEEDS:
        assert (tmp_path / f"run/seed{seed}/checkpoints/7").is_dir()


def spoiled(evaluate):
    calls = []

    def evaluated(self, variables, *arguments, **options):
        found = evaluate(self, variables, *arguments, **options)
        calls.append(None)
        if len(calls) < 2:
            return found
        sums = found.sums
        return found.replace(sums=sums.replace(loss=sums.loss.at[1].set(np.nan)))

    return evaluated


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"seeds": (1, 1)},
            r"config.seeds is \(1, 1\); expected different integers, such as \(0, 1, 2\), or \(\)",
        ),
        ({"seeds": ("a",)}, "expected different integers"),
        (
            {"seeds": (0, 1), "data.name": "folder"},
            "photographs are decoded for one seed at a time",
        ),
        (
            {"seeds": (0, 1), "logging.wandb": True},
            "config.logging.wandb, which follows one run at a time",
        ),
        ({"training.unroll": 0}, "config.training.unroll is 0; expected at least 1"),
    ],
)
def test_what_can_not_be_is_refused(digits_config, fields, told):
    digits_config.update_from_flattened_dict(fields)
    with pytest.raises(ValueError, match=told):
        settings.resolve(digits_config)


def test_a_command_for_one_run_wants_one_seed(digits_config, tmp_path):
    digits_config.seeds = SEEDS
    resolved = settings.resolve(digits_config)
    for command in (loop.train, scoring.evaluate):
        with pytest.raises(
            ValueError, match=r"config.seeds is \(3, 8\); expected \(\) here: give --config.seed=K"
        ):
            command(resolved, tmp_path)


def test_the_command_trains_them_and_reports_their_spread(launch, tmp_path):
    small = (
        "--config.model.name=resnet8",
        "--config.model.width=4",
        "--config.training.batch_size=64",
        "--config.training.epochs=1",
    )
    done = launch(
        "--config=configs/quickstart.py", *small, "--config.seeds=(0, 1)", f"--workdir={tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    assert "seeds 0, 1 together (below: their means)" in done.stdout
    [summary] = json.loads((tmp_path / "summary.json").read_text())
    assert summary["seeds"] == [0, 1]
    assert summary["last_epoch"]["test_accuracy"]["std"] > 0
    assert {path.name for path in tmp_path.iterdir()} >= {"seed0", "seed1", "report.html"}
    again = launch("--mode=report", f"--workdir={tmp_path}", f"--output={tmp_path / 'again'}")
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "again/summary.json").read_text())[0]["seeds"] == [0, 1]
