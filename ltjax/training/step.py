"""One training step, and many of them as one compiled call. Pure functions of arrays."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ltjax import augment, losses
from ltjax.experiment.parameters import split_parameters
from ltjax.experiment.recipe import ROTATIONS, Recipe, Settings
from ltjax.experiment.state import Running, TrainState
from ltjax.optim import ascend
from ltjax.training.accumulation import in_parts


class Batch(NamedTuple):
    """What a gradient is taken of: normalised images [B, H, W, C], labels [B], and of mixed ones
    the other label [B] and its share.
    """

    images: jax.Array
    labels: jax.Array
    partners: jax.Array | None = None
    lam: jax.Array | None = None


class Parts:
    """The parts of a recipe's step, each jitted.

    Inside a jitted step they are inlined, and it is one program. Called by themselves each is its
    own: SAM's second pass then runs the first one's program again, and half as much is compiled.

    Attributes:
      order: (key, epoch, labels) -> indices of the epoch.
      take: (images, labels, order, first, count) -> images and labels at `count` (static) places of
        the order.
      augment: (key, step, images uint8, labels) -> normalised images, labels.
      mix: (key, step, images, labels) -> Batch.
      gradients: (params, batch_stats, batch, key, step, class weights) -> gradients of the
        parameters that train, statistics, loss, logits.
      ascend: (params, gradients, rho) -> params at SAM's second point.
      finish: (state, gradients, batch_stats, loss, logits, labels, learning rate) -> state.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.order = jax.jit(partial(_order, recipe))
        self.take = jax.jit(_take, static_argnames="count")
        self.augment = jax.jit(partial(_augment, recipe))
        self.mix = (
            jax.jit(partial(_mix, recipe))
            if recipe.mix
            else lambda key, step, images, labels: Batch(images, labels)
        )
        self.gradients = jax.jit(partial(_gradients, recipe))
        self.ascend = jax.jit(partial(_ascend, recipe))
        self.finish = jax.jit(partial(_finish, recipe))


def parts_of(recipe: Recipe) -> Parts:
    """The recipe's parts, the same at every call, so that each compiles once."""
    return recipe.compiled.setdefault("parts", Parts(recipe))


def update(
    recipe: Recipe, state: TrainState, images: jax.Array, labels: jax.Array, settings: Settings
) -> TrainState:
    """One step on a batch that is already augmented and normalised.

    Args:
      images: floating point [B, H, W, C].
      labels: class ids [B].
    """
    parts = parts_of(recipe)
    batch = parts.mix(state.key, state.step, images, labels)
    of_batch = (batch, state.key, state.step, settings.class_weights)
    grads, batch_stats, loss, logits = parts.gradients(state.params, state.batch_stats, *of_batch)
    if recipe.sam:
        perturbed = parts.ascend(state.params, grads, settings.rho)
        grads, second_stats, _, _ = parts.gradients(perturbed, batch_stats, *of_batch)
        batch_stats = second_stats if recipe.both_update_stats else batch_stats
    return parts.finish(state, grads, batch_stats, loss, logits, labels, settings.learning_rate)


def train_step(
    recipe: Recipe, state: TrainState, images: jax.Array, labels: jax.Array, settings: Settings
) -> TrainState:
    """One step on raw images uint8 [B, H, W, C]: augmentation, normalisation, `update`."""
    images, labels = parts_of(recipe).augment(state.key, state.step, images, labels)
    return update(recipe, state, images, labels, settings)


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
    unroll: int = 1,
) -> TrainState:
    """The next `full_steps` steps of the epoch, then one of `remainder` images unless that is 0; a
    whole epoch if asked.

    The epoch's order is drawn from the state's key and epoch here, so that the state alone says
    what comes next.

    Args:
      images: uint8 [N, H, W, C], the training set, on the device.
      labels: int32 [N].
      batch_size, full_steps, remainder: static.
      unroll: steps of one turn of the loop; static.
    """
    parts = parts_of(recipe)
    order = parts.order(state.key, state.epoch, labels)
    first = state.position * batch_size

    def step(state, first, count):
        taken = parts.take(images, labels, order, first, count=count)
        return train_step(recipe, state, taken[0], taken[1], settings)

    if full_steps == 1:
        # Without a scan: XLA runs convolutions inside a loop on one slow thread on the CPU
        # (measured: 27 times slower).
        state = step(state, first, batch_size)
    elif full_steps:
        starts = first + batch_size * jnp.arange(full_steps)
        state, _ = jax.lax.scan(
            lambda state, first: (step(state, first, batch_size), None),
            state,
            starts,
            unroll=min(unroll, full_steps),
        )
    if remainder:
        state = step(state, order.shape[0] - remainder, remainder)
    return state


class _StepKeys(NamedTuple):
    crop: jax.Array
    mix: jax.Array
    policy: jax.Array
    dropout: jax.Array


def _step_keys(key: jax.Array, step: jax.Array) -> _StepKeys:
    """Keys of what is random in this step; the other half of the split gives the epochs' orders."""
    _, step_key = jax.random.split(key)
    return _StepKeys(*jax.random.split(jax.random.fold_in(step_key, step), 4))


def _order(recipe: Recipe, key: jax.Array, epoch: jax.Array, labels: jax.Array) -> jax.Array:
    order_key, _ = jax.random.split(key)
    return recipe.order(jax.random.fold_in(order_key, epoch), labels, epoch)


