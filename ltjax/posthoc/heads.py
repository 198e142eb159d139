"""Classifiers trained on features: each published head is one setting of the same small program.

A `Classifier` holds every number that some head trains; a `Training` says which of them train, how
fast, and under which loss, in arrays alone. So heads of different methods, learning rates and
lengths train together, stacked along a first axis under vmap, and compile once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ltjax import losses, reweighting
from ltjax.names import unknown
from ltjax.posthoc.classifiers import unit
from ltjax.posthoc.scores import Classifier

LOSSES = ("cross_entropy", "label_aware_smoothing", "balanced_softmax", "ldam")


@dataclasses.dataclass(frozen=True)
class Head:
    """A method's head as published.

    Attributes:
      title: for tables.
      source: paper.
      sampler: order of the images, a key of `ltjax.sampling.SAMPLERS`.
      trains: field of `Classifier` -> its learning rate's factor.
      learning_rate: base, of batches of 128 images (others as published scale with the batch).
      epochs: of a cosine schedule.
      new: whether kernel and bias start anew.
      length: of a new classifier; above 0 it is one of cosines.
      loss: one of `LOSSES`.
      rho: class weights proportional to n_c^(-rho).
      deferred: whether effective-number weights begin after 4 / 5 of the epochs (DRW).

    Example:
      >>> import dataclasses
      >>> from ltjax import posthoc
      >>> head = dataclasses.replace(posthoc.HEADS["crt"], epochs=3)
      >>> print(head.sampler, head.new, head.epochs)
      class_balanced True 3
    """

    title: str
    source: str
    sampler: str
    trains: Mapping[str, float]
    learning_rate: float = 0.1
    epochs: int = 10
    new: bool = False
    length: float = 0.0
    loss: str = "cross_entropy"
    rho: float = 0.0
    deferred: bool = False


_NEW = {"kernel": 1.0, "bias": 1.0}

HEADS: dict[str, Head] = {
    "cross_entropy": Head("cross-entropy, new head", "a linear probe", "shuffled", _NEW, new=True),
    "crt": Head("cRT", "Kang et al., ICLR 2020", "class_balanced", _NEW, 0.05, new=True),
    "lws": Head("LWS", "Kang et al., ICLR 2020", "class_balanced", {"omega": 1.0}, 0.05, 5),
    "label_aware_smoothing": Head(
        "label-aware smoothing + LWS",
        "Zhong et al., CVPR 2021",
        "class_balanced",
        {"omega": 1.0, "kernel": 0.5, "bias": 0.5},
        loss="label_aware_smoothing",
    ),
    "disalign": Head(
        "DisAlign",
        "Zhang et al., CVPR 2021",
        "shuffled",
        {"scale": 1.0, "shift": 1.0, "direction": 1.0, "offset": 1.0},
        0.05,
        rho=1.2,
    ),
    "marc": Head(
        "MARC", "Wang et al., ACML 2022", "shuffled", {"omega": 1.0, "beta": 1.0}, rho=1.0
    ),
    "balanced_softmax": Head(
        "balanced softmax, new head",
        "Ren et al., NeurIPS 2020",
        "shuffled",
        _NEW,
        new=True,
        loss="balanced_softmax",
    ),
    "ldam": Head(
        "LDAM + DRW, new head",
        "Cao et al., NeurIPS 2019",
        "shuffled",
        {"kernel": 1.0},
        new=True,
        length=30.0,
        loss="ldam",
        deferred=True,
    ),
}
"""Name in a config -> head."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Training:
    """How a head trains, in arrays alone.

    Attributes:
      rates: learning rate of each epoch, [E]; 0 stands still.
      class_weights: of each epoch, [E, C].
      factors: of the learning rate, a scalar in each field of a `Classifier`; 0 is frozen.
      smoothing: of each true class's label, [C] in [0, 1].
      added: to the logits in the loss, [C] (balanced softmax).
      margins: taken from the true class's logit in the loss, [C] (LDAM).
      weight_decay: of what trains.

    Example:
      >>> from ltjax import posthoc
      >>> how = posthoc.training(posthoc.HEADS["lws"], [100, 20, 5], learning_rate=0.1, epochs=2)
      >>> print(how.rates, how.factors.omega, how.factors.kernel)  # the scales alone train
      [0.1  0.05] 1.0 0.0
    """

    rates: jax.Array
    class_weights: jax.Array
    factors: Classifier
    smoothing: jax.Array
    added: jax.Array
    margins: jax.Array
    weight_decay: jax.Array


