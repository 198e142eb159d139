"""Experts that each learn for a class distribution of their own: BalPoE and SADE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from ltjax import losses
from ltjax.objectives.classify import class_loss
from ltjax.objectives.objective import Given, Objective


def balpoe(given: Given, *, taus: Sequence[float]) -> Objective:
    """`losses.balanced_experts` of a network of experts, one a tau.

    Source: Aimar et al., CVPR 2023, arXiv:2206.05260.
    """
    counts = given.class_counts
    return _of_experts(
        given, partial(losses.balanced_experts, class_counts=counts, taus=tuple(taus))
    )


def sade(given: Given, *, tau: float) -> Objective:
    """`losses.sade` of a network of three experts.

    Source: Zhang et al., NeurIPS 2022, arXiv:2107.09249, without its test-time aggregation: the
    mean of the logits predicts.
    """
    return _of_experts(given, partial(losses.sade, class_counts=given.class_counts, tau=tau))


def _of_experts(given: Given, of_logits: Callable[[jax.Array, jax.Array], jax.Array]) -> Objective:
    def loss(forward, batch, class_weights, memory, key):
        each = forward(batch.images, branches=True)
        return class_loss(of_logits, each, batch, class_weights), jnp.mean(each, axis=0), memory

    return Objective(loss, mix=given.mixing.mix, orders=given.mixing.orders)
