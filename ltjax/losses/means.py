"""What makes one loss of several: weighted means, mixtures."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ltjax.losses.inputs import is_ids, no_wrap


def weighted_mean(
    losses: ArrayLike, labels: ArrayLike, class_weights: ArrayLike | None = None
) -> jax.Array:
    """Mean of per-example losses under class weights: sum_i w[y_i] l_i / sum_i w[y_i].

    Args:
      losses: per-example losses [...].
      labels: class ids [...] or probabilities [..., C] (then w_i is the expected weight).
      class_weights: [C], not all 0 on the batch; None is the plain mean.

    Returns:
      Scalar.

    Raises:
      ValueError: labels that fit neither form.

    Source: the weighted mean of PyTorch's CrossEntropyLoss(weight=...).

    Example:
      >>> import numpy as np
      >>> from ltjax import losses, reweighting
      >>> labels = np.array([0, 0, 0, 1])
      >>> each = np.array([1.0, 1.0, 1.0, 5.0])
      >>> print(losses.weighted_mean(each, labels))
      2.0
      >>> print(losses.weighted_mean(each, labels, reweighting.inverse_frequency([3, 1])))
      3.0
    """
    losses, labels = jnp.asarray(losses), jnp.asarray(labels)
    if class_weights is None:
        return jnp.mean(losses)
    class_weights = jnp.asarray(class_weights, losses.dtype)
    if is_ids(labels) and labels.shape == losses.shape:
        weights = jnp.take(class_weights, no_wrap(labels, class_weights.shape[0]), mode="fill")
    elif not is_ids(labels) and labels.shape == (*losses.shape, *class_weights.shape):
        weights = labels.astype(losses.dtype) @ class_weights
    else:
        raise ValueError(
            f"labels are {labels.dtype}{list(labels.shape)} for losses {list(losses.shape)};"
            f" expected class ids {list(losses.shape)}"
            f" or probabilities {[*losses.shape, *class_weights.shape]}"
        )
    return jnp.sum(weights * losses) / jnp.sum(weights)


def mixup(loss_a: ArrayLike, loss_b: ArrayLike, lam: ArrayLike) -> jax.Array:
    """Loss of a mixed example: lam * loss under the first labels + (1 - lam) * loss under the
    second.

    Args:
      loss_a: losses against the labels of the images weighted by lam, any shape.
      loss_b: losses of the same logits against the partners' labels, the same shape.
      lam: mixing coefficient in [0, 1], a scalar or of that shape.

    Returns:
      Mixed loss, the same shape.

    Source: Zhang et al., ICLR 2018, arXiv:1710.09412, in the form of the authors' program.

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> logits = np.array([[2.0, 0.0], [0.0, 2.0]])
      >>> loss_a = losses.cross_entropy(logits, np.array([0, 1]))
      >>> loss_b = losses.cross_entropy(logits, np.array([1, 0]))
      >>> print(np.array(losses.mixup(loss_a, loss_b, 0.75)).round(3))
      [0.627 0.627]
    """
    lam = jnp.asarray(lam)
    return lam * jnp.asarray(loss_a) + (1.0 - lam) * jnp.asarray(loss_b)
