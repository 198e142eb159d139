"""One training step, and many of them as one compiled call. Pure functions of arrays.

`Recipe` holds what is fixed while a program is compiled; `Settings` what changes from epoch to epoch and is traced, so that a new
learning rate, radius or the start of re-weighting compiles nothing anew.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from ltjax import augment, losses
from ltjax.optim import ascend
from ltjax.training.state import Running, TrainState

ROTATIONS = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Recipe:
    """What is fixed while a stage lasts.

    Attributes:
      model: Flax Linen module.
      loss: (logits, labels) -> per-example losses.
      optimizer: learning rate -> base optimiser.
      order: (key, labels, epoch) -> indices of the epoch.
      mean, std: normalisation a channel.
      padding, flip: of the random crop and flip; 0 is off.
      policy: (key, uint8 images) -> uint8 images, after crop and flip; None is off.
      jitter: brightness, contrast and saturation of the colour jitter; () is off.
      cutout: side of the square set to the mean colour; 0 is off.
      resolution: pixels that images are resized to; 0 is their own.
      mix: (key, images, labels) -> augment.Mixed; None is off.
      branch_loss: (branch logits, labels) -> scalar, of a network with branches (ResLT); None for the others.
      target: "class", or "rotation": four turned copies of each image, labelled by their quarter turns.
      trainable: regular expression of the parameters that train, matched at the start of names such as linear/kernel; "" is all.
      frozen_statistics: the network runs in evaluation mode, so BatchNorm statistics stay.
      accumulate: parts of a batch that pass through the network one after the other.
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
    policy: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    jitter: Sequence[float] = ()
    cutout: int = 0
    resolution: int = 0
    mix: Callable[[jax.Array, jax.Array, jax.Array], augment.Mixed] | None = None
    branch_loss: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    target: str = "class"
    trainable: str = ""
    frozen_statistics: bool = False
    accumulate: int = 1
    sam: bool = False
    adaptive: bool = False
    both_update_stats: bool = True
    batch_sharding: jax.sharding.NamedSharding | None = None

    @cached_property
    def parts(self) -> Parts:
        """Of its step."""
        return Parts(self)


class Settings(flax.struct.PyTreeNode):
    """What changes between epochs: learning rate, SAM radius, class weights [C]."""

    learning_rate: jax.Array
    rho: jax.Array
    class_weights: jax.Array


def split_parameters(params: Any, trainable: str) -> tuple[Any, Callable[[Any], Any]]:
    """The parameters that train, and what puts them back among the frozen ones.

    Gradients, SAM's norm, weight decay and momentum see the first alone.

    Raises:
      ValueError: an expression that matches no parameter.
    """
    if not trainable:
        return params, lambda trained: trained
    flat = flatten_dict(params)
    trained: dict[tuple[str, ...], Any] = {}
    frozen: dict[tuple[str, ...], Any] = {}
    for path, value in flat.items():
        (trained if re.match(trainable, "/".join(path)) else frozen)[path] = value
    if not trained:
        names = sorted({path[0] for path in flat})
        raise ValueError(f"config.parameters.trainable {trainable!r} matches no parameter; they begin with {', '.join(names)}")
    return unflatten_dict(trained), lambda trained: unflatten_dict({**frozen, **flatten_dict(trained)})


class Batch(NamedTuple):
    """What a gradient is taken of: normalised images [B, H, W, C], labels [B], and of mixed ones the other label [B] and its share."""

    images: jax.Array
    labels: jax.Array
    partners: jax.Array | None = None
    lam: jax.Array | None = None


