"""One stage of a config made into what the compiled step needs: network, objective, optimiser,
sampler, augmentation.

`Recipe` holds what is fixed while a program is compiled; `Settings` what changes from epoch to
epoch and is traced, so that a new learning rate, radius or the start of re-weighting compiles
nothing anew.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import path_aware_map
from ml_collections import ConfigDict

from ltjax import augment, fields, losses, models, objectives, optim, sampling
from ltjax.experiment.stages import STAGE_SECTIONS, Stage, objective_name
from ltjax.objectives.classify import mixing


@dataclasses.dataclass(frozen=True, eq=False)
class Recipe:
    """What is fixed while a stage lasts.

    Attributes:
      model: Flax Linen module, with the heads that the objective adds.
      objective: what it is asked in training.
      loss: (logits, labels) -> per-example losses, of its evaluation.
      logit_scale: what the loss multiplies the network's outputs with.
      optimizer: learning rate -> base optimiser.
      order: (key, labels, epoch) -> indices of the epoch.
      mean, std: normalisation a channel.
      views: of each image, (key, uint8 images) -> normalised images; the first is the config's own
        augmentation.
      resolution: pixels that images are resized to; 0 is their own.
      trainable: regular expression of the parameters that train, matched at the start of names such
        as linear/kernel; "" is all.
      frozen_statistics: the network runs in evaluation mode, so BatchNorm statistics stay.
      part: images that pass through the network together, of a batch that is computed in parts; 0
        is the whole batch.
      sam, adaptive: whether and which form.
      focus: of SAM, class vectors of the loss's plain and its perturbed part, [2, C]; None perturbs
        all of it.
      both_update_stats: whether SAM's second pass updates BatchNorm's running statistics too.
      batch_sharding: of a batch over devices; None on one device.
    """

    model: nn.Module
    objective: objectives.Objective
    loss: Callable[[jax.Array, jax.Array], jax.Array]
    optimizer: Callable[[jax.Array], optax.GradientTransformation]
    order: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    mean: Sequence[float]
    std: Sequence[float]
    logit_scale: float = 1.0
    views: Sequence[objectives.View] = ()
    resolution: int = 0
    trainable: str = ""
    frozen_statistics: bool = False
    part: int = 0
    sam: bool = False
    adaptive: bool = False
    focus: jax.Array | None = None
    both_update_stats: bool = True
    batch_sharding: jax.sharding.NamedSharding | None = None


class Settings(flax.struct.PyTreeNode):
    """What changes between epochs: learning rate, SAM radius, class weights [C], and the share of
    the epochs that are done.
    """

    learning_rate: jax.Array
    rho: jax.Array
    class_weights: jax.Array
    progress: jax.Array | None = None


def make_recipe(
    stage: Stage,
    size: tuple[int, int],
    class_counts: np.ndarray,
    sharding: jax.sharding.NamedSharding | None,
) -> Recipe:
    """What the stage's training step is compiled from.

    Args:
      stage: of a resolved config.
      size: height and width of the images.
      class_counts: training images of each class, [C].
      sharding: of a batch over devices.
    """
    config = stage.config
    objective = make_objective(config, class_counts, size)
    return Recipe(
        model=make_model(config, len(class_counts), objective),
        objective=objective,
        loss=make_loss(config, learned_counts(config, class_counts)),
        logit_scale=logit_scale(config),
        optimizer=make_optimizer(config),
        order=_order(stage, len(class_counts)),
        mean=tuple(config.data.mean),
        std=tuple(config.data.std),
        views=(_view(config, size), *objective.views),
        resolution=config.data.resolution,
        trainable=config.parameters.trainable,
        frozen_statistics=config.parameters.frozen_statistics,
        part=_part(config),
        sam=config.sam.enabled,
        adaptive=config.sam.adaptive,
        focus=make_focus(config, learned_counts(config, class_counts)),
        both_update_stats=config.sam.batch_stats == "both",
        batch_sharding=sharding,
    )


def logit_scale(config: ConfigDict) -> float:
    """What a stage's loss multiplies the network's outputs with."""
    return float(config.loss.ldam.scale) if config.loss.name == "ldam" else 1.0


def compiled_as(stage: Stage) -> str:
    """Equal for stages whose training step compiles to the same program: rates, radius and class
    weights are its arguments.
    """
    return json.dumps(compiled_leaves(stage), sort_keys=True)


def compiled_leaves(stage: Stage) -> dict[str, Any]:
    """What the stage's training step is compiled from, by field."""
    leaves = {
        name: value
        for name, value in fields.flat(stage.config).items()
        if name.split(".")[0] in STAGE_SECTIONS
    }
    arguments = (
        "learning_rate.",
        "reweighting.",
        "parameters.reset",
        "sam.rho",
        "sam.schedule",
        "sam.milestones",
    )
    used = objective_name(stage.config)
    leaves = {
        name: value
        for name, value in leaves.items()
        if not name.startswith(arguments)
        and (name.split(".")[:-2] != ["objective"] or name.split(".")[1] == used)
    }
    if stage.config.sampler.name == "progressive":
        leaves["sampler (first epoch, epochs, published)"] = list(stage.span("sampler"))
    return leaves


