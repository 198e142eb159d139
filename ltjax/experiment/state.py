"""Everything a run needs to go on, as one pytree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax


class Running(flax.struct.PyTreeNode):
    """Sums over the epoch so far, part of the state so that an interrupted epoch reports whole
    figures.

    Attributes:
      loss: sum of per-step losses times their batch size.
      correct: training images classified right, before the update that used them.
      count: training images seen.
      first_bad_step: step (of the run) whose loss was not finite, or -1.
    """

    loss: jax.Array
    correct: jax.Array
    count: jax.Array
    first_bad_step: jax.Array

    @classmethod
    def zeros(cls) -> Running:
        return cls(
            loss=jnp.zeros([], jnp.result_type(float)),
            correct=_zero(),
            count=_zero(),
            first_bad_step=_zero() - 1,
        )


class TrainState(flax.struct.PyTreeNode):
    """State of training.

    Attributes:
      step: updates done in the run.
      epoch: epoch under way, from 0.
      position: updates done in this epoch.
      key: PRNG key of the run; order and augmentation fold the epoch and step into it, so it never
        changes.
      params, batch_stats: of the network.
      opt_state: of the base optimiser.
      running: sums over this epoch.
      memory: of the objective, a pytree; () where it has none.
    """

    step: jax.Array
    epoch: jax.Array
    position: jax.Array
    key: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    running: Running
    memory: Any = ()

    @property
    def variables(self) -> dict[str, Any]:
        return {"params": self.params, "batch_stats": self.batch_stats}

    def next_epoch(self) -> TrainState:
        """The state at the start of the next epoch."""
        return self.replace(
            epoch=self.epoch + 1, position=jnp.zeros_like(self.position), running=Running.zeros()
        )


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, ...],
    seed: int,
    variables: Any = None,
    trained: Callable[[Any], Any] = lambda params: params,
    memory: Callable[[jax.Array], Any] | None = None,
) -> TrainState:
    """A fresh state; the network starts from `variables` if given, else from the seed.

    Args:
      model: Flax Linen module with "params" and "batch_stats".
      optimizer: base optimiser (its learning rate does not matter for the state).
      image_shape: (H, W, C).
      seed: of initial weights, order and augmentation.
      variables: {"params", "batch_stats"} to start from.
      trained: the part of the parameters that the optimiser sees.
      memory: key -> the objective's memory; None is none.
    """
    init_key, run_key = jax.random.split(jax.random.key(seed))

    @jax.jit  # one program, and so kept for the next start
    def fresh(init_key, run_key, variables):
        if variables is None:
            variables = initial_variables(model, image_shape, init_key)
        return TrainState(
            step=_zero(),
            epoch=_zero(),
            position=_zero(),
            key=run_key,
            params=variables["params"],
            batch_stats=variables["batch_stats"],
            opt_state=optimizer.init(trained(variables["params"])),
            running=Running.zeros(),
            memory=first_memory(memory, init_key),
        )

    return fresh(init_key, run_key, variables)


def initial_variables(
    model: nn.Module, image_shape: tuple[int, ...], key: jax.Array
) -> dict[str, Any]:
    """A network's random start."""
    return jax.jit(lambda key: model.init(key, jnp.zeros((1, *image_shape))))(key)


def first_memory(memory: Callable[[jax.Array], Any] | None, init_key: jax.Array) -> Any:
    """An objective's memory at its start; () where it has none."""
    return memory(jax.random.fold_in(init_key, 1)) if memory else ()


def _zero() -> jax.Array:
    return jnp.zeros([], jnp.int32)
