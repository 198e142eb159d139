"""From a config to what the trainer uses: data-set values filled in, names and ranges checked, schedules built."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

from ltjax.data import DATASETS
from ltjax.losses import LOSSES
from ltjax.models import MODELS
from ltjax.names import unknown
from ltjax.optim import OPTIMIZERS, EpochSchedule, constant, cosine, linear, piecewise, warmup_piecewise
from ltjax.reweighting import WEIGHTS
from ltjax.sampling import SAMPLERS

_CHOICES: dict[str, Collection[str]] = {
    "data.name": DATASETS,
    "model.name": MODELS,
    "model.classifier": ("linear", "normalized"),
    "model.dtype": ("float32", "bfloat16"),
    "loss.name": LOSSES,
    "reweighting.name": WEIGHTS,
    "sampler.name": SAMPLERS,
    "optimizer.name": OPTIMIZERS,
    "learning_rate.schedule": ("warmup_piecewise", "cosine", "constant"),
    "sam.schedule": ("constant", "piecewise", "linear"),
    "sam.batch_stats": ("both", "first"),
}

_AT_LEAST: dict[str, float] = {
    "training.epochs": 1,
    "training.published_epochs": 1,
    "training.batch_size": 1,
    "training.steps_per_call": -1,
    "training.cpu_devices": 0,
    "evaluation.every": 1,
    "evaluation.batch_size": 1,
    "checkpoint.every": 1,
    "checkpoint.minutes": 0,
    "checkpoint.keep": 1,
    "learning_rate.base": 0,
    "learning_rate.warmup_epochs": 0,
    "optimizer.weight_decay": 0,
    "augment.padding": 0,
    "augment.flip": 0,
    "augment.mixup_alpha": 0,
    "sam.rho": 0,
    "reweighting.start_epoch": 0,
    "sampler.start_epoch": 0,
    "model.width": 2,
}


def resolve(config: ConfigDict) -> ConfigDict:
    """A copy with None fields taken from `by_dataset`, and checked.

    Raises:
      ValueError: an unknown name (with the nearest right one), a value out of range, or a field still without a value.
    """
    config = config.copy_and_resolve_references()
    config.lock()
    _check_choice(config, "data.name", DATASETS)
    defaults = config.by_dataset.get(config.data.name, ConfigDict())
    _fill(config, defaults)
    for path, known in _CHOICES.items():
        _check_choice(config, path, known)
    for path, minimum in _AT_LEAST.items():
        if not get(config, path) >= minimum:
            raise ValueError(f"config.{path} is {get(config, path)}; expected at least {minimum}")
    num_channels = len(config.data.mean)
    if len(config.data.std) != num_channels or min(config.data.std) <= 0:
        raise ValueError(f"config.data.std is {config.data.std}; expected {num_channels} values above 0, as many as data.mean")
    learning_rate_schedule(config)
    rho_schedule(config)
    return config


def get(config: Any, path: str) -> Any:
    """config.a.b from "a.b"."""
    for name in path.split("."):
        config = config[name]
    return config


def flat(config: Mapping) -> dict[str, Any]:
    """{"a.b": value} of every leaf, tuples as lists, as JSON gives them back."""
    leaves: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, (ConfigDict, Mapping)):
            leaves.update({f"{name}.{below}": leaf for below, leaf in flat(value).items()})
        else:
            leaves[name] = list(value) if isinstance(value, tuple) else value
    return leaves


def scaled(config: ConfigDict, epoch: int) -> int:
    """A milestone stated for the published number of epochs, in this run's."""
    return round(epoch * config.training.epochs / config.training.published_epochs)


def learning_rate_schedule(config: ConfigDict) -> EpochSchedule:
    """Epoch -> learning rate.

    Raises:
      ValueError: factors and milestones that do not fit.
    """
    rate = config.learning_rate
    if rate.schedule == "cosine":
        return cosine(rate.base, config.training.epochs, scaled(config, rate.warmup_epochs))
    if rate.schedule == "constant":
        return constant(rate.base)
    milestones = [scaled(config, epoch) for epoch in rate.milestones]
    if len(rate.factors) != len(milestones):
        raise ValueError(
            f"config.learning_rate.factors {rate.factors} and milestones {rate.milestones}: expected as many of one as of the other"
        )
    return warmup_piecewise(rate.base, scaled(config, rate.warmup_epochs), rate.factors, milestones)


def rho_schedule(config: ConfigDict) -> EpochSchedule:
    """Epoch -> SAM radius."""
    sam = config.sam
    if sam.schedule == "piecewise":
        if len(sam.rho_steps) != len(sam.milestones) + 1:
            raise ValueError(
                f"config.sam.rho_steps {sam.rho_steps} and milestones {sam.milestones}: expected one step more than milestones"
            )
        return piecewise(sam.rho_steps, [scaled(config, epoch) for epoch in sam.milestones])
    if sam.schedule == "linear":
        return linear(sam.rho_min, sam.rho, config.training.epochs)
    return constant(sam.rho)


def _fill(config: ConfigDict, defaults: ConfigDict, prefix: str = "") -> None:
    for name, value in config.items():
        path = f"{prefix}{name}"
        if path in ("by_dataset", "published"):
            continue
        if isinstance(value, ConfigDict):
            _fill(value, defaults, f"{path}.")
        elif value is None:
            try:
                config[name] = get(defaults, path)
            except KeyError:
                raise ValueError(
                    f"config.{path} has no value, nor has config.by_dataset for this data set; give --config.{path}=..."
                ) from None


def _check_choice(config: ConfigDict, path: str, known: Collection[str]) -> None:
    value = get(config, path)
    if value not in known:
        raise unknown(f"config.{path} is", value, known)
