"""The trainer: one epoch in any number of calls and devices is the same epoch; what a run starts
from and what it leaves.
"""

import dataclasses
import io
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from ltjax import report
from ltjax.experiment import experiment, settings
from ltjax.training import loop, scoring
from ltjax.training.programs import Programs
from ltjax.training.step import train_steps, update
from tests.runs import assert_equal, train


def one_epoch(config, **training):
    for name, value in training.items():
        config.training[name] = value
    built = experiment.build(settings.resolve(config))
    programs = Programs(built)
    state, position, calls = built.create_state(), 0, 0
    while position < built.steps_per_epoch:
        state, position = programs.advance(state, position, built.settings(0), built.stage_at(0))
        calls += 1
    return built, programs, state, calls


def test_settings_and_further_epochs_compile_nothing_anew(digits_config):
    built, programs, state, calls = one_epoch(digits_config, steps_per_call=0)
    assert calls == 2  # the short last batch is a call of its own on a CPU
    assert int(state.step) == built.steps_per_epoch == 7
    state = programs.next_epoch(state)
    for epoch in (1, 2):  # another learning rate, and the epoch in which the weights set in
        position = 0
        while position < 7:
            state, position = programs.advance(state, position, built.settings(epoch))
        state = programs.next_epoch(state)
    assert len(programs._steps) == 1  # both stages share a program
    assert next(iter(programs._steps.values()))._cache_size() == 2
    assert not np.array_equal(built.settings(0).class_weights, built.settings(2).class_weights)


def test_where_calls_begin_changes_no_bit_on_a_cpu(digits_config):
    states = [one_epoch(digits_config, steps_per_call=calls)[2] for calls in (1, 2, 4, -1)]
    for state in states[1:]:
        assert_equal(state.params, states[0].params)


def test_a_loop_of_known_length_is_the_same_epoch(digits_config):
    """As accelerators run it, but for the order of sums."""
    digits_config.sam.rho = 0.05
    # In float64, since 7 SAM steps amplify float32's rounding.
    with jax.enable_x64(True):
        built, programs, called, _ = one_epoch(digits_config)
        size = len(built.dataset.train_labels)
        whole = jax.jit(
            partial(train_steps, built.recipe, batch_size=64, full_steps=6, unroll=2),
            static_argnames="remainder",
        )(built.create_state(), *programs._train, built.settings(0), remainder=size % 64)
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=2e-3, atol=2e-4), whole.params, called.params
    )
    assert int(whole.step) == int(called.step) == 7
    assert int(whole.running.correct) == pytest.approx(int(called.running.correct), abs=2)


def test_the_last_short_batch_is_trained_on_and_every_image_seen_once(digits_config):
    built, _, state, _ = one_epoch(digits_config)
    images = len(built.dataset.train_labels)
    assert images % digits_config.training.batch_size
    assert int(state.running.count) == images
    assert int(state.step) == -(-images // digits_config.training.batch_size)


def test_drop_last_leaves_the_short_batch_out(digits_config):
    _, _, state, _ = one_epoch(digits_config, drop_last=True)
    assert int(state.running.count) == 6 * 64


ROTATION = {
    "training": {"drop_last": True},
    "stages": ("turned", "plain"),
    "stage": {"turned": {"epochs": 1, "target": "rotation"}, "plain": {"epochs": 1}},
    "sam": {"enabled": False},
}
AUGMENTED = {
    "training": {"drop_last": True},
    "sampler": {"name": "class_balanced"},
    "augment": {"policy": "cifar10", "cutout": 3},
    "mixing": {"name": "cutmix"},
    "sam": {"enabled": False},
}


@pytest.mark.parametrize(
    "fields",
    [
        {"sampler": {"name": "shuffled"}},
        AUGMENTED,
        ROTATION,
    ],
    ids=["plain", "augmented and mixed", "rotation"],
)
def test_eight_devices_give_the_numbers_of_one(digits_config, fields):
    """Computed in float64, where only the order of sums differs, with parameters kept in float32
    (hence 2e-5 after 7 SAM steps).

    The short last batch (33 images) of the plain run does not divide by 8.
    """
    digits_config.update(fields)
    with jax.enable_x64(True):
        results = {}
        for devices in (1, 8):
            built, programs, state, _ = one_epoch(digits_config, cpu_devices=devices)
            assert len(built.devices) == devices
            results[devices] = (state, programs.evaluate(state.variables, built.stage_at(0)).sums)
            assert len(state.step.sharding.device_set) == devices
    (one, one_sums), (eight, eight_sums) = results[1], results[8]
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-5), eight.params, one.params
    )
    np.testing.assert_allclose(eight.running.loss, one.running.loss, rtol=1e-5)
    assert int(np.abs(np.asarray(eight_sums.confusion) - np.asarray(one_sums.confusion)).sum()) <= 2


def test_a_hole_as_large_as_the_images_is_refused(digits_config):
    digits_config.augment.cutout = 8
    with pytest.raises(ValueError, match=r"cutout is 8 on images of 8 pixels"):
        experiment.build(settings.resolve(digits_config))


