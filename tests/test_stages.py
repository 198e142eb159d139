"""Training in stages: what a stage states, what it leaves alone, and that a killed run continues
across them.
"""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltjax.experiment import experiment, initial, settings
from ltjax.experiment.parameters import split_parameters
from ltjax.experiment.stages import stages_of
from ltjax.training import loop, scoring
from ltjax.training.programs import Programs
from ltjax.workdir.checkpoint import Checkpoints
from ltjax.workdir.workdir import Workdir
from tests.runs import assert_equal, same_rows, train


@pytest.fixture
def crt_config(digits_config):
    """Features, then a new classifier on balanced batches with everything else frozen."""
    digits_config.stages = ("features", "classifier")
    digits_config.stage.features = {"epochs": 2}
    digits_config.stage.classifier = {
        "epochs": 2,
        "sampler": {"name": "class_balanced"},
        "reweighting": {"name": "none"},
        "parameters": {"trainable": "linear", "reset": "linear", "frozen_statistics": True},
        "learning_rate": {"schedule": "constant", "base": 0.05},
        "sam": {"enabled": False},
    }
    digits_config.training.epochs = 4
    return digits_config


@pytest.fixture
def rotation_config(digits_config):
    digits_config.stages = ("rotation", "classes")
    digits_config.stage.rotation = {
        "epochs": 2,
        "target": "rotation",
        "loss": {"name": "cross_entropy"},
    }
    digits_config.stage.classes = {
        "epochs": 1,
        "parameters": {"reset": "linear"},
        "sampler": {"name": "class_balanced"},
    }
    digits_config.model.classifier = "linear"
    digits_config.loss.name = "cross_entropy"
    return digits_config


def run_epochs(config, epochs):
    """States at the end of each epoch, and the experiment."""
    built = experiment.build(settings.resolve(config))
    programs = Programs(built)
    state, stage, states = built.create_state(), built.stage_at(0), []
    for epoch in epochs:
        if built.stage_at(epoch) != stage:
            state, stage = built.enter(state, stage, built.stage_at(epoch)), built.stage_at(epoch)
        position = 0
        while position < built.steps_per_epoch:
            state, position = programs.advance(state, position, built.settings(epoch), stage)
        states.append(jax.tree.map(jnp.copy, state))
        state = programs.next_epoch(state)
    return built, states


def test_a_frozen_backbone_is_bitwise_unchanged_and_the_classifier_is_not(crt_config):
    _, (_, before, *_, after) = run_epochs(crt_config, range(4))
    for name, value in before.params.items():
        if name != "linear":
            assert_equal(value, after.params[name])
    assert_equal(before.batch_stats, after.batch_stats)
    assert not np.array_equal(before.params["linear"]["kernel"], after.params["linear"]["kernel"])


def test_the_optimiser_holds_the_trained_parameters_alone_and_starts_anew(crt_config):
    built = experiment.build(settings.resolve(crt_config))
    state = built.enter(built.create_state(), 0, 1)
    momentum = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert [leaf.shape for leaf in momentum] == [state.params["linear"]["kernel"].shape]
    assert not any(leaf.any() for leaf in momentum)


def test_layers_started_anew_are_drawn_from_the_seed(crt_config):
    kernels = []
    for seed in (0, 0, 1):
        crt_config.seed = seed
        built = experiment.build(settings.resolve(crt_config))
        state = built.create_state()
        entered = built.enter(state, 0, 1)
        assert_equal(state.params["conv1"], entered.params["conv1"])
        assert not np.array_equal(
            state.params["linear"]["kernel"], entered.params["linear"]["kernel"]
        )
        kernels.append(np.asarray(entered.params["linear"]["kernel"]))
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])


def test_momentum_goes_on_where_a_stage_changes_only_weights(digits_config):
    built, (_, before) = run_epochs(digits_config, range(2))
    entered = built.enter(before, 0, 1)
    assert_equal(before.opt_state, entered.opt_state)
    assert_equal(before.params, entered.params)


PROBE = {"parameters": {"trainable": "linear"}}


