"""Checkpoints with Orbax: asynchronous, atomic, the newest few and the best; checked when read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from ltjax import devices


class Mismatch(ValueError):
    """A whole checkpoint, of another network, optimiser or stages than it is read for."""


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
    Reading changes nothing on the disk: another process may be training there.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        writes: bool = False,
        keep: int = 2,
        best: bool = True,
        at: Sequence[int] = (),
        warn: Callable[[str], None] = print,
    ) -> None:
        """writes: for the run itself, which saves, and moves damaged checkpoints aside; the others
        only read. keep: newest kept. best: keep the most accurate too. at: steps that are kept
        besides. warn: receives a line for each checkpoint that can't be used.
        """
        self.folder = workdir.absolute() / "checkpoints"
        self._writes, self._warn = writes, warn
        self._keep, self._best, self._at = keep, best, at
        self._manager: ocp.CheckpointManager | None = None
        self._failed = False

    def save(
        self, state: Any, *, stage: int = 0, accuracy: float | None = None, best: dict | None = None
    ) -> None:
        """Starts saving; returns once the state is copied, so that the run may go on and donate it.

        Args:
          state: of training.
          stage: that the state belongs to; states of different stages differ in structure.
          accuracy: test accuracy of this state in [0, 1]; None if it was not evaluated.
          best: anything small and JSON-able that should come back with the state.

        Raises:
          OSError: this or the one before could not be written; one line with the folder.
        """
        step = int(state.step)
        with self._writing() as manager:
            if step in manager.all_steps():  # stopped right after an epoch was saved
                return
            arrays = jax.device_get(_plain(state))
            record = {"digest": _digest(arrays), "best": best, "accuracy": accuracy, "stage": stage}
            manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(_by_name(arrays)), record=ocp.args.JsonSave(record)
                ),
                metrics=None if accuracy is None else {"accuracy": accuracy},
                force=True,
            )

    def restore(
        self, like: Any | Callable[[int], Any], newest: int | None = None
    ) -> Restored | None:
        """The newest checkpoint that is whole; None if there is none.

        A damaged one is reported through `warn` and the one before it is used; the run itself moves
        it to WORKDIR/damaged/. Of several processes all must call; what one can't read, none uses.

        Args:
          like: a state of the same structure (its values do not matter: jax.ShapeDtypeStruct with a
            sharding will do), or a function that makes one for a stage.
          newest: later steps are left alone.

        Raises:
          Mismatch: a whole one that holds other arrays than `like`, or of a stage unknown to it.
          ValueError: there are checkpoints and none of them can be used.
        """
        steps = self._steps(newest)
        for step in steps:
            restored, reason = None, ""
            try:
                restored = self._read(step, like)
            except _Damaged as error:
                reason = str(error)
            if reason and not self._writes and not (self.folder / str(step)).is_dir():
                return self.restore(like, newest)  # the run has just replaced it by a newer one
            if devices.any_process(restored is None):
                reason = reason or "another process can't read it"
                self._warn(
                    f"checkpoint {self.folder / str(step)} is damaged ({reason});"
                    " trying the one before it"
                )
                continue
            self._set_aside(steps[: steps.index(step)])
            return restored
        if steps:
            raise ValueError(
                f"{self.folder}: none of its {len(steps)} checkpoints can be read;"
                " delete the folder to start anew"
            )
        return None

    def wait(self) -> None:
        """Returns once everything is on disk. Raises OSError as `save` does."""
        if self._manager is not None:
            with self._writing() as manager:
                manager.wait_until_finished()

    def close(self) -> None:
        """Ends after everything is on disk. Raises OSError as `save` does, if not said before."""
        if self._manager is None:
            return
        with suppress(Exception) if self._failed else self._writing():
            self._manager.close()

    def _steps(self, newest: int | None) -> list[int]:
        """From the newest, or `newest`, on backwards."""
        names = [path.name for path in self.folder.glob("*") if path.name.isdigit()]
        return sorted((int(n) for n in names if newest is None or int(n) <= newest), reverse=True)

    @contextmanager
    def _writing(self) -> Iterator[ocp.CheckpointManager]:
        """Orbax's manager, made at its first use: it clears up what a killed run left half-written.

        Its errors, of many types and from several threads, become one line.
        """
        assert self._writes, "these checkpoints were opened to read"
        try:
            if self._manager is None:
                self._manager = self._make_manager()
            yield self._manager
        except Exception as error:
            self._failed = True
            raise OSError(
                f"{self.folder}: a checkpoint could not be written ({_reason(error)});"
                " the same command continues from the last one once it can"
            ) from None

    def _make_manager(self) -> ocp.CheckpointManager:
        kept: list[policies.PreservationPolicy] = [policies.LatestN(self._keep)]
        if self._at:
            kept.append(policies.CustomSteps(self._at))
        if self._best:
            kept.append(
                policies.BestN(get_metric_fn=_accuracy, n=1, keep_checkpoints_without_metrics=False)
            )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(kept),
            best_fn=_accuracy,  # has Orbax write the accuracies, which the next start needs
            cleanup_tmp_directories=True,
        )
        return ocp.CheckpointManager(self.folder, options=options, item_names=("state", "record"))

    def _set_aside(self, damaged: list[int]) -> None:
        """Out of the way of the run, which will save these steps again; but not deleted: the disk
        may be at fault, and recover.
        """
        if not damaged or not self._writes:
            return
        for step in damaged if devices.is_lead() else ():
            aside = self.folder.parent / "damaged" / f"{step}-{time.strftime('%Y%m%d-%H%M%S')}"
            aside.parent.mkdir(exist_ok=True)
            shutil.move(self.folder / str(step), aside)
        devices.any_process(False)  # the others wait until they are gone

    def _read(self, step: int, like: Any | Callable[[int], Any]) -> Restored:
        """Raises _Damaged or Mismatch."""
        folder, alone = self.folder / str(step), jax.process_index()
        reader = ocp.StandardCheckpointHandler(  # each process reads for itself and waits for none
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=alone, active_processes={alone}, barrier_sync_key_prefix=f"read{alone}"
            )
        )
        place = folder / "state"
        with _damage():
            record = json.loads((folder / "record" / "metadata").read_text(encoding="utf-8"))
            digest, best, stage = record["digest"], record["best"], record.get("stage", 0)
            held = _described(reader.metadata(place))
        like = like(stage) if callable(like) else like
        template = jax.tree.map(
            lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(_plain, like)
        )
        _check_same(held, _described(_by_name(template)), folder)
        with _damage():
            arrays = template.replace(
                **reader.restore(place, args=ocp.args.StandardRestore(_by_name(template)))
            )
            if _digest(arrays) != digest:
                raise ValueError("its bytes do not match their checksum")
        state = jax.tree.map(lambda leaf, value: devices.put(value, leaf.sharding), like, arrays)
        return Restored(state.replace(key=jax.random.wrap_key_data(state.key)), best, stage)


class _Damaged(Exception):
    """A checkpoint that can't be read, or not to what was written."""


@contextmanager
def _damage() -> Iterator[None]:
    """A damaged file fails in many ways; each means: use the one before."""
    try:
        yield
    except Exception as error:
        raise _Damaged(_reason(error)) from error


def _described(arrays: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> type and shape of each array, the same for a state and for Orbax's description."""
    return {
        "/".join(
            str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in path
        ): (
            np.dtype(leaf.dtype).name,
            tuple(leaf.shape),
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(arrays)
    }


def _check_same(held: dict, wanted: dict, folder: Path) -> None:
    """Raises Mismatch, with the first differing arrays."""
    names = [name for name in sorted({*held, *wanted}) if held.get(name) != wanted.get(name)]
    if not names:
        return

    def told(array):
        return "absent" if array is None else f"{array[0]}{list(array[1])}"

    differing = ", ".join(
        f"{name} ({told(held.get(name))} there, {told(wanted.get(name))} expected)"
        for name in names[:2]
    )
    raise Mismatch(
        f"{folder} was saved by a run of another network, optimiser or trainable part than this"
        f" config's: {len(names)} arrays differ, {differing}; give the config of that run"
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


def _reason(error: Exception) -> str:
    """In one short line."""
    if "no space left" in str(error).lower():
        return "no space left on the disk"
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
