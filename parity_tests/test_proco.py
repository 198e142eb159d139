"""ProCo's Bessel ratios and contrast logits against mpmath in 40 digits, and its running estimate
against NumPy's plain mean.
"""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from ltjax.objectives import proco

ARGUMENTS = np.concatenate([np.geomspace(1e-3, 1e5, 15), [63.0]])


@pytest.fixture(autouse=True)
def forty_digits():
    with mpmath.workdps(40):
        yield


def exact_ratio(order, k):
    return mpmath.besseli(order + 1, k) / mpmath.besseli(order, k)


def exact_a(order, k):
    return mpmath.log(mpmath.besseli(order, k)) - order * mpmath.log(k)


def unit(generator, *shape):
    x = generator.normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("order", [0.0, 2.5, 31.0, 32.0, 63.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 2e-15), (np.float32, 6e-7)])
def test_bessel_ratios_are_exact_to_rounding(order, dtype, tolerance):
    """Ten roundings, and some more by the recurrence of the small orders."""
    arguments = ARGUMENTS.astype(dtype)
    ours = jax.jit(lambda k: proco.bessel_ratio(order, k))(arguments)
    assert ours.dtype == dtype
    for mine, k in zip(np.asarray(ours, float), arguments, strict=True):
        exact = exact_ratio(order, mpmath.mpf(float(k)))
        assert abs(mine / exact - 1) < tolerance, (order, k)


def test_the_ratio_is_0_at_0_and_nearly_1_far_out():
    assert proco.bessel_ratio(63.0, 0.0) == 0.0
    assert proco.bessel_ratio(0.5, [0.0, 2.0]).tolist() == [0.0, proco.bessel_ratio(0.5, 2.0)]
    far = proco.bessel_ratio(63.0, np.float64(1e12))
    assert 0 <= 1.0 - far < 1e-10  # 1 - (v + 1/2) / k


def test_means_of_bfloat16_are_computed_with_in_float32():
    features, means = (jnp.asarray(each, jnp.float32) for each in case(8, np.float32))
    means = means.astype(jnp.bfloat16)
    ours = proco.contrast_logits(features, means)
    np.testing.assert_array_equal(
        ours, proco.contrast_logits(features, means.astype(features.dtype))
    )


def case(dimensions, dtype):
    """Means of every length, the last with one image; features with and against some of them."""
    generator = np.random.default_rng(dimensions)
    directions = unit(generator, 6, dimensions)
    means = np.array([1e-3, 0.1, 0.4, 0.9, 0.999, 1.0])[:, None] * directions
    features = np.concatenate([directions[[1, 5]], -directions[[1, 3]]])
    return features.astype(dtype), means.astype(dtype)


def exactly(features, means, temperature):
    """Logits [B, C] and gradients [B, C, D] of each by its feature."""
    dimensions = means.shape[1]
    order = mpmath.mpf(dimensions) / 2 - 1
    logits, gradients = np.zeros((len(features), len(means))), []
    for c, mean in enumerate(means):
        mean = [mpmath.mpf(float(x)) for x in mean]
        square = sum(x * x for x in mean)
        # From 1 - 1e-5 on the cap holds, however the mean's length was rounded.
        kappa = dimensions * mpmath.sqrt(square) / (1 - square) if square < 0.99999 else 1e5
        towards = [kappa * x / mpmath.sqrt(square) for x in mean]
        for b, feature in enumerate(features):
            point = [
                t + mpmath.mpf(float(x)) / temperature
                for t, x in zip(towards, feature, strict=True)
            ]
            k = mpmath.sqrt(sum(x * x for x in point))
            logits[b, c] = exact_a(order, k) - exact_a(order, mpmath.mpf(kappa))
            slope = exact_ratio(order, k) / k / temperature
            gradients.append([float(slope * x) for x in point])
    gradients = np.array(gradients).reshape(len(means), len(features), dimensions)
    return logits, gradients.transpose(1, 0, 2)


