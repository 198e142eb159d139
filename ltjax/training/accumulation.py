"""A batch whose parts pass through the network one after the other,
to the whole batch's numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ltjax.objectives import Batch


def gradients(batch_loss: Callable[..., Any], trained: Any, *given: Any) -> tuple[Any, Any]:
    """The gradient of `batch_loss(trained, *given) -> (loss, seen)` by its first argument, and what
    was seen.

    Of several losses [K], a tuple of their gradients, all from one forward pass.
    """
    loss, pull, seen = jax.vjp(lambda trained: batch_loss(trained, *given), trained, has_aux=True)
    if loss.ndim == 0:
        return pull(jnp.ones_like(loss))[0], seen
    return tuple(pull(row)[0] for row in jnp.eye(len(loss), dtype=loss.dtype)), seen


def in_parts(
    parts: int,
    batch_loss: Callable[..., Any],
    trained: Any,
    batch_stats: Any,
    batch: Batch,
    keys: tuple[jax.Array, ...],
    weights: jax.Array,
) -> tuple[jax.Array, jax.Array, Any, Any]:
    """Loss, logits, statistics and gradients of a batch whose parts pass one after the other; the
    loss is the whole batch's.

    Part i holds every `parts`-th image from the i-th on, so that the parts of a sharded batch lie
    on all its devices; of a batch that does not divide, the last parts hold an image less.
    """
    size = batch.labels.shape[0]

    def part(i, leaf):
        if leaf.ndim == 0:
            return leaf
        if size % parts:
            return leaf[i::parts]
        return leaf.reshape(size // parts, parts, *leaf.shape[1:])[:, i]

    def share(labels, i):
        return (
            None if labels is None else jnp.sum(weights[part(i, labels)]) / jnp.sum(weights[labels])
        )

    loss, outputs = jnp.zeros([], jnp.result_type(float)), list[jax.Array]()
    grads = jax.tree.map(jnp.zeros_like, trained)
    if batch.focus is not None:
        grads = (grads,) * len(batch.focus)
    for i in range(parts):
        mine: Batch = jax.tree.map(partial(part, i), batch._replace(focus=None))
        shares = (share(batch.labels, i), share(batch.partners, i))
        mine = mine._replace(focus=batch.focus, shares=shares)
        grad, seen = gradients(
            batch_loss,
            trained,
            batch_stats,
            mine,
            tuple(jax.random.fold_in(key, i) for key in keys),
        )
        # One part's activations at a time: the next part waits for this one's gradient.
        trained, grads, batch_stats = jax.lax.optimization_barrier(
            (trained, jax.tree.map(jnp.add, grads, grad), seen.batch_stats)
        )
        loss, outputs = loss + seen.loss, [*outputs, seen.logits]
    order = np.concatenate([np.arange(i, size, parts) for i in range(parts)])
    return loss, jnp.concatenate(outputs)[np.argsort(order)], batch_stats, grads
