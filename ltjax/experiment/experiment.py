"""A config made into objects: data, stages, recipes of their steps, states."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ltjax import data, devices, metrics, reweighting
from ltjax.data import stream
from ltjax.data.splits import lacking, validation_members
from ltjax.experiment import schedules
from ltjax.experiment.initial import load_variables, taken_over
from ltjax.experiment.parameters import trained_parameters
from ltjax.experiment.recipe import (
    Recipe,
    Settings,
    compiled_as,
    learned_counts,
    make_recipe,
    objective_name,
)
from ltjax.experiment.stages import Stage, stages_of
from ltjax.experiment.state import (
    TrainState,
    create_state,
    first_memory,
    initial_variables,
)
from ltjax.workdir.checkpoint import Mismatch


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a resolved config describes.

    Attributes:
      config: resolved.
      dataset: long-tailed.
      class_counts: training images of each class, int64 [C].
      groups: "many", "medium", "few" -> class ids.
      stages: of the run, in order.
      recipes: for the compiled step of each stage; stages that compile to the same share one.
      devices: in use.
    """

    config: ConfigDict
    dataset: data.Dataset | data.StreamedDataset
    class_counts: np.ndarray
    groups: dict[str, np.ndarray]
    stages: list[Stage]
    recipes: list[Recipe]
    devices: list[jax.Device]

    @property
    def recipe(self) -> Recipe:
        """Of the last stage, which is the one evaluated."""
        return self.recipes[-1]

    @property
    def splits(self) -> list[str]:
        """Of "val" and "test", those that have images."""
        return [name for name in ("val", "test") if len(getattr(self.dataset, f"{name}_labels"))]

    @property
    def criterion(self) -> str:
        """What in a row of metrics.jsonl makes its epoch the best; without validation images the
        test accuracy, for the record only.
        """
        return "val_balanced_accuracy" if "val" in self.splits else "test_accuracy"

    def of_seed(self, seed: int) -> Experiment:
        """The same with another seed, on the same images."""
        config = self.config.copy_and_resolve_references()
        config.seed, config.seeds = seed, ()
        return dataclasses.replace(self, config=config)

    @property
    def steps_per_epoch(self) -> int:
        full, remainder = divmod(len(self.dataset.train_labels), self.config.training.batch_size)
        return full + (remainder > 0 and not self.config.training.drop_last)

    def stage_at(self, epoch: int) -> int:
        """Number of the stage that an epoch belongs to;
        the last stage's for those behind the end.
        """
        return max(
            k
            for k, stage in enumerate(self.stages)
            if stage.first <= epoch and (stage.epochs or k + 1 == len(self.stages))
        )

    def learning_rate(self, epoch: int) -> float:
        """Of an epoch."""
        stage = self.stages[self.stage_at(epoch)]
        return schedules.learning_rate_schedule(stage.config, *stage.span("learning_rate"))(epoch)

    def rho(self, epoch: int) -> float:
        """SAM's radius in an epoch; 0 where SAM is off."""
        stage = self.stages[self.stage_at(epoch)]
        return (
            schedules.rho_schedule(stage.config, *stage.span("sam"))(epoch)
            if stage.config.sam.enabled
            else 0.0
        )

    def settings(self, epoch: int) -> Settings:
        """Learning rate, radius and class weights of an epoch, and how far the run (or its stage,
        if that states the objective) is.
        """
        stage = self.stages[self.stage_at(epoch)]
        config = stage.config
        options = (
            {"beta": config.reweighting.beta}
            if config.reweighting.name == "effective_number"
            else {}
        )
        counts = learned_counts(config, self.class_counts)
        first, epochs, _ = stage.span("objective")
        return Settings(
            learning_rate=jnp.asarray(self.learning_rate(epoch), jnp.result_type(float)),
            rho=jnp.asarray(self.rho(epoch), jnp.result_type(float)),
            class_weights=reweighting.WEIGHTS[config.reweighting.name](counts, **options),
            progress=jnp.asarray((epoch - first) / epochs, jnp.result_type(float)),
        )

    def create_state(self) -> TrainState:
        """A fresh state on the devices, of the first epoch's stage; from `config.init_from` if
        given.
        """
        first = self.stage_at(0)
        recipe, reset = self.recipes[first], self.stages[first].config.parameters.reset
        variables = (
            load_variables(self.config, recipe.model, self.image_shape, reset)
            if self.config.init_from
            else None
        )
        return devices.put(self._state(recipe, variables), devices.replicated(self.devices))

    def state_like(self, stage: int) -> TrainState:
        """Shapes, types and places of a stage's state, to restore into; computes nothing and reads
        no file.

        Raises:
          Mismatch: the config has no such stage.
        """
        if stage >= len(self.recipes):
            raise Mismatch(
                f"a checkpoint of stage {stage + 1}, and config.stages names {len(self.recipes)};"
                " give the config of the run that saved it"
            )
        shapes = jax.eval_shape(lambda: self._state(self.recipes[stage], None))
        place = devices.replicated(self.devices)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), shapes
        )

    def _state(self, recipe: Recipe, variables: Any) -> TrainState:
        optimizer, trained = (
            recipe.optimizer(jnp.zeros([])),
            partial(trained_parameters, recipe.trainable),
        )
        return create_state(
            *(recipe.model, optimizer, self.image_shape, self.config.seed, variables, trained),
            recipe.objective.memory,
        )

    def enter(self, state: TrainState, before: int, stage: int) -> TrainState:
        """The state at the start of a stage, from its end of the one before.

        Layers that start anew are drawn from the seed and the stage's number, so that a continued
        run draws the same.

        Raises:
          ValueError: a parameter changes its shape between the stages and does not start anew.
        """
        for k in range(before + 1, stage + 1):
            state = self.entered(state, k)
        return devices.put(state, devices.replicated(self.devices))

    def entered(self, state: TrainState, k: int) -> TrainState:
        """The state, or its shapes, at the start of stage k, from the end of the one before it."""
        stage, recipe = self.stages[k], self.recipes[k]
        pattern = stage.config.parameters.reset if "parameters" in stage.states else ""
        before = objective_name(self.stages[k - 1].config)
        asked_anew = objective_name(stage.config) != before
        init_key = jax.random.fold_in(jax.random.split(jax.random.key(self.config.seed))[0], k)
        if pattern or asked_anew:
            fresh = initial_variables(recipe.model, self.image_shape, init_key)
            variables = taken_over(state.variables, fresh, pattern, f"stage {stage.name!r}")
            state = state.replace(params=variables["params"], batch_stats=variables["batch_stats"])
        if asked_anew:
            state = state.replace(memory=first_memory(recipe.objective.memory, init_key))
        if stage.starts_anew:
            state = state.replace(
                opt_state=recipe.optimizer(jnp.zeros([])).init(
                    trained_parameters(recipe.trainable, state.params)
                )
            )
        return state

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.dataset.image_shape