def test_the_batch_must_divide_over_the_devices(digits_config):
    digits_config.training.cpu_devices = 8
    digits_config.training.batch_size = 60
    with pytest.raises(
        ValueError, match="batch_size is 60; expected a multiple of the 8 cpu devices"
    ):
        experiment.build(settings.resolve(digits_config))


def test_evaluation_sees_every_test_image_once_whatever_the_batch(digits_config):
    results = []
    for size in (1000, 130):  # 500 images: one batch, four of which one is padded
        digits_config.evaluation.batch_size = size
        built = experiment.build(settings.resolve(digits_config))
        results.append(Programs(built).evaluate(built.create_state().variables).sums)
    for sums in results:
        np.testing.assert_array_equal(sums.confusion.sum(axis=1), np.full(10, 50))
        np.testing.assert_array_equal(sums.confusion, results[0].confusion)
        np.testing.assert_allclose(sums.loss, results[0].loss, rtol=1e-5)


@pytest.mark.parametrize("both", [True, False])
def test_the_second_pass_of_sam_updates_the_statistics_only_if_asked(digits_config, both):
    digits_config.sam.batch_stats = "both" if both else "first"
    built = experiment.build(settings.resolve(digits_config))
    state = built.create_state()
    images = jax.random.normal(jax.random.key(0), (16, 8, 8, 1))
    step = jax.jit(partial(update, built.recipe))
    after = step(state, images, jnp.arange(16) % 10, built.settings(0))
    first = built.recipe.model.apply(state.variables, images, train=True, mutable=["batch_stats"])[
        1
    ]["batch_stats"]
    same = jax.tree.leaves(
        jax.tree.map(lambda a, b: np.allclose(a, b, rtol=1e-5, atol=1e-6), after.batch_stats, first)
    )
    assert all(same) != both


def test_mixup_trains_on_both_labels(digits_config):
    digits_config.mixing.name = "mixup"
    _, _, mixed, _ = one_epoch(digits_config)
    digits_config.mixing.name = "none"
    _, _, plain, _ = one_epoch(digits_config)
    assert np.isfinite(mixed.running.loss)
    assert float(mixed.running.loss) != float(plain.running.loss)


def test_bfloat16_trains(digits_config, tmp_path):
    digits_config.model.dtype = "bfloat16"
    digits_config.training.epochs = 1
    result = train(digits_config, tmp_path / "run")
    assert np.isfinite(result["last"]["train_loss"])


def test_deferred_sampling_shuffles_before_its_epoch(digits_config):
    digits_config.stages = ("plain", "balanced")
    digits_config.stage.plain = {"epochs": 2}
    digits_config.stage.balanced = {"epochs": 1, "sampler": {"name": "class_balanced"}}
    built = experiment.build(settings.resolve(digits_config))
    labels = jnp.asarray(built.dataset.train_labels)
    early, late = (
        np.asarray(recipe.order(jax.random.key(0), labels, 2)) for recipe in built.recipes
    )
    np.testing.assert_array_equal(np.sort(early), np.arange(len(labels)))
    assert len(np.unique(late)) < len(labels)


def test_init_from_starts_at_those_weights_and_evaluates_them(digits_config, tmp_path):
    from ltjax import models

    digits_config.model.name, digits_config.model.width = "resnet8", 16
    model = models.create("resnet8", 10, classifier="normalized")
    variables = model.init(jax.random.key(5), jnp.zeros((1, 8, 8, 1)))
    np.savez(tmp_path / "w.npz", **models.to_torch("resnet8", variables))
    digits_config.init_from = str(tmp_path / "w.npz")
    config = settings.resolve(digits_config)
    assert_equal(experiment.build(config).create_state().params, variables["params"])
    result = scoring.evaluate(config, None)
    built = experiment.build(config)
    images = (built.dataset.test_images / 255.0 - config.data.mean) / config.data.std
    predicted = jnp.argmax(model.apply(variables, images.astype(np.float32)), axis=-1)
    assert result["test_accuracy"] == pytest.approx(
        float(np.mean(np.asarray(predicted) == built.dataset.test_labels)), abs=0.003
    )


def test_the_first_stage_resets_what_init_from_gave(digits_config, tmp_path):
    from ltjax import models

    digits_config.model.name = "resnet8"
    model = models.create("resnet8", 10, classifier="normalized", width=4)
    variables = model.init(jax.random.key(5), jnp.zeros((1, 8, 8, 1)))
    np.savez(tmp_path / "w.npz", **models.to_torch("resnet8", variables))
    digits_config.init_from = str(tmp_path / "w.npz")
    digits_config.parameters.reset = "linear"
    params = experiment.build(settings.resolve(digits_config)).create_state().params
    assert_equal(params["conv1"], variables["params"]["conv1"])
    kernel = variables["params"]["linear"]["kernel"]
    assert jnp.all(params["linear"]["kernel"] != kernel)
    digits_config.parameters.reset = "lniear"
    with pytest.raises(ValueError, match=r"parameters.reset: 'lniear' matches no parameter"):
        experiment.build(settings.resolve(digits_config)).create_state()


