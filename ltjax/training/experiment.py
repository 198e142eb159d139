"""A config made into objects: data, model, loss, optimiser, schedules, and the programs compiled from them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ltjax import data, losses, metrics, models, optim, reweighting, sampling
from ltjax.models.torch_weights import load_state_dict
from ltjax.training import devices, settings
from ltjax.training.state import TrainState, create_state
from ltjax.training.step import (
    EvaluationSums,
    Recipe,
    Settings,
    evaluate_all,
    evaluate_batch,
    train_steps,
)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a resolved config describes.

    Attributes:
      config: resolved.
      dataset: long-tailed.
      class_counts: training images of each class, int64 [C].
      groups: "many", "medium", "few" -> class ids.
      recipe: for the compiled step.
      devices: in use.
    """

    config: ConfigDict
    dataset: data.Dataset
    class_counts: np.ndarray
    groups: dict[str, np.ndarray]
    recipe: Recipe
    devices: list[jax.Device]

    @property
    def steps_per_epoch(self) -> int:
        full, remainder = divmod(len(self.dataset.train_labels), self.config.training.batch_size)
        return full + (remainder > 0 and not self.config.training.drop_last)

    def settings(self, epoch: int) -> Settings:
        """Learning rate, radius and class weights of an epoch."""
        reweight = self.config.reweighting
        options = {"beta": reweight.beta} if reweight.name == "effective_number" else {}
        weights = reweighting.WEIGHTS[reweight.name](self.class_counts, **options)
        return Settings(
            learning_rate=jnp.asarray(settings.learning_rate_schedule(self.config)(epoch), jnp.result_type(float)),
            rho=jnp.asarray(settings.rho_schedule(self.config)(epoch), jnp.result_type(float)),
            class_weights=reweighting.deferred(weights, epoch, settings.scaled(self.config, reweight.start_epoch)),
        )

    def create_state(self) -> TrainState:
        """A fresh state on the devices; from `config.init_from` if given."""
        variables = load_variables(self.config, self.recipe.model, self.image_shape) if self.config.init_from else None
        state = create_state(self.recipe.model, self.recipe.optimizer(jnp.zeros([])), self.image_shape, self.config.seed, variables)
        return jax.device_put(state, devices.replicated(self.devices))

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.dataset.train_images.shape[1:]


def build(config: ConfigDict) -> Experiment:
    """Makes a resolved config into an experiment.

    Raises:
      ValueError: values that do not fit together or a corrupt data file; FileNotFoundError: no data. One line each.
    """
    used = devices.use_devices(config.training.batch_size, config.training.cpu_devices)
    whole = data.load(config.data.name, config.data.dir, download=config.data.download)
    counts = data.class_counts(
        whole,
        config.data.profile,
        **{name: config.data[name] for name in _PROFILE_OPTIONS},
    )
    dataset = data.long_tailed(whole, counts, config.data.subset_seed)
    if config.training.drop_last and len(dataset.train_labels) < config.training.batch_size:
        raise ValueError(
            f"config.training.drop_last leaves no step: {len(dataset.train_labels)} images, batch {config.training.batch_size}"
        )
    if len(config.data.mean) != dataset.train_images.shape[-1]:
        raise ValueError(f"config.data.mean is {config.data.mean}; expected {dataset.train_images.shape[-1]} values, one a channel")
    if tuple(config.data.groups):
        groups = metrics.groups_by_index(dataset.num_classes, tuple(config.data.groups))
    else:
        groups = metrics.groups_by_threshold(counts)
    model = models.create(
        config.model.name,
        dataset.num_classes,
        classifier=config.model.classifier,
        width=config.model.width,
        dtype=None if config.model.dtype == "float32" else config.model.dtype,
    )
    recipe = Recipe(
        model=model,
        loss=make_loss(config, counts),
        optimizer=_optimizer(config),
        order=_order(config, dataset.num_classes),
        mean=tuple(config.data.mean),
        std=tuple(config.data.std),
        padding=config.augment.padding,
        flip=config.augment.flip,
        mixup_alpha=config.augment.mixup_alpha,
        sam=config.sam.enabled,
        adaptive=config.sam.adaptive,
        both_update_stats=config.sam.batch_stats == "both",
        batch_sharding=devices.batch_sharding(used),
    )
    return Experiment(config, dataset, counts, groups, recipe, used)


def make_loss(config: ConfigDict, class_counts: np.ndarray) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The config's loss as (logits, labels) -> per-example losses."""
    name = config.loss.name
    loss = losses.LOSSES[name]
    options: dict[str, Any] = dict(config.loss.get(name, {}))
    if "class_counts" in inspect.signature(loss).parameters:
        options["class_counts"] = class_counts
    return partial(loss, **options)


