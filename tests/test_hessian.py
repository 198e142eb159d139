"""Spectra and traces against matrices of known eigenvalues and quadrature, in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltjax import hessian
from tests.matrices import symmetric, tridiagonal


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_a_probe_on_a_diagonal_matrix_is_the_exact_quadrature():
    """A Rademacher probe weighs all eigenvectors of a diagonal matrix alike: nodes are the
    eigenvalues, weights their shares.
    """
    diagonal = jnp.array([1.0, 1.0, 2.0, 5.0])
    nodes, weights = hessian.spectral_density(
        lambda v: diagonal * v, jnp.zeros(4), jax.random.key(0), num_steps=4
    )
    for value, share in ((1.0, 0.5), (2.0, 0.25), (5.0, 0.25)):
        assert weights[np.isclose(nodes, value, atol=1e-10)].sum() == pytest.approx(
            share, abs=1e-12
        )
    assert hessian.moments(nodes, weights, 2) == pytest.approx(
        float(jnp.mean(diagonal**2)), rel=1e-12
    )
    estimate = hessian.trace(lambda v: diagonal * v, jnp.zeros(4), jax.random.key(0), 3)
    assert estimate.value == 9.0
    assert estimate.standard_error == 0.0


def test_probes_together_and_one_by_one_are_the_same():
    matrix = symmetric(np.linspace(-1, 4, 50))
    one, many = (
        hessian.spectral_density(
            lambda v: matrix @ v, jnp.zeros(50), jax.random.key(0), 20, 3, together=together
        )
        for together in (False, True)
    )
    np.testing.assert_allclose(one[0], many[0], atol=1e-9)
    np.testing.assert_allclose(one[1], many[1], atol=1e-9)
    assert len({tuple(row) for row in one[0].round(6)}) == 3

    def opaque(vector):
        return jnp.asarray(np.asarray(matrix) @ np.asarray(vector))

    opaque.traceable = False  # one product after the other, whatever is asked for
    for together in (False, True):
        nodes, _ = hessian.spectral_density(
            opaque, jnp.zeros(50), jax.random.key(0), 20, 3, together=together
        )
        np.testing.assert_allclose(nodes, one[0], atol=1e-9)


def test_products_are_of_the_parameters_type_and_the_rest_is_not():
    """So that a Hessian's product takes them: jvp wants its tangents in the parameters' type."""
    params = jnp.arange(1.0, 5.0, dtype=jnp.bfloat16)

    def matvec(vector):
        return hessian.hvp(lambda w: jnp.sum(w**3) / 6, params, vector)  # diag(w)

    alphas, _, basis = hessian.lanczos(matvec, jnp.ones(4, jnp.bfloat16), 4)
    assert alphas.dtype == basis.dtype == float
    np.testing.assert_allclose(alphas[0], 2.5)
    for together in (False, True):
        nodes, _ = hessian.spectral_density(matvec, params, jax.random.key(0), 4, together=together)
        np.testing.assert_allclose(nodes, [[1, 2, 3, 4]], rtol=2e-2)  # bfloat16 has 8 bits


def test_spectrum_of_is_the_density_with_the_ends_of_the_same_runs():
    """Its residuals are |A v - lambda v| of the Ritz vectors, from the basis itself."""
    matrix, key = symmetric(np.linspace(-1, 4, 50)), jax.random.key(3)
    spectrum = hessian.spectrum_of(lambda v: matrix @ v, jnp.zeros(50), key, 12, 2)
    nodes, weights = hessian.spectral_density(lambda v: matrix @ v, jnp.zeros(50), key, 12, 2)
    np.testing.assert_allclose(spectrum.nodes, nodes, atol=1e-12)
    np.testing.assert_allclose(spectrum.weights, weights, atol=1e-12)
    ends = []
    for k in range(2):
        probe = jax.random.rademacher(jax.random.fold_in(key, k), (50,), float)
        alphas, betas, basis = hessian.lanczos(lambda v: matrix @ v, probe, 12)
        values, vectors = np.linalg.eigh(tridiagonal(alphas, betas))
        ritz = basis.T @ vectors
        ends.append((values, np.linalg.norm(matrix @ ritz - ritz * values, axis=0)))
    (largest, its), (smallest, of_it) = (
        max(((v[-1], r[-1]) for v, r in ends)),
        min(((v[0], r[0]) for v, r in ends)),
    )
    np.testing.assert_allclose(
        [
            spectrum.largest,
            spectrum.largest_residual,
            spectrum.smallest,
            spectrum.smallest_residual,
        ],
        [largest, its, smallest, of_it],
        rtol=1e-9,
    )


def test_the_published_width_of_a_density_is_1e_5_of_the_range_and_at_least_1e_5():
    for spread in (0.5, 40.0):
        nodes = np.array([[0.0, spread]])
        peak = hessian.density(nodes, np.array([[1.0, 0.0]]), np.zeros(1))[0]
        width = 1e-5 * max(1.0, spread)
        assert peak == pytest.approx(1 / np.sqrt(2 * np.pi * width), rel=1e-12)
    np.testing.assert_allclose(hessian.grid(nodes, 5), np.linspace(-0.01, 40.01, 5))


def test_density_integrates_to_one_and_has_its_moments():
    values = np.linspace(-2.0, 3.0, 300)
    matrix = symmetric(values)
    nodes, weights = hessian.spectral_density(
        lambda v: matrix @ v, jnp.zeros(300), jax.random.key(0), 80, 4
    )
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-12)
    points = hessian.grid(nodes, 20_000, margin=0.3)
    curve = hessian.density(nodes, weights, points, variance=1e-3)
    step = points[1] - points[0]
    assert curve.sum() * step == pytest.approx(1.0, abs=1e-6)
    assert (points * curve).sum() * step == pytest.approx(
        hessian.moments(nodes, weights, 1), abs=1e-6
    )
    # A probe's moment scatters by about sqrt(2 / n) of the spectrum's own spread.
    assert hessian.moments(nodes, weights, 1) == pytest.approx(
        values.mean(), abs=4 * np.sqrt(2 / 300 / 4) * values.std()
    )


@pytest.mark.parametrize("estimator", [hessian.trace, hessian.trace_hutchpp])
def test_trace_is_within_its_standard_error(estimator):
    values = 1.0 / np.arange(1, 201) ** 2
    matrix = symmetric(values)
    estimate = estimator(lambda v: matrix @ v, jnp.zeros(200), jax.random.key(0), 60)
    assert abs(estimate.value - values.sum()) < 4 * estimate.standard_error + 1e-9
    assert estimate.products <= 60


def test_hutchpp_beats_hutchinson_where_few_eigenvalues_make_the_trace():
    values = np.concatenate([np.full(10, 100.0), np.full(190, 0.01)])
    matrix = symmetric(values)
    errors = []
    for estimator in (hessian.trace, hessian.trace_hutchpp):
        found = [
            estimator(lambda v: matrix @ v, jnp.zeros(200), jax.random.key(seed), 60).value
            for seed in range(5)
        ]
        errors.append(np.sqrt(np.mean((np.asarray(found) - values.sum()) ** 2)))
    assert errors[1] < errors[0] / 50


def test_hutchpp_is_exact_on_a_matrix_of_low_rank_at_any_scale():
    """The sketch holds all of it, and nothing is left to estimate."""
    for scale in (1e-6, 1.0, 1e6):
        matrix = symmetric(np.concatenate([np.linspace(1, 3, 5), np.zeros(95)]) * scale)
        found = hessian.trace_hutchpp(
            lambda v, m=matrix: m @ v, jnp.zeros(100), jax.random.key(0), 30
        )
        assert found.value == pytest.approx(10 * scale, rel=1e-4)  # of float32


@pytest.mark.parametrize("tolerance", [1e-3, 5e-3, 0.02])
def test_trace_stops_once_its_mean_changes_by_less_than_the_tolerance(tolerance):
    """Value, error and number of products from the probes' own quadratic forms."""
    matrix, key = symmetric(np.linspace(1.0, 3.0, 60)), jax.random.key(0)
    probes = [jax.random.rademacher(jax.random.fold_in(key, k), (60,), float) for k in range(100)]
    forms = np.array([probe @ matrix @ probe for probe in probes])
    means = np.cumsum(forms) / np.arange(1, 101)
    settled = np.abs(np.diff(means)) < tolerance * np.abs(means[1:])
    count = 2 + int(np.argmax(settled))
    estimate = hessian.trace(lambda v: matrix @ v, jnp.zeros(60), key, 100, tolerance=tolerance)
    assert estimate.products == count
    assert 2 <= count < 100
    np.testing.assert_allclose(estimate.value, means[count - 1], rtol=1e-12)
    error = np.sqrt(((forms[:count] - means[count - 1]) ** 2).sum() / (count - 1) / count)
    np.testing.assert_allclose(estimate.standard_error, error, rtol=1e-9)
    assert np.isnan(hessian.trace(lambda v: v, jnp.zeros(3), key, 1).standard_error)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda: hessian.lanczos(lambda v: v, jnp.zeros(3), 2),
            "start vector has length 0.0; expected a finite one above 0",
        ),
        (
            lambda: hessian.lanczos(lambda v: v, jnp.full(3, jnp.nan), 2),
            "start vector has length nan",
        ),
        (
            lambda: hessian.lanczos(lambda v: v, jnp.ones(3), 0),
            "num_steps is 0; expected at least 1",
        ),
        (
            lambda: hessian.top_eigenvalues(lambda v: v, jnp.ones(3), jax.random.key(0), 4),
            r"k is 4; expected 1 to 3",
        ),
        (
            lambda: hessian.trace_hutchpp(lambda v: v, jnp.ones(3), jax.random.key(0), 5),
            "num_products is 5; expected at least 6",
        ),
        (
            lambda: hessian.DatasetOperator(lambda p, b: b, 1.0, np.zeros(0), 4),
            "examples have .0. entries",
        ),
        (
            lambda: hessian.DatasetOperator(lambda p, b: b, np.nan, np.zeros(3), 4),
            "holds values that are not finite; the run diverged",
        ),
        (
            lambda: hessian.DatasetOperator(
                lambda p, b: b, 1.0, np.zeros(3), 4, weights=np.ones(2)
            ),
            r"weights have shape \(2,\); expected \[3\]",
        ),
        *(
            (
                lambda bad=bad: hessian.DatasetOperator(
                    lambda p, b: b, 1.0, np.zeros(3), 4, weights=np.asarray(bad)
                ),
                "expected finite ones >= 0, not all 0",
            )
            for bad in ([0.0, 0.0, 0.0], [1.0, -1.0, 1.0], [1.0, np.nan, 1.0])
        ),
        *(
            (
                lambda find=find: find(lambda v: v * jnp.nan, jnp.ones(3), jax.random.key(0)),
                "matvec gave values that are not finite",
            )
            for find in (
                hessian.top_eigenvalues,
                hessian.spectral_density,
                partial(hessian.spectral_density, together=True),
                hessian.trace,
            )
        ),
        *(
            (
                lambda find=find: find(lambda v: v * 1j, jnp.ones(3), jax.random.key(0)),
                "matvec works on complex128; expected real numbers",
            )
            for find in (hessian.top_eigenvalues, hessian.spectral_density, hessian.trace)
        ),
        (
            lambda: hessian.lanczos(lambda v: v, jnp.ones(3, complex), 2),
            "matvec works on complex128; expected real numbers",
        ),
    ],
)
def test_bad_input_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()


def test_a_bare_matvec_is_compiled_and_on_a_cpu_its_loop_is_the_hosts(monkeypatch):
    """The gradient of lax's convolution inside a compiled loop takes one slow thread there."""
    matrix = jnp.diag(jnp.arange(1.0, 7.0))
    loops, traced = [], []
    fori_loop = jax.lax.fori_loop
    monkeypatch.setattr(jax.lax, "fori_loop", lambda *a: loops.append(a) or fori_loop(*a))

    def matvec(vector):
        traced.append(vector)
        return matrix @ vector

    def alphas():
        traced.clear()
        return hessian.lanczos(matvec, jnp.ones(6), 4)[0]

    on_host = alphas()
    assert (len(loops), len(traced)) == (0, 1)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    np.testing.assert_allclose(alphas(), on_host, rtol=1e-5)
    assert len(loops) == 1
