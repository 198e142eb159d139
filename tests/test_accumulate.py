"""A batch computed in parts is the batch: its loss with class weights and mixing, its gradient in
both of SAM's passes.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltjax.experiment import experiment, settings
from ltjax.training.step import Batch, augmented, gradients_of, train_step, update


def built_with(config, accumulate, **changes):
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(
        {"training.accumulate": accumulate, "training.epochs": 5, **changes}
    )
    return experiment.build(settings.resolve(config))


def stepped(config, accumulate, size=64, **changes):
    """The state after one step of the last epoch, where class weights count."""
    built = built_with(config, accumulate, **changes)
    images = jnp.asarray(built.dataset.train_images[::6][:size])
    labels = jnp.asarray(built.dataset.train_labels[::6][:size])
    state = built.create_state()
    step = jax.jit(partial(train_step, built.recipe))
    return step(state, images, labels, built.settings(4))


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, 63),
        ({"mixing.name": "mixup", "training.cpu_devices": 4, "sam.enabled": False}, 63),
        ({"mixing.name": "remix", "sam.enabled": False}, 64),
    ],
    ids=str,
)
def test_parts_are_the_whole_where_batch_norm_does_not_look_at_the_batch(
    digits_config, changes, size
):
    """Frozen statistics, so that a part's activations do not depend on which images share it."""
    changes = {"parameters.frozen_statistics": True, **changes}
    whole, parts = (stepped(digits_config, k, size, **changes) for k in (1, 4))
    np.testing.assert_allclose(parts.running.loss, whole.running.loss, rtol=1e-5)
    assert int(parts.running.correct) == int(whole.running.correct)
    # float32 sums in another order, through both passes of SAM
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6),
        parts.params,
        whole.params,
    )


def test_batch_norm_sees_one_part_after_the_other(digits_config):
    """Its running statistics move four times, once a part: images i, i + 4, i + 8, ..."""
    built = built_with(digits_config, 4, **{"sam.enabled": False})
    state = built.create_state()
    images = jax.random.normal(jax.random.key(0), (64, 8, 8, 1))
    step = jax.jit(partial(update, built.recipe))
    after = step(state, images, jnp.arange(64) % 10, built.settings(0))
    stats = state.batch_stats
    for part in range(4):
        variables = {"params": state.params, "batch_stats": stats}
        stats = built.recipe.model.apply(
            variables, images[part::4], train=True, mutable=["batch_stats"]
        )[1]["batch_stats"]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        after.batch_stats,
        stats,
    )


def test_a_short_last_batch_takes_no_more_memory_than_a_whole_one(digits_config):
    """On one device in parts, on two split between them; it is never computed whole by one."""
    for accumulate, devices, short in ((8, 1, 63), (1, 2, 63)):
        built = built_with(digits_config, accumulate, **{"training.cpu_devices": devices})
        needed = [memory(built, size) for size in (short, 64)]
        assert needed[0] < 1.1 * needed[1], (accumulate, devices, needed)


def memory(built, size):
    """Bytes a device that a gradient of so many images needs."""
    state = built.create_state()
    images = jnp.asarray(built.dataset.train_images[:size])
    labels = jnp.asarray(built.dataset.train_labels[:size])
    draw = jax.jit(partial(augmented, built.recipe), static_argnums=4)
    (images,), labels = draw(state.key, state.step, images, labels, 0)
    gradients = jax.jit(partial(gradients_of, built.recipe)).lower(
        *(state.params, state.batch_stats, Batch(images, labels), state.memory),
        *(state.key, state.step, built.settings(0).class_weights),
    )
    return gradients.compile().memory_analysis().temp_size_in_bytes


def test_reslt_takes_no_parts(digits_config):
    with pytest.raises(ValueError, match=r"config.training.accumulate is 4, expected 1"):
        built_with(
            digits_config,
            4,
            **{
                "loss.name": "reslt",
                "model.name": "reslt_resnet8",
                "model.classifier": "linear",
                "stages": (),
            },
        )
