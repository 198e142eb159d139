"""A run that begins with another one's checkpoint, as long as both are the same until then.

So one run of plain cross-entropy serves deferred re-weighting with any weights, a classifier
trained anew, and every other recipe that differs in its last epochs alone.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ltjax.experiment.experiment import Experiment
from ltjax.experiment.initial import recorded_config
from ltjax.experiment.recipe import compiled_leaves, objective_name
from ltjax.experiment.stages import STAGE_SECTIONS, stages_of
from ltjax.fields import flat
from ltjax.objectives import OBJECTIVES
from ltjax.workdir.checkpoint import Checkpoints, Restored
from ltjax.workdir.workdir import FREE, Workdir, read_json


class Fork(NamedTuple):
    """Where a run begins: the checkpoint, the other run's rows of metrics.jsonl before it, and what
    config.json tells of it.
    """

    restored: Restored
    rows: list[dict]
    told: dict[str, Any]


def fork_of(experiment: Experiment, folder: Path, workdir: Path) -> Fork:
    """The newest checkpoint of a run up to which it is the experiment's own.

    Args:
      experiment: of one seed.
      folder: the run's work directory; with several seeds, what holds them.
      workdir: the experiment's own.

    Raises:
      FileNotFoundError: no run there; ValueError: the two differ from the start, or before the
        run's first checkpoint; names the first difference.
    """
    if workdir.name == f"seed{experiment.config.seed}" and (folder / workdir.name).is_dir():
        folder = folder / workdir.name
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"config.fork is {folder}: no run there (no config.json); give a run's work directory"
        )
    if folder.resolve() == workdir.resolve():
        raise ValueError(f"config.fork is {folder}, the run itself; give another run, or none")
    record = read_json(folder / "config.json")
    config = recorded_config(record)
    theirs = dataclasses.replace(experiment, config=config, stages=stages_of(config), recipes=[])
    _check_whole(experiment, theirs, record, folder)
    shared, difference = _shared_epochs(experiment, theirs)
    if not shared:
        raise ValueError(f"config.fork: {folder} differs from the first epoch on: {difference}")
    restored = _read(experiment, theirs, folder, shared)
    if restored is None:
        raise ValueError(
            f"config.fork: {folder} has no checkpoint of its first {shared} epochs, after which it"
            f" differs ({difference}); train it with --config.checkpoint.at='({shared},)'"
        )
    state = restored.state
    epoch, position = int(state.epoch), int(state.position)
    restored = restored._replace(stage=experiment.stage_at(epoch if position else epoch - 1))
    told = {"run": str(folder), "epoch": epoch, "step": int(state.step), "starts": record["starts"]}
    rows = [_row(experiment, row) for row in Workdir(folder).read_metrics(epoch)]
    return Fork(restored, rows, told)


def _row(ours: Experiment, row: dict) -> dict:
    """The other run's row, under the name that the stage has here."""
    name = ours.stages[ours.stage_at(row["epoch"])].name
    return {key: value for key, value in row.items() if key != "stage"} | (
        {"stage": name} if name else {}
    )


def _read(ours: Experiment, theirs: Experiment, folder: Path, epochs: int) -> Restored | None:
    return Checkpoints(folder).restore(
        lambda stage: ours.state_like(ours.stage_at(theirs.stages[stage].first)),
        newest=epochs * ours.steps_per_epoch,
    )


def _check_whole(ours: Experiment, theirs: Experiment, record: dict, folder: Path) -> None:
    """What holds for the whole of a run: data, network, batches, seed."""
    left_out = (*FREE, "stage", "training.epochs", "training.published_epochs", "name")
    here, there = (
        {
            name: value
            for name, value in flat(run.config).items()
            if not name.startswith(left_out) and name.partition(".")[0] not in STAGE_SECTIONS
        }
        for run in (ours, theirs)
    )
    difference = _difference(there, here)
    if difference:
        raise ValueError(f"config.fork: {folder} differs from the first epoch on: {difference}")
    if record["data"]["digest"] != ours.dataset.digest():
        raise ValueError(
            f"config.fork: {folder} was trained on other images (from {record['data']['source']},"
            f" now {ours.dataset.source})"
        )


def _shared_epochs(ours: Experiment, theirs: Experiment) -> tuple[int, str]:
    """How many epochs both train alike, and the first difference after them."""
    both = min(ours.config.training.epochs, theirs.config.training.epochs)
    for epoch in range(both):
        difference = _difference(_plan(theirs, epoch), _plan(ours, epoch))
        if difference:
            return epoch, difference
    return both, f"one of them ends after {both} epochs"


def _plan(run: Experiment, epoch: int) -> dict[str, Any]:
    """All that an epoch's training depends on besides the state at its start."""
    number = run.stage_at(epoch)
    stage = run.stages[number]
    settings = run.settings(epoch)
    plan = compiled_leaves(stage)
    plan["learning rate"], plan["SAM radius"] = run.learning_rate(epoch), run.rho(epoch)
    plan["class weights"] = np.asarray(settings.class_weights).tolist()
    if OBJECTIVES[objective_name(stage.config)].scheduled:
        plan["share of the epochs done"] = np.asarray(settings.progress).tolist()
    begins = number > 0 and epoch == stage.first
    plan["momentum starts anew"] = begins and stage.starts_anew
    if begins and objective_name(stage.config) != objective_name(run.stages[number - 1].config):
        plan["objective begins in stage"] = number
    resets = number == 0 or "parameters" in stage.states
    if epoch == stage.first and resets and stage.config.parameters.reset:
        plan["parameters start anew"] = [stage.config.parameters.reset, number]
    return plan


def _difference(there: dict[str, Any], here: dict[str, Any]) -> str:
    """The first field whose values differ, as "loss.name (focal there, ldam here)"; "" for none."""
    for name in sorted({*there, *here}):
        values = [_told(side.get(name, "absent")) for side in (there, here)]
        if there.get(name) != here.get(name):
            return f"{name} ({values[0]} there, {values[1]} here)"
    return ""


def _told(value: Any) -> str:
    text = str(value)
    return text if len(text) < 60 else text[:56] + " ..."
