"""Global and local mixture consistency: a mixup and a CutMix view with one share, two classifiers.

Source: Du et al., CVPR 2023, arXiv:2305.08661; the formula is `ltjax.losses.glmc`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ltjax import augment, losses, sampling
from ltjax.models.heads import TwoClassifiers
from ltjax.objectives.objective import Batch, Drawn, Given, Objective


def glmc(
    given: Given, *, similarity: float, exponent: float, q: float, dimensions: int
) -> Objective:
    """Cross-entropy that passes from a plain to a re-weighted classifier, and agreement of views.

    Args:
      given: its loss and mixing are not used.
      similarity: weight of the agreement.
      exponent: of the class weights, n_c ** -exponent scaled to mean 1.
      q: the second order draws an image with weight n_c ** -q; 0 is another shuffle.
      dimensions: of the projections.
    """
    counts = np.asarray(given.class_counts, np.float64)
    weights = counts**-exponent
    weights *= len(counts) / weights.sum()

    def order(key, labels, epoch):
        if q == 0:
            return sampling.shuffled(key, labels)
        return sampling.power(key, labels, 1.0 - q, num_classes=len(counts))

    def loss(forward, batch, class_weights, memory, key):
        views = jnp.concatenate([batch.images, *batch.views])
        plain, balanced, predictions, projections = (
            leaf.reshape(2, -1, leaf.shape[-1]) for leaf in forward(views, both=True)
        )
        value = losses.glmc(
            *(plain, balanced, predictions, projections, batch.labels, batch.partners),
            lam=batch.lam,
            class_weights=weights,
            progress=batch.progress,
            similarity=similarity,
        )
        return value, balanced[0], memory

    return Objective(
        loss,
        views=(given.view,),
        orders=(order,),
        mix=_mixed,
        heads=partial(TwoClassifiers, num_classes=len(counts), dimensions=dimensions),
    )


def _mixed(key: jax.Array, drawn: Sequence[Drawn]) -> Batch:
    """The first views mixed, the second ones with a rectangle of the other order's."""
    ((images, seconds), labels), ((others, patches), their_labels) = drawn
    lam = jax.random.beta(jax.random.fold_in(key, 0), 1.0, 1.0).astype(images.dtype)
    inside, _ = augment.rectangle(key, images, lam)
    pasted = jnp.where(inside, patches, seconds)
    return Batch(lam * images + (1 - lam) * others, labels, their_labels, lam, (pasted,))
