"""ResLT's loss of three branches."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ltjax.losses.inputs import is_ids, no_wrap
from ltjax.losses.per_example import cross_entropy


def reslt(
    branch_logits: ArrayLike,
    labels: ArrayLike,
    *,
    branch_masks: ArrayLike,
    beta: float,
    label_smoothing: float = 0.0,
) -> jax.Array:
    """ResLT's loss of three branches: beta * (each branch on its classes) + (1 - beta) * (their sum
    on all classes).

    The branches' part is one mean over all (example, branch) pairs whose mask is set: a tail
    example counts three times, a head example once.

    Args:
      branch_logits: head, medium and tail branch, [3, B, C]; their sum predicts.
      labels: class ids [B].
      branch_masks: classes that each branch learns from, bool [3, C]; the first row is all True as
        published.
      beta: weight of the branches' part, in [0, 1] (system B calls it alpha).
      label_smoothing: of both parts, as `cross_entropy`.

    Returns:
      Scalar.

    Raises:
      ValueError: shapes that do not fit, labels outside 0..C-1, or a beta outside [0, 1].

    Source: Cui et al., TPAMI 2022, arXiv:2101.10633, eq. 3 to 5; the authors' program adds 1e-7
    inside the branches' logarithm, this does not.

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> logits = np.zeros((3, 2, 3))  # three branches, two images, three classes
      >>> masks = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1]])
      >>> loss = losses.reslt(logits, np.array([0, 2]), branch_masks=masks, beta=0.9)
      >>> print(np.array(loss).round(3))
      1.099
    """
    branch_logits, labels = jnp.asarray(branch_logits), jnp.asarray(labels)
    if (
        branch_logits.ndim != 3
        or branch_logits.shape[0] != 3
        or labels.shape != branch_logits.shape[1:2]
        or not is_ids(labels)
    ):
        raise ValueError(
            f"branch_logits are {list(branch_logits.shape)} with labels"
            f" {labels.dtype}{list(labels.shape)}; expected [3, B, C] and class ids [B]"
        )
    if np.shape(branch_masks) != (3, branch_logits.shape[-1]):
        raise ValueError(
            f"branch_masks are {list(np.shape(branch_masks))};"
            f" expected [3, {branch_logits.shape[-1]}]"
        )
    if not 0.0 <= beta <= 1.0:
        raise ValueError(f"beta is {beta}; expected a value in [0, 1]")
    losses = cross_entropy(
        branch_logits, jnp.broadcast_to(labels, (3, *labels.shape)), label_smoothing=label_smoothing
    )
    masks = jnp.take(
        jnp.asarray(branch_masks, losses.dtype),
        no_wrap(labels, branch_logits.shape[-1]),
        axis=1,
        mode="fill",
    )
    # A batch without any masked example has no branches' part, rather than 0 / 0.
    branches = jnp.sum(masks * losses) / jnp.maximum(jnp.sum(masks), 1.0)
    summed = jnp.sum(branch_logits, axis=0, dtype=losses.dtype)  # bfloat16 is too narrow for a sum
    fused = jnp.mean(cross_entropy(summed, labels, label_smoothing=label_smoothing))
    return beta * branches + (1.0 - beta) * fused
