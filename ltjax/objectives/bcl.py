"""Balanced contrastive learning: a classifier, and contrast of two more views and of the classes'
prototypes.

Source: Zhu et al., CVPR 2022, arXiv:2207.09052; the formula is `ltjax.losses.balanced_contrastive`.
"""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp

from ltjax import losses
from ltjax.models.heads import Projected
from ltjax.objectives.classify import class_loss
from ltjax.objectives.objective import Given, Objective


def bcl(
    given: Given,
    *,
    classification: float,
    contrast: float,
    temperature: float,
    width: int,
    dimensions: int,
) -> Objective:
    """The config's loss of the first view and the contrast of two others, in one forward pass.

    Args:
      given: its loss should be `balanced_softmax`, as published.
      classification, contrast: weights of the two.
      temperature: of the contrast.
      width, dimensions: of the projections.
    """

    def loss(forward, batch, class_weights, memory, key):
        size = len(batch.labels)
        images = jnp.concatenate([batch.images, *batch.views])
        logits, features, prototypes = forward(images, projections=True)
        pairs = jnp.stack([features[size : 2 * size], features[2 * size :]], axis=1)
        apart = losses.balanced_contrastive(
            pairs, batch.labels, prototypes=prototypes, temperature=temperature
        )
        own = class_loss(given.loss, logits[:size], batch, class_weights)
        return classification * own + contrast * apart, logits[:size], memory

    return Objective(
        loss,
        views=(given.contrast_view, given.contrast_view),
        mix=given.mixing.mix,
        orders=given.mixing.orders,
        heads=partial(Projected, width=width, dimensions=dimensions, prototypes=True),
    )
