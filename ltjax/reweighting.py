"""Class weights from class counts, and when they apply."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ltjax.counts import counts_of

__all__ = ["WEIGHTS", "deferred", "effective_number", "inverse_frequency", "uniform"]


def inverse_frequency(class_counts: ArrayLike) -> jax.Array:
    """Class weights proportional to 1 / n_c, scaled to sum to the number of classes.

    Cross-entropy under these weights is the "modified cross-entropy" of some long-tail papers.

    Args:
      class_counts: training images of each class, [C], all > 0.

    Returns:
      Weights [C], sum C.

    Raises:
      ValueError: a count below 1.

    Source: Huang et al., CVPR 2016 (class re-weighting); Cui et al., CVPR 2019, section 4.1.

    Example:
      >>> import numpy as np
      >>> from ltjax import reweighting
      >>> print(np.array(reweighting.inverse_frequency([90, 10])).round(2))
      [0.2 1.8]
    """
    return _scaled(1.0 / counts_of(class_counts))


def effective_number(class_counts: ArrayLike, beta: float = 0.9999) -> jax.Array:
    """Class weights from the effective number of samples, scaled to sum to the number of classes.

    Args:
      class_counts: training images of each class, [C], all > 0.
      beta: overlap of samples in [0, 1); 0 gives equal weights, the limit 1 inverse frequency.

    Returns:
      Weights [C], w_c proportional to (1 - beta) / (1 - beta ** class_counts[c]), sum C.

    Raises:
      ValueError: a count below 1, or beta outside [0, 1).

    Source: Cui et al., CVPR 2019, arXiv:1901.05555, eq. 2.

    Example:
      >>> import numpy as np
      >>> from ltjax import reweighting
      >>> print(np.array(reweighting.effective_number([5000, 500, 50])).round(3))
      [0.034 0.275 2.691]
    """
    if not 0.0 <= beta < 1.0:
        raise ValueError(f"beta is {beta}; expected a value in [0, 1), for instance 0.9999")
    counts = counts_of(class_counts)
    if beta == 0.0:
        return jnp.ones_like(counts)
    # 1 - beta^n through expm1, since beta^n rounds to 1 in float32 for small n.
    return _scaled(1.0 / -jnp.expm1(counts * math.log(beta)))


def uniform(class_counts: ArrayLike) -> jax.Array:
    """Equal weights, [C] of ones: no re-weighting.

    Example:
      >>> from ltjax import reweighting
      >>> print(reweighting.uniform([90, 10]))
      [1. 1.]
    """
    return jnp.ones_like(counts_of(class_counts))


def deferred(class_weights: ArrayLike, epoch: ArrayLike, start_epoch: int) -> jax.Array:
    """Deferred re-weighting (DRW): weight 1 before `start_epoch`, `class_weights` from it on.

    Args:
      class_weights: [C].
      epoch: current epoch from 0, a Python or traced integer.
      start_epoch: the first epoch with the weights; 160 of 200 in the CIFAR recipes.

    Returns:
      Weights [C].

    Source: Cao et al., NeurIPS 2019, arXiv:1906.07413, algorithm 1.

    Example:
      >>> import numpy as np
      >>> from ltjax import reweighting
      >>> weights = reweighting.inverse_frequency([90, 10])
      >>> for epoch in (159, 160):
      ...     print(np.array(reweighting.deferred(weights, epoch, 160)).round(2))
      ...
      [1. 1.]
      [0.2 1.8]
    """
    class_weights = jnp.asarray(class_weights)
    return jnp.where(jnp.asarray(epoch) >= start_epoch, class_weights, jnp.ones_like(class_weights))


WEIGHTS: dict[str, Callable[..., jax.Array]] = {
    "none": uniform,
    "inverse_frequency": inverse_frequency,
    "effective_number": effective_number,
}
"""Name in a config -> class weights."""


def _scaled(weights: jax.Array) -> jax.Array:
    return weights / jnp.sum(weights) * weights.shape[0]
