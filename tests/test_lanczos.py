"""Lanczos against matrices of known eigenvalues and scipy, in float64 and float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg

from ltjax import hessian
from tests.matrices import SPECTRA, symmetric, tridiagonal


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_a_matvec_that_cannot_be_compiled_is_called_where_asked():
    diagonal = np.arange(1.0, 6.0)
    alphas, *_ = hessian.lanczos(
        lambda v: jnp.asarray(np.asarray(v) * diagonal), jnp.ones(5), 5, compiled=False
    )
    assert float(alphas.sum()) == pytest.approx(15.0, rel=1e-5)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", SPECTRA)
def test_a_full_run_finds_every_eigenvalue_and_an_orthonormal_basis(name, compiled):
    expected = np.sort(SPECTRA[name])
    matrix = symmetric(expected)
    alphas, betas, basis = hessian.lanczos(
        lambda v: matrix @ v, jnp.ones(len(expected)), 1000, compiled=compiled
    )
    found = np.linalg.eigvalsh(tridiagonal(alphas, betas))
    scale = max(np.abs(expected).max(), 1e-300)
    np.testing.assert_allclose(found, expected, atol=1e-8 * scale)
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(expected)), atol=1e-12)


def test_blocks_after_an_invariant_subspace_have_no_weight():
    """The start vector spans two eigenvectors: the quadrature sees these two alone, with their
    squared shares.
    """
    matrix = jnp.diag(jnp.arange(10.0))
    start = jnp.zeros(10).at[2].set(0.6).at[7].set(0.8)
    alphas, betas, _ = hessian.lanczos(lambda v: matrix @ v, start, 10)
    values, vectors = np.linalg.eigh(tridiagonal(alphas, betas))
    np.testing.assert_allclose(values, np.arange(10.0), atol=1e-12)
    np.testing.assert_allclose(
        vectors[0] ** 2,
        np.where(np.arange(10) == 2, 0.36, np.where(np.arange(10) == 7, 0.64, 0.0)),
        atol=1e-12,
    )


def test_float32_sees_a_narrow_bulk_beside_large_outliers_as_float64_does():
    """1,990 eigenvalues in (-0.5, 1) and ten up to 1e4: real couplings of 0.4 against roundings of
    eps |A| = 1e-3, which must not end the run's first block.
    """
    values = np.concatenate([np.linspace(-0.5, 1.0, 1990), np.linspace(5e3, 1e4, 10)])

    def run():
        diagonal = jnp.asarray(values, float)
        return hessian.lanczos(lambda v: diagonal * v, jnp.ones(2000), 40)

    exact = np.linalg.eigvalsh(tridiagonal(*run()[:2]))
    with jax.enable_x64(False):
        alphas, betas, basis = run()
    assert basis.dtype == jnp.float32
    assert betas.min() > 0.1
    found = np.linalg.eigvalsh(tridiagonal(*(np.asarray(x, float) for x in (alphas, betas))))
    assert ((found > -0.6) & (found < 1.1)).sum() == 30
    np.testing.assert_allclose([found[0], found[-1]], [exact[0], exact[-1]], atol=0.01)


@pytest.mark.parametrize("name", ["degenerate", "rank 3", "identity", "zero"])
def test_float32_begins_a_new_block_where_the_residual_vanishes(name):
    """Where rounding is all that is left of it; every eigenvalue is found all the same."""
    expected = np.sort(SPECTRA[name])
    matrix = np.asarray(symmetric(expected), np.float32)
    with jax.enable_x64(False):
        small = jnp.asarray(matrix)
        alphas, betas, _ = hessian.lanczos(lambda v: small @ v, jnp.ones(len(expected)), 1000)
    found = np.linalg.eigvalsh(tridiagonal(*(np.asarray(x, float) for x in (alphas, betas))))
    scale = max(np.abs(expected).max(), 1e-300)
    np.testing.assert_allclose(found, expected, atol=1e-5 * scale)
    blocks = 1 + int((np.asarray(betas) == 0).sum())
    assert blocks >= {"degenerate": 30, "rank 3": 2, "identity": 20, "zero": 20}[name]


def test_float32_keeps_the_basis_orthogonal_where_plain_lanczos_loses_it():
    values = np.concatenate([np.geomspace(1e-4, 1.0, 390), 10.0 * np.arange(1, 11)])
    matrix = np.asarray(symmetric(values), np.float32)
    with jax.enable_x64(False):
        small = jnp.asarray(matrix)
        _, _, basis = hessian.lanczos(lambda v: small @ v, jnp.ones(400), 100)
    assert basis.dtype == jnp.float32
    loss = np.abs(np.asarray(basis, float) @ np.asarray(basis, float).T - np.eye(100)).max()
    assert loss < 2e-6  # some float32 roundings (6e-8 each)
    plain = [np.ones(400, np.float32) / 20]
    before, beta = np.zeros(400, np.float32), np.float32(0)
    for _ in range(99):
        image = matrix @ plain[-1] - beta * before
        image -= (plain[-1] @ image) * plain[-1]
        beta, before = np.linalg.norm(image), plain[-1]
        plain.append(image / beta)
    lost = np.abs(np.asarray(plain, float) @ np.asarray(plain, float).T - np.eye(100)).max()
    assert lost > 0.5


@pytest.mark.parametrize(
    ("name", "k"),
    [
        ("spread", 5),
        ("clustered", 3),
        ("negative", 2),
        ("rank 3", 4),
        ("one by one", 1),
        ("zero", 2),
    ],
)
def test_extreme_eigenvalues_with_vectors_and_residuals(name, k):
    values = np.sort(SPECTRA[name])
    matrix = symmetric(values)
    for find, expected in (
        (hessian.top_eigenvalues, values[::-1][:k]),
        (hessian.bottom_eigenvalues, values[:k]),
    ):
        found = find(
            lambda v: matrix @ v,
            jnp.zeros(len(values)),
            jax.random.key(1),
            k,
            tolerance=1e-10,
            num_steps=200,
        )
        np.testing.assert_allclose(found.values, expected, atol=1e-7)
        for value, vector, residual in zip(
            found.values, found.vectors, found.residuals, strict=True
        ):
            assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-10)
            assert np.linalg.norm(matrix @ vector - value * vector) <= residual + 1e-8


def test_tolerance_ends_the_run_early():
    matrix = jnp.diag(jnp.concatenate([jnp.linspace(0.0, 1.0, 500), jnp.array([50.0])]))
    found = hessian.top_eigenvalues(
        lambda v: matrix @ v, jnp.zeros(501), jax.random.key(0), tolerance=1e-3, num_steps=400
    )
    assert found.steps <= 20
    np.testing.assert_allclose(found.values, [50.0], rtol=1e-3)
    below = hessian.bottom_eigenvalues(
        lambda v: -(matrix @ v) - v, jnp.zeros(501), jax.random.key(0), tolerance=1e-3
    )
    assert below.steps <= 20, "where all are negative too"
    np.testing.assert_allclose(below.values, [-51.0], rtol=1e-3)


def test_scipys_eigsh_agrees_on_the_same_operator():
    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(200, 200))
    matrix = (matrix + matrix.T) / 2
    operator = scipy.sparse.linalg.LinearOperator((200, 200), matvec=lambda v: matrix @ v)
    theirs = np.sort(scipy.sparse.linalg.eigsh(operator, 4, which="LA", return_eigenvectors=False))[
        ::-1
    ]
    ours = hessian.top_eigenvalues(
        lambda v: jnp.asarray(matrix) @ v,
        jnp.zeros(200),
        jax.random.key(0),
        4,
        tolerance=1e-12,
        num_steps=200,
    )
    np.testing.assert_allclose(ours.values, theirs, rtol=1e-9)


@pytest.mark.parametrize(("roundings", "kept"), [(9.0, False), (11.0, True), (19.0, True)])
def test_a_coupling_of_more_than_ten_roundings_is_kept(roundings, kept):
    small = roundings * np.finfo(float).eps
    matrix = jnp.asarray([[1.0, small], [small, 1.0]])
    _, betas, _ = hessian.lanczos(lambda v: matrix @ v, jnp.asarray([1.0, 0.0]), 2)
    np.testing.assert_allclose(betas, [small * kept], rtol=1e-6)


def test_a_coupling_beyond_the_largest_number_is_refused_too():
    matrix = jnp.asarray([[0.0, 1e200], [1e200, 0.0]])
    with pytest.raises(ValueError, match="not finite"):
        hessian.lanczos(lambda v: matrix @ v, jnp.asarray([1.0, 0.0]), 2)


def test_a_vanished_residual_is_not_the_end_of_a_search():
    """After ten steps all ten different eigenvalues are known, each once."""
    matrix = symmetric(np.repeat(np.arange(1.0, 11.0), 2))
    for dtype, tolerance in ((float, 1e-9), (jnp.float32, 1e-5)):
        found = hessian.top_eigenvalues(
            lambda v: matrix @ v, jnp.zeros(20, dtype), jax.random.key(0), k=3
        )
        np.testing.assert_allclose(found.values, [10.0, 10.0, 9.0], rtol=tolerance)
    diagonal = jnp.asarray([3.0, 3.0, 2.0, 1.0])  # ends below a search's ten steps
    assert hessian.top_eigenvalues(lambda v: diagonal * v, diagonal, jax.random.key(0)).values[
        0
    ] == pytest.approx(3.0)
