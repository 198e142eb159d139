"""The lines that a run says: what is about to train, in which stage, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ltjax.experiment.stages import Stage
from ltjax.experiment.state import TrainState
from ltjax.training.record import Record


def mean(rows: list[dict]) -> dict:
    """The line shown of several seeds: their mean, and the images of all a second."""
    if len(rows) == 1:
        return rows[0]
    means = {
        name: float(np.mean([row[name] for row in rows]))
        for name, value in rows[0].items()
        if isinstance(value, float)
    }
    return rows[0] | means | {"images_per_second": sum(row["images_per_second"] for row in rows)}


def best_line(record: Record, several: bool) -> str:
    """The epoch that the validation images chose."""
    best = record.best or {}
    seed = f"seed {record.experiment.config.seed}: " if several else ""
    validated = f"{100 * best['val_balanced_accuracy']:.2f} %"
    line = f"{seed}best epoch {best['epoch'] + 1} by validation, balanced accuracy {validated}"
    if "test_accuracy" not in best:
        return line
    return (
        f"{line}; on the test set {100 * best['balanced_accuracy']:.2f} % balanced,"
        f" {100 * best['test_accuracy']:.2f} % of all"
    )


def from_here(state: TrainState) -> str:
    return f"continuing from epoch {int(state.epoch) + 1}, step {int(state.step)}"


def header(records: list[Record], workdir: Path) -> Iterator[str]:
    """What is about to run, in three lines."""
    experiment = records[0].experiment
    config, dataset, counts = experiment.config, experiment.dataset, experiment.class_counts
    held_out = ", ".join(
        f"{len(getattr(dataset, f'{split}_labels')):,} {told} images"
        for split, told in (("val", "validation"), ("test", "test"))
        if split in experiment.splits or split == "test"
    )
    yield (
        f"{config.name}: {config.model.name} on {dataset.name},"
        f" {len(dataset.train_labels):,} training images"
        f" ({counts.max()} to {counts.min()} a class, from {dataset.source}), {held_out}"
    )
    yield from dataset.notes
    seeds = ", ".join(str(record.experiment.config.seed) for record in records)
    together = f"s {seeds} together (below: their means)" if len(records) > 1 else f" {seeds}"
    yield f"{config.training.epochs} epochs, batch {config.training.batch_size}, seed{together}"
    if len(experiment.stages) == 1:
        yield stage_line(experiment.stages[0])
    device = experiment.devices[0]
    kind = f"{device.device_kind} ({device.platform})"
    yield f"{len(experiment.devices)} x {kind}, {config.model.dtype}; {workdir}"


def stage_line(stage: Stage) -> str:
    """What a stage does."""
    config, last = stage.config, stage.first + stage.epochs
    parts = [f"epochs {stage.first + 1} to {last}: {config.loss.name}"]
    if config.target != "class":
        parts.append(f"target {config.target}")
    elif config.objective.name != "classify":
        parts.append(config.objective.name)
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
