"""Eigenvalues and spectral density of a symmetric operator, by Lanczos."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ltjax.hessian.lanczos import Runner, Tridiagonal
from ltjax.hessian.vectors import Matvec, rademacher


class Eigenpairs(NamedTuple):
    """Eigenvalues with their vectors and how well they satisfy A v = lambda v.

    Attributes:
      values: [k].
      vectors: list of k pytrees of length 1.
      residuals: |A v - lambda v|, [k], by Lanczos's own bound.
      steps: products used.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import hessian
      >>> A, w, key = jnp.diag(jnp.arange(1.0, 6.0)), jnp.zeros(5), jax.random.key(0)
      >>> found = hessian.top_eigenvalues(lambda v: A @ v, w, key)
      >>> (value,), (vector,) = found.values, found.vectors
      >>> print(bool(jnp.linalg.norm(A @ vector - value * vector) < 1e-3))
      True
    """

    values: np.ndarray
    vectors: list[Any]
    residuals: np.ndarray
    steps: int


class Spectrum(NamedTuple):
    """The quadrature of `spectral_density` and the extreme eigenvalues of the same Lanczos runs.

    Attributes:
      nodes, weights: [P, m].
      largest, smallest: extreme nodes over the probes; inside the true range, by at most about
        their residuals.
      largest_residual, smallest_residual: |A v - lambda v| of these.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import hessian
      >>> A, w, key = jnp.diag(jnp.arange(1.0, 6.0)), jnp.zeros(5), jax.random.key(0)
      >>> found = hessian.spectrum_of(lambda v: A @ v, w, key, 5, num_probes=2)
      >>> print(found.nodes.shape, found.largest_residual < 1e-3)
      (2, 5) True
    """

    nodes: np.ndarray
    weights: np.ndarray
    largest: float
    largest_residual: float
    smallest: float
    smallest_residual: float


def top_eigenvalues(
    matvec: Matvec,
    example: Any,
    key: jax.Array,
    k: int = 1,
    *,
    num_steps: int = 100,
    tolerance: float = 1e-3,
) -> Eigenpairs:
    """The k largest eigenvalues (not largest in magnitude), descending.

    Args:
      matvec: symmetric operator on pytrees.
      example: pytree of its structure; the values do not matter.
      key: of the start vector.
      k: how many.
      num_steps: Lanczos steps at most; cut to the number of entries.
      tolerance: stops once each residual is below this share of the largest |eigenvalue| found.

    Raises:
      ValueError: k below 1 or above the number of entries or steps.

    Source: Golub and Van Loan, section 10.1; the residual of a Ritz pair is |beta_m s_m|.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np
      >>> from ltjax import hessian
      >>> A, w, key = jnp.diag(jnp.arange(1.0, 6.0)), jnp.zeros(5), jax.random.key(0)
      >>> found = hessian.top_eigenvalues(lambda v: A @ v, w, key, k=2)
      >>> print(np.array(found.values).round(3))
      [5. 4.]
    """
    return _extreme(matvec, example, key, k, num_steps, tolerance, largest=True)


def bottom_eigenvalues(
    matvec: Matvec,
    example: Any,
    key: jax.Array,
    k: int = 1,
    *,
    num_steps: int = 100,
    tolerance: float = 1e-3,
) -> Eigenpairs:
    """The k smallest eigenvalues, ascending; see `top_eigenvalues`.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np
      >>> from ltjax import hessian
      >>> A, w, key = jnp.diag(jnp.arange(1.0, 6.0)), jnp.zeros(5), jax.random.key(0)
      >>> found = hessian.bottom_eigenvalues(lambda v: A @ v, w, key, k=2)
      >>> print(np.array(found.values).round(3))
      [1. 2.]
    """
    return _extreme(matvec, example, key, k, num_steps, tolerance, largest=False)


def spectral_density(
    matvec: Matvec,
    example: Any,
    key: jax.Array,
    num_steps: int = 100,
    num_probes: int = 1,
    *,
    together: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Stochastic Lanczos quadrature: nodes and weights whose sums estimate (1 / n) trace f(A).

    Args:
      matvec, example: as `top_eigenvalues`.
      key: of the Rademacher probes.
      num_steps: Lanczos steps m a probe.
      num_probes: P.
      together: all probes as one batch (vmap) in one compiled loop, for a traceable matvec; keeps P
        bases of m vectors in memory. On a CPU slow where matvec holds convolutions.

    Returns:
      nodes [P, m] and weights [P, m]; the weights of each probe sum to 1.

    Source: Ubaru, Chen and Saad, SIAM J. Matrix Anal. Appl. 2017, algorithm 1; Ghorbani et al.,
    ICML 2019, arXiv:1901.10159.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import hessian
      >>> A, w, key = jnp.diag(jnp.arange(1.0, 6.0)), jnp.zeros(5), jax.random.key(0)
      >>> nodes, weights = hessian.spectral_density(lambda v: A @ v, w, key, 5)
      >>> print(nodes.round(2), weights.round(2))
      [[1. 2. 3. 4. 5.]] [[0.2 0.2 0.2 0.2 0.2]]
    """
    run = Runner(matvec, example, num_steps)
    probes = [rademacher(jax.random.fold_in(key, k), example) for k in range(num_probes)]
    if together and run.traceable:
        pairs = list(
            zip(*run.together(jnp.stack([ravel_pytree(probe)[0] for probe in probes])), strict=True)
        )
    else:
        pairs = [(each.alphas, each.betas) for each in map(run, probes)]
    solved = [np.linalg.eigh(_matrix(alphas, betas)) for alphas, betas in pairs]
    return np.asarray([values for values, _ in solved]), np.asarray(
        [np.square(vectors[0]) for _, vectors in solved]
    )


