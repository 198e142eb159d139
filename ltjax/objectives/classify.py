"""Classification: a loss of the logits, of images as they are or mixed
(mixup, CutMix, Remix, CMO).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from ltjax import augment, losses, sampling
from ltjax.objectives.objective import Batch, Drawn, Given, Mixing, Objective


def classify(given: Given) -> Objective:
    """The weighted mean of a loss of the logits; of mixed images against both labels."""

    def loss(forward, batch, class_weights, memory, key):
        logits = forward(batch.images)
        return class_loss(given.loss, logits, batch, class_weights), logits, memory

    return Objective(loss, mix=given.mixing.mix, orders=given.mixing.orders)


def class_loss(
    loss: Callable[[jax.Array, jax.Array], jax.Array],
    logits: jax.Array,
    batch: Batch,
    class_weights: jax.Array,
) -> jax.Array:
    """The batch's mean of per-example losses under class weights, each label's its own where images
    are mixed.

    Args:
      loss: (logits, labels) -> per-example losses.
      logits: [B, C].
      batch: whole, or a part with its `shares`.
      class_weights: [C].
    """

    def against(labels, whole, share=None):
        values = loss(logits, labels)
        if batch.focus is not None:
            values = batch.focus[labels] * values
        mean = losses.weighted_mean(
            values if share is None else share * values, labels, class_weights
        )
        return mean if whole is None else whole * mean

    return both_labels(against, batch)


def both_labels(against: Callable[..., jax.Array], batch: Batch) -> jax.Array:
    """A loss against the labels, of mixed images against both.

    Args:
      against: (labels, part of the class weights, share of each example or None) -> scalar.
      batch: as `class_loss`.
    """
    if batch.partners is None or batch.lam is None:
        return against(batch.labels, batch.shares[0])
    if batch.lam.ndim:  # an example's own: inside the mean
        return against(batch.labels, batch.shares[0], batch.lam) + against(
            batch.partners, batch.shares[1], 1.0 - batch.lam
        )
    return losses.mixup(
        against(batch.labels, batch.shares[0]),
        against(batch.partners, batch.shares[1]),
        batch.lam,
    )


def mixing(name: str, class_counts: np.ndarray, *, alpha: float, **options: Any) -> Mixing:
    """The mixing of a config: images with partners from the same batch, or patches from a class-
    balanced one (CMO).

    Args:
      name: one of `MIXINGS`.
      class_counts: training images of each class, [C].
      alpha: of Beta(alpha, alpha).
      **options: kappa and tau of Remix, probability of CMO.
    """
    if name == "none":
        return Mixing()
    if name == "remix":
        options = {"kappa": options["kappa"], "tau": options["tau"]}
        return Mixing(
            _mixed(partial(augment.remix, class_counts=class_counts, alpha=alpha, **options))
        )
    if name == "cmo":
        order = partial(_class_balanced, len(class_counts))
        return Mixing(partial(_pasted, alpha, options["probability"]), (order,))
    blend = augment.MIXES[name]
    assert blend is not None  # "none" went above
    return Mixing(_mixed(lambda key, images, labels: blend(key, images, alpha)))


MIXINGS = (*augment.MIXES, "cmo")
"""Names of the mixings in a config."""


def _class_balanced(
    num_classes: int, key: jax.Array, labels: jax.Array, epoch: jax.Array
) -> jax.Array:
    """Images drawn with weight 1 / n_c of their class."""
    return sampling.class_balanced(key, labels, num_classes=num_classes)


def _pasted(alpha: float, probability: float, key: jax.Array, drawn: Sequence[Drawn]) -> Batch:
    """Patches of the second order's first view in the first order's."""
    ((images, *others), labels), ((patches, *_), their_labels) = drawn
    images, lam = augment.paste(key, images, patches, alpha, probability=probability)
    return Batch(images, labels, their_labels, lam, tuple(others))


def _mixed(
    blend: Callable[..., augment.Mixed],
) -> Callable[[jax.Array, Sequence[Drawn]], Batch]:
    """Mixes the first view; the others stay as they are."""

    def mix(key, drawn):
        (images, *others), labels = drawn[0]
        mixed = blend(key, images, labels)
        return Batch(mixed.images, labels, labels[mixed.partner], mixed.lam, tuple(others))

    return mix
