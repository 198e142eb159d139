"""The compiled programs of an experiment and the data they read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ltjax import devices
from ltjax.data import Dataset, StreamedDataset, stream
from ltjax.data.files import Images, readable
from ltjax.experiment.experiment import Experiment
from ltjax.experiment.recipe import Settings, num_outputs
from ltjax.experiment.state import TrainState
from ltjax.training.evaluation import (
    Evaluation,
    EvaluationSums,
    evaluate_all,
    evaluate_batch,
    experts_of,
)
from ltjax.training.pace import MOST_STEPS, Pace
from ltjax.training.step import train_batches, train_step, train_steps


class Programs:
    """The compiled programs of an experiment whose data set lies on the devices.

    For several seeds, states, variables and sums hold all of them along a first axis; one program
    trains them all by vmap or, on a CPU (where XLA is slow at convolutions of several kernels), one
    after the other.

    Attributes:
      steps_per_call: steps of one `advance`; 0 is an epoch, -1 what the pace allows.
      check_every: steps between two looks at the loss (and at signals), or 1, each call; 0 is an
        epoch.
    """

    def __init__(self, experiment: Experiment, seeds: int = 1) -> None:
        self._experiment, self._seeds = experiment, seeds
        self._place = place = devices.replicated(experiment.devices)
        self._on_cpu = experiment.devices[0].platform == "cpu"
        self._pace = Pace()
        self.finite = jax.jit(
            lambda tree: jnp.all(
                jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)])
            )
        )
        self._joined = jax.jit(
            lambda *trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees),
            out_shardings=place,
        )
        self._taken_apart = jax.jit(partial(apart, count=seeds))
        self.next_epoch = self._compiled(
            TrainState.next_epoch, 1, donate_argnums=0, out_shardings=place
        )
        self._prepare()

    def together(self, trees: Sequence[Any]) -> Any:
        """The seeds' trees as one, and as they are where there is one seed."""
        return trees[0] if self._seeds == 1 else self._joined(*trees)

    def apart(self, tree: Any) -> list[Any]:
        """A tree for each seed."""
        return [tree] if self._seeds == 1 else self._taken_apart(tree)

    def _compiled(
        self, function: Callable[..., Any], own: int, **options: Any
    ) -> Callable[..., Any]:
        """The jitted function; of several seeds its first `own` arguments and its results hold all
        of them.
        """
        if self._on_cpu:
            options["compiler_options"] = devices.compiler_options()
        one = jax.jit(function, **options)
        if self._seeds == 1:
            return one
        chosen = self._experiment.config.training.vmap_seeds
        if chosen == 1 or (chosen < 0 and not self._on_cpu):

            def at_once(*arguments, **static):
                axes = [0 if k < own else None for k in range(len(arguments))]
                return jax.vmap(partial(function, **static), axes)(*arguments)

            return jax.jit(at_once, **options)

        def in_turn(*arguments, **static):
            each = zip(*(self.apart(tree) for tree in arguments[:own]), strict=True)
            return self.together([one(*mine, *arguments[own:], **static) for mine in each])

        return in_turn

    def _prepare(self) -> None:
        config, dataset = self._experiment.config, self._experiment.dataset
        assert isinstance(dataset, Dataset)
        self._train = devices.put(
            (dataset.train_images, dataset.train_labels.astype(np.int32)), self._place
        )
        self._held_out = {}
        for split in self._experiment.splits:
            images, labels = (getattr(dataset, f"{split}_{what}") for what in ("images", "labels"))
            batch = min(config.evaluation.batch_size, len(labels))
            self._held_out[split] = devices.put(_batches(images, labels, batch), self._place)
        chosen = config.training.steps_per_call
        self.steps_per_call = 0 if chosen < 0 and not self._on_cpu else chosen
        self.check_every = abs(self.steps_per_call)
        recipes = self._experiment.recipes
        options = {
            "static_argnames": ("batch_size", "full_steps", "remainder", "unroll"),
            "donate_argnums": 0,
        }
        self._evaluate = {
            id(recipe): self._compiled(
                partial(evaluate_all, recipe), 2, donate_argnums=1, out_shardings=self._place
            )
            for recipe in recipes
        }
        self._steps = {
            id(recipe): self._compiled(partial(train_steps, recipe), 1, **options)
            for recipe in recipes
        }

    def advance(
        self, state: TrainState, position: int, epoch_settings: Settings, stage: int = -1
    ) -> tuple[TrainState, int]:
        """The next call's worth of steps of the epoch: all that are left, or `steps_per_call`.

        Args:
          position: steps done in this epoch, as in the state (which may still be computing).
          stage: that the state is in.

        Returns:
          The state after it, and the position after it.
        """
        config, size = self._experiment.config.training, len(self._train[1])
        left = size // config.batch_size - position
        paced = self.steps_per_call < 0
        steps = min(left, self._pace.steps if paced else self.steps_per_call or left)
        last = steps == left and (self.steps_per_call == 0 or steps < self.steps_per_call)
        count = None
        if self._on_cpu and steps:  # one program for any number
            count, last = jnp.int32(steps), False
        remainder = size % config.batch_size if (last or not left) and not config.drop_last else 0
        program = self._steps[id(self._experiment.recipes[stage])]
        sizes = {
            "batch_size": config.batch_size,
            "full_steps": 0 if self._on_cpu else steps,
            "remainder": remainder,
            "unroll": config.unroll,
        }
        call = partial(program, state, *self._train, epoch_settings, count, **sizes)
        state = self._pace.timed(steps, call) if paced and steps else call()
        return state, position + steps + (remainder > 0)

    def evaluate(self, variables: Any, stage: int = -1, split: str = "test") -> Evaluation:
        """Every image of "test" or "val" once, for the target of a stage."""
        images, labels = self._held_out[split]
        return self._evaluated(variables, stage, [(images, labels)])

    def _evaluated(
        self, variables: Any, stage: int, batches: Iterable[tuple[jax.Array, jax.Array]]
    ) -> Evaluation:
        program = self._evaluate[id(self._experiment.recipes[stage])]
        sums, calls = self._no_sums(stage), []
        for images, labels in batches:
            sums, outcomes = program(variables, sums, images, labels)
            calls.append(outcomes)
        return Evaluation(sums, calls)

    def notes(self) -> list[str]:
        """What happened since the last call that the user should know, a line each."""
        return []

    def _no_sums(self, stage: int) -> EvaluationSums:
        outputs = num_outputs(
            self._experiment.stages[stage].config, self._experiment.dataset.num_classes
        )
        none = EvaluationSums.zeros(outputs, experts_of(self._experiment.recipes[stage].model))
        return self.together([devices.put(none, self._place) for _ in range(self._seeds)])