def num_outputs(config: ConfigDict, num_classes: int) -> int:
    """Of the network, for the config's objective."""
    return objectives.OBJECTIVES[objective_name(config)].outputs or num_classes


def learned_counts(config: ConfigDict, class_counts: np.ndarray) -> np.ndarray:
    """Training images of each class that the objective learns: those of the data, or as many of
    each.
    """
    outputs = objectives.OBJECTIVES[objective_name(config)].outputs
    return class_counts if outputs is None else np.ones(outputs)


def make_objective(
    config: ConfigDict, class_counts: np.ndarray, size: tuple[int, int]
) -> objectives.Objective:
    """The config's objective.

    Args:
      class_counts: training images of each class, [C].
      size: height and width of the images.
    """
    name = objective_name(config)
    method = objectives.OBJECTIVES[name]
    counts = learned_counts(config, class_counts)
    given = objectives.Given(
        loss=make_loss(config, counts),
        class_counts=counts,
        mixing=mixing(class_counts=counts, **config.mixing),
        view=_view(config, size),
        contrast_view=partial(
            augment.contrast,
            mean=tuple(config.data.mean),
            std=tuple(config.data.std),
            flip=config.augment.flip,
        ),
    )
    section = config.loss if method.named_by == "loss" else config.objective
    return method.make(given, **section.get(name, {}))


def make_model(config: ConfigDict, num_classes: int, objective: objectives.Objective) -> nn.Module:
    """The config's network with the objective's heads."""
    model = create_model(config, num_outputs(config, num_classes))
    return objective.heads(model) if objective.heads else model


def _part(config: ConfigDict) -> int:
    """Images of a part, those that the objective makes of one counted."""
    if config.training.accumulate == 1:
        return 0
    copies = 4 if config.target == "rotation" else 1
    return copies * config.training.batch_size // config.training.accumulate


def create_model(config: ConfigDict, num_classes: int) -> nn.Module:
    """The config's network, without heads of an objective."""
    name, options = config.model.name, {}
    if config.model.width:
        options["width"] = config.model.width
    if config.model.zero_init:
        options["zero_init"] = True
    if name.startswith("experts_"):
        options |= dict(config.model.experts)
    if name.startswith("reslt_"):
        options |= dict(config.model.reslt)
    if name.startswith("efficientnet"):
        options |= dict(config.model.efficientnet)
    dtype = None if config.model.dtype == "float32" else config.model.dtype
    return models.create(
        name, num_classes, classifier=config.model.classifier, dtype=dtype, **options
    )


