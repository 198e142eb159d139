"""One training step, and many of them as one compiled call; one evaluation likewise. Pure functions of arrays.

`Recipe` holds what is fixed while a program is compiled; `Settings` what changes from epoch to epoch and is traced, so that a new
learning rate, radius or the start of re-weighting compiles nothing anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from ltjax import augment, losses, metrics
from ltjax.optim import ascend
from ltjax.training.state import Running, TrainState


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is fixed for a run.

    Attributes:
      model: Flax Linen module.
      loss: (logits, labels) -> per-example losses.
      optimizer: learning rate -> base optimiser.
      order: (key, labels, epoch) -> indices of the epoch.
      mean, std: normalisation a channel.
      padding, flip: of the random crop and flip; 0 is off.
      mixup_alpha: 0 is off.
      sam, adaptive: whether and which form.
      both_update_stats: whether SAM's second pass updates BatchNorm's running statistics too.
      batch_sharding: of a batch over devices; None on one device.
    """

    model: nn.Module
    loss: Callable[[jax.Array, jax.Array], jax.Array]
    optimizer: Callable[[jax.Array], optax.GradientTransformation]
    order: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    mean: Sequence[float]
    std: Sequence[float]
    padding: int = 4
    flip: float = 0.5
    mixup_alpha: float = 0.0
    sam: bool = False
    adaptive: bool = False
    both_update_stats: bool = True
    batch_sharding: jax.sharding.NamedSharding | None = None


class Settings(flax.struct.PyTreeNode):
    """What changes between epochs: learning rate, SAM radius, class weights [C]."""

    learning_rate: jax.Array
    rho: jax.Array
    class_weights: jax.Array


def update(recipe: Recipe, state: TrainState, images: jax.Array, labels: jax.Array, settings: Settings) -> TrainState:
    """One step on a batch that is already augmented and normalised.

    Args:
      images: floating point [B, H, W, C].
      labels: class ids [B].
    """
    images, labels_b, lam = _mixed(recipe, state, images, labels)

    def gradients(params, batch_stats):
        def batch_loss(params):
            variables = {"params": params, "batch_stats": batch_stats}
            logits, updated = recipe.model.apply(variables, images, train=True, mutable=["batch_stats"])
            loss = losses.weighted_mean(recipe.loss(logits, labels), labels, settings.class_weights)
            if labels_b is not None:
                loss_b = losses.weighted_mean(recipe.loss(logits, labels_b), labels_b, settings.class_weights)
                loss = losses.mixup(loss, loss_b, lam)
            return loss, (logits, updated["batch_stats"])

        (loss, (logits, batch_stats)), grads = jax.value_and_grad(batch_loss, has_aux=True)(params)
        return grads, batch_stats, loss, logits

    grads, batch_stats, loss, logits = gradients(state.params, state.batch_stats)
    if recipe.sam:
        perturbed = ascend(state.params, grads, settings.rho, recipe.adaptive)
        grads, second_stats, _, _ = gradients(perturbed, batch_stats)
        batch_stats = second_stats if recipe.both_update_stats else batch_stats
    updates, opt_state = recipe.optimizer(settings.learning_rate).update(grads, state.opt_state, state.params)
    running = state.running
    unseen = running.first_bad_step < 0
    running = Running(
        loss=running.loss + loss * labels.shape[0],
        correct=running.correct + jnp.sum(jnp.argmax(logits, axis=-1) == labels, dtype=jnp.int32),
        count=running.count + labels.shape[0],
        first_bad_step=jnp.where(unseen & ~jnp.isfinite(loss), state.step, running.first_bad_step),
    )
    return state.replace(
        step=state.step + 1,
        position=state.position + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        opt_state=opt_state,
        running=running,
    )


def train_step(recipe: Recipe, state: TrainState, images: jax.Array, labels: jax.Array, settings: Settings) -> TrainState:
    """One step on raw images uint8 [B, H, W, C]: augmentation, normalisation, `update`."""
    images, labels = _sharded(recipe, images, labels)
    crop_key, _ = _step_keys(state)
    images = augment.random_crop_flip(crop_key, images, padding=recipe.padding, flip_probability=recipe.flip)
    return update(recipe, state, augment.normalize(images, recipe.mean, recipe.std), labels, settings)


