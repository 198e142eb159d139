"""Matrices of known eigenvalues."""

import jax.numpy as jnp
import numpy as np


def symmetric(values, seed=0):
    """A dense matrix with these eigenvalues."""
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))[0]
    return jnp.asarray(rotation * np.asarray(values, float) @ rotation.T)


def tridiagonal(alphas, betas):
    return np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1)


SPECTRA = {
    "spread": np.linspace(-1.0, 3.0, 60),
    "clustered": np.concatenate(
        [np.full(40, 1.0) + 1e-6 * np.arange(40), np.linspace(5.0, 6.0, 20)]
    ),
    "degenerate": np.concatenate([np.full(30, 2.0), np.full(30, -1.0)]),
    "rank 3": np.concatenate([np.zeros(57), [1.0, 4.0, -9.0]]),
    "zero": np.zeros(20),
    "identity": np.ones(20),
    "negative": -np.geomspace(1e-3, 10.0, 50),
    "one by one": np.array([-3.0]),
    "two by two": np.array([1.0, 1.0]),
    "huge": np.linspace(-1e8, 1e8, 40),
    "tiny": 1e-9 * np.linspace(-1.0, 1.0, 40),
}
