"""Training from a resolved config and a work directory."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from ltjax import devices, metrics
from ltjax.data import Dataset
from ltjax.experiment.experiment import Experiment, build
from ltjax.experiment.settings import check_one_seed
from ltjax.experiment.state import Running, TrainState
from ltjax.training import messages, mistakes, programs, scoring
from ltjax.training.evaluation import Evaluation, EvaluationSums
from ltjax.training.progress import Display
from ltjax.training.record import Record, restore_together
from ltjax.training.signals import caught


class Stopped(Exception):
    """The run was asked to stop by a signal and has saved; `signum` says which."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


class Diverged(Exception):
    """The loss became NaN or infinite; the last good checkpoint was kept."""


def train(config: ConfigDict, workdir: Path, whole: Dataset | None = None) -> dict[str, Any]:
    """Trains, or continues what `workdir` holds, to the last epoch.

    Args:
      config: resolved (`ltjax.experiment.settings.resolve`), of one seed.
      workdir: created if absent.
      whole: the images, if they are not to be read from where the config says.

    Returns:
      What stands in result.json: last and best epoch's metrics, confusion matrix.

    Raises:
      ValueError, FileNotFoundError: a config, data or work directory that can't be used.
      Diverged: loss not finite.
      Stopped: SIGTERM, SIGHUP, Ctrl-C or a broken pipe; the state is saved.
      OSError: what the run leaves could not be written; names the place.
    """
    check_one_seed(config)
    experiment = build(config, whole)
    return _train([experiment], [workdir], workdir)[0]


def train_seeds(config: ConfigDict, workdir: Path) -> list[dict[str, Any]]:
    """Trains `config.seeds` together, or with `training.patience` one after the other; each leaves
    in `seed_folders` what it would leave alone, and can be continued alone.

    Args, Raises: as `train`. One that diverges stops all; each keeps its last checkpoint.

    Returns:
      What stands in each result.json.
    """
    experiment = build(config)
    seeds = [experiment.of_seed(seed) for seed in config.seeds]
    folders = seed_folders(config, workdir)
    if config.training.patience:  # they end at different epochs
        parts = zip(seeds, folders, strict=True)
        return [_train([seed], [folder], workdir)[0] for seed, folder in parts]
    return _train(seeds, folders, workdir)


def seed_folders(config: ConfigDict, workdir: Path) -> list[Path]:
    """Work directories of `config.seeds`."""
    return [workdir / f"seed{seed}" for seed in config.seeds]


def _train(
    experiments: list[Experiment], folders: list[Path], workdir: Path
) -> list[dict[str, Any]]:
    """`workdir`: as given to the command."""
    programs.rehearse(experiments[0])
    with ExitStack() as closed:
        records = []
        for experiment, folder in zip(experiments, folders, strict=True):
            records.append(Record(experiment, folder, together=len(experiments) > 1))
            closed.callback(records[-1].close)
        restored = restore_together(records)
        if restored is None and experiments[0].config.fork:
            restored = [record.fork() for record in records]
        running = programs.create(experiments[0], len(experiments))
        if restored is None:
            states, stage = (
                [experiment.create_state() for experiment in experiments],
                experiments[0].stage_at(0),
            )
        else:
            states, stage = [one.state for one in restored], restored[0].stage
            done = int(states[0].epoch) == experiments[0].config.training.epochs
            records[0].notes.append(
                f"finished before, at step {int(states[0].step)}"
                if done
                else messages.from_here(states[0])
            )
        for k, record in enumerate(records):
            record.begin(restored[k] if restored else None, int(states[0].epoch))
        return _Run(records, running, stage, workdir).to_the_end(states)


