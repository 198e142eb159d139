"""What the run of one seed leaves behind while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ltjax import devices
from ltjax.experiment.experiment import Experiment
from ltjax.experiment.fork import fork_of
from ltjax.experiment.state import TrainState
from ltjax.workdir import results, thumbnails
from ltjax.workdir.checkpoint import Checkpoints, Restored
from ltjax.workdir.lock import Lock
from ltjax.workdir.workdir import Scalars, Workdir, writing


class Record:
    """A run's folder, checkpoints and scalars, and what it has found so far.

    Attributes:
      experiment: of this seed.
      notes: lines for the user that came up before the run could speak.
      rows: of metrics.jsonl.
      best: of them by the experiment's criterion, None before an evaluation.
      confusion: of the last evaluation.
    """

    def __init__(self, experiment: Experiment, path: Path, together: bool = False) -> None:
        """Raises ValueError if the folder belongs to another config or other data, or is in use.

        together: with other seeds, of which each keeps two checkpoints, so that they share one at
        every moment.
        """
        config, writes = experiment.config, devices.is_lead()
        self.experiment = experiment
        self.notes: list[str] = []
        self.rows: list[dict] = []
        self.best: dict | None = None
        self.confusion: np.ndarray | None = None
        self._lock = Lock(path) if writes else None
        with ExitStack() as undone:  # where the folder turns out to be another run's
            undone.callback(self._release)
            self._folder = Workdir(path, writes=writes)
            self._folder.begin(config, experiment.dataset, experiment.class_counts)
            if writes and not self._folder.read_metrics():
                with writing(path):
                    thumbnails.write(path, experiment.dataset)
            self._scalars = Scalars(path, config, writes=writes)
            undone.pop_all()
        self._checkpoints = Checkpoints(
            path,
            writes=True,
            keep=max(config.checkpoint.keep, 2 if together else 1),
            best=config.checkpoint.best,
            at=[epoch * experiment.steps_per_epoch for epoch in config.checkpoint.at],
            warn=self.notes.append,
        )

    @property
    def path(self) -> Path:
        return self._folder.path

    @property
    def checkpoints(self) -> Path:
        return self._checkpoints.folder

    def restore(self, newest: int | None = None) -> Restored | None:
        """The newest checkpoint, of those up to step `newest` if given; None if there is none."""
        return self._checkpoints.restore(self.experiment.state_like, newest)

    def fork(self) -> Restored:
        """The checkpoint of `config.fork` that this run begins with.

        Raises:
          ValueError, FileNotFoundError: it can't begin there.
        """
        source = Path(self.experiment.config.fork)
        found = fork_of(self.experiment, source, self.path)
        self._folder.fork(found.told, found.rows)
        self.notes.append(
            f"forked from {source} after {found.told['epoch']} epochs, step {found.told['step']}"
        )
        return found.restored

    def read_rows(self) -> list[dict]:
        """Lines of metrics.jsonl."""
        return self._folder.read_metrics()

    def begin(self, restored: Restored | None, epoch: int) -> None:
        """Goes on from a checkpoint, in whose epoch the next row will be `epoch`'s."""
        self.best = restored.best if restored else None
        self.rows = self._folder.rewind_metrics(epoch)
        self._scalars.begin(self.rows)

    def add(self, row: dict[str, Any]) -> bool:
        """Writes an epoch's row; whether it is the best so far."""
        criterion = self.experiment.criterion
        improved = criterion in row and (self.best is None or row[criterion] > self.best[criterion])
        if improved:
            self.best = row
        self._folder.append_metrics(row)
        self._scalars.write(row)
        self.rows.append(row)
        return improved

    def save(self, state: TrainState, stage: int, accuracy: float | None = None) -> None:
        """Starts saving the state."""
        self._checkpoints.save(state, stage=stage, accuracy=accuracy, best=self.best)

    def wait(self) -> None:
        """Returns once everything is on disk."""
        self._checkpoints.wait()

    def finish(self) -> dict[str, Any]:
        """Writes result.json and returns what stands in it."""
        result = {
            "last": self.rows[-1],
            "best": self.best,
            "confusion": results.shown(self.confusion),
            "epochs": len(self.rows),
        }
        self._folder.write_result(result)
        return result

    def close(self) -> None:
        with ExitStack() as closed:
            closed.callback(self._release)
            closed.callback(self._scalars.close)
            closed.callback(self._checkpoints.close)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()


def restore_together(records: Sequence[Record]) -> list[Restored] | None:
    """A checkpoint of each seed at the same step, the newest there is; None if they begin.

    They begin anew where they were killed between two seeds' first savings: all hold the same
    epochs then, some of them no checkpoint.

    Raises:
      ValueError: they share no step.
    """
    found = [record.restore() for record in records]
    steps = {None if one is None else int(one.state.step) for one in found}
    if len(steps) > 1 and None not in steps:  # killed between two seeds' saving
        found = [
            record.restore(min(step for step in steps if step is not None)) for record in records
        ]
    whole = [one for one in found if one is not None]
    begun = {len(record.read_rows()) for record in records}
    if not whole or (len(whole) < len(records) and len(begun) == 1):
        return None
    if len(whole) < len(records) or len({int(one.state.step) for one in whole}) > 1:
        told = ", ".join(
            f"{record.path.name} at {_place(one)}"
            for record, one in zip(records, found, strict=True)
        )
        raise ValueError(
            f"the seeds do not stand at the same step: {told};"
            f" train them apart (--config.seed=K --workdir={records[0].path.parent}/seedK),"
            " or give config.seeds those that do"
        )
    return whole


def _place(restored: Restored | None) -> str:
    return "the start" if restored is None else f"step {int(restored.state.step)}"
