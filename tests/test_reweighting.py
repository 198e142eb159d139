import jax
import numpy as np
import pytest

from ltjax import reweighting

COUNTS = np.array([5000, 387, 50])


def test_effective_number_with_beta_zero_is_uniform():
    np.testing.assert_array_equal(reweighting.effective_number(COUNTS, 0.0), np.ones(3))


def test_effective_number_of_single_images_is_exact():
    """1 - beta^1 cancels in float32 unless it is formed carefully."""
    weights = reweighting.effective_number(np.array([1, 2]), 0.999999)
    np.testing.assert_allclose(weights[0] / weights[1], 1 + 0.999999, rtol=1e-6)


def test_deferred_weights_are_one_before_the_start_epoch():
    weights = np.array([0.5, 1.5], np.float32)
    np.testing.assert_array_equal(reweighting.deferred(weights, 159, 160), [1, 1])
    np.testing.assert_array_equal(reweighting.deferred(weights, 160, 160), weights)
    np.testing.assert_array_equal(jax.jit(reweighting.deferred)(weights, 160, 160), weights)
    np.testing.assert_array_equal(reweighting.deferred([0.5, 1.5], 0, 1), [1, 1])


@pytest.mark.parametrize("beta", [1.0, -0.1, float("nan")])
def test_beta_outside_its_range_is_refused(beta):
    with pytest.raises(ValueError, match=r"beta is .*; expected a value in \[0, 1\)"):
        reweighting.effective_number(COUNTS, beta)


@pytest.mark.parametrize("name", sorted(reweighting.WEIGHTS))
def test_a_class_without_images_is_refused(name):
    with pytest.raises(ValueError, match=r"holds 0 \(class 1\)"):
        reweighting.WEIGHTS[name](np.array([3, 0]))


@pytest.mark.parametrize("name", sorted(reweighting.WEIGHTS))
def test_counts_that_are_not_one_a_class_are_refused(name):
    with pytest.raises(ValueError, match=r"class_counts has shape \[1, 3\]; expected \[C\]"):
        reweighting.WEIGHTS[name](COUNTS[None])
