"""One stage of a config made into what the compiled step needs: network, loss, optimiser, sampler,
augmentation.

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
import numpy as np
import optax
from flax.traverse_util import path_aware_map
from ml_collections import ConfigDict

from ltjax import augment, fields, losses, models, optim, sampling
from ltjax.experiment.stages import STAGE_SECTIONS, Stage

ROTATIONS = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Recipe:
    """What is fixed while a stage lasts.

    Attributes:
      model: Flax Linen module.
      loss: (logits, labels) -> per-example losses.
      optimizer: learning rate -> base optimiser.
      order: (key, labels, epoch) -> indices of the epoch.
      mean, std: normalisation a channel.
      padding, flip: of the random crop and flip; 0 is off.
      policy: (key, uint8 images) -> uint8 images, after crop and flip; None is off.
      jitter: brightness, contrast and saturation of the colour jitter; () is off.
      cutout: side of the square set to the mean colour; 0 is off.
      resolution: pixels that images are resized to; 0 is their own.
      mix: (key, images, labels) -> augment.Mixed; None is off.
      branch_loss: (branch logits, labels) -> scalar, of a network with branches (ResLT); None for
        the others.
      target: "class", or "rotation": four turned copies of each image, labelled by their quarter
        turns.
      trainable: regular expression of the parameters that train, matched at the start of names such
        as linear/kernel; "" is all.
      frozen_statistics: the network runs in evaluation mode, so BatchNorm statistics stay.
      accumulate: parts of a batch that pass through the network one after the other.
      sam, adaptive: whether and which form.
      both_update_stats: whether SAM's second pass updates BatchNorm's running statistics too.
      batch_sharding: of a batch over devices; None on one device.
      compiled: what was compiled for it by those who use it, kept as long as it is.
    """

    model: nn.Module
    loss: Callable[[jax.Array, jax.Array], jax.Array]
    optimizer: Callable[[jax.Array], optax.GradientTransformation]
    order: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    mean: Sequence[float]
    std: Sequence[float]
    padding: int = 4
    flip: float = 0.5
    policy: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    jitter: Sequence[float] = ()
    cutout: int = 0
    resolution: int = 0
    mix: Callable[[jax.Array, jax.Array, jax.Array], augment.Mixed] | None = None
    branch_loss: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    target: str = "class"
    trainable: str = ""
    frozen_statistics: bool = False
    accumulate: int = 1
    sam: bool = False
    adaptive: bool = False
    both_update_stats: bool = True
    batch_sharding: jax.sharding.NamedSharding | None = None
    compiled: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)


class Settings(flax.struct.PyTreeNode):
    """What changes between epochs: learning rate, SAM radius, class weights [C]."""

    learning_rate: jax.Array
    rho: jax.Array
    class_weights: jax.Array


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
    outputs = num_outputs(config, len(class_counts))
    counts = class_counts if config.target == "class" else np.ones(ROTATIONS)
    return Recipe(
        model=create_model(config, outputs),
        loss=make_loss(config, counts),
        optimizer=make_optimizer(config),
        order=_order(stage, len(class_counts)),
        mean=tuple(config.data.mean),
        std=tuple(config.data.std),
        padding=config.augment.padding,
        flip=config.augment.flip,
        policy=_policy(config, *size),
        jitter=tuple(config.augment.jitter) if any(config.augment.jitter) else (),
        cutout=config.augment.cutout,
        resolution=config.data.resolution,
        mix=_mix(config, counts),
        branch_loss=_branch_loss(config, outputs),
        target=config.target,
        trainable=config.parameters.trainable,
        frozen_statistics=config.parameters.frozen_statistics,
        accumulate=config.training.accumulate,
        sam=config.sam.enabled,
        adaptive=config.sam.adaptive,
        both_update_stats=config.sam.batch_stats == "both",
        batch_sharding=sharding,
    )


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
    leaves = {name: value for name, value in leaves.items() if not name.startswith(arguments)}
    if stage.config.sampler.name == "progressive":
        leaves["sampler (first epoch, epochs, published)"] = list(stage.span("sampler"))
    return leaves


def create_model(config: ConfigDict, num_classes: int) -> nn.Module:
    """The config's network."""
    name, options = config.model.name, {}
    if config.model.width:
        options["width"] = config.model.width
    if config.model.zero_init:
        options["zero_init"] = True
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
    """The config's loss as (logits, labels) -> per-example losses; ResLT's network is evaluated by
    cross-entropy of its summed logits.
    """
    name = "cross_entropy" if config.loss.name == "reslt" else config.loss.name
    loss = losses.LOSSES[name]
    options: dict[str, Any] = dict(config.loss.get(name, {}))
    if "class_counts" in inspect.signature(loss).parameters:
        options["class_counts"] = class_counts
    return partial(loss, **options)


def num_outputs(config: ConfigDict, num_classes: int) -> int:
    """Of the network, for the config's target."""
    return num_classes if config.target == "class" else ROTATIONS


def _policy(
    config: ConfigDict, height: int, width: int
) -> Callable[[jax.Array, jax.Array], jax.Array] | None:
    if config.augment.policy == "none":
        return None
    if config.augment.policy == "rand_augment":
        return augment.rand_augment(height, width, config.augment.num_ops, config.augment.magnitude)
    return augment.auto_augment(config.augment.policy, height, width)


def _mix(
    config: ConfigDict, class_counts: np.ndarray
) -> Callable[[jax.Array, jax.Array, jax.Array], augment.Mixed] | None:
    mixing = config.mixing
    if mixing.name == "none":
        return None
    if mixing.name == "remix":
        return partial(
            augment.remix,
            class_counts=class_counts,
            alpha=mixing.alpha,
            kappa=mixing.kappa,
            tau=mixing.tau,
        )
    mix = augment.MIXES[mixing.name]
    assert mix is not None  # "none" went above
    return lambda key, images, labels: mix(key, images, mixing.alpha)


def _branch_loss(
    config: ConfigDict, outputs: int
) -> Callable[[jax.Array, jax.Array], jax.Array] | None:
    """ResLT's loss: the medium branch learns from its first class on, the tail branch from its own."""
    if config.loss.name != "reslt":
        return None
    options = config.loss.reslt
    starts = (0, options.medium_from, options.tail_from)
    if not 0 <= starts[1] <= starts[2] < outputs:
        raise ValueError(
            f"config.loss.reslt.medium_from is {starts[1]}, tail_from {starts[2]}; expected ascending classes below {outputs}"
        )
    masks = np.arange(outputs)[None] >= np.asarray(starts)[:, None]
    return partial(
        losses.reslt, branch_masks=masks, beta=options.beta, label_smoothing=options.label_smoothing
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
