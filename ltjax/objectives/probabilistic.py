"""ProCo: contrast with all that a class could look like, from running estimates of its features.

Source: Du et al., TPAMI 2024, arXiv:2403.06726; the formulas are in `ltjax.objectives.proco`.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ltjax.models.heads import Projected
from ltjax.objectives.classify import class_loss
from ltjax.objectives.objective import Given, Objective
from ltjax.objectives.proco import Estimate, contrast_logits, updated

START = 0.9
"""Length of an estimate's mean before it has seen an image; its direction is random."""


class Memory(NamedTuple):
    """Estimates of the epoch before, which go on, and of this epoch, which follow them."""

    current: Estimate
    following: Estimate


def proco(
    given: Given,
    *,
    contrast: float,
    temperature: float,
    width: int,
    dimensions: int,
) -> Objective:
    """The config's loss of the first view's logits and of two others' contrast logits.

    Each of the two enters the estimates before its own logits are computed, one after the other, as
    in the authors' program. At an epoch's start the following estimates become the current ones.

    Args:
      given: its loss should be `balanced_softmax`, as published; it is taken of both kinds of
        logits.
      contrast: weight of the contrast logits' loss, the mean over the two views.
      temperature: of the contrast.
      width, dimensions: of the projection.
    """
    classes = len(given.class_counts)

    def fresh(key: jax.Array) -> Estimate:
        means = jax.random.normal(key, (classes, dimensions))
        means = START * means / jnp.linalg.norm(means, axis=-1, keepdims=True)
        return Estimate(means, jnp.zeros(classes, means.dtype))

    def loss(forward, batch, class_weights, memory, key):
        size = len(batch.labels)
        images = jnp.concatenate([batch.images, *batch.views])
        logits, features, _ = forward(images, projections=True)
        current, following = memory
        apart = []
        for view in (features[size : 2 * size], features[2 * size :]):
            current, following = (
                updated(estimate, view, batch.labels) for estimate in (current, following)
            )
            contrasted = contrast_logits(view, current.means, temperature)
            plain = batch._replace(partners=None, lam=None)
            apart.append(class_loss(given.loss, contrasted, plain, class_weights))
        own = class_loss(given.loss, logits[:size], batch, class_weights)
        whole = own + contrast * (apart[0] + apart[1]) / 2
        return whole, logits[:size], Memory(current, following)

    return Objective(
        loss,
        views=(given.contrast_view, given.contrast_view),
        mix=given.mixing.mix,
        orders=given.mixing.orders,
        heads=partial(Projected, width=width, dimensions=dimensions),
        memory=lambda key: Memory(*map(fresh, jax.random.split(key))),
        turn=lambda memory, key: Memory(memory.following, fresh(key)),
    )