def make_loss(
    config: ConfigDict, class_counts: np.ndarray
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The config's loss as (logits, labels) -> per-example losses; cross-entropy where an objective
    brings its own.
    """
    name = config.loss.name if config.loss.name in losses.LOSSES else "cross_entropy"
    loss = losses.LOSSES[name]
    options: dict[str, Any] = dict(config.loss.get(name, {}))
    if "class_counts" in inspect.signature(loss).parameters:
        options["class_counts"] = class_counts
    return partial(loss, **options)


def _policy(
    config: ConfigDict, height: int, width: int
) -> Callable[[jax.Array, jax.Array], jax.Array] | None:
    if config.augment.policy == "none":
        return None
    if config.augment.policy == "rand_augment":
        return augment.rand_augment(height, width, config.augment.num_ops, config.augment.magnitude)
    return augment.auto_augment(config.augment.policy, height, width)


def _view(config: ConfigDict, size: tuple[int, int]) -> objectives.View:
    """The config's own augmentation."""
    return partial(
        augment.standard,
        mean=tuple(config.data.mean),
        std=tuple(config.data.std),
        resized_crop=tuple(config.augment.resized_crop),
        padding=config.augment.padding,
        flip=config.augment.flip,
        jitter=tuple(config.augment.jitter) if any(config.augment.jitter) else (),
        jitter_probability=config.augment.jitter_probability,
        grey=config.augment.grey,
        blur=config.augment.blur,
        policy=_policy(config, *size),
        cutout=config.augment.cutout,
        cutout_first=config.augment.cutout_first,
    )


def make_optimizer(config: ConfigDict) -> Callable[[jax.Array], Any]:
    """Learning rate -> base optimiser."""
    options = {"weight_decay": config.optimizer.weight_decay}
    if config.optimizer.name == "sgd":
        options |= {"momentum": config.optimizer.momentum, "nesterov": config.optimizer.nesterov}
    factor = config.optimizer.classifier_rate

    def optimizer(learning_rate):
        base = optim.OPTIMIZERS[config.optimizer.name](learning_rate, **options)
        return base if factor == 1 else optax.chain(base, optax.masked(optax.scale(factor), _slow))

    return optimizer


def make_focus(config: ConfigDict, class_counts: np.ndarray) -> jax.Array | None:
    """Class vectors of the loss's plain and of its perturbed part, [2, C]; None where SAM perturbs
    all of it.

    Raises:
      ValueError: a threshold that no class is below.
    """
    sam = config.sam
    if not sam.enabled or sam.focus == "all":
        return None
    if sam.focus == "focal":
        perturbed = optim.focal_weights(class_counts, sam.focal.gamma, sam.focal.lam)
        return jnp.stack([1.0 - perturbed, perturbed])
    perturbed = optim.tail_weights(class_counts, sam.tail.threshold, sam.tail.scale)
    if not np.any(perturbed):
        raise ValueError(
            f"config.sam.tail.threshold is {sam.tail.threshold}, and the rarest class has"
            f" {min(class_counts)} images: nothing would be perturbed; expected a value above that"
        )
    return jnp.stack([perturbed == 0, perturbed]).astype(perturbed.dtype)


def _slow(params: Any) -> Any:
    """Whether a parameter has the classifier's own rate: its weights and bias."""
    named = {("linear", "kernel"), ("linear", "bias")}
    return path_aware_map(lambda path, _: path in named, params)


def _order(
    stage: Stage, num_classes: int
) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
    sampler = stage.config.sampler
    first, epochs, _ = stage.span("sampler")

    def order(key, labels, epoch):
        if sampler.name == "shuffled":
            return sampling.shuffled(key, labels)
        if sampler.name == "power":
            return sampling.power(key, labels, sampler.q, num_classes=num_classes)
        if sampler.name == "progressive":
            return sampling.progressive(
                key, labels, (epoch - first) / max(epochs - 1, 1), num_classes=num_classes
            )
        return sampling.SAMPLERS[sampler.name](key, labels, num_classes=num_classes)

    return order
