"""Lanczos tridiagonalisation of a symmetric operator, with full re-orthogonalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree


class Tridiagonal(NamedTuple):
    """Lanczos so far: T has alphas [m] on its diagonal and betas [m - 1] beside it; A Q^T = Q^T T +
    residual.

    Attributes:
      alphas, betas: of T.
      basis: orthonormal rows [m, n] (flattened pytrees).
      residual: norm of what A took out of the basis's span in the last step; 0 where the span is
        invariant.
    """

    alphas: jax.Array
    betas: jax.Array
    basis: jax.Array
    residual: jax.Array


class _Progress(NamedTuple):
    alphas: jax.Array  # [m]
    betas: jax.Array  # [m], betas[j] couples j and j + 1
    basis: jax.Array  # [m + 1, n], rows beyond the current one 0
    norm: jax.Array  # largest |A q| seen: the scale for "vanished"


def lanczos(
    matvec: Callable[[Any], Any],
    start: Any,
    num_steps: int,
    *,
    key: jax.Array | None = None,
    compiled: bool | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Tridiagonalises a symmetric operator from a start vector.

    Every new vector is orthogonalised twice against all earlier ones, as two matrix products. Where
    the residual vanishes (an invariant subspace: low rank, repeated eigenvalues, a start vector
    that lacks some), beta is 0 and a new random direction, orthogonal to the basis, begins the next
    block: the blocks' eigenvalues together are still A's, and those of later blocks have no weight
    in the start vector.

    Args:
      matvec: symmetric linear map on pytrees like `start`.
      start: pytree, not 0; its length does not matter.
      num_steps: m; at most the number of entries n, to which it is cut.
      key: of the random directions; fixed by default.
      compiled: the steps as one compiled loop, for which matvec must be traceable; False calls
        matvec step by step. None chooses: a matvec that says `traceable = False` is called; another
        is compiled, with the loop around it too but on a CPU, where XLA runs the gradients of
        jax.lax's convolutions inside a loop on one slow thread.

    Returns:
      alphas [m], betas [m - 1], basis [m, n] with orthonormal rows in `ravel_pytree`'s order.
      float64 when x64 is on, else float32.

    Raises:
      ValueError: a start vector that is 0 or not finite, num_steps below 1, complex numbers, or a
        product that is not finite.

    Source: Golub and Van Loan, Matrix Computations, 4th edition, section 10.3; the double
    Gram-Schmidt is Parlett's "twice is enough".

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import hessian
      >>> A, w, key = jnp.diag(jnp.arange(1.0, 6.0)), jnp.zeros(5), jax.random.key(0)
      >>> diagonal, off_diagonal, basis = hessian.lanczos(lambda v: A @ v, jnp.ones(5), 5)
      >>> print(round(float(diagonal.sum()), 3))  # the trace, after as many steps as dimensions
      15.0
    """
    run = Runner(matvec, start, num_steps, key=key, compiled=compiled)(start)
    return run.alphas, run.betas, run.basis


