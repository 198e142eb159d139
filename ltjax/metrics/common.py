"""What several metrics need."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def wide(ids: ArrayLike) -> jax.Array:
    """Class ids in at least int32: uint8 ends at 255."""
    ids = jnp.asarray(ids)
    return ids.astype(jnp.int32) if ids.dtype.itemsize < 4 else ids


def mean_of_known(values: np.ndarray) -> float:
    """Of those that are not NaN; NaN without any."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