@pytest.mark.parametrize("dimensions", [3, 128])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 2e-11), (np.float32, 1e-5)])
def test_contrast_logits_and_their_gradient_are_exact_to_rounding(dimensions, dtype, tolerance):
    """Absolute errors of logits up to 10. A length that rounds to 1 - eps makes kappa's own error
    eps / (1 - R^2) at R = 0.999; float32 has 6e-8 of values up to 10 in each of some ten terms.
    """
    features, means = case(dimensions, dtype)
    temperature = 0.125  # a power of 2, the same in every precision

    @jax.jit
    def value_and_gradients(features):
        def one(feature):
            return proco.contrast_logits(feature[None], means, temperature)[0]

        return proco.contrast_logits(features, means, temperature), jax.vmap(jax.jacrev(one))(
            features
        )

    logits, gradients = value_and_gradients(features)
    exact, slopes = exactly(features, means, temperature)
    assert logits.dtype == dtype
    assert np.abs(logits - exact).max() < tolerance
    assert np.abs(gradients - slopes).max() < tolerance


def test_the_second_derivative_is_the_gradients_difference():
    """Central differences of step h are good to h^2, here 1e-10 of values near 10."""
    features, means = case(70, np.float64)
    gradient = jax.jit(
        jax.grad(lambda f: jnp.sum(jnp.square(proco.contrast_logits(f, means, 0.5))))
    )
    direction = np.cos(np.arange(features.size)).reshape(features.shape)
    h = 1e-5
    expected = (gradient(features + h * direction) - gradient(features - h * direction)) / (2 * h)
    second = jax.jit(lambda f, d: jax.jvp(gradient, (f,), (d,))[1])(features, direction)
    np.testing.assert_allclose(second, expected, rtol=1e-6, atol=1e-6)


def test_no_gradient_reaches_the_means_and_bfloat16_is_computed_in_float32():
    features, means = case(8, np.float32)
    logits = jax.jit(proco.contrast_logits)
    gradient = jax.grad(lambda m: jnp.sum(logits(features, m)))(means)
    assert not gradient.any()
    halves = logits(features.astype(jnp.bfloat16), means)
    assert halves.dtype == jnp.float32
    assert np.isfinite(halves).all()
    rounded = features.astype(jnp.bfloat16).astype(jnp.float32)
    np.testing.assert_allclose(halves, logits(rounded, means), rtol=1e-6)


def test_the_estimate_is_the_mean_of_all_features_seen():
    generator = np.random.default_rng(0)
    start = 0.9 * unit(generator, 5, 6)
    estimate = proco.Estimate(jnp.asarray(start), jnp.zeros(5))
    batches = [(unit(generator, size, 6), generator.integers(0, 4, size)) for size in (8, 3, 8)]
    for features, labels in batches:
        estimate = jax.jit(proco.updated)(estimate, features, labels)
    features, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    np.testing.assert_array_equal(estimate.counts, np.bincount(labels, minlength=5))
    for c in range(4):
        np.testing.assert_allclose(
            estimate.means[c], features[labels == c].mean(axis=0), rtol=1e-12, atol=1e-14
        )
    np.testing.assert_array_equal(estimate.means[4], start[4])  # no image of its own: as it was


def test_the_estimate_keeps_its_type_whatever_the_features_are():
    estimate = proco.Estimate(jnp.zeros((2, 3), jnp.float32), jnp.zeros(2, jnp.float32))
    after = proco.updated(estimate, jnp.eye(3, dtype=jnp.float64)[:2], jnp.array([0, 1]))
    assert after.means.dtype == after.counts.dtype == jnp.float32


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda f, m: proco.contrast_logits(f, m[:, :5]), r"means are \[6, 5\].*expected \[C, 8\]"),
        (lambda f, m: proco.contrast_logits(f[0], m), r"features are \[8\]; expected \[B, D\]"),
        (lambda f, m: proco.contrast_logits(f, m, 0.0), r"temperature is 0\.0; expected a value"),
        (
            lambda f, m: proco.updated(proco.Estimate(m, jnp.zeros(6)), f, np.zeros(3, int)),
            r"features are \[4, 8\] with labels \[3\]; expected \[B, D\] and class ids \[B\]",
        ),
        (
            lambda f, m: proco.updated(proco.Estimate(m[:, :1], jnp.zeros(6)), f, np.zeros(4, int)),
            r"means are \[6, 1\] for features \[4, 8\]; expected \[C, 8\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call(*case(8, np.float32))
