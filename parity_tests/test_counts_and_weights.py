"""Class weights, margins and counts against NumPy in float64, by the formulas as printed."""

import jax
import numpy as np
import pytest

from ltjax import imbalance, losses, reweighting
from parity_tests import reference

PROFILES = [imbalance.exponential(10, 5000, f) for f in (0.01, 0.02, 0.1)] + [
    imbalance.exponential(100, 500, 0.01),
    [5, 1],
]


@pytest.mark.parametrize("counts", PROFILES, ids=str)
@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999, 0.9999])
def test_effective_number(counts, beta):
    # 1 - beta^n as printed cancels: for n = 1 it keeps 16 - 4 digits.
    np.testing.assert_allclose(
        reweighting.effective_number(counts, beta),
        reference.effective_number(counts, beta),
        rtol=1e-11,
    )


@pytest.mark.parametrize("counts", PROFILES, ids=str)
def test_inverse_frequency(counts):
    np.testing.assert_allclose(
        reweighting.inverse_frequency(counts), reference.inverse_frequency(counts), rtol=1e-12
    )


@pytest.mark.parametrize("counts", PROFILES, ids=str)
@pytest.mark.parametrize("max_margin", [0.3, 0.5])
def test_ldam_margins(counts, max_margin):
    np.testing.assert_allclose(
        losses.ldam_margins(counts, max_margin),
        reference.ldam_margins(counts, max_margin),
        rtol=1e-12,
    )


@pytest.mark.parametrize("counts", PROFILES, ids=str)
def test_weights_in_float32_keep_six_digits(counts):
    with jax.enable_x64(False):
        np.testing.assert_allclose(
            reweighting.effective_number(counts), reference.effective_number(counts), rtol=2e-6
        )
        np.testing.assert_allclose(
            losses.ldam_margins(counts), reference.ldam_margins(counts), rtol=1e-6
        )


@pytest.mark.parametrize(("classes", "maximum"), [(10, 5000), (100, 500)])
@pytest.mark.parametrize("factor", [0.01, 0.02, 0.1, 1.0])
def test_exponential_counts(classes, maximum, factor):
    expected = [int(maximum * factor ** (c / (classes - 1.0))) for c in range(classes)]
    np.testing.assert_array_equal(imbalance.exponential(classes, maximum, factor), expected)
