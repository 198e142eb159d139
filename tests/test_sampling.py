from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltjax import sampling

LABELS = np.repeat(np.arange(4), [60, 25, 10, 5])
DRAWING = {
    "class_balanced": sampling.class_balanced,
    "square_root": sampling.square_root,
    "power": partial(sampling.power, q=0.3),
    "progressive": partial(sampling.progressive, progress=0.4),
    "reversed": sampling.reversed,
}


def test_every_sampler_in_the_configs_dict_is_tested():
    assert set(DRAWING) | {"shuffled"} == set(sampling.SAMPLERS)


def test_shuffled_visits_every_image_once_in_an_order_of_the_key():
    first, second = (sampling.shuffled(jax.random.key(seed), LABELS) for seed in (0, 1))
    np.testing.assert_array_equal(np.sort(first), np.arange(100))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, sampling.shuffled(jax.random.key(0), LABELS))


@pytest.mark.parametrize("name", DRAWING)
def test_a_drawing_sampler_is_a_function_of_the_key_also_under_jit(name):
    sampler = DRAWING[name]
    indices = sampler(jax.random.key(3), LABELS)
    np.testing.assert_array_equal(indices, sampler(jax.random.key(3), np.asarray(LABELS).tolist()))
    assert indices.shape == (100,)
    assert indices.dtype == jnp.int32
    compiled = jax.jit(partial(sampler, num_classes=4))(jax.random.key(3), LABELS)
    np.testing.assert_array_equal(compiled, indices)
    assert not np.array_equal(indices, sampler(jax.random.key(4), LABELS))


@pytest.mark.parametrize("name", DRAWING)
def test_a_class_without_images_is_never_drawn(name):
    labels = np.array([0] * 5 + [2] * 3)
    indices = DRAWING[name](jax.random.key(0), labels, num_classes=4, num_samples=1000)
    assert indices.shape == (1000,)
    assert set(labels[indices].tolist()) == {0, 2}


def test_labels_in_any_order_are_understood():
    labels = np.random.default_rng(0).permutation(LABELS)
    indices = sampling.class_balanced(jax.random.key(0), labels, num_samples=8000)
    np.testing.assert_allclose(
        np.bincount(labels[indices]) / 8000, 0.25, atol=0.03
    )  # over 5 standard deviations


def test_progressive_starts_instance_balanced_and_ends_class_balanced():
    key = jax.random.key(0)
    np.testing.assert_array_equal(
        sampling.progressive(key, LABELS, 0.0), sampling.power(key, LABELS, 1.0)
    )
    np.testing.assert_array_equal(
        sampling.progressive(key, LABELS, 1.0), sampling.class_balanced(key, LABELS)
    )


def test_traced_labels_need_the_number_of_classes():
    with pytest.raises(ValueError, match="num_classes is needed"):
        jax.jit(sampling.class_balanced)(jax.random.key(0), LABELS)