def build(config: ConfigDict, given: data.Dataset | None = None) -> Experiment:
    """Makes a resolved config into an experiment.

    Args:
      config: resolved; where it leaves the normalisation to the training images, the experiment's
        own states it.
      given: the images, if they are not to be read from where the config says.

    Raises:
      ValueError: values that do not fit together or a corrupt data file; FileNotFoundError: no
        data. One line each.
    """
    used = devices.use_devices(config.training.batch_size, config.training.cpu_devices)
    dataset = prepared(config.data, given)
    counts = data.training_counts(dataset)
    if config.training.patience and not len(dataset.val_labels):
        raise ValueError(
            f"config.training.patience is {config.training.patience} without validation images;"
            " give --config.data.validation=0.1, or data with a validation split"
        )
    if config.training.drop_last and len(dataset.train_labels) < config.training.batch_size:
        raise ValueError(
            f"config.training.drop_last leaves no step: {len(dataset.train_labels)} images,"
            f" batch {config.training.batch_size}"
        )
    if not len(config.data.mean) and isinstance(dataset, data.Dataset):
        config = config.copy_and_resolve_references()
        config.data.mean, config.data.std = dataset.normalisation()
    if len(config.data.mean) != dataset.image_shape[-1]:
        raise ValueError(
            f"config.data.mean is {config.data.mean};"
            f" expected {dataset.image_shape[-1]} values, one a channel"
        )
    groups = class_groups(config.data, counts)
    stages = stages_of(config)
    made: dict[str, Recipe] = {}
    recipes = []
    for stage in stages:
        hole, side = stage.config.augment.cutout, min(dataset.image_shape[:2])
        if hole >= side:
            raise ValueError(
                f"config.augment.cutout is {hole} on images of {side} pixels and may hide them"
                " whole; expected less, half of them is usual"
            )
        key = compiled_as(stage)
        if key not in made:
            made[key] = make_recipe(
                stage, dataset.image_shape[:2], counts, devices.batch_sharding(used)
            )
        recipes.append(made[key])
        _check_in_memory(dataset, stage, made[key])
    return Experiment(config, dataset, counts, groups, stages, recipes, used)