def spectrum_of(
    matvec: Matvec, example: Any, key: jax.Array, num_steps: int = 100, num_probes: int = 1
) -> Spectrum:
    """`spectral_density` with the extreme eigenvalues that its Lanczos runs give without further
    products.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import hessian
      >>> A, w, key = jnp.diag(jnp.arange(1.0, 6.0)), jnp.zeros(5), jax.random.key(0)
      >>> found = hessian.spectrum_of(lambda v: A @ v, w, key, 5)
      >>> print(round(found.largest, 3), round(found.smallest, 3))
      5.0 1.0
    """
    run = Runner(matvec, example, num_steps)
    nodes, weights, ends = [], [], []
    for k in range(num_probes):
        each = run(rademacher(jax.random.fold_in(key, k), example))
        values, vectors = np.linalg.eigh(_matrix(each.alphas, each.betas))
        residuals = np.abs(float(each.residual) * vectors[-1])
        nodes.append(values)
        weights.append(np.square(vectors[0]))
        ends.append((values[-1], residuals[-1], values[0], residuals[0]))
    largest, smallest = max(ends, key=lambda end: end[0]), min(ends, key=lambda end: end[2])
    return Spectrum(
        np.asarray(nodes),
        np.asarray(weights),
        float(largest[0]),
        float(largest[1]),
        float(smallest[2]),
        float(smallest[3]),
    )


def grid(nodes: np.ndarray, num_points: int = 10_000, margin: float = 0.01) -> np.ndarray:
    """The published grid: from the smallest node to the largest with a margin on both sides,
    [num_points].

    Example:
      >>> import numpy as np
      >>> from ltjax import hessian
      >>> points = hessian.grid(np.array([[-1.0, 4.0]]), num_points=11)
      >>> print(len(points), points[0] < -1.0, points[-1] > 4.0)
      11 True True
    """
    return np.linspace(np.min(nodes) - margin, np.max(nodes) + margin, num_points)