class Runner:
    """Lanczos runs of one operator, compiled once for all start vectors."""

    def __init__(
        self,
        matvec: Callable[[Any], Any],
        example: Any,
        num_steps: int,
        *,
        key: jax.Array | None = None,
        compiled: bool | None = None,
    ) -> None:
        """Arguments as `lanczos`; `example` gives the structure."""
        if num_steps < 1:
            raise ValueError(f"num_steps is {num_steps}; expected at least 1")
        flat, unravel = ravel_pytree(example)
        refuse_complex(flat)
        self.dtype = jnp.result_type(float)
        self.num_steps = min(num_steps, flat.shape[0])
        self.traceable = getattr(matvec, "traceable", True) if compiled is None else compiled
        looped = compiled or (self.traceable and jax.default_backend() != "cpu")
        self._key = jax.random.key(0) if key is None else key

        def product(vector):
            image = ravel_pytree(matvec(unravel(vector.astype(flat.dtype))))[0]
            refuse_complex(image)
            return image.astype(self.dtype)

        def steps(progress, first, last):
            return jax.lax.fori_loop(
                first,
                last,
                lambda j, now: _absorb(now, product(now.basis[j]), j, self._key),
                progress,
            )

        one_product = jax.jit(product) if self.traceable else product

        def steps_on_host(progress, first, last):
            for j in range(first, last):
                # Waits, since each product called ahead would hold its own working memory.
                image = jax.block_until_ready(one_product(progress.basis[j]))
                progress = _absorb_donated(progress, image, j, self._key)
            return progress

        self._steps = jax.jit(steps, donate_argnums=0) if looped else steps_on_host
        self._all = jax.jit(jax.vmap(lambda start: steps(self._begin(start), 0, self.num_steps)))

    def __call__(
        self, start: Any, enough: Callable[[Tridiagonal], bool] | None = None, check_every: int = 10
    ) -> Tridiagonal:
        """One run; ends early once `enough` says so, asked after every `check_every` steps."""
        flat = ravel_pytree(start)[0].astype(self.dtype)
        length = float(jnp.linalg.norm(flat))
        if not (np.isfinite(length) and length > 0):
            raise ValueError(f"the start vector has length {length}; expected a finite one above 0")
        progress, done = self._begin(flat), 0
        while done < self.num_steps:
            until = self.num_steps if enough is None else min(done + check_every, self.num_steps)
            progress, done = self._steps(progress, done, until), until
            refuse_not_finite(progress.alphas[:done], progress.betas[:done])
            if enough is not None and enough(_cut(progress, done)):
                break
        return _cut(progress, done)

    def together(self, starts: jax.Array) -> tuple[np.ndarray, np.ndarray]:
        """Runs from all flat start vectors [P, n] as one batch: alphas [P, m] and betas [P, m - 1].
        Keeps P bases in memory.
        """
        progress = self._all(starts.astype(self.dtype))
        refuse_not_finite(progress.alphas, progress.betas)
        return np.asarray(progress.alphas), np.asarray(progress.betas)[:, :-1]

    def _begin(self, flat: jax.Array) -> _Progress:
        basis = (
            jnp.zeros((self.num_steps + 1, flat.shape[0]), self.dtype)
            .at[0]
            .set(flat / jnp.linalg.norm(flat))
        )
        return _Progress(
            jnp.zeros(self.num_steps, self.dtype),
            jnp.zeros(self.num_steps, self.dtype),
            basis,
            jnp.zeros([], self.dtype),
        )


def _absorb(progress: _Progress, image: jax.Array, j: jax.Array, key: jax.Array) -> _Progress:
    """One step, given A q_j."""
    basis = progress.basis
    norm = jnp.maximum(progress.norm, jnp.linalg.norm(image))
    # alpha from these products, not from basis[j]: another read of the basis makes XLA copy it
    # before it is written (21 -> 95 ms a step for ResNet-32's 100 vectors on two cores).
    overlaps = basis @ image
    alpha = overlaps[j]
    rest = _orthogonal(image - overlaps @ basis, basis)
    beta = jnp.linalg.norm(rest)
    # What is left of a vanished residual is rounding of the size of eps |A| in the whole vector.
    # Not more: in float32 real couplings of a narrow bulk beside large outliers are near that.
    # Nor an infinite one, which is refused.
    vanished = (beta <= 10.0 * jnp.finfo(beta.dtype).eps * norm) & jnp.isfinite(beta)

    def fresh():
        start = jax.random.normal(jax.random.fold_in(key, j), rest.shape, rest.dtype)
        return _orthogonal(_orthogonal(_orthogonal(start, basis), basis), basis)

    following = jax.lax.cond(vanished, fresh, lambda: rest)
    following = following / jnp.maximum(jnp.linalg.norm(following), jnp.finfo(beta.dtype).tiny)
    return _Progress(
        alphas=progress.alphas.at[j].set(alpha),
        betas=progress.betas.at[j].set(jnp.where(vanished, 0.0, beta)),
        basis=basis.at[j + 1].set(following),
        norm=norm,
    )


_absorb_donated = jax.jit(_absorb, donate_argnums=0)


def _orthogonal(vector: jax.Array, basis: jax.Array) -> jax.Array:
    """The part of a vector outside the span of orthonormal rows
    (rows of zeros take nothing away).
    """
    return vector - (basis @ vector) @ basis


def refuse_complex(flat: jax.Array) -> None:
    if jnp.issubdtype(flat.dtype, jnp.complexfloating):
        raise ValueError(
            f"matvec works on {flat.dtype}; expected real numbers: give a Hermitian operator X + iY"
            " as the symmetric [[X, -Y], [Y, X]] on real and imaginary parts"
            " (every eigenvalue twice)"
        )


def refuse_not_finite(*values: Any) -> None:
    if not all(np.isfinite(np.asarray(each)).all() for each in values):
        raise ValueError(
            "matvec gave values that are not finite; check the loss, its parameters and examples"
        )


def _cut(progress: _Progress, done: int) -> Tridiagonal:
    return Tridiagonal(
        progress.alphas[:done],
        progress.betas[: done - 1],
        progress.basis[:done],
        progress.betas[done - 1],
    )
