"""Label smoothing whose strength follows the class counts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ltjax.counts import counts_of
from ltjax.losses.inputs import at_label, checked


def label_aware_smoothing(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    class_counts: ArrayLike,
    head: float = 0.3,
    tail: float = 0.0,
) -> jax.Array:
    """Cross-entropy smoothed by e_y: `head` for the fullest class, `tail` for the rarest, concave
    between.

    e_c = tail + (head - tail) * sin(pi / 2 * (n_c - n_min) / (n_max - n_min)), and the loss is
    (1 - e_y) * cross-entropy + e_y * mean over all C classes of -log p. A balanced set is head
    alone: e_c = head.

    Args:
      logits: [..., C].
      labels: class ids [...] or probabilities [..., C] (then the expectation over classes).
      class_counts: training images of each class, [C], all > 0.
      head, tail: smoothing of the fullest and of the rarest class, in [0, 1].

    Returns:
      Per-example loss [...].

    Raises:
      ValueError: labels or class_counts that do not fit the logits, a count below 1, or a head or
        tail outside [0, 1].

    Source: Zhong et al. (MiSLAS), CVPR 2021, arXiv:2104.00466, eq. 3 and the concave form of eq. 6.
    The authors' program smooths over all C classes, as this does; their paper over the others.

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> logits, labels = np.array([[4.0, 0.0], [0.0, 4.0]]), np.array([0, 1])
      >>> loss = losses.label_aware_smoothing(logits, labels, class_counts=[100, 1], head=0.3)
      >>> print(np.array(loss).round(3))  # being sure of the fullest class costs
      [0.618 0.018]
    """
    for name, value in (("head", head), ("tail", tail)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} is {value}; expected a smoothing in [0, 1]")
    logits, labels = checked(logits, labels)
    counts = counts_of(class_counts, logits)
    low, high = jnp.min(counts), jnp.max(counts)
    share = jnp.where(high > low, (counts - low) / jnp.maximum(high - low, 1.0), 1.0)
    smoothing = (tail + (head - tail) * jnp.sin(jnp.pi / 2 * share)).astype(logits.dtype)
    log_probs = jax.nn.log_softmax(logits)
    uniform = jnp.mean(log_probs, axis=-1, keepdims=True)
    return -at_label((1.0 - smoothing) * log_probs + smoothing * uniform, labels)