@pytest.mark.parametrize(
    ("first", "second", "anew"),
    [
        (PROBE, {}, True),
        ({"optimizer": {"name": "adam"}}, {}, True),
        ({"target": "rotation"}, {"parameters": {"reset": "linear"}}, True),
        (PROBE, PROBE, False),
        ({}, {"optimizer": {"name": "sgd"}, "target": "class"}, False),
    ],
    ids=str,
)
def test_what_starts_anew_follows_from_what_holds_before_and_after(
    digits_config, first, second, anew
):
    digits_config.stages = ("first", "second")
    digits_config.stage.first = {"epochs": 1, **first}
    digits_config.stage.second = {"epochs": 1, **second}
    built = experiment.build(settings.resolve(digits_config))
    assert built.stages[1].starts_anew == anew
    entered = jax.eval_shape(lambda state: built.entered(state, 1), built.state_like(0))
    expected = built.state_like(1)
    shapes = [jax.tree.map(lambda leaf: leaf.shape, s.opt_state) for s in (entered, expected)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        (
            {"parameters": {"trainable": "head", "reset": "linear"}},
            "stage 'late': config.parameters.trainable 'head' matches no parameter",
        ),
        ({"parameters": {"reset": "head"}}, "stage 'late': 'head' matches no parameter"),
        ({}, "stage 'late': 2 parameters have another shape than before"),
    ],
    ids=str,
)
def test_what_a_later_stage_can_not_be_is_said_before_the_first_step(
    rotation_config, tmp_path, monkeypatch, stated, told
):
    rotation_config.stages = ("rotation", "late")
    rotation_config.stage.late = {"epochs": 1, **stated}
    monkeypatch.setattr(Programs, "advance", None)
    with pytest.raises(ValueError, match=told) as caught:
        train(rotation_config, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_stages_that_differ_in_class_weights_alone_share_a_program(digits_config):
    drw = experiment.build(settings.resolve(digits_config))
    assert drw.recipes[0] is drw.recipes[1]


def test_stages_that_train_other_parameters_have_programs_of_their_own(crt_config):
    crt = experiment.build(settings.resolve(crt_config))
    assert crt.recipes[0] is not crt.recipes[1]


def test_a_stages_own_schedule_counts_from_its_start_and_others_run_on(digits_config):
    digits_config.stages = ("first", "second", "third")
    digits_config.stage.first = {"epochs": 160}
    digits_config.stage.second = {"epochs": 20}
    digits_config.stage.third = {
        "epochs": 20,
        "learning_rate": {"base": 0.5, "warmup_epochs": 0, "milestones": (10,), "factors": (0.1,)},
    }
    digits_config.training.epochs = 200
    built = experiment.build(settings.resolve(digits_config))
    assert [built.learning_rate(epoch) for epoch in (0, 100)] == pytest.approx([0.02, 0.1])
    assert built.learning_rate(160) == pytest.approx(
        0.001
    )  # the run's first drop, in the second stage
    assert [built.learning_rate(epoch) for epoch in (180, 189, 190, 199)] == pytest.approx(
        [0.5, 0.5, 0.05, 0.05]
    )


def test_stage_lengths_scale_with_the_epochs_and_the_last_is_never_left_out(crt_config):
    crt_config.stage.features.epochs = 200
    crt_config.stage.classifier.epochs = 10
    lengths = {}
    for epochs in (None, 21, 3, 1):
        crt_config.training.epochs = epochs
        resolved = settings.resolve(crt_config)
        lengths[resolved.training.epochs] = [stage.epochs for stage in stages_of(resolved)]
    assert lengths == {210: [200, 10], 21: [20, 1], 3: [2, 1], 1: [0, 1]}


def test_rotation_is_learned_on_four_copies_and_reported_as_such(rotation_config, tmp_path):
    train(rotation_config, tmp_path / "run")
    rows = Workdir(tmp_path / "run").read_metrics()
    assert [row["stage"] for row in rows] == ["rotation", "rotation", "classes"]
    assert [set(row) >= {"rotation_accuracy", "rotation_loss"} for row in rows] == [
        True,
        True,
        False,
    ]
    assert [row.get("target") for row in rows] == ["rotation", "rotation", None]
    assert ["test_accuracy" in row for row in rows] == [False, False, True]
    assert (
        rows[1]["rotation_accuracy"] > 0.29
    )  # chance is 0.25; 2,000 turned test images, standard deviation 0.01
    built, (state,) = run_epochs(rotation_config, range(1))
    assert int(state.running.count) == 4 * len(built.dataset.train_labels)
    assert state.params["linear"]["bias"].shape == (4,)


def test_a_run_in_stages_stopped_anywhere_ends_as_if_never_stopped(
    rotation_config, tmp_path, monkeypatch
):
    """Stopped in the first stage, and exactly at its end."""
    rotation_config.checkpoint.every, rotation_config.training.steps_per_call = 100, 1
    train(rotation_config, tmp_path / "whole")
    whole = Workdir(tmp_path / "whole").read_metrics()
    advance, calls = Programs.advance, []
    steps = experiment.build(settings.resolve(rotation_config)).steps_per_epoch

    def counted(self, *arguments):
        calls.append(1)
        if len(calls) in (3, 2 * steps):
            os.kill(os.getpid(), signal.SIGTERM)
        return advance(self, *arguments)

    monkeypatch.setattr(Programs, "advance", counted)
    for _ in range(2):
        with pytest.raises(loop.Stopped):
            train(rotation_config, tmp_path / "stopped")
    assert len(Workdir(tmp_path / "stopped").read_metrics()) == 2
    train(rotation_config, tmp_path / "stopped")
    assert same_rows(Workdir(tmp_path / "stopped").read_metrics(), whole)
    built = experiment.build(settings.resolve(rotation_config))
    finals = [
        Checkpoints(tmp_path / name).restore(built.state_like) for name in ("whole", "stopped")
    ]
    assert [final.stage for final in finals] == [1, 1]
    assert_equal(finals[0].state.params, finals[1].state.params)


def test_a_run_still_in_its_rotation_stage_has_nothing_to_evaluate(
    rotation_config, tmp_path, monkeypatch
):
    def stop(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return advance(*arguments)

    advance = Programs.advance
    monkeypatch.setattr(Programs, "advance", stop)
    with pytest.raises(loop.Stopped):
        train(rotation_config, tmp_path / "run")
    with pytest.raises(ValueError, match="is still in stage 'rotation'; train it on"):
        scoring.evaluate(settings.resolve(rotation_config), tmp_path / "run")


def test_a_run_starts_from_another_runs_network(crt_config, tmp_path):
    """One feature extractor, another classifier on it: stage by stage in two runs."""
    crt_config.stages = ("features",)
    crt_config.training.epochs = 2
    train(crt_config, tmp_path / "features")
    crt_config.stages = ("classifier",)
    crt_config.init_from = str(tmp_path / "features")
    built = experiment.build(settings.resolve(crt_config))
    taken = initial.run_variables(tmp_path / "features")
    begun = built.create_state().params
    assert_equal(begun | {"linear": None}, taken["params"] | {"linear": None})
    assert not np.array_equal(begun["linear"]["kernel"], taken["params"]["linear"]["kernel"])
    train(crt_config, tmp_path / "classifier")
    final = initial.run_variables(tmp_path / "classifier")
    assert_equal(final["params"]["conv1"], taken["params"]["conv1"])
    assert not np.array_equal(
        final["params"]["linear"]["kernel"], taken["params"]["linear"]["kernel"]
    )


def test_init_except_keeps_its_parameters_from_the_seed(crt_config, tmp_path):
    crt_config.stages = ()
    crt_config.training.epochs = 1
    fresh = experiment.build(settings.resolve(crt_config)).create_state()
    train(crt_config, tmp_path / "first")
    crt_config.init_from, crt_config.init_except = str(tmp_path / "first"), "linear"
    mixed = experiment.build(settings.resolve(crt_config)).create_state()
    assert_equal(mixed.params["linear"], fresh.params["linear"])
    assert not np.array_equal(mixed.params["conv1"]["kernel"], fresh.params["conv1"]["kernel"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda c: c.update(stages=("features", "clasifier")),
            "config.stages names 'clasifier'; did you mean 'classifier'?",
        ),
        (
            lambda c: c.stage.classifier.update(epochs=0),
            "config.stage.classifier.epochs is 0; expected at least 1",
        ),
        (
            lambda c: c.stage.classifier.update(modle={"name": "x"}),
            "config.stage.classifier states 'modle'",
        ),
        (
            lambda c: c.stage.classifier.update(data={"factor": 0.1}),
            "config.stage.classifier states 'data'",
        ),
        (
            lambda c: c.stage.classifier.update(loss={"nmae": "ldam"}),
            "config.stage.classifier.loss has no field 'nmae'; did you mean 'name'?",
        ),
        (
            lambda c: c.stage.classifier.update(loss={"name": "ldma"}),
            "stage 'classifier': config.loss.name is 'ldma'; did you mean 'ldam'?",
        ),
        (
            lambda c: c.stage.classifier.update(sam={"rho": "big"}),
            "config.stage.classifier.sam.rho is 'big'; expected a value like",
        ),
        (
            lambda c: c.stage.classifier.update(target="rotation"),
            "config.target is 'rotation' in the last stage",
        ),
        (
            lambda c: c.stage.classifier.parameters.update(trainable="(linear"),
            "expected a regular expression",
        ),
        (
            lambda c: c.update(stages=("features", "features")),
            "config.stages names 'features' twice",
        ),
    ],
)
def test_wrong_stages_are_refused_in_one_line(crt_config, change, told):
    change(crt_config)
    with pytest.raises(ValueError, match=r"config\.") as caught:
        settings.resolve(crt_config)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pattern_that_matches_nothing_names_what_there_is(crt_config):
    crt_config.stage.classifier.parameters.trainable = "head"
    built = experiment.build(settings.resolve(crt_config))
    with pytest.raises(
        ValueError,
        match=r"parameters.trainable 'head' matches no parameter;"
        r" they begin with bn1, conv1, linear",
    ):
        built.enter(built.create_state(), 0, 1)
    crt_config.stage.classifier.parameters.update(trainable="linear", reset="head")
    built = experiment.build(settings.resolve(crt_config))
    with pytest.raises(ValueError, match="stage 'classifier': 'head' matches no parameter"):
        built.enter(built.create_state(), 0, 1)


def test_a_new_target_needs_a_new_classifier(rotation_config):
    rotation_config.stage.classes.parameters.reset = ""
    built = experiment.build(settings.resolve(rotation_config))
    with pytest.raises(
        ValueError,
        match=r"parameters have another shape than before \(linear/bias, linear/kernel\);"
        r" they must start anew",
    ):
        built.enter(built.create_state(), 0, 1)


def test_splitting_and_joining_parameters_gives_them_back():
    params = {"a": {"x": 1, "y": 2}, "linear": {"kernel": 3}}
    trained, whole = split_parameters(params, "linear|a/y")
    assert trained == {"a": {"y": 2}, "linear": {"kernel": 3}}
    assert whole(trained) == params
    assert whole({"a": {"y": 9}, "linear": {"kernel": 8}}) == {
        "a": {"x": 1, "y": 9},
        "linear": {"kernel": 8},
    }


def test_reslt_needs_its_network_and_takes_no_weights(digits_config):
    digits_config.loss.name = "reslt"
    with pytest.raises(ValueError, match="the reslt loss and the reslt_ networks go together"):
        settings.resolve(digits_config)
    digits_config.model.name, digits_config.model.classifier = "reslt_resnet8", "linear"
    with pytest.raises(
        ValueError, match="stage 'reweighted': the reslt loss takes no class weights"
    ):
        settings.resolve(digits_config)
    digits_config.stages = ()
    digits_config.loss.reslt.tail_from = 10
    with pytest.raises(ValueError, match="tail_from 10; expected ascending classes below 10"):
        experiment.build(settings.resolve(digits_config))


def test_a_run_goes_on_without_the_file_it_started_from(crt_config, tmp_path):
    crt_config.stages = ()
    crt_config.training.epochs = 1
    train(crt_config, tmp_path / "first")
    crt_config.init_from = str(tmp_path / "first")
    train(crt_config, tmp_path / "second")
    (tmp_path / "first").rename(tmp_path / "moved")
    assert train(crt_config, tmp_path / "second")["epochs"] == 1
