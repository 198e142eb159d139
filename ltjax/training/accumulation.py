"""A batch whose parts pass through the network one after the other, to the whole batch's numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def in_parts(
    parts: int,
    batch_loss: Callable[..., Any],
    trained: Any,
    batch_stats: Any,
    batch: tuple[Any, ...],
    key: jax.Array,
    weights: jax.Array,
) -> tuple[jax.Array, jax.Array, Any, Any]:
    """Loss, outputs, statistics and gradient of a batch whose parts pass one after the other; the
    loss is the whole batch's.

    Part i holds every `parts`-th image from the i-th on, so that the parts of a sharded batch lie
    on all its devices.
    """
    _, labels, partners, _ = batch
    size = labels.shape[0]

    def part(leaf, i):
        return (
            leaf
            if leaf is None or leaf.ndim == 0
            else leaf.reshape(size // parts, parts, *leaf.shape[1:])[:, i]
        )

    def share(labels, i):
        return (
            None if labels is None else jnp.sum(weights[part(labels, i)]) / jnp.sum(weights[labels])
        )

    loss, grads, outputs = (
        jnp.zeros([], jnp.result_type(float)),
        jax.tree.map(jnp.zeros_like, trained),
        list[jax.Array](),
    )
    for i in range(parts):
        mine = [part(leaf, i) for leaf in batch]
        (value, (out, batch_stats)), grad = jax.value_and_grad(batch_loss, has_aux=True)(
            trained,
            batch_stats,
            *mine,
            jax.random.fold_in(key, i),
            (share(labels, i), share(partners, i)),
        )
        # One part's activations at a time: the next part waits for this one's gradient.
        trained, grads, batch_stats = jax.lax.optimization_barrier(
            (trained, jax.tree.map(jnp.add, grads, grad), batch_stats)
        )
        loss, outputs = loss + value, [*outputs, out]
    stacked = jnp.stack(outputs, 1)
    return loss, stacked.reshape(size, *stacked.shape[2:]), batch_stats, grads
