"""Evaluation, a batch or all batches as one compiled call. Pure functions of arrays."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from ltjax import augment, metrics
from ltjax.experiment.recipe import Recipe
from ltjax.training.step import spread, targets


class EvaluationSums(flax.struct.PyTreeNode):
    """Sums over evaluated images: loss, confusion [C, C] and how many have their class among the
    five highest logits.
    """

    loss: jax.Array
    confusion: jax.Array
    top5: jax.Array

    @classmethod
    def zeros(cls, num_classes: int) -> EvaluationSums:
        return cls(
            loss=jnp.zeros([], jnp.result_type(float)),
            confusion=jnp.zeros((num_classes, num_classes), jnp.int32),
            top5=jnp.zeros([], jnp.int32),
        )


def evaluate_batch(
    recipe: Recipe, variables: Any, sums: EvaluationSums, images: jax.Array, labels: jax.Array
) -> EvaluationSums:
    """Adds a batch: raw images uint8 [B, H, W, C], labels [B], -1 where the batch is padded."""
    images, labels = spread(recipe, (images, labels))
    images, labels = targets(recipe, augment.normalize(images, recipe.mean, recipe.std), labels)
    logits: jax.Array = recipe.model.apply(variables, images, train=False)  # type: ignore[assignment]
    num_classes = logits.shape[-1]
    loss = recipe.loss(logits, jnp.maximum(labels, 0))
    return EvaluationSums(
        loss=sums.loss + jnp.sum(jnp.where(labels >= 0, loss, 0.0)),
        confusion=sums.confusion
        + metrics.confusion_matrix(labels, jnp.argmax(logits, axis=-1), num_classes).astype(
            jnp.int32
        ),
        top5=sums.top5
        + jnp.sum(metrics.top_k_correct(logits, labels, min(5, num_classes)), dtype=jnp.int32),
    )


def evaluate_all(
    recipe: Recipe, variables: Any, sums: EvaluationSums, images: jax.Array, labels: jax.Array
) -> EvaluationSums:
    """Adds every batch of images [K, B, H, W, C] and labels [K, B] by one scan."""

    def body(sums, batch):
        return evaluate_batch(recipe, variables, sums, *batch), None

    return jax.lax.scan(body, sums, (images, labels))[0]