class Parts:
    """The parts of a recipe's step, each jitted.

    Inside a jitted step they are inlined, and it is one program. Called by themselves each is its own: SAM's second pass then runs the
    first one's program again, and half as much is compiled.

    Attributes:
      order: (key, epoch, labels) -> indices of the epoch.
      take: (images, labels, order, first, count) -> images and labels at `count` (static) places of the order.
      augment: (key, step, images uint8, labels) -> normalised images, labels.
      mix: (key, step, images, labels) -> Batch.
      gradients: (params, batch_stats, batch, key, step, class weights) -> gradients of the parameters that train, statistics, loss, logits.
      ascend: (params, gradients, rho) -> params at SAM's second point.
      finish: (state, gradients, batch_stats, loss, logits, labels, learning rate) -> state.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.order = jax.jit(partial(_order, recipe))
        self.take = jax.jit(_take, static_argnames="count")
        self.augment = jax.jit(partial(_augment, recipe))
        self.mix = jax.jit(partial(_mix, recipe)) if recipe.mix else lambda key, step, images, labels: Batch(images, labels)
        self.gradients = jax.jit(partial(_gradients, recipe))
        self.ascend = jax.jit(partial(_ascend, recipe))
        self.finish = jax.jit(partial(_finish, recipe))


def update(recipe: Recipe, state: TrainState, images: jax.Array, labels: jax.Array, settings: Settings) -> TrainState:
    """One step on a batch that is already augmented and normalised.

    Args:
      images: floating point [B, H, W, C].
      labels: class ids [B].
    """
    parts = recipe.parts
    batch = parts.mix(state.key, state.step, images, labels)
    of_batch = (batch, state.key, state.step, settings.class_weights)
    grads, batch_stats, loss, logits = parts.gradients(state.params, state.batch_stats, *of_batch)
    if recipe.sam:
        perturbed = parts.ascend(state.params, grads, settings.rho)
        grads, second_stats, _, _ = parts.gradients(perturbed, batch_stats, *of_batch)
        batch_stats = second_stats if recipe.both_update_stats else batch_stats
    return parts.finish(state, grads, batch_stats, loss, logits, labels, settings.learning_rate)


def train_step(recipe: Recipe, state: TrainState, images: jax.Array, labels: jax.Array, settings: Settings) -> TrainState:
    """One step on raw images uint8 [B, H, W, C]: augmentation, normalisation, `update`."""
    images, labels = recipe.parts.augment(state.key, state.step, images, labels)
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
    """The next `full_steps` steps of the epoch, then one of `remainder` images unless that is 0; a whole epoch if asked.

    The epoch's order is drawn from the state's key and epoch here, so that the state alone says what comes next.

    Args:
      images: uint8 [N, H, W, C], the training set, on the device.
      labels: int32 [N].
      batch_size, full_steps, remainder: static.
      unroll: steps of one turn of the loop; static.
    """
    parts = recipe.parts
    order = parts.order(state.key, state.epoch, labels)
    first = state.position * batch_size

    def step(state, first, count):
        taken = parts.take(images, labels, order, first, count=count)
        return train_step(recipe, state, taken[0], taken[1], settings)

    if full_steps == 1:
        # Without a scan: XLA runs convolutions inside a loop on one slow thread on the CPU (measured: 27 times slower).
        state = step(state, first, batch_size)
    elif full_steps:
        starts = first + batch_size * jnp.arange(full_steps)
        state, _ = jax.lax.scan(lambda state, first: (step(state, first, batch_size), None), state, starts, unroll=min(unroll, full_steps))
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


def _take(images: jax.Array, labels: jax.Array, order: jax.Array, first: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    places = jax.lax.dynamic_slice(order, (first,), (count,))
    return images[places], labels[places]


def _augment(recipe: Recipe, key: jax.Array, step: jax.Array, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    images, labels = sharded(recipe, images, labels)
    keys = _step_keys(key, step)
    images = augment.random_crop_flip(keys.crop, images, padding=recipe.padding, flip_probability=recipe.flip)
    policy_key, cutout_key = jax.random.split(keys.policy)
    if recipe.policy:
        images = recipe.policy(policy_key, images)
    if recipe.jitter:
        images = augment.random_color_jitter(jax.random.fold_in(policy_key, 1), images, *recipe.jitter)
    images = augment.normalize(images, recipe.mean, recipe.std)
    if recipe.cutout:
        images = augment.random_cutout(cutout_key, images, recipe.cutout)
    return sharded(recipe, *targets(recipe, images, labels))


def _mix(recipe: Recipe, key: jax.Array, step: jax.Array, images: jax.Array, labels: jax.Array) -> Batch:
    assert recipe.mix is not None
    mixed = recipe.mix(_step_keys(key, step).mix, images, labels)
    return Batch(mixed.images, labels, labels[mixed.partner], mixed.lam)


def _gradients(
    recipe: Recipe, params: Any, batch_stats: Any, batch: Batch, key: jax.Array, step: jax.Array, class_weights: jax.Array
) -> tuple[Any, Any, jax.Array, jax.Array]:
    trained, whole = split_parameters(params, recipe.trainable)
    dropout = _step_keys(key, step).dropout

    def batch_loss(trained, batch_stats, images, labels, partners, lam, key, shares=(None, None)):
        outputs, updated = _forward(recipe, whole(trained), batch_stats, images, key)
        return _loss(recipe, outputs, labels, partners, lam, class_weights, shares), (outputs, updated)

    if recipe.accumulate == 1 or batch.labels.shape[0] % recipe.accumulate:
        (loss, (outputs, batch_stats)), grads = jax.value_and_grad(batch_loss, has_aux=True)(trained, batch_stats, *batch, dropout)
    else:
        loss, outputs, batch_stats, grads = _in_parts(recipe, batch_loss, trained, batch_stats, batch, dropout, class_weights)
    return grads, batch_stats, loss, outputs if recipe.branch_loss is None else jnp.sum(outputs, axis=0)


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


def _forward(recipe: Recipe, params: Any, batch_stats: Any, images: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
    """Logits, or branch logits, in training mode (evaluation mode with frozen statistics), and the statistics after it."""
    variables = {"params": params, "batch_stats": batch_stats}
    options: dict[str, Any] = {} if recipe.branch_loss is None else {"branches": True}
    if recipe.frozen_statistics:
        return recipe.model.apply(variables, images, train=False, **options), batch_stats  # type: ignore[return-value]
    outputs, updated = recipe.model.apply(variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}, **options)
    return outputs, updated["batch_stats"]


def _in_parts(
    recipe: Recipe,
    batch_loss: Callable[..., Any],
    trained: Any,
    batch_stats: Any,
    batch: Batch,
    key: jax.Array,
    weights: jax.Array,
) -> tuple[jax.Array, jax.Array, Any, Any]:
    """Loss, outputs, statistics and gradient of a batch whose parts pass one after the other; the loss is the whole batch's.

    Part i holds every `accumulate`-th image from the i-th on, so that the parts of a sharded batch lie on all its devices.
    """
    parts, labels, partners = recipe.accumulate, batch.labels, batch.partners
    size = labels.shape[0]

    def part(leaf, i):
        return leaf if leaf is None or leaf.ndim == 0 else leaf.reshape(size // parts, parts, *leaf.shape[1:])[:, i]

    def share(labels, i):
        return None if labels is None else jnp.sum(weights[part(labels, i)]) / jnp.sum(weights[labels])

    loss, grads, outputs = jnp.zeros([], jnp.result_type(float)), jax.tree.map(jnp.zeros_like, trained), list[jax.Array]()
    for i in range(parts):
        mine = [part(leaf, i) for leaf in batch]
        (value, (out, batch_stats)), grad = jax.value_and_grad(batch_loss, has_aux=True)(
            trained, batch_stats, *mine, jax.random.fold_in(key, i), (share(labels, i), share(partners, i))
        )
        # One part's activations at a time: the next part waits for this one's gradient.
        trained, grads, batch_stats = jax.lax.optimization_barrier((trained, jax.tree.map(jnp.add, grads, grad), batch_stats))
        loss, outputs = loss + value, [*outputs, out]
    stacked = jnp.stack(outputs, 1)
    return loss, stacked.reshape(size, *stacked.shape[2:]), batch_stats, grads


def _loss(
    recipe: Recipe, outputs: jax.Array, labels: jax.Array, partners: Any, lam: Any, class_weights: jax.Array, shares: tuple[Any, Any]
) -> jax.Array:
    """The batch's loss, of mixed images against both labels.

    `shares`: of a part of a batch, its part in the class weights of all labels and of all partners; None for the whole.
    """

    def against(labels, whole, share=None):
        if recipe.branch_loss is not None:
            return recipe.branch_loss(outputs, labels)
        values = recipe.loss(outputs, labels)
        mean = losses.weighted_mean(values if share is None else share * values, labels, class_weights)
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
        labels = jnp.where(labels[:, None] < 0, -1, jnp.arange(ROTATIONS, dtype=labels.dtype)).reshape(-1)
    return augment.resize(images, recipe.resolution) if recipe.resolution else images, labels


def sharded(recipe: Recipe, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The batch split over the devices; one that does not divide (an epoch's short last) is computed whole by each."""
    if recipe.batch_sharding is None or labels.shape[0] % recipe.batch_sharding.num_devices:
        return images, labels
    return jax.lax.with_sharding_constraint((images, labels), recipe.batch_sharding)
