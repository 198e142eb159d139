"""One training step, and many of them as one compiled call. Pure functions of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ltjax import augment
from ltjax.experiment.parameters import split_parameters
from ltjax.experiment.recipe import Recipe, Settings
from ltjax.experiment.state import Running, TrainState
from ltjax.objectives import Batch, Drawn
from ltjax.optim import ascend
from ltjax.training.accumulation import gradients, in_parts


class Seen(NamedTuple):
    """What a gradient's forward pass leaves: loss, logits [B, C], BatchNorm statistics, memory."""

    loss: jax.Array
    logits: jax.Array
    batch_stats: Any
    memory: Any


def update(
    recipe: Recipe,
    state: TrainState,
    images: jax.Array | tuple[jax.Array, ...],
    labels: jax.Array,
    settings: Settings,
    others: Sequence[Drawn] = (),
) -> TrainState:
    """One step on a batch that is already augmented and normalised.

    Args:
      images: floating point [B, H, W, C], or each view's.
      labels: class ids [B].
      others: of the objective's further orders.
    """
    drawn = (Drawn(images if isinstance(images, tuple) else (images,), labels), *others)
    batch = _mix(recipe, state.key, state.step, drawn)._replace(
        progress=settings.progress, focus=recipe.focus
    )
    memory = _turn(recipe, state.memory, state.key, state.step, state.position)
    given = (memory, state.key, state.step, settings.class_weights)
    second: Seen | None = None
    if recipe.sam and recipe.focus is None:
        grads, seen, second = _both_passes(recipe, state, batch, settings.rho, given)
    else:
        grads, seen = gradients_of(recipe, state.params, state.batch_stats, batch, *given)
    if recipe.sam and recipe.focus is not None:  # two parts, of which the second is perturbed
        (plain, grads), batch = grads, batch._replace(focus=recipe.focus[1:])
        perturbed = _ascend(recipe, state.params, grads, settings.rho)
        grads, second = gradients_of(recipe, perturbed, seen.batch_stats, batch, *given)
        grads = jax.tree.map(jnp.add, plain, grads[0])
    if second is not None and recipe.both_update_stats:
        seen = seen._replace(batch_stats=second.batch_stats)
    return _finish(recipe, state, grads, seen, batch.labels, settings.learning_rate)


def _both_passes(
    recipe: Recipe, state: TrainState, batch: Batch, rho: jax.Array, given: tuple[Any, ...]
) -> tuple[Any, Seen, Seen]:
    """SAM's: the gradient at the second point, and what each pass saw."""

    def one(carry, _):
        params, batch_stats = carry
        grads, seen = gradients_of(recipe, params, batch_stats, batch, *given)
        return (_ascend(recipe, state.params, grads, rho), seen.batch_stats), (grads, seen)

    # On a CPU a loop, which compiles the gradient once.
    unroll = 1 if jax.default_backend() == "cpu" else 2
    _, both = jax.lax.scan(one, (state.params, state.batch_stats), length=2, unroll=unroll)
    (_, first), (grads, second) = (jax.tree.map(itemgetter(k), both) for k in (0, 1))
    return grads, first, second


def train_step(
    recipe: Recipe,
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
    settings: Settings,
    others: Sequence[tuple[jax.Array, jax.Array]] = (),
) -> TrainState:
    """One step on raw images uint8 [B, H, W, C]: views, `update`.

    `others`: images and labels of the objective's further orders.
    """
    views = partial(augmented, recipe, state.key, state.step)
    first = views(images, labels, 0)
    further = [views(*taken, 1 + k) for k, taken in enumerate(others)]
    return update(recipe, state, first.views, first.labels, settings, further)


def train_steps(
    recipe: Recipe,
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
    settings: Settings,
    count: jax.Array | None = None,
    *,
    batch_size: int,
    full_steps: int = 0,
    remainder: int = 0,
    unroll: int = 1,
) -> TrainState:
    """The next steps of the epoch: `count` or `full_steps` of whole batches, then one of
    `remainder` images unless that is 0.

    The epoch's orders are drawn from the state's key and epoch here, so that the state alone says
    what comes next.

    Args:
      images: uint8 [N, H, W, C], the training set, on the device.
      labels: int32 [N].
      count: int32; the program is the same for any.
      batch_size, full_steps, remainder: static.
      unroll: steps of one turn of the loop over `full_steps`; static.
    """
    orders = _orders(recipe, state.key, state.epoch, labels)
    position = state.position

    def step(k, state, size=batch_size):
        (taken, its_labels), *others = _take(
            images, labels, orders, (position + k) * batch_size, size
        )
        return train_step(recipe, state, taken, its_labels, settings, others)

    if count is not None:
        state = jax.lax.fori_loop(0, count, step, state)
    elif full_steps:
        state, _ = jax.lax.scan(
            lambda state, k: (step(k, state), None),
            state,
            jnp.arange(full_steps),
            unroll=min(unroll, full_steps),
        )
    if remainder:
        state = step(full_steps, state, remainder)
    return state