class StreamedPrograms(Programs):
    """The compiled programs of an experiment whose images are decoded while it runs. One step a
    call.
    """

    def _prepare(self) -> None:
        experiment = self._experiment
        assert isinstance(experiment.dataset, StreamedDataset)
        self._dataset: StreamedDataset = experiment.dataset
        self._workers = stream.choose_workers(experiment.config.data.workers)
        paced = self._on_cpu and experiment.config.training.steps_per_call < 0
        self.steps_per_call, self.check_every = (-1, 1) if paced else (1, 16)
        self._loops = {
            id(recipe): self._compiled(partial(train_batches, recipe), 1, donate_argnums=0)
            for recipe in experiment.recipes
        }
        self._steps = {
            id(recipe): self._compiled(partial(train_step, recipe), 1, donate_argnums=0)
            for recipe in experiment.recipes
        }
        self._evaluate = {
            id(recipe): jax.jit(
                partial(evaluate_batch, recipe), donate_argnums=1, out_shardings=self._place
            )
            for recipe in experiment.recipes
        }
        self._ready: Iterator[tuple[jax.Array, jax.Array]] = iter(())
        self._at = (-1, -1)  # epoch and position of what comes next from it
        self._notes: list[str] = []
        self._seen: set[str] = set()

    def advance(
        self, state: TrainState, position: int, epoch_settings: Settings, stage: int = -1
    ) -> tuple[TrainState, int]:
        if position != self._at[1]:
            self._at = int(state.epoch), position
            self._ready = self._training(state, *self._at)
        config, recipe = self._experiment.config.training, self._experiment.recipes[stage]
        whole = len(self._dataset.train_labels) // config.batch_size - position
        count = 1
        if self._on_cpu and whole > 0:
            count = min(whole, self._pace.steps) if self.steps_per_call < 0 else 1
            taken = [next(self._ready) for _ in range(count)]
            batches = zip(*taken, *[taken[0]] * (MOST_STEPS - count), strict=True)
            state = self._pace.timed(
                count,
                partial(self._loops[id(recipe)], state, *batches, epoch_settings, jnp.int32(count)),
            )
        else:
            state = self._steps[id(recipe)](state, *next(self._ready), epoch_settings)
        epoch, after = self._at[0], position + count
        self._at = (epoch, after) if after < self._experiment.steps_per_epoch else (epoch + 1, 0)
        return state, after

    def evaluate(self, variables: Any, stage: int = -1, split: str = "test") -> Evaluation:
        images_of: Images = getattr(self._dataset, split)
        count, wanted = len(self._experiment.devices), self._experiment.config.evaluation.batch_size
        size = -(-min(wanted, len(images_of.labels)) // count) * count
        rows = partial(devices.local_rows, self._experiment.recipe.batch_sharding)
        batches = stream.evaluation_batches(
            self._dataset, split=split, batch_size=size, rows=rows, workers=self._workers
        )
        ready = _ahead(self._on_devices(batch, size, images_of) for batch in batches)
        return self._evaluated(variables, stage, ready)

    def notes(self) -> list[str]:
        told, self._notes = self._notes, []
        return told

    def _training(
        self, state: TrainState, epoch: int, position: int
    ) -> Iterator[tuple[jax.Array, jax.Array]]:
        experiment, config = self._experiment, self._experiment.config
        order_key, _ = jax.random.split(
            jax.random.wrap_key_data(jnp.asarray(np.asarray(jax.random.key_data(state.key))))
        )
        labels = jnp.asarray(self._dataset.train_labels)
        sizes = _sizes(len(labels), config.training.batch_size, config.training.drop_last)

        def order(epoch):
            recipe = experiment.recipes[experiment.stage_at(epoch)]
            return np.asarray(recipe.order(jax.random.fold_in(order_key, epoch), labels, epoch))

        batches = stream.training_batches(
            self._dataset,
            order,
            seed=config.seed,
            batch_size=config.training.batch_size,
            epochs=range(epoch, config.training.epochs),
            first_step=position,
            drop_last=config.training.drop_last,
            rows=partial(devices.local_rows, experiment.recipe.batch_sharding),
            scale=tuple(config.data.crop_scale),
            workers=self._workers,
        )
        steps = itertools.islice(itertools.cycle(sizes), position, None)
        return _ahead(
            self._on_devices(batch, size, self._dataset.train)
            for batch, size in zip(batches, steps, strict=False)
        )

    def _on_devices(
        self, batch: stream.Batch, size: int, split: Images
    ) -> tuple[jax.Array, jax.Array]:
        self._look_at(batch, split)
        place = self._experiment.recipe.batch_sharding
        return devices.put_batch(
            (batch.images, batch.labels), size, place, self._experiment.devices
        )

    def _look_at(self, batch: stream.Batch, split: Images) -> None:
        """Stops at an unreadable image, or counts it, as the config says."""
        training = split is self._dataset.train
        for index in batch.unreadable:
            if self._experiment.config.data.unreadable == "error":
                readable(split, index, self._dataset.evaluation_view)
            name = split.name(index)
            if name not in self._seen:
                self._seen.add(name)
                what = (
                    "another image stands in for it" if training else "not counted in the figures"
                )
                self._notes.append(f"unreadable image {len(self._seen)}: {name} ({what})")
        if training and (batch.labels < 0).any():
            raise ValueError(
                f"none of the {len(batch.labels)} images of a batch can be read,"
                f" such as {split.name(batch.unreadable[0])}"
            )


def rehearse(experiment: Experiment) -> None:
    """Each stage in shapes alone, its beginning and its step, and the settings of every epoch: what
    can't be is said before the first step, not after the stages before it.

    Raises:
      ValueError: as the stage would, named.
    """
    first, size = experiment.stage_at(0), experiment.config.training.batch_size
    size = min(size, len(experiment.dataset.train_labels))
    images = jax.ShapeDtypeStruct((size, *experiment.image_shape), np.uint8)
    labels = jax.ShapeDtypeStruct((size,), np.int32)
    state, traced = experiment.state_like(first), set[int]()
    for k in range(first, len(experiment.stages)):
        stage, recipe = experiment.stages[k], experiment.recipes[k]
        try:
            if k > first:
                state = jax.eval_shape(partial(experiment.entered, k=k), state)
            for epoch in range(stage.first, stage.first + stage.epochs):
                experiment.learning_rate(epoch)
                experiment.rho(epoch)
            settings = experiment.settings(stage.first) if stage.epochs else None
            if settings and id(recipe) not in traced:
                others = [(images, labels)] * len(recipe.objective.orders)
                jax.eval_shape(partial(train_step, recipe), state, images, labels, settings, others)
                traced.add(id(recipe))
        except ValueError as error:
            named = f"stage {stage.name!r}: "
            raise ValueError(
                ("" if named in str(error) or not stage.name else named) + str(error)
            ) from None


def apart(tree: Any, count: int) -> list[Any]:
    """The trees that lie along the first axis of one."""
    return [jax.tree.map(itemgetter(k), tree) for k in range(count)]


def create(experiment: Experiment, seeds: int = 1) -> Programs:
    """The programs for where the experiment's images are."""
    return (StreamedPrograms if isinstance(experiment.dataset, StreamedDataset) else Programs)(
        experiment, seeds
    )


def _ahead(batches: Iterator[tuple[jax.Array, jax.Array]]) -> Iterator[tuple[jax.Array, jax.Array]]:
    """One batch is under way to the devices while the one before it is used."""
    batches = iter(batches)
    waiting = next(batches, None)
    while waiting is not None:
        following = next(batches, None)
        yield waiting
        waiting = following


def _sizes(count: int, batch_size: int, drop_last: bool) -> list[int]:
    """Of an epoch's batches."""
    full, remainder = divmod(count, batch_size)
    return [batch_size] * full + ([remainder] if remainder and not drop_last else [])


def _batches(images: np.ndarray, labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """[K, size, ...], the last batch padded with label -1."""
    missing = -len(labels) % size
    images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
    labels = np.concatenate([labels.astype(np.int32), np.full(missing, -1, np.int32)])
    return images.reshape(-1, size, *images.shape[1:]), labels.reshape(-1, size)
