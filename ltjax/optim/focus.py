"""Which part of the loss SAM perturbs: a vector c over classes.

With per-example losses l_i of classes y_i, SAM's family splits the batch's mean loss into a plain
part and a part whose gradient gives the perturbation and is taken again after it. c = 1 everywhere
is SAM, c = 0 everywhere its base optimiser.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ltjax.counts import counts_of


def focal_weights(class_counts: ArrayLike, gamma: float, lam: float) -> jax.Array:
    """Focal-SAM: c = lam * (1 - n_c / N)^gamma of a class's loss is perturbed, 1 - c is not.

    Args:
      class_counts: training images of each class, [C], all > 0.
      gamma: >= 0; 0 with lam 1 is SAM.
      lam: >= 0; 0 is the base optimiser. Above 1 (published for iNaturalist) rare classes have a
        negative plain part.

    Returns:
      Floating point [C].

    Raises:
      ValueError: a count below 1, or a negative gamma or lam.

    Source: Li et al., ICML 2025, arXiv:2505.01660, eq. 6 to 8.

    Example:
      >>> import numpy as np
      >>> from ltjax import optim
      >>> print(np.array(optim.focal_weights([90, 10], gamma=2.0, lam=0.5)).round(3))
      [0.005 0.405]
    """
    if gamma < 0 or lam < 0:
        raise ValueError(f"gamma is {gamma}, lam {lam}; expected values >= 0")
    counts = counts_of(class_counts)
    return jnp.asarray(lam * (1.0 - counts / counts.sum()) ** gamma, jnp.result_type(float))


def tail_weights(class_counts: ArrayLike, threshold: float, scale: float = 1.0) -> jax.Array:
    """ImbSAM: classes of fewer than `threshold` images are perturbed, at `scale` times their loss;
    the others are not.

    Args:
      class_counts: training images of each class, [C], all > 0.
      threshold: published: 20. Where no class has fewer, all of the loss is plain.
      scale: > 0. The paper has 1, the authors' program 2 (which re-weights as well).

    Returns:
      Floating point [C], `scale` or 0; the plain part is of the classes with 0.

    Raises:
      ValueError: a count below 1, or a scale not above 0.

    Source: Zhou et al., ICCV 2023, arXiv:2308.07815, eq. 6 to 8.

    Example:
      >>> from ltjax import optim
      >>> print(optim.tail_weights([90, 10], threshold=20, scale=2.0))
      [0. 2.]
    """
    if not scale > 0:
        raise ValueError(f"scale is {scale}; expected a value above 0")
    return jnp.where(counts_of(class_counts) < threshold, scale, 0.0).astype(jnp.result_type(float))
