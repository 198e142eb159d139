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
from ltjax.posthoc.classifiers import disalign, marc, unit

MOMENTUM = 0.9
LOSSES = ("cross_entropy", "label_aware_smoothing", "balanced_softmax", "ldam")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Classifier:
    """A classifier on features; `logits` says what it computes.

    Without the optional fields: linear.

    Attributes:
      kernel: [D, C].
      bias: [C]; 0 where there is none.
      length: 0 for a linear classifier; s > 0 for one of cosines,
        s * normalise(h) . normalise(w_c).
      omega, beta: of MARC; omega alone is LWS's scale. [C]
      scale, shift, direction, offset: of DisAlign. [C], [C], [D], [].

    Example:
      >>> import numpy as np
      >>> from ltjax import posthoc
      >>> cosines = posthoc.Classifier.of(np.array([[3.0, 0.0], [0.0, 4.0]]), length=30.0)
      >>> print(posthoc.logits(cosines, np.array([[2.0, 0.0]])))
      [[30.  0.]]
    """

    kernel: jax.Array
    bias: jax.Array
    length: jax.Array
    omega: jax.Array
    beta: jax.Array
    scale: jax.Array
    shift: jax.Array
    direction: jax.Array
    offset: jax.Array

    @classmethod
    def of(
        cls, kernel: ArrayLike, bias: ArrayLike | None = None, length: float = 0.0
    ) -> Classifier:
        """A linear classifier, or one of cosines scaled by `length`.

        Args:
          kernel: [D, C].
          bias: [C]; None is 0.
          length: 0, or the scale of the cosines.
        """
        kernel = jnp.asarray(kernel)
        (dim, num_classes), dtype = kernel.shape, kernel.dtype
        zeros, ones = jnp.zeros(num_classes, dtype), jnp.ones(num_classes, dtype)
        return cls(
            kernel=kernel,
            bias=zeros if bias is None else jnp.asarray(bias, dtype),
            length=jnp.asarray(length, dtype),
            omega=ones,
            beta=zeros,
            scale=zeros,
            shift=zeros,
            direction=jnp.zeros(dim, dtype),
            offset=jnp.zeros([], dtype),
        )

    @property
    def weights(self) -> jax.Array:
        """The kernel [D, C] that multiplies the features; for cosines, the features at length 1."""
        return jnp.where(self.length > 0, self.length * unit(self.kernel, axis=0), self.kernel)


def logits(classifier: Classifier, features: ArrayLike) -> jax.Array:
    """Scores [N, C] of features [N, D].

    Example:
      >>> import numpy as np
      >>> from ltjax import posthoc
      >>> classifier = posthoc.Classifier.of(np.eye(2), np.zeros(2))
      >>> print(posthoc.logits(classifier, np.array([[3.0, 1.0]])))
      [[3. 1.]]
    """
    features = jnp.asarray(features)
    scores = uncalibrated(classifier, features)
    return _calibrated(classifier, scores, features, _norms(classifier))


def uncalibrated(classifier: Classifier, features: jax.Array) -> jax.Array:
    """Scores [N, C] of kernel, bias and length alone.

    Example:
      >>> import numpy as np
      >>> from ltjax import posthoc
      >>> classifier = posthoc.Classifier.of(np.eye(2), np.zeros(2))
      >>> print(posthoc.uncalibrated(classifier, np.array([[3.0, 1.0]])))
      [[3. 1.]]
    """
    squares = jnp.sum(jnp.square(features), axis=1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.where(squares > 0, squares, 1.0))
    scores = features @ classifier.weights
    return jnp.where(classifier.length > 0, inverse, 1.0) * scores + classifier.bias


def _calibrated(
    classifier: Classifier, scores: jax.Array, features: jax.Array, norms: jax.Array
) -> jax.Array:
    scores = marc(scores, norms, omega=classifier.omega, beta=classifier.beta)
    return disalign(
        scores,
        features,
        scale=classifier.scale,
        bias=classifier.shift,
        direction=classifier.direction,
        offset=classifier.offset,
    )


def _norms(classifier: Classifier) -> jax.Array:
    """The classes' norms, which nothing trains, as the one row of a kernel that
    has the same ones.
    """
    return jax.lax.stop_gradient(jnp.linalg.norm(classifier.weights, axis=0, keepdims=True))


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


