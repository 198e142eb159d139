"""Training and evaluation from a resolved config and a work directory."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from ltjax import metrics
from ltjax.training import devices, programs
from ltjax.training.checkpoint import Checkpoints
from ltjax.training.experiment import Experiment, build
from ltjax.training.initial import load_variables
from ltjax.training.progress import Display
from ltjax.training.settings import Stage
from ltjax.training.state import TrainState
from ltjax.training.step import EvaluationSums
from ltjax.training.workdir import Scalars, Workdir


class Stopped(Exception):
    """The run was asked to stop by a signal and has saved; `signum` says which."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


class Diverged(Exception):
    """The loss became NaN or infinite; the last good checkpoint was kept."""


def train(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Trains, or continues what `workdir` holds, to the last epoch.

    Args:
      config: resolved (`ltjax.training.settings.resolve`).
      workdir: created if absent.

    Returns:
      What stands in result.json: last and best epoch's metrics, confusion matrix.

    Raises:
      ValueError, FileNotFoundError: a config, data or work directory that can't be used.
      Diverged: loss not finite.
      Stopped: SIGTERM or Ctrl-C; the state is saved.
    """
    experiment = build(config)
    folder = Workdir(workdir, writes=devices.is_lead())
    folder.begin(config, experiment.dataset, experiment.class_counts)
    scalars = Scalars(workdir, config, writes=devices.is_lead())
    notes: list[str] = []
    checkpoints = Checkpoints(workdir, keep=config.checkpoint.keep, best=config.checkpoint.best, warn=notes.append)
    try:
        restored = checkpoints.restore(experiment.state_like)
        if restored is None:
            state, best, stage = experiment.create_state(), None, experiment.stage_at(0)
        else:
            state, best, stage = restored
            done = int(state.epoch) == config.training.epochs
            notes.append(f"finished before, at step {int(state.step)}" if done else _from_here(state))
        run = _Run(experiment, folder, checkpoints, scalars, best, stage)
        return run.to_the_end(state, notes)
    finally:
        checkpoints.close()
        scalars.close()


def evaluate(config: ConfigDict, workdir: Path | None) -> dict[str, Any]:
    """Evaluates `config.init_from`, or else the newest checkpoint of `workdir`, on the test set.

    Returns:
      Metrics as in metrics.jsonl, and the confusion matrix.

    Raises:
      ValueError, FileNotFoundError: nothing to evaluate, or it can't be read.
    """
    experiment = build(config)
    if config.init_from:
        variables = load_variables(config, experiment.recipe.model, experiment.image_shape)
        variables = devices.put(variables, devices.replicated(experiment.devices))
    else:
        if workdir is None or not (workdir / "checkpoints").is_dir():
            raise FileNotFoundError(f"nothing to evaluate: {workdir} holds no checkpoints; give --workdir=RUN or --config.init_from=FILE")
        checkpoints = Checkpoints(workdir, keep=config.checkpoint.keep, best=config.checkpoint.best)
        restored = checkpoints.restore(experiment.state_like)
        checkpoints.close()
        if restored is None:
            raise FileNotFoundError(
                f"nothing to evaluate: {workdir / 'checkpoints'} is empty; train first, or give --config.init_from=FILE"
            )
        variables = restored.state.variables
        if experiment.stages[restored.stage].config.target != "class":
            raise ValueError(f"nothing to evaluate: {workdir} is still in stage {experiment.stages[restored.stage].name!r}; train it on")
    sums = jax.device_get(programs.create(experiment).evaluate(variables))
    return {**test_metrics(sums, experiment.groups), "confusion": sums.confusion.tolist()}


def test_metrics(sums: EvaluationSums, groups: dict[str, np.ndarray]) -> dict[str, Any]:
    """Metrics of one evaluation: loss, top-1 (and top-5 for 100 classes or more), groups, balanced, per class; shares in [0, 1]."""
    count = int(sums.confusion.sum())
    row: dict[str, Any] = {"test_loss": float(sums.loss) / count, "test_accuracy": metrics.accuracy(sums.confusion)}
    if len(sums.confusion) >= 100:
        row["test_top5"] = int(sums.top5) / count
    row |= metrics.group_accuracy(sums.confusion, {name: classes for name, classes in groups.items() if len(classes)})
    row["balanced_accuracy"] = metrics.balanced_accuracy(sums.confusion)
    row["weighted_precision"], _, row["weighted_f1"] = metrics.weighted_precision_recall_f1(sums.confusion)
    row["per_class"] = [round(float(value), 6) for value in metrics.per_class_accuracy(sums.confusion)]
    return row


class _Run:
    """The loop's parts, together for the length of a run."""

    def __init__(
        self, experiment: Experiment, folder: Workdir, checkpoints: Checkpoints, scalars: Scalars, best: dict | None, stage: int
    ) -> None:
        self.experiment, self.folder, self.checkpoints, self.scalars, self.best = experiment, folder, checkpoints, scalars, best
        self.config = experiment.config
        self.stage = stage  # that the state is in
        self.programs = programs.create(experiment)
        self.confusion: list | None = None
        self.saved_at = time.monotonic()

    def to_the_end(self, state: TrainState, notes: list[str]) -> dict[str, Any]:
        epochs, first, position = self.config.training.epochs, int(state.epoch), int(state.position)
        rows = self.folder.rewind_metrics(first)
        steps = self.experiment.steps_per_epoch
        with Display(epochs, steps, first * steps + position, quiet=not devices.is_lead()) as display, _signals() as received:
            for line in (*_header(self.experiment, self.folder.path), *notes):
                display.say(line)
            for epoch in range(first, epochs):
                state = self._enter(state, epoch, display)
                seen, began = int(state.running.count), time.monotonic()
                state = self._epoch(state, epoch, position, display, received)
                row, state = self._finish_epoch(state, epoch, seen, time.monotonic() - began, display)
                rows.append(row)
                position = 0
                if epoch + 1 < epochs and devices.any_process(bool(received)):
                    self._stop(state, received)
            if self.confusion is None:  # a finished run started again
                sums = jax.device_get(self.programs.evaluate(state.variables, self.stage))
                self.confusion = sums.confusion.tolist()
        result = {"last": rows[-1], "best": self.best, "confusion": self.confusion, "epochs": len(rows)}
        self.folder.write_result(result)
        return result

    def _enter(self, state: TrainState, epoch: int, display: Display) -> TrainState:
        """The state in the epoch's stage."""
        stage = self.experiment.stage_at(epoch)
        if stage != self.stage:
            state, self.stage = self.experiment.enter(state, self.stage, stage), stage
        if len(self.experiment.stages) > 1 and epoch == self.experiment.stages[stage].first:
            display.say(_stage_line(self.experiment.stages[stage]))
        return state

    def _epoch(self, state: TrainState, epoch: int, position: int, display: Display, received: list[int]) -> TrainState:
        settings = self.experiment.settings(epoch)
        while position < self.experiment.steps_per_epoch:
            before = position
            state, position = self.programs.advance(state, position, settings, self.stage)
            display.at(epoch, position, " ".join(["training", self.experiment.stages[self.stage].name]))
            every = self.programs.check_every
            if every and position // every > before // every:
                self._check_finite(state, epoch)
                if position < self.experiment.steps_per_epoch and devices.any_process(bool(received)):
                    self._stop(state, received)
        return jax.block_until_ready(state)

    def _finish_epoch(
        self, state: TrainState, epoch: int, seen: int, seconds: float, display: Display
    ) -> tuple[dict[str, Any], TrainState]:
        """Evaluates, records and saves. `seen`: images of this epoch from before an interruption, which `seconds` do not cover."""
        self._check_finite(state, epoch)
        running = jax.device_get(state.running)
        count = int(running.count)
        row: dict[str, Any] = {
            "epoch": epoch,
            "step": int(state.step),
            **self._where(),
            "learning_rate": self.experiment.learning_rate(epoch),
            "rho": self.experiment.rho(epoch),
            "train_loss": float(running.loss) / count,
            "train_accuracy": int(running.correct) / count,
            "seconds": round(seconds, 3),
            "images_per_second": round((count - seen) / seconds, 1),
            **devices.peak_memory(self.experiment.devices),
        }
        last = epoch + 1 == self.config.training.epochs
        improved = False
        if last or (epoch + 1) % self.config.evaluation.every == 0:
            display.at(epoch, self.experiment.steps_per_epoch, "evaluating")
            sums = jax.device_get(self.programs.evaluate(state.variables, self.stage))
            tested = self._tested(sums)
            row |= tested
            if not all(math.isfinite(value) for name, value in tested.items() if name.endswith("_loss")):
                raise Diverged(self._diverged(epoch, int(state.step), "test loss"))
            improved = "test_accuracy" in row and (self.best is None or row["test_accuracy"] > self.best["test_accuracy"])
            if improved:
                self.best = row
        self.folder.append_metrics(row)
        self.scalars.write(row)
        display.epoch(row)
        for line in self.programs.notes():
            display.say(line)
        state = self.programs.next_epoch(state)
        waited = time.monotonic() - self.saved_at > 60 * self.config.checkpoint.minutes
        due = (epoch + 1) % self.config.checkpoint.every == 0 or devices.any_process(waited)
        if last or due or (improved and self.config.checkpoint.best):
            self._save(state, row.get("test_accuracy"))
        return row, state

    def _where(self) -> dict[str, str]:
        """A row's stage, and its target where that is not the classes: its training accuracy is then another thing."""
        stage = self.experiment.stages[self.stage]
        where = {"stage": stage.name} if stage.name else {}
        return where if stage.config.target == "class" else where | {"target": stage.config.target}

    def _tested(self, sums: EvaluationSums) -> dict[str, Any]:
        """Metrics of an evaluation, for the stage's target."""
        if self.experiment.stages[self.stage].config.target == "rotation":
            loss, accuracy = float(sums.loss) / int(sums.confusion.sum()), metrics.accuracy(sums.confusion)
            return {"rotation_loss": loss, "rotation_accuracy": accuracy}
        self.confusion = sums.confusion.tolist()
        return test_metrics(sums, self.experiment.groups)

    def _save(self, state: TrainState, accuracy: float | None = None) -> None:
        if not self.programs.finite(state.variables):
            raise Diverged(self._diverged(int(state.epoch), int(state.step), "a parameter or statistic"))
        self.checkpoints.save(state, stage=self.stage, accuracy=accuracy, best=self.best)
        self.saved_at = time.monotonic()

    def _stop(self, state: TrainState, received: list[int]) -> None:
        signum = received[0] if received else signal.SIGTERM  # another process may have been asked
        self._save(state)
        self.checkpoints.wait()
        raise Stopped(
            f"stopped by {signal.Signals(signum).name} and saved at epoch {int(state.epoch) + 1}, step {int(state.step)};"
            f" the same command with --workdir={self.folder.path} continues",
            signum,
        )

    def _check_finite(self, state: TrainState, epoch: int) -> None:
        step = int(state.running.first_bad_step)
        if step >= 0:
            raise Diverged(self._diverged(epoch, step, "training loss"))

    def _diverged(self, epoch: int, step: int, what: str) -> str:
        self.checkpoints.wait()
        return (
            f"{what} is NaN or infinite at epoch {epoch + 1}, step {step}; the last good checkpoint is kept in"
            f" {self.checkpoints.folder}. Try a lower config.learning_rate.base or config.sam.rho in another --workdir"
        )


def _from_here(state: TrainState) -> str:
    return f"continuing from epoch {int(state.epoch) + 1}, step {int(state.step)}"


def _header(experiment: Experiment, path: Path) -> Iterator[str]:
    """What is about to run, in three lines."""
    config, dataset, counts = experiment.config, experiment.dataset, experiment.class_counts
    yield (
        f"{config.name}: {config.model.name} on {dataset.name}, {len(dataset.train_labels):,} training images"
        f" ({counts.max()} to {counts.min()} a class, from {dataset.source}), {len(dataset.test_labels):,} test images"
    )
    yield f"{config.training.epochs} epochs, batch {config.training.batch_size}, seed {config.seed}"
    if len(experiment.stages) == 1:
        yield _stage_line(experiment.stages[0])
    device = experiment.devices[0]
    yield f"{len(experiment.devices)} x {device.device_kind} ({device.platform}), {config.model.dtype}; {path}"


def _stage_line(stage: Stage) -> str:
    """What a stage does."""
    config, last = stage.config, stage.first + stage.epochs
    parts = [f"epochs {stage.first + 1} to {last}: {config.loss.name}"]
    if config.target != "class":
        parts.append(f"target {config.target}")
    if config.reweighting.name != "none":
        parts.append(f"{config.reweighting.name} weights")
    if config.sampler.name != "shuffled":
        parts.append(f"{config.sampler.name} sampler")
    if config.mixing.name != "none":
        parts.append(config.mixing.name)
    if config.parameters.trainable:
        parts.append(f"only {config.parameters.trainable} trains")
    if config.sam.enabled:
        radius = config.sam.rho if config.sam.schedule == "constant" else config.sam.schedule
        parts.append(f"{'ASAM' if config.sam.adaptive else 'SAM'} rho {radius}")
    return (f"stage {stage.name}, " if stage.name else "") + ", ".join(parts)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGTERM and Ctrl-C instead of dying by them; a second Ctrl-C interrupts at once."""
    received: list[int] = []

    def handle(signum, frame):
        if received and signum == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(signum)

    try:
        previous = {signum: signal.signal(signum, handle) for signum in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread (a library user's choice): leave signals alone
        yield received
        return
    try:
        yield received
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
