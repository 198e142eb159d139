"""From a config to one that can be used: data-set values filled in, names and ranges checked."""

from __future__ import annotations

import re
from collections.abc import Collection

from ml_collections import ConfigDict

from ltjax.augment import AUTOAUGMENT
from ltjax.data import DATASETS, STREAMED, is_streamed
from ltjax.experiment.ranges import RANGES, check_ranges
from ltjax.experiment.recipe import objective_name
from ltjax.experiment.schedules import learning_rate_schedule, rho_schedule
from ltjax.experiment.stages import stage_epochs, stages_of
from ltjax.fields import get, has
from ltjax.losses import LOSSES
from ltjax.models import MODELS
from ltjax.names import unknown
from ltjax.objectives import OBJECTIVES
from ltjax.objectives.classify import MIXINGS
from ltjax.optim import OPTIMIZERS
from ltjax.posthoc import HEADS, NCM_KINDS
from ltjax.reweighting import WEIGHTS
from ltjax.sampling import SAMPLERS

POSTHOC_METHODS = (
    *("own", "logit_adjusted", "tau_normalized"),
    *(f"ncm_{kind}" for kind in NCM_KINDS),
    *HEADS,
)

_CHOICES: dict[str, Collection[str]] = {
    "data.unreadable": ("error", "skip"),
    "model.name": MODELS,
    "model.classifier": ("linear", "normalized", "scaled"),
    "model.dtype": ("float32", "bfloat16"),
    "reweighting.name": WEIGHTS,
    "sampler.name": SAMPLERS,
    "augment.policy": ("none", *AUTOAUGMENT, "rand_augment"),
    "mixing.name": MIXINGS,
    "hessian.images": ("train", "test"),
    "hessian.loss": ("cross_entropy", "run"),
    "model.reslt.head": ("batch_norm", "grouped"),
    "model.efficientnet.numerics": ("tensorflow", "torch"),
    "optimizer.name": OPTIMIZERS,
    "learning_rate.schedule": ("warmup_piecewise", "cosine", "constant"),
    "sam.schedule": ("constant", "piecewise", "linear"),
    "sam.batch_stats": ("both", "first"),
    "sam.focus": ("all", "focal", "tail"),
}


def resolve(config: ConfigDict) -> ConfigDict:
    """A copy with None fields taken from `by_dataset`, and checked.

    Raises:
      ValueError: an unknown name (with the nearest right one), a value out of range, or a field
        that is absent or still without a value.
    """
    _check_whole(config)
    config = config.copy_and_resolve_references()
    config.lock()
    if not is_streamed(config.data.name):
        _check_choice(config, "data.name", (*DATASETS, *STREAMED))
    defaults = config.by_dataset.get(config.data.name.partition(":")[0], ConfigDict())
    if tuple(config.stages):
        config.training.published_epochs = sum(stage_epochs(config, name) for name in config.stages)
    if config.training.epochs is None:
        config.training.epochs = config.training.published_epochs
    _fill(config, defaults)
    _check(config)
    for stage in stages_of(config):
        _check(stage.config, f"stage {stage.name!r}: " if stage.name else "")
        learning_rate_schedule(stage.config, *stage.span("learning_rate"))
        rho_schedule(stage.config, *stage.span("sam"))
    if stages_of(config)[-1].config.target != "class":
        raise ValueError(
            f"config.target is {stages_of(config)[-1].config.target!r} in the last stage;"
            " expected 'class', which is evaluated"
        )
    return config


def _check_whole(config: ConfigDict) -> None:
    """Raises ValueError for what was not made from configs/base.py, which has every field."""
    if not isinstance(config, ConfigDict):
        raise ValueError(f"get_config() returns {type(config).__name__}; expected a ConfigDict")
    sections = ("name", "stages", "stage", "parameters", "by_dataset", "published", "logging")
    absent = [path for path in (*sections, *_CHOICES, *RANGES) if not has(config, path)]
    if absent:
        raise ValueError(
            f"the config lacks {len(absent)} fields, such as {', '.join(absent[:3])}; begin"
            " get_config() with config = base.get_config() (from configs import base)"
        )


def check_one_seed(config: ConfigDict) -> None:
    """Raises ValueError where a config of several seeds can't be used."""
    if tuple(config.seeds):
        raise ValueError(
            f"config.seeds is {tuple(config.seeds)};"
            " expected () here: give --config.seed=K and, of such a run, --workdir=DIR/seedK"
        )


