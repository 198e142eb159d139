"""Checkpoints with Orbax: asynchronous, atomic, the newest few and the best; checked when read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from ltjax import devices


class Restored(NamedTuple):
    """A checkpoint read back: the state (`ltjax.experiment.state.TrainState`), what was saved as
    `best`, and the stage.
    """

    state: Any
    best: dict | None
    stage: int


class Checkpoints:
    """The checkpoints of one work directory, WORKDIR/checkpoints/STEP/.

    Each holds the whole state, a digest of its bytes, and the test accuracy at that moment. A step
    directory appears only when complete, so a run killed while saving leaves the one before.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        keep: int = 2,
        best: bool = True,
        at: Sequence[int] = (),
        warn: Callable[[str], None] = print,
    ) -> None:
        """keep: newest kept. best: keep the most accurate too. at: steps that are kept besides.
        warn: receives a line for each checkpoint that can't be used.
        """
        self.folder = workdir.absolute() / "checkpoints"
        self._warn = warn
        kept: list[policies.PreservationPolicy] = [policies.LatestN(keep)]
        if at:
            kept.append(policies.CustomSteps(at))
        if best:
            kept.append(
                policies.BestN(get_metric_fn=_accuracy, n=1, keep_checkpoints_without_metrics=False)
            )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(kept), cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(
            self.folder, options=options, item_names=("state", "record")
        )

    def save(
        self, state: Any, *, stage: int = 0, accuracy: float | None = None, best: dict | None = None
    ) -> None:
        """Starts saving; returns once the state is copied, so that the run may go on and donate it.

        Args:
          state: of training.
          stage: that the state belongs to; states of different stages differ in structure.
          accuracy: test accuracy of this state in [0, 1]; None if it was not evaluated.
          best: anything small and JSON-able that should come back with the state.
        """
        step = int(state.step)
        if step in self._manager.all_steps():  # stopped right after an epoch was saved
            return
        arrays = jax.device_get(_plain(state))
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(_by_name(arrays)),
                record=ocp.args.JsonSave(
                    {"digest": _digest(arrays), "best": best, "accuracy": accuracy, "stage": stage}
                ),
            ),
            metrics=None if accuracy is None else {"accuracy": accuracy},
            force=True,
        )

    def restore(
        self, like: Any | Callable[[int], Any], newest: int | None = None
    ) -> Restored | None:
        """The newest checkpoint that is whole; None if there is none.

        A damaged one is reported through `warn`, moved to WORKDIR/damaged/, and the one before it
        is used.

        Args:
          like: a state of the same structure (its values do not matter: jax.ShapeDtypeStruct with a
            sharding will do), or a function that makes one for a stage.
          newest: later steps are left alone.

        Raises:
          ValueError: there are checkpoints and none of them can be used.
        """
        steps = sorted(
            (step for step in self._manager.all_steps() if newest is None or step <= newest),
            reverse=True,
        )
        for step in steps:
            try:
                restored = self._read(step, like)
            except (
                Exception
            ) as error:  # a damaged file fails in many ways; each means: use the one before
                self._warn(
                    f"checkpoint {self.folder / str(step)} is damaged ({_first_line(error)}); trying the one before it"
                )
                continue
            self._set_aside(steps[: steps.index(step)])
            return restored
        if steps:
            raise ValueError(
                f"{self.folder}: none of its {len(steps)} checkpoints can be read; delete the folder to start anew"
            )
        return None

    def _set_aside(self, damaged: list[int]) -> None:
        """Out of the way of the run, which will save these steps again; but not deleted: the disk
        may be at fault, and recover.
        """
        for step in damaged:
            aside = self.folder.parent / "damaged" / f"{step}-{time.strftime('%Y%m%d-%H%M%S')}"
            aside.parent.mkdir(exist_ok=True)
            shutil.move(self.folder / str(step), aside)
        if damaged:
            self._manager.reload()

    def wait(self) -> None:
        """Returns once everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    def _read(self, step: int, like: Any | Callable[[int], Any]) -> Restored:
        record = self._manager.restore(
            step, args=ocp.args.Composite(record=ocp.args.JsonRestore())
        )["record"]
        stage = record.get("stage", 0)
        like = like(stage) if callable(like) else like
        template = jax.tree.map(
            lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(_plain, like)
        )
        arrays = template.replace(
            **self._manager.restore(
                step, args=ocp.args.Composite(state=ocp.args.StandardRestore(_by_name(template)))
            )["state"]
        )
        if jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), arrays) != jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), template
        ):
            raise ValueError("its arrays have other shapes than this config's network")
        if _digest(arrays) != record["digest"]:
            raise ValueError("its bytes do not match their checksum")
        state = jax.tree.map(lambda leaf, value: devices.put(value, leaf.sharding), like, arrays)
        return Restored(
            state.replace(key=jax.random.wrap_key_data(state.key)), record["best"], stage
        )


def _plain(state: Any) -> Any:
    """The state with its PRNG key as integers."""
    return state.replace(key=jax.random.key_data(state.key))


def _by_name(state: Any) -> dict[str, Any]:
    """The state's fields. One that is () is not written: a checkpoint from before there was that
    field agrees.
    """
    fields = ((field.name, getattr(state, field.name)) for field in dataclasses.fields(state))
    return {name: value for name, value in fields if type(value) is not tuple or value}


def _digest(arrays: Any) -> str:
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
        leaf = np.ascontiguousarray(leaf)
        digest.update(json.dumps([jax.tree_util.keystr(path), leaf.dtype.str, leaf.shape]).encode())
        digest.update(leaf.tobytes())
    return digest.hexdigest()


def _accuracy(metrics: dict) -> float:
    return metrics["accuracy"]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
