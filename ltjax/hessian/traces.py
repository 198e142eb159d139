"""The trace of a symmetric operator, from random probes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ltjax.hessian.vectors import Matvec, float64_of, rademacher


class Estimate(NamedTuple):
    """A random estimate, its standard error (nan from a single probe), and the products used.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import hessian
      >>> A, w, key = jnp.ones((3, 3)), jnp.zeros(3), jax.random.key(0)
      >>> found = hessian.trace(lambda v: A @ v, w, key, 50)
      >>> print(abs(found.value - 3) < 4 * found.standard_error, found.products)
      True 50
    """

    value: float
    standard_error: float
    products: int


def trace(
    matvec: Matvec, example: Any, key: jax.Array, num_probes: int = 100, *, tolerance: float = 0.0
) -> Estimate:
    """Hutchinson's estimate of the trace with Rademacher probes; exact from one probe for a
    diagonal operator.

    Args:
      matvec, example: as `top_eigenvalues`.
      key: of the probes.
      num_probes: at most.
      tolerance: stops once the mean changes by less than this share from one probe to the next; 0
        uses all.

    Source: Hutchinson, Communications in Statistics 1990; the stopping rule is PyHessian's.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import hessian
      >>> A, w, key = jnp.diag(jnp.arange(1.0, 6.0)), jnp.zeros(5), jax.random.key(0)
      >>> print(round(hessian.trace(lambda v: A @ v, w, key, 2).value, 3))
      15.0
    """
    values: list[float] = []
    for k in range(num_probes):
        probe = rademacher(jax.random.fold_in(key, k), example)
        values.append(_dot(probe, matvec(probe)))
        if (
            k
            and tolerance
            and abs(np.mean(values) - np.mean(values[:-1]))
            < tolerance * (abs(np.mean(values)) + 1e-30)
        ):
            break
    return _estimate(np.asarray(values), len(values))


def trace_hutchpp(matvec: Matvec, example: Any, key: jax.Array, num_products: int = 99) -> Estimate:
    """Hutch++: the trace on a sketched dominant subspace exactly, Hutchinson on the rest.

    Args:
      matvec, example: as `top_eigenvalues`.
      key: of the probes.
      num_products: a third each for the sketch, its trace, and the rest; at least 6.

    Raises:
      ValueError: num_products below 6.

    Source: Meyer et al., SOSA 2021, arXiv:2010.09649, algorithm 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import hessian
      >>> A, w, key = jnp.diag(jnp.arange(1.0, 6.0)), jnp.zeros(5), jax.random.key(0)
      >>> print(round(hessian.trace_hutchpp(lambda v: A @ v, w, key, 15).value, 3))
      15.0
    """
    if num_products < 6:
        raise ValueError(f"num_products is {num_products}; expected at least 6")
    third = num_products // 3
    _, unravel = ravel_pytree(example)
    sketch_key, rest_key = jax.random.split(key)
    probes = [rademacher(jax.random.fold_in(sketch_key, k), example) for k in range(third)]
    images = np.stack([float64_of(matvec(probe)) for probe in probes], axis=1)
    left, sizes, _ = np.linalg.svd(images, full_matrices=False)
    span = left[:, sizes > sizes[0] * 1e-7] if sizes[0] > 0 else left[:, :0]
    dtype = ravel_pytree(example)[0].dtype

    def product(vector: np.ndarray) -> np.ndarray:
        return float64_of(matvec(unravel(jnp.asarray(vector, dtype))))

    exact = sum(float(column @ product(column)) for column in span.T)
    rest = []
    for k in range(third):
        probe = float64_of(rademacher(jax.random.fold_in(rest_key, k), example))
        probe = probe - span @ (span.T @ probe)
        rest.append(float(probe @ product(probe)))
    estimate = _estimate(np.asarray(rest), third + span.shape[1] + third)
    return estimate._replace(value=estimate.value + exact)


def _dot(a: Any, b: Any) -> float:
    return float(float64_of(a) @ float64_of(b))


def _estimate(values: np.ndarray, products: int) -> Estimate:
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
    return Estimate(float(values.mean()), error, products)