def _take(
    images: jax.Array, labels: jax.Array, order: jax.Array, first: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
    places = jax.lax.dynamic_slice(order, (first,), (count,))
    return images[places], labels[places]


def _augment(
    recipe: Recipe, key: jax.Array, step: jax.Array, images: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
    images, labels = sharded(recipe, images, labels)
    keys = _step_keys(key, step)
    images = augment.random_crop_flip(
        keys.crop, images, padding=recipe.padding, flip_probability=recipe.flip
    )
    policy_key, cutout_key = jax.random.split(keys.policy)
    if recipe.policy:
        images = recipe.policy(policy_key, images)
    if recipe.jitter:
        images = augment.random_color_jitter(
            jax.random.fold_in(policy_key, 1), images, *recipe.jitter
        )
    images = augment.normalize(images, recipe.mean, recipe.std)
    if recipe.cutout:
        images = augment.random_cutout(cutout_key, images, recipe.cutout)
    return sharded(recipe, *targets(recipe, images, labels))


def _mix(
    recipe: Recipe, key: jax.Array, step: jax.Array, images: jax.Array, labels: jax.Array
) -> Batch:
    assert recipe.mix is not None
    mixed = recipe.mix(_step_keys(key, step).mix, images, labels)
    return Batch(mixed.images, labels, labels[mixed.partner], mixed.lam)


def _gradients(
    recipe: Recipe,
    params: Any,
    batch_stats: Any,
    batch: Batch,
    key: jax.Array,
    step: jax.Array,
    class_weights: jax.Array,
) -> tuple[Any, Any, jax.Array, jax.Array]:
    trained, whole = split_parameters(params, recipe.trainable)
    dropout = _step_keys(key, step).dropout

    def batch_loss(trained, batch_stats, images, labels, partners, lam, key, shares=(None, None)):
        outputs, updated = _forward(recipe, whole(trained), batch_stats, images, key)
        return _loss(recipe, outputs, labels, partners, lam, class_weights, shares), (
            outputs,
            updated,
        )

    if recipe.accumulate == 1 or batch.labels.shape[0] % recipe.accumulate:
        (loss, (outputs, batch_stats)), grads = jax.value_and_grad(batch_loss, has_aux=True)(
            trained, batch_stats, *batch, dropout
        )
    else:
        loss, outputs, batch_stats, grads = in_parts(
            recipe.accumulate, batch_loss, trained, batch_stats, batch, dropout, class_weights
        )
    return (
        grads,
        batch_stats,
        loss,
        outputs if recipe.branch_loss is None else jnp.sum(outputs, axis=0),
    )


def _ascend(recipe: Recipe, params: Any, grads: Any, rho: jax.Array) -> Any:
    trained, whole = split_parameters(params, recipe.trainable)
    return whole(ascend(trained, grads, rho, recipe.adaptive))


def _finish(
    recipe: Recipe,
    state: TrainState,
    grads: Any,
    batch_stats: Any,
    loss: jax.Array,
    logits: jax.Array,
    labels: jax.Array,
    learning_rate: jax.Array,
) -> TrainState:
    trained, whole = split_parameters(state.params, recipe.trainable)
    updates, opt_state = recipe.optimizer(learning_rate).update(grads, state.opt_state, trained)
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
        params=whole(optax.apply_updates(trained, updates)),
        batch_stats=batch_stats,
        opt_state=opt_state,
        running=running,
    )


def _forward(
    recipe: Recipe, params: Any, batch_stats: Any, images: jax.Array, key: jax.Array
) -> tuple[jax.Array, Any]:
    """Logits, or branch logits, in training mode (evaluation mode with frozen statistics), and the
    statistics after it.
    """
    variables = {"params": params, "batch_stats": batch_stats}
    options: dict[str, Any] = {} if recipe.branch_loss is None else {"branches": True}
    if recipe.frozen_statistics:
        return recipe.model.apply(variables, images, train=False, **options), batch_stats  # type: ignore[return-value]
    outputs, updated = recipe.model.apply(
        variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}, **options
    )
    return outputs, updated["batch_stats"]


def _loss(
    recipe: Recipe,
    outputs: jax.Array,
    labels: jax.Array,
    partners: Any,
    lam: Any,
    class_weights: jax.Array,
    shares: tuple[Any, Any],
) -> jax.Array:
    """The batch's loss, of mixed images against both labels.

    `shares`: of a part of a batch, its part in the class weights of all labels and of all partners;
    None for the whole.
    """

    def against(labels, whole, share=None):
        if recipe.branch_loss is not None:
            return recipe.branch_loss(outputs, labels)
        values = recipe.loss(outputs, labels)
        mean = losses.weighted_mean(
            values if share is None else share * values, labels, class_weights
        )
        return mean if whole is None else whole * mean

    if partners is None:
        return against(labels, shares[0])
    if lam.ndim:  # an example's own: inside the mean
        return against(labels, shares[0], lam) + against(partners, shares[1], 1.0 - lam)
    return losses.mixup(against(labels, shares[0]), against(partners, shares[1]), lam)


def targets(recipe: Recipe, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Normalised images at the network's resolution with the labels it learns; -1 stays -1."""
    if recipe.target == "rotation":
        images = augment.rotations(images).reshape(-1, *images.shape[1:])
        labels = jnp.where(
            labels[:, None] < 0, -1, jnp.arange(ROTATIONS, dtype=labels.dtype)
        ).reshape(-1)
    return augment.resize(images, recipe.resolution) if recipe.resolution else images, labels


def sharded(recipe: Recipe, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The batch split over the devices; one that does not divide (an epoch's short last) is
    computed whole by each.
    """
    if recipe.batch_sharding is None or labels.shape[0] % recipe.batch_sharding.num_devices:
        return images, labels
    return jax.lax.with_sharding_constraint((images, labels), recipe.batch_sharding)
