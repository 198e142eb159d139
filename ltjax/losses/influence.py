"""Losses weighted by each example's influence on the decision boundary."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ltjax.losses.inputs import at_label, checked, is_ids, log_probability_and_complement


def influence_balanced(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    features: ArrayLike,
    alpha: float = 1000.0,
    epsilon: float = 1e-3,
    class_weights: ArrayLike | None = None,
) -> jax.Array:
    """Influence-balanced loss: w_y * cross-entropy * alpha / (||p - y||_1 * ||h||_1 + epsilon).

    The denominator is the influence that the example has on the classifier, and its gradient is
    taken too, as in the authors' program. Average it plainly: the class weights are inside, and
    their sum does not divide.

    Args:
      logits: [..., C] with C >= 2.
      labels: class ids [...] or probabilities [..., C].
      features: h, what the classifier sees, [..., D].
      alpha: scale, > 0; the authors choose it so that the loss stays near cross-entropy's.
      epsilon: added to the influence, > 0.
      class_weights: w, [C]; None is 1. Probabilities take the expected weight.

    Returns:
      Per-example loss [...].

    Raises:
      ValueError: labels, features or class_weights that do not fit the logits, or an alpha or
        epsilon not above 0.

    Source: Park et al., ICCV 2021, arXiv:2110.02444, eq. 7 to 9.

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> logits, features = np.array([[4.0, 0.0], [0.0, 0.0]]), np.ones((2, 8))
      >>> loss = losses.influence_balanced(logits, np.array([0, 0]), features=features)
      >>> print(np.array(loss).round(1))  # the unsure image weighs less than its loss
      [62.9 86.6]
    """
    for name, value in (("alpha", alpha), ("epsilon", epsilon)):
        if not value > 0:
            raise ValueError(f"{name} is {value}; expected a value above 0")
    logits, labels = checked(logits, labels)
    features = jnp.asarray(features)
    if features.shape[:-1] != logits.shape[:-1] or features.ndim != logits.ndim:
        raise ValueError(
            f"features are {list(features.shape)} for logits {list(logits.shape)}; expected"
            f" [{', '.join(map(str, logits.shape[:-1]))}, D]"
        )
    log_probs, log_others = log_probability_and_complement(logits)
    if is_ids(labels):  # ||p - y||_1 = 2 (1 - p_y), exact where p_y rounds to 1
        distance = 2.0 * jnp.exp(at_label(log_others, labels))
    else:
        distance = _sum_of_sizes(jnp.exp(log_probs) - labels)
    size = _sum_of_sizes(features.astype(logits.dtype))
    loss = -at_label(log_probs, labels) * (alpha / (distance * size + epsilon))
    if class_weights is None:
        return loss
    if np.shape(class_weights) != logits.shape[-1:]:
        raise ValueError(
            f"class_weights are {list(np.shape(class_weights))}; expected [{logits.shape[-1]}]"
        )
    weights = jnp.broadcast_to(jnp.asarray(class_weights, logits.dtype), logits.shape)
    return loss * at_label(weights, labels)


def _sum_of_sizes(x: jax.Array) -> jax.Array:
    """||x||_1 of the last axis with gradient 0 where an entry is 0, as PyTorch's (JAX's is 1)."""
    return jnp.sum(x * jnp.sign(x), axis=-1)
