"""Losses of logits that are shifted or scaled by the training distribution."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ltjax.counts import counts_of
from ltjax.losses.inputs import below_top, checked, log_prior
from ltjax.losses.per_example import cross_entropy


def vector_scaling(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    class_counts: ArrayLike,
    gamma: float = 0.3,
    tau: float = 1.0,
) -> jax.Array:
    """Vector-scaling (VS) loss: cross-entropy of logits / D + i, D_c = (n_max / n_c)^gamma, i_c =
    tau * log(n_c / N).

    With gamma = 0 it is logit adjustment; with tau = 0 it is class-dependent temperatures (CDT).

    Args:
      logits: [..., C].
      labels: class ids [...] or probabilities [..., C].
      class_counts: training images of each class, [C], all > 0.
      gamma: exponent of the multiplicative part, >= 0.
      tau: weight of the additive part.

    Returns:
      Per-example loss [...].

    Raises:
      ValueError: labels or class_counts that do not fit the logits, or a count below 1.

    Source: Kini et al., NeurIPS 2021, arXiv:2103.01550, eq. 5.

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> logits = np.array([[2.0, 0.0], [0.0, 2.0]])
      >>> loss = losses.vector_scaling(logits, np.array([0, 1]), class_counts=[90, 10])
      >>> print(np.array(loss).round(3))
      [0.015 1.435]
    """
    logits, labels = checked(logits, labels)
    counts = counts_of(class_counts, logits)
    scales = (counts / jnp.max(counts)) ** gamma
    return cross_entropy(
        below_top(logits * scales.astype(logits.dtype)) + tau * log_prior(counts, logits), labels
    )


def balanced_softmax(logits: ArrayLike, labels: ArrayLike, *, class_counts: ArrayLike) -> jax.Array:
    """Balanced softmax: cross-entropy of logits + log n.

    Args:
      logits: [..., C].
      labels: class ids [...] or probabilities [..., C].
      class_counts: training images of each class, [C], all > 0.

    Returns:
      Per-example loss [...].

    Raises:
      ValueError: labels or class_counts that do not fit the logits, or a count below 1.

    Source: Ren et al., NeurIPS 2020, arXiv:2007.10740, eq. 4.

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> logits, labels = np.zeros((2, 2)), np.array([0, 1])
      >>> loss = losses.balanced_softmax(logits, labels, class_counts=[90, 10])
      >>> print(np.array(loss).round(3))  # -log of the class's share of the training images
      [0.105 2.303]
    """
    logits, labels = checked(logits, labels)
    return cross_entropy(
        below_top(logits) + jnp.log(counts_of(class_counts, logits)).astype(logits.dtype), labels
    )


def logit_adjusted(
    logits: ArrayLike, labels: ArrayLike, *, class_counts: ArrayLike, tau: float = 1.0
) -> jax.Array:
    """Logit-adjusted loss: cross-entropy of logits + tau * log(n / N). For the post-hoc form see
    `metrics.adjust_logits`.

    Args:
      logits: [..., C].
      labels: class ids [...] or probabilities [..., C].
      class_counts: training images of each class, [C], all > 0.
      tau: weight of the prior; 1 is balanced softmax.

    Returns:
      Per-example loss [...].

    Raises:
      ValueError: labels or class_counts that do not fit the logits, or a count below 1.

    Source: Menon et al., ICLR 2021, arXiv:2007.07314, eq. 10.

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> logits, labels = np.zeros((2, 2)), np.array([0, 1])
      >>> loss = losses.logit_adjusted(logits, labels, class_counts=[90, 10], tau=1.0)
      >>> print(np.array(loss).round(3))
      [0.105 2.303]
    """
    logits, labels = checked(logits, labels)
    return cross_entropy(
        below_top(logits) + tau * log_prior(counts_of(class_counts, logits), logits), labels
    )