def train_batches(
    recipe: Recipe,
    state: TrainState,
    images: Sequence[jax.Array],
    labels: Sequence[jax.Array],
    settings: Settings,
    count: jax.Array,
) -> TrainState:
    """A step on each of the first `count` of some batches of equal size, raw images uint8
    [B, H, W, C].
    """
    all_images, all_labels = jnp.stack(images), jnp.stack(labels)

    def step(k, state):
        return train_step(recipe, state, all_images[k], all_labels[k], settings)

    return jax.lax.fori_loop(0, count, step, state)


class _StepKeys(NamedTuple):
    first_view: jax.Array  # two of its four parts, of which `mix` and `dropout` are the others
    mix: jax.Array
    dropout: jax.Array
    objective: jax.Array
    further_views: jax.Array


def _step_keys(key: jax.Array, step: jax.Array) -> _StepKeys:
    """Keys of what is random in this step; the other half of the split gives the epochs' orders."""
    _, step_key = jax.random.split(key)
    step_key = jax.random.fold_in(step_key, step)
    _, mix, _, dropout = jax.random.split(step_key, 4)
    return _StepKeys(
        step_key, mix, dropout, jax.random.fold_in(step_key, 4), jax.random.fold_in(step_key, 5)
    )


def _orders(
    recipe: Recipe, key: jax.Array, epoch: jax.Array, labels: jax.Array
) -> tuple[jax.Array, ...]:
    order_key, _ = jax.random.split(key)
    epoch_key = jax.random.fold_in(order_key, epoch)
    further = (
        order(jax.random.fold_in(epoch_key, 2 + k), labels, epoch)  # a split gives 0 and 1
        for k, order in enumerate(recipe.objective.orders)
    )
    return (recipe.order(epoch_key, labels, epoch), *further)


def _take(
    images: jax.Array,
    labels: jax.Array,
    orders: tuple[jax.Array, ...],
    first: jax.Array,
    count: int,
) -> tuple[tuple[jax.Array, jax.Array], ...]:
    places = [jax.lax.dynamic_slice(order, (first,), (count,)) for order in orders]
    return tuple((images[place], labels[place]) for place in places)


def augmented(
    recipe: Recipe,
    key: jax.Array,
    step: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    number: int,
) -> Drawn:
    """The views of a batch uint8 [B, H, W, C] of the order `number`, and the labels learned."""
    images, labels = sharded(recipe, images, labels)
    keys = _step_keys(key, step)
    made, learned = list[jax.Array](), labels
    for k, view in enumerate(recipe.views):
        further = jax.random.fold_in(keys.further_views, number * len(recipe.views) + k)
        one = view(further if number or k else keys.first_view, images)
        one, learned = sharded(recipe, *targets(recipe, one, labels))
        made.append(one)
    return Drawn(tuple(made), learned)


def _mix(recipe: Recipe, key: jax.Array, step: jax.Array, drawn: Sequence[Drawn]) -> Batch:
    if recipe.objective.mix is None:
        return _unmixed(drawn)
    return recipe.objective.mix(_step_keys(key, step).mix, drawn)


def _unmixed(drawn: Sequence[Drawn]) -> Batch:
    (images, *others), labels = drawn[0]
    return Batch(images, labels, views=tuple(others))


def _turn(recipe: Recipe, memory: Any, key: jax.Array, step: jax.Array, position: jax.Array) -> Any:
    if recipe.objective.turn is None:
        return memory
    turned = recipe.objective.turn(memory, _step_keys(key, step).objective)
    return jax.tree.map(partial(jnp.where, position == 0), turned, memory)