class _Run:
    """The loop's parts, together for the length of a run of one seed or several."""

    def __init__(
        self, records: list[Record], running: programs.Programs, stage: int, workdir: Path
    ) -> None:
        self.records, self.programs, self.workdir = records, running, workdir
        self.stage = stage  # that the states are in
        self.experiment = records[0].experiment  # the seeds' differ in the seed alone
        self.config = self.experiment.config
        self.saved_at = time.monotonic()
        self.evaluated: list[Evaluation] = []  # the newest of the last split, one a seed

    def to_the_end(self, states: list[TrainState]) -> list[dict[str, Any]]:
        epochs, first, position = (
            self.config.training.epochs,
            int(states[0].epoch),
            int(states[0].position),
        )
        state = self.programs.together(states)
        steps = self.experiment.steps_per_epoch
        with (
            caught() as received,
            Display(
                epochs,
                steps,
                first * steps + position,
                quiet=not devices.is_lead(),
                broken=lambda: received.append(signal.SIGPIPE),
            ) as display,
        ):
            for line in (
                *messages.header(self.records, self.workdir),
                *(note for record in self.records for note in record.notes),
            ):
                display.say(line)
            for epoch in range(first, epochs):
                if self._out_of_patience(epoch - 1):
                    break
                state = self._enter(state, epoch, display)
                seen, began = int(np.ravel(state.running.count)[0]), time.monotonic()
                state = self._epoch(state, epoch, position, display, received)
                state = self._finish_epoch(state, epoch, seen, time.monotonic() - began, display)
                position = 0
                if epoch + 1 < epochs and devices.any_process(bool(received)):
                    self._stop(state, received)
            splits = self.experiment.splits
            if splits and self.records[0].confusion is None:  # a finished run started again
                self.evaluated = self._evaluated(state.variables, splits[-1])
                for record, evaluated in zip(self.records, self.evaluated, strict=True):
                    record.confusion = np.asarray(evaluated.sums.confusion)
            if "val" in splits:
                self._test_best(display)
            if splits and mistakes.asked(self.experiment):
                display.at(epochs - 1, steps, "listing the mistakes")
                for record, evaluated in zip(self.records, self.evaluated, strict=True):
                    mistakes.record(self.experiment.dataset, evaluated, splits[-1], record.path)
        return [record.finish() for record in self.records]

    def _enter(self, state: TrainState, epoch: int, display: Display) -> TrainState:
        """The state in the epoch's stage."""
        stage = self.experiment.stage_at(epoch)
        if stage != self.stage:
            parts = zip(self.records, self.programs.apart(state), strict=True)
            state = self.programs.together(
                [record.experiment.enter(part, self.stage, stage) for record, part in parts]
            )
            self.stage = stage
        if len(self.experiment.stages) > 1 and epoch == self.experiment.stages[stage].first:
            display.say(messages.stage_line(self.experiment.stages[stage]))
        return state

    def _epoch(
        self, state: TrainState, epoch: int, position: int, display: Display, received: list[int]
    ) -> TrainState:
        settings = self.experiment.settings(epoch)
        while position < self.experiment.steps_per_epoch:
            before = position
            state, position = self.programs.advance(state, position, settings, self.stage)
            display.at(
                epoch, position, " ".join(["training", self.experiment.stages[self.stage].name])
            )
            every = self.programs.check_every
            if every and position // every > before // every:
                self._check_finite(state, epoch)
                if position < self.experiment.steps_per_epoch:
                    stop, due = devices.any_processes(bool(received), self._waited())
                    if stop:
                        self._stop(state, received)
                    if due:
                        self._save(state)
        return jax.block_until_ready(state)

    def _finish_epoch(
        self, state: TrainState, epoch: int, seen: int, seconds: float, display: Display
    ) -> TrainState:
        """Evaluates, records and saves. `seen`: images of this epoch from before an interruption,
        which `seconds` do not cover.
        """
        self._check_finite(state, epoch)
        display.at(epoch, self.experiment.steps_per_epoch, "evaluating")
        last = epoch + 1 == self.config.training.epochs
        due = (epoch + 1) % self.config.evaluation.every == 0
        evaluates = last or due or self._out_of_patience(epoch)
        splits = self.experiment.splits
        held_out: dict[str, list[Evaluation]] = {}
        if evaluates and "val" in splits:
            held_out["val"] = self._evaluated(state.variables, "val")
            last |= self._out_of_patience(epoch, held_out["val"])
        if "test" in splits and (last or (evaluates and "val" not in splits)):
            held_out["test"] = self._evaluated(state.variables, "test")
        if splits and splits[-1] in held_out:
            self.evaluated = held_out[splits[-1]]
        step = int(np.ravel(state.step)[0])
        rows, improved = [], False
        for k, (record, running) in enumerate(
            zip(self.records, self._on_host(state.running), strict=True)
        ):
            sums = {split: each[k].sums for split, each in held_out.items()}
            rows.append(self._row(record, running, sums, epoch, step, seen, seconds))
            improved |= record.add(rows[-1])
        display.epoch(messages.mean(rows))
        for line in self.programs.notes():
            display.say(line)
        state = self.programs.next_epoch(state)
        chosen = self.config.checkpoint
        asked = (epoch + 1) % chosen.every == 0 or epoch + 1 in chosen.at
        due = asked or devices.any_process(self._waited())
        if last or due or (improved and self.config.checkpoint.best):
            self._save(state, [row.get(self.experiment.criterion) for row in rows])
        return state

    def _waited(self) -> bool:
        """Whether the last saving is config.checkpoint.minutes ago."""
        return time.monotonic() - self.saved_at > 60 * self.config.checkpoint.minutes

    def _row(
        self,
        record: Record,
        running: Running,
        sums: dict[str, EvaluationSums],
        epoch: int,
        step: int,
        seen: int,
        seconds: float,
    ) -> dict:
        """One seed's line of metrics.jsonl."""
        count = int(running.count)
        row: dict[str, Any] = {
            "epoch": epoch,
            "step": step,
            **self._where(),
            "learning_rate": self.experiment.learning_rate(epoch),
            "rho": self.experiment.rho(epoch),
            "train_loss": float(running.loss) / count,
            "train_accuracy": int(running.correct) / count,
            "seconds": round(seconds, 3),
            "images_per_second": round((count - seen) / seconds, 1),
            **({"seeds_together": len(self.records)} if len(self.records) > 1 else {}),
            **devices.peak_memory(self.experiment.devices),
        }
        for split, of_split in sums.items():
            found = self._tested(record, of_split, split)
            row |= found
            if not all(
                math.isfinite(value) for name, value in found.items() if name.endswith("_loss")
            ):
                raise Diverged(self._diverged(record, epoch, step, f"{split} loss"))
        return row

    def _where(self) -> dict[str, str]:
        """A row's stage, and its target where that is not the classes: its training accuracy is
        then another thing.
        """
        stage = self.experiment.stages[self.stage]
        where = {"stage": stage.name} if stage.name else {}
        return where if stage.config.target == "class" else where | {"target": stage.config.target}

    def _evaluated(self, variables: Any, split: str) -> list[Evaluation]:
        """Each seed's, of the images of a split."""
        return self._on_host(self.programs.evaluate(variables, self.stage, split))

    def _out_of_patience(self, epoch: int, validated: Sequence[Evaluation] = ()) -> bool:
        """Whether the run, of one seed, ends with this epoch since none was better for too long.

        `validated`: of this epoch, where its row is not written yet.
        """
        last_stage = self.experiment.stages[-1]
        patience = self.config.training.patience
        if not patience or self.stage < len(self.experiment.stages) - 1:
            return False
        best = self.records[0].best or {"epoch": -1, self.experiment.criterion: -1.0}
        since = max(best["epoch"], last_stage.first - 1)
        if validated:
            now = metrics.balanced_accuracy(validated[0].sums.confusion)
            since = epoch if now > best[self.experiment.criterion] else since
        return epoch - since >= patience

    def _test_best(self, display: Display) -> None:
        """Evaluates the test set at each seed's best epoch, and tells it."""
        bests = [record.best for record in self.records]
        found = [
            record.restore(best["step"])
            for record, best in zip(self.records, bests, strict=True)
            if best
        ]
        there = len(found) == len(bests) and all(
            one is not None and best is not None and int(one.state.step) == best["step"]
            for one, best in zip(found, bests, strict=True)
        )
        if there and "test" in self.experiment.splits:
            variables = self.programs.together([one.state.variables for one in found if one])
            tested = self._evaluated(variables, "test")
            for record, evaluated in zip(self.records, tested, strict=True):
                scores = scoring.test_metrics(evaluated.sums, self.experiment.groups)
                record.best = (record.best or {}) | scores
        for record in self.records:
            if record.best:
                display.say(messages.best_line(record, len(self.records) > 1))

    def _on_host(self, tree: Any) -> list[Any]:
        """Each seed's part, read from the devices."""
        whole, count = jax.device_get(tree), len(self.records)
        return [whole] if count == 1 else programs.apart(whole, count)

    def _tested(self, record: Record, sums: EvaluationSums, split: str) -> dict[str, Any]:
        """Metrics of an evaluation, for the stage's target."""
        target = self.experiment.stages[self.stage].config.target
        if target != "class":
            loss, accuracy = (
                float(sums.loss) / int(sums.confusion.sum()),
                metrics.accuracy(sums.confusion),
            )
            return {f"{target}_loss": loss, f"{target}_accuracy": accuracy}
        record.confusion = np.asarray(sums.confusion)
        return (
            scoring.test_metrics(sums, self.experiment.groups)
            if split == "test"
            else scoring.val_metrics(sums)
        )

    def _save(self, state: TrainState, accuracies: Sequence[float | None] = ()) -> None:
        if len(self.records) > 1:  # none drops a step before all hold the next
            for record in self.records:
                record.wait()
        for k, (record, part) in enumerate(
            zip(self.records, self.programs.apart(state), strict=True)
        ):
            if not self.programs.finite(part.variables):
                raise Diverged(
                    self._diverged(
                        record, int(part.epoch), int(part.step), "a parameter or statistic"
                    )
                )
            record.save(part, self.stage, accuracies[k] if accuracies else None)
        self.saved_at = time.monotonic()

    def _stop(self, state: TrainState, received: list[int]) -> None:
        signum = received[0] if received else signal.SIGTERM  # another process may have been asked
        self._save(state)
        for record in self.records:
            record.wait()
        epoch, step = (int(np.ravel(value)[0]) for value in (state.epoch, state.step))
        raise Stopped(
            f"stopped by {signal.Signals(signum).name} and saved at epoch {epoch + 1}, step {step};"
            f" the same command with --workdir={self.workdir} continues",
            signum,
        )

    def _check_finite(self, state: TrainState, epoch: int) -> None:
        for record, step in zip(self.records, np.ravel(state.running.first_bad_step), strict=True):
            if step >= 0:
                raise Diverged(self._diverged(record, epoch, int(step), "training loss"))

    def _diverged(self, record: Record, epoch: int, step: int, what: str) -> str:
        for one in self.records:
            one.wait()
        seed = f" of seed {record.experiment.config.seed}" if len(self.records) > 1 else ""
        return (
            f"{what}{seed} is NaN or infinite at epoch {epoch + 1}, step {step};"
            f" the last good checkpoint is kept in {record.checkpoints}."
            " Try a lower config.learning_rate.base or config.sam.rho in another --workdir"
        )