def density(
    nodes: np.ndarray, weights: np.ndarray, points: np.ndarray, variance: float | None = None
) -> np.ndarray:
    """Spectral density on a grid: the nodes widened to Gaussians, mean over probes.

    Args:
      nodes, weights: of `spectral_density`, [P, m].
      points: grid [G].
      variance: of the Gaussians; None is the published 1e-5 * max(1, largest - smallest node).

    Returns:
      [G]; integrates to 1 over the real line.

    Source: Ghorbani et al., ICML 2019, section 2; width as in the PyHessian program.

    Example:
      >>> import numpy as np
      >>> from ltjax import hessian
      >>> nodes, weights = np.array([[0.0, 1.0]]), np.array([[0.9, 0.1]])
      >>> points = np.linspace(-1.0, 2.0, 3001)
      >>> curve = hessian.density(nodes, weights, points, variance=1e-2)
      >>> print(round(float(curve.sum() * 1e-3), 3))  # a density
      1.0
    """
    nodes, weights, points = np.atleast_2d(nodes), np.atleast_2d(weights), np.asarray(points, float)
    width = 1e-5 * max(1.0, float(nodes.max() - nodes.min())) if variance is None else variance
    total = np.zeros_like(points)
    for node, weight in zip(nodes.ravel(), weights.ravel(), strict=True):
        total += weight * np.exp(-np.square(points - node) / (2 * width))
    return total / (len(nodes) * np.sqrt(2 * np.pi * width))


def moments(nodes: np.ndarray, weights: np.ndarray, order: int) -> float:
    """(1 / n) trace(A^order), by the quadrature; order 0 is 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import hessian
      >>> A, w, key = jnp.diag(jnp.arange(1.0, 6.0)), jnp.zeros(5), jax.random.key(0)
      >>> nodes, weights = hessian.spectral_density(lambda v: A @ v, w, key, 5)
      >>> print(round(float(hessian.moments(nodes, weights, 1)), 2))  # trace / n
      3.0
    """
    return float(np.mean(np.sum(np.atleast_2d(weights) * np.atleast_2d(nodes) ** order, axis=1)))


def _extreme(
    matvec: Matvec,
    example: Any,
    key: jax.Array,
    k: int,
    num_steps: int,
    tolerance: float,
    *,
    largest: bool,
) -> Eigenpairs:
    flat, unravel = ravel_pytree(example)
    steps = min(num_steps, flat.shape[0])
    if not 1 <= k <= steps:
        raise ValueError(
            f"k is {k}; expected 1 to {steps} (num_steps {num_steps}, {flat.shape[0]} entries)"
        )

    def pairs(run: Tridiagonal) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values, vectors = np.linalg.eigh(_matrix(run.alphas, run.betas))
        order = np.argsort(-values if largest else values)[:k]
        return values[order], vectors[:, order], np.abs(float(run.residual) * vectors[-1, order])

    def enough(run: Tridiagonal) -> bool:
        values, _, residuals = pairs(run)
        scale = np.abs(np.linalg.eigvalsh(_matrix(run.alphas, run.betas))).max()
        # A residual that vanishes beside the couplings (what is left is rounding, seldom 0) says
        # nothing about eigenvalues outside the subspace: then go on to the next block.
        return (
            len(values) == k
            and float(run.residual) > 1e-3 * np.min(run.betas, initial=np.inf)
            and bool((residuals <= tolerance * scale).all())
        )

    start = unravel(jax.random.normal(key, flat.shape, flat.dtype))
    run = Runner(matvec, example, steps)(start, enough if tolerance else None)
    values, vectors, residuals = pairs(run)
    basis = np.asarray(run.basis)
    ritz = [unravel(jnp.asarray(vectors[:, i] @ basis, flat.dtype)) for i in range(k)]
    return Eigenpairs(values, ritz, residuals, len(run.alphas))


def _matrix(alphas: Any, betas: Any) -> np.ndarray:
    alphas, betas = np.asarray(alphas, np.float64), np.asarray(betas, np.float64)
    return np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1)