def _check(config: ConfigDict, where: str = "") -> None:
    named = {
        section: [name for name, method in OBJECTIVES.items() if method.named_by == section]
        for section in ("objective", "loss", "target")
    }
    choices = _CHOICES | {
        "objective.name": named["objective"],
        "loss.name": (*LOSSES, *named["loss"]),
        "target": ("class", *named["target"]),
    }
    for path, known in choices.items():
        _check_choice(config, path, known, where)
    _check_posthoc(config.posthoc)
    seeds = tuple(config.seeds)
    if not all(isinstance(seed, int) for seed in seeds) or len(set(seeds)) < len(seeds):
        raise ValueError(
            f"config.seeds is {seeds}; expected different integers, such as (0, 1, 2), or ()"
        )
    if seeds and is_streamed(config.data.name):
        raise ValueError(
            f"config.seeds is {seeds} with config.data.name {config.data.name!r};"
            " photographs are decoded for one seed at a time: give config.seed, and a run to each"
        )
    if len(seeds) > 1 and config.training.patience and config.training.vmap_seeds == 1:
        raise ValueError(
            f"config.training.patience is {config.training.patience} with"
            " config.training.vmap_seeds 1: seeds end at different epochs then and train one"
            " after the other; expected -1 or 0"
        )
    if len(seeds) > 1 and config.logging.wandb:
        raise ValueError(
            f"config.seeds is {seeds} with config.logging.wandb, which follows one run at a time;"
            " give config.seed, and a run to each"
        )
    num_channels = len(config.data.mean)
    needed = is_streamed(config.data.name)  # those in memory are measured where there are none
    if len(config.data.std) != num_channels or (needed and not num_channels):
        raise ValueError(
            f"config.data.std is {config.data.std};"
            f" expected {num_channels} values above 0, as many as data.mean"
        )
    low, high = (*config.data.crop_scale, 0.0, 0.0)[:2]
    if len(config.data.crop_scale) != 2 or not 0 < low <= high <= 1:
        raise ValueError(
            f"config.data.crop_scale is {config.data.crop_scale};"
            " expected two shares of the area, ascending in (0, 1]"
        )
    jitter = tuple(config.augment.jitter)
    if (
        len(jitter) not in (0, 3, 4)
        or any(value < 0 for value in jitter)
        or max(jitter[3:], default=0) > 0.5
    ):
        raise ValueError(
            f"{where}config.augment.jitter is {jitter};"
            " expected brightness, contrast and saturation of at least 0,"
            " and where wanted the hue's of at most 0.5, or ()"
        )
    crop = tuple(config.augment.resized_crop)
    if len(crop) not in (0, 2) or list(crop) != sorted(crop):
        raise ValueError(
            f"{where}config.augment.resized_crop is {crop}; expected two ascending shares of the"
            " area, such as (0.08, 1.0), or ()"
        )
    check_ranges(config, where)
    thresholds = tuple(config.data.group_thresholds)
    if len(thresholds) != 2 or thresholds[0] > thresholds[1]:
        raise ValueError(
            f"config.data.group_thresholds is {thresholds};"
            " expected two ascending numbers of images, such as (20, 100): few below the first,"
            " many above the second"
        )
    if config.data.shorter_side < config.data.image_size:
        raise ValueError(
            f"config.data.shorter_side is {config.data.shorter_side};"
            f" expected at least config.data.image_size, {config.data.image_size}"
        )
    if config.training.batch_size % config.training.accumulate:
        raise ValueError(
            f"config.training.accumulate is {config.training.accumulate};"
            f" expected a divisor of config.training.batch_size, {config.training.batch_size}"
        )
    for path in ("parameters.trainable", "parameters.reset", "init_except"):
        try:
            re.compile(get(config, path))
        except re.error as error:
            raise ValueError(
                f"{where}config.{path} is {get(config, path)!r};"
                f" expected a regular expression ({error})"
            ) from None
    _check_objective(config, where)


def _check_objective(config: ConfigDict, where: str) -> None:
    """What the objective asks of the rest of the config."""
    name = objective_name(config)
    method = OBJECTIVES[name]
    for other, asked in OBJECTIVES.items():
        its_network = bool(asked.network) and config.model.name.startswith(asked.network)
        if (
            asked.network
            and method.outputs is None
            and ((method.network == asked.network) != its_network)
        ):
            raise ValueError(
                f"{where}config.{method.named_by}.name is {name!r} with config.model.name"
                f" {config.model.name!r}; the {other} {asked.named_by} and the {asked.network}"
                " networks go together"
            )
    what = f"{where}the {name} {method.named_by}"
    if config.training.accumulate > 1 and not method.in_parts:
        raise ValueError(
            f"{what} is not a mean over images; config.training.accumulate is"
            f" {config.training.accumulate}, expected 1"
        )
    if config.reweighting.name != "none" and not method.class_weights:
        raise ValueError(
            f"{what} takes no class weights; config.reweighting.name is"
            f" {config.reweighting.name!r}, expected 'none'"
        )
    if config.sam.focus != "all" and not (config.sam.enabled and method.by_class):
        needed = f"{what} is no sum over classes" if config.sam.enabled else "sam.enabled is False"
        raise ValueError(
            f"{where}config.sam.focus is {config.sam.focus!r}, and {needed}; expected 'all'"
        )
    if method.mixings is not None and config.mixing.name not in method.mixings:
        raise ValueError(
            f"{what} takes no {config.mixing.name}; config.mixing.name is expected to be"
            f" {' or '.join(map(repr, method.mixings))}"
        )


def _check_posthoc(config: ConfigDict) -> None:
    for name in config.methods:
        if name not in POSTHOC_METHODS:
            raise unknown("config.posthoc.methods holds", name, POSTHOC_METHODS)
    for name in ("methods", "learning_rates", "epochs"):
        if not tuple(config[name]):
            raise ValueError(f"config.posthoc.{name} is (); expected one at least")
    if not all(isinstance(epochs, int) for epochs in config.epochs):
        raise ValueError(f"config.posthoc.epochs is {config.epochs}; expected whole numbers")
    if len(config.smoothing) != 2:
        raise ValueError(
            f"config.posthoc.smoothing is {config.smoothing}; expected two values, of the"
            " largest and of the smallest class"
        )


def _fill(config: ConfigDict, defaults: ConfigDict, prefix: str = "") -> None:
    for name, value in config.items():
        path = f"{prefix}{name}"
        if path in ("by_dataset", "published", "stage"):
            continue
        if isinstance(value, ConfigDict):
            _fill(value, defaults, f"{path}.")
        elif value is None:
            try:
                config[name] = get(defaults, path)
            except KeyError:
                raise ValueError(
                    f"config.{path} has no value, nor has config.by_dataset for this data set;"
                    f" give --config.{path}=..."
                ) from None


def _check_choice(config: ConfigDict, path: str, known: Collection[str], where: str = "") -> None:
    value = get(config, path)
    if value not in known:
        raise unknown(f"{where}config.{path} is", value, known)
