"""Evaluation, a batch or all batches as one compiled call. Pure functions of arrays."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

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


class Outcomes(flax.struct.PyTreeNode):
    """What the network says of each of N images.

    Attributes:
      labels: int [N], true classes; -1 of padding, and of an image that could not be read.
      predicted: int [N].
      probability: float32 [N], of the predicted class.
      own: float32 [N], of the true class.
    """

    labels: jax.Array | np.ndarray
    predicted: jax.Array | np.ndarray
    probability: jax.Array | np.ndarray
    own: jax.Array | np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """Numbers of the misclassified images, the most confident mistake first."""
        labels = np.asarray(self.labels)
        wrong = np.flatnonzero((labels >= 0) & (self.predicted != labels))
        return wrong[np.argsort(-np.asarray(self.probability)[wrong], kind="stable")]


class Evaluation(flax.struct.PyTreeNode):
    """Of a split: the sums, and the outcomes of each call, in order, padded at the end."""

    sums: EvaluationSums
    calls: list[Outcomes]

    def outcomes(self, count: int) -> Outcomes:
        """Of the split's `count` images, on the host."""
        return jax.tree.map(
            lambda *parts: np.concatenate([np.ravel(part) for part in parts])[:count], *self.calls
        )


def experts_of(model: nn.Module) -> int:
    """How many experts a network has; 0 of one without."""
    return model.number if isinstance(model, Experts) else 0


def evaluate_batch(
    recipe: Recipe, variables: Any, sums: EvaluationSums, images: jax.Array, labels: jax.Array
) -> tuple[EvaluationSums, Outcomes]:
    """Adds a batch, and tells the outcomes [B]: raw images uint8 [B, H, W, C], labels [B], -1 where
    the batch is padded.
    """
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
    sums = EvaluationSums(
        loss=sums.loss + jnp.sum(jnp.where(labels >= 0, loss, 0.0)),
        confusion=sums.confusion + confusion(logits),
        top5=sums.top5
        + jnp.sum(metrics.top_k_correct(logits, labels, min(5, num_classes)), dtype=jnp.int32),
        experts=sums.experts + jax.vmap(confusion)(each) if experts else sums.experts,
    )
    shares = jax.nn.softmax(recipe.logit_scale * logits.astype(jnp.float32))
    own = jnp.take_along_axis(shares, jnp.maximum(labels, 0)[:, None], axis=1)[:, 0]
    return sums, Outcomes(labels, jnp.argmax(logits, axis=-1), jnp.max(shares, axis=-1), own)


def evaluate_all(
    recipe: Recipe, variables: Any, sums: EvaluationSums, images: jax.Array, labels: jax.Array
) -> tuple[EvaluationSums, Outcomes]:
    """Adds every batch of images [K, B, H, W, C] and labels [K, B] by one scan; outcomes [K, B]."""

    def body(sums, batch):
        return evaluate_batch(recipe, variables, sums, *batch)

    return jax.lax.scan(body, sums, (images, labels))