def gradients_of(
    recipe: Recipe,
    params: Any,
    batch_stats: Any,
    batch: Batch,
    memory: Any,
    key: jax.Array,
    step: jax.Array,
    class_weights: jax.Array,
) -> tuple[Any, Seen]:
    """Gradients of the parameters that train (of a batch with `focus` [K, C], each of the K
    parts'), and what the pass saw.
    """
    trained, whole = split_parameters(params, recipe.trainable)
    keys = _step_keys(key, step)
    size = batch.labels.shape[0]
    parts = -(-size // recipe.part) if recipe.part else 1

    def batch_loss(trained, batch_stats, batch, keys):
        network = _Network(recipe, whole(trained), batch_stats, keys[0])
        held = {k: getattr(batch, k) for k in ("images", "labels", "partners", "lam", "views")}
        batch = batch._replace(**spread(recipe, held))

        def of(focus):
            part = batch._replace(focus=focus)
            return recipe.objective.loss(network, part, class_weights, memory, keys[1])

        if batch.focus is None:
            loss, logits, after = of(None)
            return loss, Seen(loss, logits, network.batch_stats, after)
        # The network does not depend on the focus, and runs once.
        losses, logits, after = jax.vmap(of, out_axes=(0, None, None))(batch.focus)
        return losses, Seen(jnp.sum(losses), logits, network.batch_stats, after)

    given = (trained, batch_stats, batch, (keys.dropout, keys.objective))
    if parts == 1:
        grads, seen = gradients(batch_loss, *given)
        seen = seen._replace(memory=_everywhere(recipe, seen.memory))
    else:
        loss, logits, batch_stats, grads = in_parts(parts, batch_loss, *given, class_weights)
        seen = Seen(loss, logits, batch_stats, memory)
    if not _divides(recipe, size):
        seen = seen._replace(logits=_everywhere(recipe, seen.logits))
    return grads, seen


def _ascend(recipe: Recipe, params: Any, grads: Any, rho: jax.Array) -> Any:
    trained, whole = split_parameters(params, recipe.trainable)
    return whole(ascend(trained, grads, rho, recipe.adaptive))


def _finish(
    recipe: Recipe,
    state: TrainState,
    grads: Any,
    seen: Seen,
    labels: jax.Array,
    learning_rate: jax.Array,
) -> TrainState:
    trained, whole = split_parameters(state.params, recipe.trainable)
    updates, opt_state = recipe.optimizer(learning_rate).update(grads, state.opt_state, trained)
    running = state.running
    good_before = running.first_bad_step < 0
    correct = jnp.argmax(seen.logits, axis=-1) == labels
    running = Running(
        loss=running.loss + seen.loss * labels.shape[0],
        correct=running.correct + jnp.sum(correct, dtype=jnp.int32),
        count=running.count + labels.shape[0],
        first_bad_step=jnp.where(
            good_before & ~jnp.isfinite(seen.loss), state.step, running.first_bad_step
        ),
    )
    return state.replace(
        step=state.step + 1,
        position=state.position + 1,
        params=whole(optax.apply_updates(trained, updates)),
        batch_stats=seen.batch_stats,
        opt_state=opt_state,
        running=running,
        memory=seen.memory,
    )


class _Network:
    """The network of one pass, called as an objective's `forward`;
    keeps the statistics after it.
    """

    def __init__(self, recipe: Recipe, params: Any, batch_stats: Any, key: jax.Array) -> None:
        self.batch_stats = batch_stats
        self._recipe, self._params, self._keys = recipe, params, [key]

    def __call__(self, images: jax.Array, **options: Any) -> Any:
        """Logits, or what the options ask for, in training mode (evaluation mode with frozen
        statistics).
        """
        variables = {"params": self._params, "batch_stats": self.batch_stats}
        network = partial(self._recipe.model.apply, variables, images, **options)
        if self._recipe.frozen_statistics:
            return network(train=False)
        key = self._keys.pop()
        outputs, updated = network(train=True, mutable=["batch_stats"], rngs={"dropout": key})
        self._keys.append(jax.random.fold_in(key, 1))  # another pass drops others
        self.batch_stats = updated["batch_stats"]
        return outputs


def targets(recipe: Recipe, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Normalised images at the network's resolution with the labels it learns; -1 stays -1."""
    if recipe.objective.targets:
        images, labels = recipe.objective.targets(images, labels)
    return augment.resize(images, recipe.resolution) if recipe.resolution else images, labels


def sharded(recipe: Recipe, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The batch split over the devices; one that does not divide (an epoch's short last) lies whole
    on each, and is `spread` in the program that passes it through the network.
    """
    if not _divides(recipe, labels.shape[0]):
        return images, labels
    return spread(recipe, (images, labels))


def spread(recipe: Recipe, batch: Any) -> Any:
    """A batch's arrays split over the devices, some of which hold an image less where it does not
    divide; such arrays can't leave a program.
    """
    if recipe.batch_sharding is None:
        return batch
    return jax.tree.map(
        lambda leaf: (
            jax.lax.with_sharding_constraint(leaf, recipe.batch_sharding) if leaf.ndim else leaf
        ),
        batch,
    )


def _divides(recipe: Recipe, size: int) -> bool:
    return recipe.batch_sharding is None or size % recipe.batch_sharding.num_devices == 0


def _everywhere(recipe: Recipe, tree: Any) -> Any:
    """The tree whole on every device."""
    if recipe.batch_sharding is None or not jax.tree.leaves(tree):
        return tree
    mesh = recipe.batch_sharding.mesh
    return jax.lax.with_sharding_constraint(
        tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    )