def load_variables(config: ConfigDict, model: nn.Module, image_shape: tuple[int, ...]) -> dict:
    """Variables of the model from `config.init_from`.

    Raises:
      ValueError: an unreadable file, or weights of another network.
    """
    path = config.init_from
    try:
        variables = models.from_torch(config.model.name, load_state_dict(path))
    except ValueError as error:
        raise ValueError(f"config.init_from: {error}" if path in str(error) else f"config.init_from: {path}: {error}") from None
    expected = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *image_shape))))
    if jax.tree.map(jnp.shape, variables) != jax.tree.map(jnp.shape, expected):
        linear = {name: jnp.shape(value) for name, value in variables["params"]["linear"].items()}
        raise ValueError(
            f"config.init_from: {path} holds another network than config.model and config.data describe"
            f" (its classifier: {linear}; config.model.classifier={config.model.classifier!r})"
        )
    return jax.tree.map(lambda value: value.astype(jnp.float32), variables)


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
        self._steps = jax.jit(
            partial(train_steps, experiment.recipe),
            static_argnames=("batch_size", "full_steps", "remainder"),
            donate_argnums=0,
        )
        self.finite = jax.jit(lambda tree: jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)])))
        self.next_epoch = jax.jit(TrainState.next_epoch, donate_argnums=0, out_shardings=place)
        self._evaluate = jax.jit(partial(evaluate_batch if self._by_batch else evaluate_all, experiment.recipe), donate_argnums=1)

    def advance(self, state: TrainState, position: int, epoch_settings: Settings) -> tuple[TrainState, int]:
        """The next call's worth of steps of the epoch: all that are left, or `steps_per_call`.

        Args:
          position: steps done in this epoch, as in the state (which may still be computing).

        Returns:
          The state after it, and the position after it.
        """
        config, size = self._experiment.config.training, len(self._train[1])
        left = size // config.batch_size - position
        steps = min(left, self.steps_per_call or left)
        last = steps == left and (self.steps_per_call == 0 or steps < self.steps_per_call)
        remainder = size % config.batch_size if last and not config.drop_last else 0
        state = self._steps(state, *self._train, epoch_settings, batch_size=config.batch_size, full_steps=steps, remainder=remainder)
        return state, position + steps + (remainder > 0)

    def evaluate(self, variables: Any) -> EvaluationSums:
        """Every test image once."""
        sums = EvaluationSums.zeros(self._experiment.dataset.num_classes)
        sums = jax.device_put(sums, devices.replicated(self._experiment.devices))
        images, labels = self._test
        if not self._by_batch:
            return self._evaluate(variables, sums, images, labels)
        for k in range(labels.shape[0]):
            sums = self._evaluate(variables, sums, images[k], labels[k])
        return sums


_PROFILE_OPTIONS = ("factor", "max_count", "majority_class", "majority_count", "minority_count", "counts")


def _optimizer(config: ConfigDict) -> Callable[[jax.Array], Any]:
    options = {"weight_decay": config.optimizer.weight_decay}
    if config.optimizer.name == "sgd":
        options |= {"momentum": config.optimizer.momentum, "nesterov": config.optimizer.nesterov}
    return lambda learning_rate: optim.OPTIMIZERS[config.optimizer.name](learning_rate, **options)


def _order(config: ConfigDict, num_classes: int) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
    name, epochs = config.sampler.name, config.training.epochs
    start = settings.scaled(config, config.sampler.start_epoch)

    def chosen(key, labels, epoch):
        if name == "shuffled":
            return sampling.shuffled(key, labels)
        if name == "power":
            return sampling.power(key, labels, config.sampler.q, num_classes=num_classes)
        if name == "progressive":
            return sampling.progressive(key, labels, epoch / max(epochs - 1, 1), num_classes=num_classes)
        return sampling.SAMPLERS[name](key, labels, num_classes=num_classes)

    def order(key, labels, epoch):
        if not start or name == "shuffled":
            return chosen(key, labels, epoch)
        return jnp.where(epoch >= start, chosen(key, labels, epoch), sampling.shuffled(key, labels))

    return order


def _batches(images: np.ndarray, labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """[K, size, ...], the last batch padded with label -1."""
    missing = -len(labels) % size
    images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
    labels = np.concatenate([labels.astype(np.int32), np.full(missing, -1, np.int32)])
    return images.reshape(-1, size, *images.shape[1:]), labels.reshape(-1, size)
