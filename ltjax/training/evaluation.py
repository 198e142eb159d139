"""Evaluation, a batch or all batches as one compiled call. Pure functions of arrays."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from ltjax import augment, metrics
from ltjax.experiment.recipe import Recipe
from ltjax.models.experts import Experts
from ltjax.training.step import spread, targets


class EvaluationSums(flax.struct.PyTreeNode):
    """Sums over evaluated images: loss, confusion [C, C], how many have their class among the five
    highest logits, and of a network of experts each one's confusion, [E, C, C] (E = 0 of others).
    """

    loss: jax.Array
    confusion: jax.Array
    top5: jax.Array
    experts: jax.Array

    @classmethod
    def zeros(cls, num_classes: int, experts: int = 0) -> EvaluationSums:
        return cls(
            loss=jnp.zeros([], jnp.result_type(float)),
            confusion=jnp.zeros((num_classes, num_classes), jnp.int32),
            top5=jnp.zeros([], jnp.int32),
            experts=jnp.zeros((experts, num_classes, num_classes), jnp.int32),
        )


def experts_of(model: nn.Module) -> int:
    """How many experts a network has; 0 of one without."""
    return model.number if isinstance(model, Experts) else 0


def evaluate_batch(
    recipe: Recipe, variables: Any, sums: EvaluationSums, images: jax.Array, labels: jax.Array
) -> EvaluationSums:
    """Adds a batch: raw images uint8 [B, H, W, C], labels [B], -1 where the batch is padded."""
    images, labels = spread(recipe, (images, labels))
    images, labels = targets(recipe, augment.normalize(images, recipe.mean, recipe.std), labels)
    experts = experts_of(recipe.model)
    options: dict[str, Any] = {"branches": True} if experts else {}
    logits: jax.Array = recipe.model.apply(variables, images, train=False, **options)  # type: ignore[assignment]
    each, logits = logits, jnp.mean(logits, axis=0) if experts else logits
    num_classes = logits.shape[-1]

    def confusion(logits):
        found = metrics.confusion_matrix(labels, jnp.argmax(logits, axis=-1), num_classes)
        return found.astype(jnp.int32)

    loss = recipe.loss(logits, jnp.maximum(labels, 0))
    return EvaluationSums(
        loss=sums.loss + jnp.sum(jnp.where(labels >= 0, loss, 0.0)),
        confusion=sums.confusion + confusion(logits),
        top5=sums.top5
        + jnp.sum(metrics.top_k_correct(logits, labels, min(5, num_classes)), dtype=jnp.int32),
        experts=sums.experts + jax.vmap(confusion)(each) if experts else sums.experts,
    )


def evaluate_all(
    recipe: Recipe, variables: Any, sums: EvaluationSums, images: jax.Array, labels: jax.Array
) -> EvaluationSums:
    """Adds every batch of images [K, B, H, W, C] and labels [K, B] by one scan."""

    def body(sums, batch):
        return evaluate_batch(recipe, variables, sums, *batch), None

    return jax.lax.scan(body, sums, (images, labels))[0]