def train_steps(
    recipe: Recipe,
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
    settings: Settings,
    *,
    batch_size: int,
    full_steps: int,
    remainder: int,
) -> TrainState:
    """The next `full_steps` steps of the epoch, then one of `remainder` images unless that is 0; a whole epoch if asked.

    The epoch's order is drawn from the state's key and epoch here, so that the state alone says what comes next.

    Args:
      images: uint8 [N, H, W, C], the training set, on the device.
      labels: int32 [N].
      batch_size, full_steps, remainder: static.
    """
    order_key, _ = jax.random.split(state.key)
    order = recipe.order(jax.random.fold_in(order_key, state.epoch), labels, state.epoch)

    def take(state, indices):
        return train_step(recipe, state, images[indices], labels[indices], settings)

    first = state.position * batch_size
    if full_steps == 1:
        # Without a scan: XLA runs convolutions inside a loop on one slow thread on the CPU (measured: 27 times slower).
        state = take(state, jax.lax.dynamic_slice(order, (first,), (batch_size,)))
    elif full_steps:
        batches = jax.lax.dynamic_slice(order, (first,), (full_steps * batch_size,)).reshape(full_steps, batch_size)
        state, _ = jax.lax.scan(lambda state, indices: (take(state, indices), None), state, batches)
    if remainder:
        state = take(state, order[order.shape[0] - remainder :])
    return state


class EvaluationSums(flax.struct.PyTreeNode):
    """Sums over evaluated images: loss, confusion [C, C] and how many have their class among the five highest logits."""

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


def evaluate_batch(recipe: Recipe, variables: Any, sums: EvaluationSums, images: jax.Array, labels: jax.Array) -> EvaluationSums:
    """Adds a batch: raw images uint8 [B, H, W, C], labels [B], -1 where the batch is padded."""
    images, labels = _sharded(recipe, images, labels)
    logits: jax.Array = recipe.model.apply(variables, augment.normalize(images, recipe.mean, recipe.std), train=False)  # type: ignore[assignment]
    num_classes = logits.shape[-1]
    loss = recipe.loss(logits, jnp.maximum(labels, 0))
    return EvaluationSums(
        loss=sums.loss + jnp.sum(jnp.where(labels >= 0, loss, 0.0)),
        confusion=sums.confusion + metrics.confusion_matrix(labels, jnp.argmax(logits, axis=-1), num_classes),
        top5=sums.top5 + jnp.sum(metrics.top_k_correct(logits, labels, min(5, num_classes)), dtype=jnp.int32),
    )


def evaluate_all(recipe: Recipe, variables: Any, sums: EvaluationSums, images: jax.Array, labels: jax.Array) -> EvaluationSums:
    """Adds every batch of images [K, B, H, W, C] and labels [K, B] by one scan."""

    def body(sums, batch):
        return evaluate_batch(recipe, variables, sums, *batch), None

    return jax.lax.scan(body, sums, (images, labels))[0]


def _step_keys(state: TrainState) -> tuple[jax.Array, jax.Array]:
    """Keys of this step's augmentation and mixing; the other half of the split gives the epochs' orders."""
    _, step_key = jax.random.split(state.key)
    crop_key, mix_key = jax.random.split(jax.random.fold_in(step_key, state.step))
    return crop_key, mix_key


def _sharded(recipe: Recipe, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The batch split over the devices; one that does not divide (an epoch's short last) is computed whole by each."""
    if recipe.batch_sharding is None or labels.shape[0] % recipe.batch_sharding.num_devices:
        return images, labels
    return jax.lax.with_sharding_constraint((images, labels), recipe.batch_sharding)


def _mixed(recipe: Recipe, state: TrainState, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, Any, Any]:
    if not recipe.mixup_alpha:
        return images, None, None
    images, partner, lam = augment.mixup(_step_keys(state)[1], images, recipe.mixup_alpha)
    return images, labels[partner], lam
