"""Influence-balanced classification: each image weighs less, the more it moves the classifier.

Source: Park et al., ICCV 2021, arXiv:2110.02444; the formula is
`ltjax.losses.influence_balanced`.
"""

from __future__ import annotations

import jax.numpy as jnp

from ltjax import losses
from ltjax.objectives.objective import Given, Objective


def influence(given: Given, *, alpha: float, epsilon: float) -> Objective:
    """The plain mean of influence-balanced losses, with the class weights inside.

    Args:
      given: its loss, class counts and mixing are not used.
      alpha, epsilon: as `ltjax.losses.influence_balanced`.
    """

    def loss(forward, batch, class_weights, memory, key):
        logits, features = forward(batch.images, features=True)
        values = losses.influence_balanced(
            logits,
            batch.labels,
            features=features,
            alpha=alpha,
            epsilon=epsilon,
            class_weights=class_weights,
        )
        if batch.focus is not None:
            values = batch.focus[batch.labels] * values
        return jnp.mean(values), logits, memory

    return Objective(loss)
