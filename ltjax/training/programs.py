"""The compiled programs of an experiment and the data they read."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ltjax.training import devices
from ltjax.training.experiment import Experiment
from ltjax.training.recipe import num_outputs
from ltjax.training.state import TrainState
from ltjax.training.step import EvaluationSums, Settings, evaluate_all, evaluate_batch, train_steps


class Programs:
    """The compiled programs of an experiment and the data they read, on the devices."""

    def __init__(self, experiment: Experiment) -> None:
        config = experiment.config
        self._experiment = experiment
        place = devices.replicated(experiment.devices)
        dataset = experiment.dataset
        self._train = jax.device_put((dataset.train_images, dataset.train_labels.astype(np.int32)), place)
        batch = min(config.evaluation.batch_size, len(dataset.test_labels))
        self._test = jax.device_put(_batches(dataset.test_images, dataset.test_labels, batch), place)
        on_cpu = experiment.devices[0].platform == "cpu"
        self.steps_per_call = (1 if on_cpu else 0) if config.training.steps_per_call < 0 else config.training.steps_per_call
        self._by_batch = self.steps_per_call == 1
        self._steps = {
            id(recipe): jax.jit(partial(train_steps, recipe), static_argnames=("batch_size", "full_steps", "remainder"), donate_argnums=0)
            for recipe in experiment.recipes
        }
        self.finite = jax.jit(lambda tree: jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)])))
        self.next_epoch = jax.jit(TrainState.next_epoch, donate_argnums=0, out_shardings=place)
        evaluation = evaluate_batch if self._by_batch else evaluate_all
        self._evaluate = {id(recipe): jax.jit(partial(evaluation, recipe), donate_argnums=1) for recipe in experiment.recipes}

    def advance(self, state: TrainState, position: int, epoch_settings: Settings, stage: int = -1) -> tuple[TrainState, int]:
        """The next call's worth of steps of the epoch: all that are left, or `steps_per_call`.

        Args:
          position: steps done in this epoch, as in the state (which may still be computing).
          stage: that the state is in.

        Returns:
          The state after it, and the position after it.
        """
        config, size = self._experiment.config.training, len(self._train[1])
        left = size // config.batch_size - position
        steps = min(left, self.steps_per_call or left)
        last = steps == left and (self.steps_per_call == 0 or steps < self.steps_per_call)
        remainder = size % config.batch_size if last and not config.drop_last else 0
        program = self._steps[id(self._experiment.recipes[stage])]
        state = program(state, *self._train, epoch_settings, batch_size=config.batch_size, full_steps=steps, remainder=remainder)
        return state, position + steps + (remainder > 0)

    def evaluate(self, variables: Any, stage: int = -1) -> EvaluationSums:
        """Every test image once, for the target of a stage."""
        recipe = self._experiment.recipes[stage]
        sums = EvaluationSums.zeros(num_outputs(self._experiment.stages[stage].config, self._experiment.dataset.num_classes))
        sums = jax.device_put(sums, devices.replicated(self._experiment.devices))
        images, labels = self._test
        if not self._by_batch:
            return self._evaluate[id(recipe)](variables, sums, images, labels)
        for k in range(labels.shape[0]):
            sums = self._evaluate[id(recipe)](variables, sums, images[k], labels[k])
        return sums


def _batches(images: np.ndarray, labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """[K, size, ...], the last batch padded with label -1."""
    missing = -len(labels) % size
    images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
    labels = np.concatenate([labels.astype(np.int32), np.full(missing, -1, np.int32)])
    return images.reshape(-1, size, *images.shape[1:]), labels.reshape(-1, size)
