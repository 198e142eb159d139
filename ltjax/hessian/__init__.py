"""Eigenvalues, trace and spectral density of a Hessian (or any symmetric operator) from
matrix-vector products alone.

Everything takes `matvec`, a function from a pytree to a pytree of the same structure, and an
example of that pytree:

    from ltjax import hessian
    matvec = jax.jit(lambda v: hessian.hvp(loss_fn, params, v))
    top = hessian.top_eigenvalues(matvec, params, jax.random.key(0), k=5)
    nodes, weights = hessian.spectral_density(matvec, params, jax.random.key(1))
    curve = hessian.density(nodes, weights, grid)
"""

from ltjax.hessian.lanczos import lanczos
from ltjax.hessian.operator import DatasetOperator, gauss_newton_product, hvp
from ltjax.hessian.spectrum import (
    Eigenpairs,
    Spectrum,
    bottom_eigenvalues,
    density,
    grid,
    moments,
    spectral_density,
    spectrum_of,
    top_eigenvalues,
)
from ltjax.hessian.traces import Estimate, trace, trace_hutchpp

__all__ = [
    "DatasetOperator",
    "Eigenpairs",
    "Estimate",
    "Spectrum",
    "bottom_eigenvalues",
    "density",
    "gauss_newton_product",
    "grid",
    "hvp",
    "lanczos",
    "moments",
    "spectral_density",
    "spectrum_of",
    "top_eigenvalues",
    "trace",
    "trace_hutchpp",
]
