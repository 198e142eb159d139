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

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax import objectives
      >>> drawn = objectives.Drawn((jnp.zeros((2, 8, 8, 1)),), jnp.array([0, 1]))
      >>> (images,), labels = drawn
      >>> print(images.shape, labels)
      (2, 8, 8, 1) [0 1]
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

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax import losses, objectives
      >>> from ltjax.objectives.classify import class_loss
      >>> lam, images = jnp.array(0.75), jnp.zeros((1, 8, 8, 1))
      >>> batch = objectives.Batch(images, jnp.array([0]), jnp.array([1]), lam)
      >>> logits = jnp.log(jnp.array([[0.75, 0.25]]))
      >>> mixed = class_loss(losses.cross_entropy, logits, batch, jnp.ones(2))
      >>> print(round(float(mixed), 3))  # 0.75 log(4 / 3) + 0.25 log(4)
      0.562
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

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax import losses, objectives
      >>> def loss(forward, batch, class_weights, memory, key):
      ...     logits = forward(batch.images)
      ...     return losses.cross_entropy(logits, batch.labels).mean(), logits, memory
      >>> objective = objectives.Objective(loss)
      >>> batch = objectives.Batch(jnp.eye(2), jnp.array([0, 1]))
      >>> value, logits, memory = objective.loss(lambda x: 5 * x, batch, None, None, None)
      >>> print(round(float(value), 3), memory)  # log(1 + exp(-5))
      0.007 None
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
    """A way of mixing images: `Objective.mix`, and the further orders that it draws from.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import objectives
      >>> def brighter(key, drawn):
      ...     (images,), labels = drawn[0]
      ...     return objectives.Batch(images + 1, labels)
      >>> mixing = objectives.Mixing(brighter)
      >>> drawn = objectives.Drawn((jnp.zeros((2, 8, 8, 1)),), jnp.array([0, 1]))
      >>> print(mixing.mix(jax.random.key(0), [drawn]).images.mean())
      1.0
    """

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

    Example:
      >>> import jax.numpy as jnp, numpy as np
      >>> from ltjax import losses, objectives
      >>> def view(key, images):
      ...     return images / 255
      >>> counts = np.array([100, 10])
      >>> given = objectives.Given(losses.cross_entropy, counts, objectives.Mixing(), view, view)
      >>> objective = objectives.OBJECTIVES["classify"].make(given)
      >>> batch = objectives.Batch(jnp.zeros((1, 2)), jnp.array([1]))
      >>> value, logits, memory = objective.loss(lambda x: x, batch, jnp.ones(2), None, None)
      >>> print(round(float(value), 3))  # log(2): the logits are equal
      0.693
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

    Example:
      >>> from ltjax import objectives
      >>> rotation = objectives.OBJECTIVES["rotation"]
      >>> print(rotation.named_by, rotation.outputs, "cmo" in rotation.mixings)
      target 4 False
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
