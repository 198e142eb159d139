"""Class counts as the losses, the weights and SAM's variants take them: checked in one place."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def concrete(x: ArrayLike) -> np.ndarray | None:
    """The values of x, or None while it is being traced."""
    return None if isinstance(x, jax.core.Tracer) else np.asarray(x)


def counts_of(class_counts: ArrayLike, logits: jax.Array | None = None) -> jax.Array:
    """Class counts as floating point, checked for length, and for values where they can be seen."""
    values = concrete(class_counts)
    shape = np.shape(class_counts)
    if len(shape) != 1 or not shape[0] or (logits is not None and shape[0] != logits.shape[-1]):
        wanted = (
            "[C]" if logits is None else f"[{logits.shape[-1]}], one count a class of the logits"
        )
        raise ValueError(f"class_counts has shape {list(shape)}; expected {wanted}")
    if values is not None and not values.min() >= 1:
        raise ValueError(
            f"class_counts holds {values.min()} (class {values.argmin()});"
            " expected at least 1 image a class"
        )
    return jnp.asarray(class_counts, jnp.result_type(float))
