"""What a network is asked in a training step: the seam between a method and the trainer.

An objective is a value of plain functions of arrays. It knows no config, no recipe and no device;
the trainer draws the images, makes the views, takes the gradient and carries the memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

View = Callable[[jax.Array, jax.Array], jax.Array]
"""(key, images uint8 [B, H, W, C]) -> normalised images [B, H', W', C]."""

Order = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""(key, labels [N], epoch) -> indices [N] of the epoch's images."""


class Drawn(NamedTuple):
    """The images that one order gave a step: their views, each [B, H, W, C] and normalised, and
    their labels [B].
    """

    views: tuple[jax.Array, ...]
    labels: jax.Array


class Batch(NamedTuple):
    """What a gradient is taken of.

    Attributes:
      images: normalised, [B, H, W, C]; mixed, where the objective mixes.
      labels: class ids [B].
      partners: of mixed images, the other label [B].
      lam: of mixed images, the share of `labels`, a scalar or [B].
      views: further views of the images, each [B, H, W, C].
      progress: share of the epochs that are done, a scalar in [0, 1).
      focus: how much of each class's losses counts, [C], inside the mean; None counts all of them.
      shares: of a part of a batch (training.accumulate), its part in the class weights of all
        labels and of all partners; None for a whole batch.
    """

    images: jax.Array
    labels: jax.Array
    partners: jax.Array | None = None
    lam: jax.Array | None = None
    views: tuple[jax.Array, ...] = ()
    progress: jax.Array | None = None
    focus: jax.Array | None = None
    shares: tuple[jax.Array | None, jax.Array | None] = (None, None)


@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
    """A method, as the training step uses it.

    Attributes:
      loss: (forward, batch, class_weights [C], memory, key) -> (scalar, logits [B, C] that the
        training accuracy is counted from, memory). `forward(images, **options)` is the network in
        training mode: its logits, or what the options ask for (features=True gives logits and
        features). With SAM both passes see the same memory, and the first one's is kept.
      views: further views of each image, besides the config's own augmentation.
      orders: further orders; each gives a batch of its own beside the epoch's.
      mix: (key, Drawn of each order) -> Batch; None takes the first order's images as they are.
      targets: (normalised images, labels) -> images and labels, in training and evaluation; None
        learns the labels.
      heads: the network -> it with heads beside its classifier; None adds none.
      memory: key -> what is carried from step to step, a pytree of arrays; None carries nothing.
      turn: (memory, key) -> memory at an epoch's first step; None leaves it.
    """

    loss: Callable[..., tuple[jax.Array, jax.Array, Any]]
    views: tuple[View, ...] = ()
    orders: tuple[Order, ...] = ()
    mix: Callable[[jax.Array, Sequence[Drawn]], Batch] | None = None
    targets: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]] | None = None
    heads: Callable[[nn.Module], nn.Module] | None = None
    memory: Callable[[jax.Array], Any] | None = None
    turn: Callable[[Any, jax.Array], Any] | None = None


class Mixing(NamedTuple):
    """A way of mixing images: `Objective.mix`, and the further orders that it draws from."""

    mix: Callable[[jax.Array, Sequence[Drawn]], Batch] | None = None
    orders: tuple[Order, ...] = ()


class Given(NamedTuple):
    """What the rest of a config gives to an objective.

    Attributes:
      loss: (logits [..., C], labels [...]) -> per-example losses.
      class_counts: training images of each class that is learned, [C].
      mixing: of the config; an objective uses it or refuses it in its `Method`.
      view: the config's augmentation, (key, uint8 images) -> normalised images.
      contrast_view: the augmentation of contrastive methods, the same.
    """

    loss: Callable[[jax.Array, jax.Array], jax.Array]
    class_counts: np.ndarray
    mixing: Mixing
    view: View
    contrast_view: View


class Method(NamedTuple):
    """An objective as a config names it.

    Attributes:
      make: (Given, **options) -> Objective; the options stand under its name in the config.
      named_by: the section that names it: "objective", "loss" or "target".
      outputs: of the network; None is one a class.
      network: what the names of the networks that it needs begin with; no other objective of
        classes takes these. "" is any.
      in_parts: whether its loss is a mean over images, which a batch can be computed by in parts.
      class_weights: whether it takes them.
      by_class: whether its loss heeds `Batch.focus`, so that SAM can perturb a part of it.
      mixings: names of config.mixing that it takes; None is all.
      scheduled: whether its loss looks at the batch's progress.
    """

    make: Callable[..., Objective]
    named_by: str = "objective"
    outputs: int | None = None
    network: str = ""
    in_parts: bool = True
    class_weights: bool = True
    by_class: bool = False
    mixings: Collection[str] | None = None
    scheduled: bool = False