def prepared(
    config: ConfigDict, given: data.Dataset | None = None
) -> data.Dataset | data.StreamedDataset:
    """The images that a run sees: read, made long-tailed, the validation images held out.

    Args:
      config: `data` of a resolved config.
      given: the whole data set, if it is not to be read from where the config says.

    Raises:
      FileNotFoundError, ValueError: no data, or values that do not fit it; one line.
    """
    whole = data.renamed(_whole(config) if given is None else given, config.class_names)
    if isinstance(whole, data.Dataset):
        whole = whole.with_channels(config.channels)
    counts = data.class_counts(
        whole, config.profile, **{name: config[name] for name in _PROFILE_OPTIONS}
    )
    dataset = data.long_tailed(whole, counts, config.subset_seed)
    return _validated(dataset, config) if config.validation else dataset


def _validated(
    dataset: data.Dataset | data.StreamedDataset, config: ConfigDict
) -> data.Dataset | data.StreamedDataset:
    """With a share of the training images held out."""
    if len(dataset.val_labels):
        raise ValueError(
            f"config.data.validation is {config.validation}, and {dataset.source} has a validation"
            " split of its own; leave one of them out"
        )
    members = validation_members(
        dataset.train_labels, config.validation, config.subset_seed, dataset.train_groups
    )
    what = "images" if dataset.train_groups is None else "groups"
    if not len(members):
        raise ValueError(
            f"config.data.validation is {config.validation}, and no class has the three {what} that"
            " it takes to hold one out"
        )
    made = dataset.hold_out(members)
    notes = lacking("validation", made.val_labels, made.class_names, what)
    return dataclasses.replace(made, notes=(*made.notes, *notes))


def class_groups(config: ConfigDict, class_counts: np.ndarray) -> dict[str, np.ndarray]:
    """Many, medium and few as class ids, by a config's `data`: slices of the classes in the order
    of descending counts (equal counts keep theirs), or thresholds.

    Raises:
      ValueError: slices that do not fit the classes.
    """
    if not tuple(config.groups):
        return metrics.groups_by_threshold(class_counts, *config.group_thresholds)
    try:
        slices = metrics.groups_by_index(len(class_counts), tuple(config.groups))
    except ValueError as error:
        raise ValueError(
            f"config.data.groups do not fit {config.name}: {error};"
            " --config.data.groups='()' groups by config.data.group_thresholds"
        ) from None
    by_count = np.argsort(-np.asarray(class_counts), kind="stable")
    return {name: np.sort(by_count[places]) for name, places in slices.items()}


def _check_in_memory(
    dataset: data.Dataset | data.StreamedDataset, stage: Stage, recipe: Recipe
) -> None:
    """Photographs are decoded in one order and one view each."""
    asked = recipe.objective
    if isinstance(dataset, data.StreamedDataset) and (asked.orders or asked.views):
        what = "view" if asked.views else "order"
        raise ValueError(
            f"config.objective.name {objective_name(stage.config)!r} with config.mixing.name"
            f" {stage.config.mixing.name!r} asks for a further {what} of images, which must be in"
            f" memory; config.data.name is {stage.config.data.name!r}"
        )


def _whole(config: ConfigDict) -> data.Dataset | data.StreamedDataset:
    """The data set before it is made long-tailed."""
    if not data.is_streamed(config.name):
        return data.load(config.name, config.dir, download=config.download)
    stream.check_packages()
    sizes = {"image_size": config.image_size, "shorter_side": config.shorter_side}
    if config.name == "image_list":
        lists = config.train_list, config.test_list, config.val_list
        return data.load_image_list(config.dir, *lists, **sizes)
    split = {"test_fraction": config.test_fraction, "split_seed": config.subset_seed}
    if config.name == "folder":
        return data.load_folder(config.dir, **split, **sizes)
    if config.name == "csv":
        return data.load_csv(
            config.dir, root=config.root, columns=config.columns.to_dict(), **split, **sizes
        )
    splits = {"train_split": config.train_split, "test_split": config.test_split}
    return data.load_tfds(config.name.removeprefix("tfds:"), config.dir, **splits, **sizes)


_PROFILE_OPTIONS = (
    "factor",
    "max_count",
    "majority_class",
    "majority_count",
    "minority_count",
    "counts",
)