def train(
    classifier: Classifier,
    how: Training,
    features: jax.Array,
    labels: jax.Array,
    order: jax.Array,
    scores: jax.Array | None = None,
) -> Classifier:
    """Trains a head by SGD with momentum 0.9 on features that stay as they are.

    Args:
      classifier: to start from.
      how: of `training`.
      features: [N, D].
      labels: class ids [N].
      order: indices of the features in each batch, int [E, steps, B].
      scores: `uncalibrated` ones of the features, [N, C], where kernel and bias stay as they are:
        no step then computes them.

    Returns:
      The trained classifier. Several train together: `jax.vmap(train, (0, 0, None, None, None))`.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np
      >>> from ltjax import posthoc, sampling
      >>> labels = np.repeat([0, 1, 2], [100, 20, 5])
      >>> features = np.eye(3)[labels] + np.random.default_rng(0).normal(0, 0.3, (125, 3))
      >>> head = posthoc.HEADS["crt"]
      >>> own = posthoc.Classifier.of(np.zeros((3, 3)), np.zeros(3))
      >>> how = posthoc.training(head, np.bincount(labels), learning_rate=0.1, epochs=5)
      >>> draws = [sampling.class_balanced(jax.random.key(k), labels) for k in range(5)]
      >>> order = jnp.stack(draws)[:, :120].reshape(5, 4, 30)  # epochs, steps, images
      >>> begun = posthoc.start(head, own, jax.random.key(9))
      >>> new = posthoc.train(begun, how, jnp.asarray(features), jnp.asarray(labels), order)
      >>> right = posthoc.logits(new, features).argmax(axis=1) == labels
      >>> print(right[labels == 2].mean() > 0.5)
      True
    """
    names = [field.name for field in dataclasses.fields(Classifier) if field.name != "length"]
    if scores is not None:
        names = [name for name in names if name not in ("kernel", "bias")]
    norms = _norms(classifier)

    def loss(moving, weights, batch):
        now = dataclasses.replace(classifier, **moving)
        taken = features[batch]
        if scores is None:
            given = uncalibrated(now, taken)
            outputs = _calibrated(now, given, taken, _norms(now))
        else:
            outputs = _calibrated(now, scores[batch], taken, norms)
        return batch_loss(how, weights, outputs, labels[batch])

    def step(carry, inputs):
        moving, velocity = carry
        batch, rate, weights = inputs
        gradients = jax.grad(loss)(moving, weights, batch)
        for name in names:
            decayed = gradients[name] + how.weight_decay * moving[name]
            velocity[name] = MOMENTUM * velocity[name] + decayed
            moving[name] -= rate * getattr(how.factors, name) * velocity[name]
        return (moving, velocity), None

    steps = order.shape[1]
    inputs = (
        order.reshape(-1, order.shape[-1]),
        jnp.repeat(how.rates, steps),
        jnp.repeat(how.class_weights, steps, axis=0),
    )
    moving = {name: getattr(classifier, name) for name in names}
    nothing = jax.tree.map(jnp.zeros_like, moving)
    moving = jax.lax.scan(step, (moving, nothing), inputs)[0][0]
    return dataclasses.replace(classifier, **moving)


def batch_loss(
    how: Training, class_weights: jax.Array, scores: jax.Array, labels: jax.Array
) -> jax.Array:
    """A batch's loss: the weighted mean of cross-entropy with smoothed labels, of scores [B, C]
    with what is added to them and the margins taken off.
    """
    own = jax.nn.one_hot(labels, scores.shape[-1], dtype=scores.dtype)
    log_probs = jax.nn.log_softmax(scores + how.added - how.margins * own)
    eps = how.smoothing[labels]
    each = -(1 - eps) * jnp.sum(own * log_probs, axis=-1) - eps * jnp.mean(log_probs, axis=-1)
    return losses.weighted_mean(each, labels, class_weights)


def smoothing_of(class_counts: ArrayLike, head: float = 0.3, tail: float = 0.0) -> np.ndarray:
    """Label-aware smoothing of each class, [C]: `head` for the largest, `tail` for the smallest,
    between them along a quarter of a sine ("concave").

    Source: Zhong et al., CVPR 2021, arXiv:2104.00466, eq. 4 and 5.
    """
    counts = np.asarray(class_counts, np.float64)
    span = max(counts.max() - counts.min(), 1.0)
    return tail + (head - tail) * np.sin(0.5 * np.pi * (counts - counts.min()) / span)


def _scaled(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum() * len(weights)