def test_no_nan_is_written_for_classes_without_test_images(digits_config, tmp_path, monkeypatch):
    """Class 9, and the whole group of the classes with the fewest images."""
    build = experiment.build

    def without(config, *whole):
        built = build(config, *whole)
        keep = ~np.isin(built.dataset.test_labels, (1, 6, 7, 8, 9))
        images, labels = built.dataset.test_images[keep], built.dataset.test_labels[keep]
        fewer = dataclasses.replace(built.dataset, test_images=images, test_labels=labels)
        return dataclasses.replace(built, dataset=fewer)

    monkeypatch.setattr(loop, "build", without)
    digits_config.training.epochs = 1
    result = train(digits_config, tmp_path / "run")
    assert "few" not in result["last"]
    assert result["last"]["many"] == pytest.approx(
        np.mean([result["last"]["per_class"][c] for c in (0, 2)]), abs=1e-6
    )
    assert result["last"]["per_class"][9] is None
    report.write([tmp_path / "run"], tmp_path / "run", Console(file=io.StringIO()))
    for name in ("metrics.jsonl", "result.json", "summary.json", "config.json"):
        for line in (tmp_path / "run" / name).read_text(encoding="utf-8").splitlines():
            assert "NaN" not in line


def test_slices_are_of_classes_by_their_counts(digits_config):
    digits_config.data.groups = (1, 3)
    digits_config.data.profile = "single_majority"
    groups = experiment.build(settings.resolve(digits_config)).groups
    assert {name: classes.tolist() for name, classes in groups.items()} == {
        "many": [3],
        "medium": [0, 1],
        "few": [2, 4, 5, 6, 7, 8, 9],
    }


def test_init_from_another_kind_of_network_is_refused(digits_config, tmp_path):
    from ltjax import models

    digits_config.model.name = "resnet8"
    model = models.create("resnet8", 10, classifier="linear", width=4)
    np.savez(
        tmp_path / "w.npz",
        **models.to_torch("resnet8", {**model.init(jax.random.key(5), jnp.zeros((1, 8, 8, 1)))}),
    )
    digits_config.init_from = str(tmp_path / "w.npz")
    with pytest.raises(ValueError, match=r"config.init_from: .*w.npz"):
        scoring.evaluate(settings.resolve(digits_config), None)


def test_nothing_to_evaluate_is_said(digits_config, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing to evaluate"):
        scoring.evaluate(settings.resolve(digits_config), tmp_path / "absent")


def test_weights_and_biases_gets_every_epoch_when_asked(digits_config, tmp_path, monkeypatch):
    import sys
    import types

    logged, begun = [], {}
    run = types.SimpleNamespace(
        log=lambda values, step: logged.append((step, values)),
        finish=lambda: logged.append("finished"),
    )
    fake = types.SimpleNamespace(init=lambda **options: begun.update(options) or run)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    digits_config.logging.wandb = True
    digits_config.training.epochs = 2
    result = train(digits_config, tmp_path / "run")
    assert begun["project"] == "ltjax"
    assert begun["config"]["loss.name"] == "ldam"
    assert [entry[0] for entry in logged[:2]] == [0, 1]
    assert logged[1][1]["test_accuracy"] == result["last"]["test_accuracy"]
    assert logged[2] == "finished"


def test_evaluation_scores_the_run_and_names_one_of_another_recipe(digits_config, tmp_path):
    from ltjax import models

    digits_config.model.name = "resnet8"
    start = models.create("resnet8", 10, classifier="normalized", width=4)
    variables = start.init(jax.random.key(5), jnp.zeros((1, 8, 8, 1)))
    np.savez(tmp_path / "w.npz", **models.to_torch("resnet8", variables))
    digits_config.init_from = str(tmp_path / "w.npz")
    digits_config.training.epochs = 1
    result = train(digits_config, tmp_path / "run")
    said: list[str] = []
    again = scoring.evaluate(settings.resolve(digits_config), tmp_path / "run", said.append)
    assert again["confusion"] == result["confusion"], "the run, not what it began from"
    assert said == [f"scored: {tmp_path / 'run'}, step 7"]
    for field, value in (("data.factor", 0.5), ("loss.name", "cross_entropy")):
        other = digits_config.copy_and_resolve_references()
        other.update_from_flattened_dict({field: value})
        with pytest.raises(ValueError, match=f"holds a run of quickstart .*: {field} \\("):
            scoring.evaluate(settings.resolve(other), tmp_path / "run", said.append)
    np.savez(tmp_path / "other.npz", **models.to_torch("resnet8", variables))
    digits_config.init_from = str(tmp_path / "other.npz")
    scoring.evaluate(settings.resolve(digits_config), tmp_path / "run", said.append)
    assert said[1:] == [f"scored: {tmp_path / 'other.npz'}"]