def start(head: Head, own: Classifier, key: jax.Array) -> Classifier:
    """What a head starts from: the trained classifier `own`, or a new one drawn from the key.

    Example:
      >>> import jax, numpy as np
      >>> from ltjax import posthoc
      >>> own = posthoc.Classifier.of(np.eye(2), np.zeros(2))
      >>> print(posthoc.start(posthoc.HEADS["lws"], own, jax.random.key(0)).scale)
      [0. 0.]
    """
    if head.new:
        shape, dtype = own.kernel.shape, own.kernel.dtype
        if head.length:
            kernel = unit(jax.random.uniform(key, shape, dtype, -1.0, 1.0), axis=0)
            return Classifier.of(kernel, length=head.length)
        bound = shape[0] ** -0.5
        return Classifier.of(jax.random.uniform(key, shape, dtype, -bound, bound))
    if "direction" in head.trains:
        return dataclasses.replace(
            own,
            scale=jnp.ones_like(own.scale),
            direction=jnp.full_like(own.direction, 0.1),
        )
    return own


def training(
    head: Head,
    class_counts: ArrayLike,
    *,
    learning_rate: float,
    epochs: int,
    total_epochs: int | None = None,
    cosine: bool = False,
    weight_decay: float = 5e-4,
    smoothing: tuple[float, float] = (0.3, 0.0),
    kernel_rate: float | None = None,
) -> Training:
    """The head's training in arrays.

    Args:
      head: of `HEADS`.
      class_counts: training images of each class, [C], all > 0.
      learning_rate: base of the cosine schedule.
      epochs: of the schedule.
      total_epochs: E of the arrays; the head stands still after `epochs`. None is `epochs`.
      cosine: whether the classifier that the head starts from is one of cosines, which has no bias.
      weight_decay: of what trains.
      smoothing: of the largest and the smallest class (label-aware smoothing).
      kernel_rate: factor of the kernel's learning rate beside a scale's; None is the head's.

    Raises:
      ValueError: a count below 1, fewer total epochs than epochs.

    Example:
      >>> import numpy as np
      >>> from ltjax import posthoc
      >>> how = posthoc.training(posthoc.HEADS["crt"], [100, 20, 5], learning_rate=0.1, epochs=10)
      >>> print(how.rates.shape)
      (10,)
    """
    total = epochs if total_epochs is None else total_epochs
    if total < epochs:
        raise ValueError(f"total_epochs is {total}; expected at least epochs, {epochs}")
    reweighting.uniform(class_counts)  # refuses bad counts
    counts = np.asarray(class_counts, np.float64)
    num_classes, zeros = len(counts), np.zeros(len(counts))
    at = np.arange(total)
    rates = np.where(at < epochs, 0.5 * learning_rate * (1 + np.cos(np.pi * at / epochs)), 0.0)
    weights = np.ones((total, num_classes))
    if head.rho:
        weights[:] = _scaled(counts**-head.rho)
    if head.deferred:
        weights[int(0.8 * epochs) :] = np.asarray(reweighting.effective_number(counts))
    factors = dict(head.trains)
    if head.length or (cosine and not head.new):
        factors.pop("bias", None)
    if kernel_rate is not None and "omega" in factors:
        factors |= {name: kernel_rate for name in ("kernel", "bias") if name in factors}
    eps, added, margins = zeros, zeros, zeros
    if head.loss == "label_aware_smoothing":
        eps = smoothing_of(counts, *smoothing)
    elif head.loss == "balanced_softmax":
        added = np.log(counts / counts.sum())
    elif head.loss == "ldam":
        margins = head.length * np.asarray(losses.ldam_margins(counts))
    elif head.loss != "cross_entropy":
        raise unknown("unknown loss of a head", head.loss, LOSSES)
    array = partial(jnp.asarray, dtype=jnp.result_type(float))
    names = [field.name for field in dataclasses.fields(Classifier)]
    return Training(
        rates=array(rates),
        class_weights=array(weights),
        factors=Classifier(**{name: array(factors.get(name, 0.0)) for name in names}),
        smoothing=array(eps),
        added=array(added),
        margins=array(margins),
        weight_decay=array(weight_decay),
    )


def smoothing_of(class_counts: ArrayLike, head: float, tail: float) -> np.ndarray:
    """Label-aware smoothing of each class, [C]: `head` for the largest, `tail` for the smallest,
    between them along a quarter of a sine ("concave").

    Source: Zhong et al., CVPR 2021, arXiv:2104.00466, eq. 4 and 5.
    """
    counts = np.asarray(class_counts, np.float64)
    span = max(counts.max() - counts.min(), 1.0)
    return tail + (head - tail) * np.sin(0.5 * np.pi * (counts - counts.min()) / span)


def _scaled(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum() * len(weights)
