"""Pytrees as the vectors that an operator is multiplied with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from ltjax.hessian.lanczos import refuse_complex, refuse_not_finite

Matvec = Callable[[Any], Any]


def rademacher(key: jax.Array, example: Any) -> Any:
    """A pytree like the example, of -1 and 1 at random."""
    flat, unravel = ravel_pytree(example)
    return unravel(jax.random.rademacher(key, flat.shape, flat.dtype))


def float64_of(tree: Any) -> np.ndarray:
    """Its entries [n]; ValueError for complex ones or those that are not finite."""
    flat = ravel_pytree(tree)[0]
    refuse_complex(flat)
    refuse_not_finite(flat)
    return np.asarray(flat, np.float64)
