"""Formulas of classifiers made after training, from a trained one or from features."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ltjax.names import unknown

NCM_KINDS = ("plain", "l2", "centered_l2")


def tau_normalized(kernel: ArrayLike, tau: ArrayLike = 1.0) -> jax.Array:
    """The classifier's weights with each class's norm taken to the power 1 - tau:
    w_c / ||w_c||^tau.

    Its logits are features @ kernel; the bias is dropped.

    Args:
      kernel: [D, C], a column a class.
      tau: 0 leaves the weights as they are, 1 gives each class the same norm.

    Returns:
      [D, C]. A column of zeros stays one.

    Raises:
      ValueError: a kernel that is not [D, C].

    Source: Kang et al., ICLR 2020, arXiv:1910.09217, section 4.

    Example:
      >>> import numpy as np
      >>> from ltjax import posthoc
      >>> print(posthoc.tau_normalized(np.array([[2.0, 0.0], [0.0, 0.5]]), tau=1.0))
      [[1. 0.]
       [0. 1.]]
    """
    kernel = jnp.asarray(kernel)
    if kernel.ndim != 2:
        raise ValueError(f"kernel is {list(kernel.shape)}; expected [D, C], a column a class")
    norms = jnp.linalg.norm(kernel, axis=0)
    return kernel / jnp.where(norms == 0.0, 1.0, norms) ** tau


def scaled(logits: ArrayLike, scale: ArrayLike) -> jax.Array:
    """Learnable weight scaling (LWS): a factor a class times its whole logit, bias included.

    Args:
      logits: [..., C].
      scale: [C].

    Returns:
      [..., C].

    Raises:
      ValueError: a scale of another length.

    Source: Kang et al., ICLR 2020, arXiv:1910.09217, section 4, with the bias as in the authors'
    program.

    Example:
      >>> import numpy as np
      >>> from ltjax import posthoc
      >>> print(posthoc.scaled(np.array([[2.0, 1.0]]), np.array([1.0, 3.0])))
      [[2. 3.]]
    """
    logits = jnp.asarray(logits)
    _check_classes(logits, scale=scale)
    return logits * jnp.asarray(scale)


def disalign(
    logits: ArrayLike,
    features: ArrayLike,
    *,
    scale: ArrayLike,
    bias: ArrayLike,
    direction: ArrayLike,
    offset: ArrayLike,
) -> jax.Array:
    """DisAlign's calibrated logits, (1 + s a_c) z_c + s b_c with the confidence s = sigmoid(v . h +
    v0) of each example.

    Args:
      logits: z, [..., C].
      features: h, [..., D].
      scale: a, [C]; 0 with bias 0 leaves the logits as they are. Training starts at 1.
      bias: b, [C]; starts at 0.
      direction: v, [D]; starts at 0.1.
      offset: v0, a scalar.

    Returns:
      [..., C].

    Raises:
      ValueError: shapes that do not fit.

    Source: Zhang et al., CVPR 2021, arXiv:2103.16370, section 3.2, in the form of the authors'
    program.

    Example:
      >>> import numpy as np
      >>> from ltjax import posthoc
      >>> logits, features = np.array([[2.0, 1.0]]), np.ones((1, 4))
      >>> bias = np.array([0.0, 4.0])
      >>> calibrated = posthoc.disalign(
      ...     logits, features, scale=np.zeros(2), bias=bias, direction=np.zeros(4), offset=0.0
      ... )
      >>> print(calibrated)
      [[2. 3.]]
    """
    logits, features = jnp.asarray(logits), jnp.asarray(features)
    _check_classes(logits, scale=scale, bias=bias)
    if features.shape != (*logits.shape[:-1], *np.shape(direction)):
        raise ValueError(
            f"features are {list(features.shape)} with logits {list(logits.shape)} and direction"
            f" {list(np.shape(direction))}; expected [..., D], [..., C] and [D]"
        )
    confidence = jax.nn.sigmoid(features @ jnp.asarray(direction) + offset)[..., None]
    return (1.0 + confidence * jnp.asarray(scale)) * logits + confidence * jnp.asarray(bias)


def marc(logits: ArrayLike, kernel: ArrayLike, *, omega: ArrayLike, beta: ArrayLike) -> jax.Array:
    """MARC's margins calibrated a class: omega_c z_c + beta_c ||w_c||.

    Args:
      logits: z, [..., C].
      kernel: of the classifier that gave them, [D, C].
      omega: [C]; starts at 1.
      beta: [C]; starts at 0.

    Returns:
      [..., C].

    Raises:
      ValueError: shapes that do not fit.

    Source: Wang et al., ACML 2022, arXiv:2112.07225, section 3.

    Example:
      >>> import numpy as np
      >>> from ltjax import posthoc
      >>> logits, beta = np.array([[2.0, 1.0]]), np.array([0.0, 3.0])
      >>> print(posthoc.marc(logits, np.eye(2), omega=np.ones(2), beta=beta))
      [[2. 4.]]
    """
    logits, kernel = jnp.asarray(logits), jnp.asarray(kernel)
    _check_classes(logits, omega=omega, beta=beta)
    if kernel.ndim != 2 or kernel.shape[1] != logits.shape[-1]:
        raise ValueError(
            f"kernel is {list(kernel.shape)} with logits {list(logits.shape)}; expected"
            f" [D, {logits.shape[-1]}]"
        )
    norms = jnp.linalg.norm(kernel, axis=0)
    return jnp.asarray(omega) * logits + jnp.asarray(beta) * norms


def nearest_class_mean(
    train_features: ArrayLike,
    train_labels: ArrayLike,
    query: ArrayLike,
    *,
    num_classes: int,
    kind: str = "centered_l2",
) -> jax.Array:
    """Scores by the nearest class mean: minus the squared distance to the mean of each class's
    training features.

    Args:
      train_features: [N, D].
      train_labels: class ids [N], each class at least once.
      query: features to classify, [M, D].
      num_classes: C.
      kind: "plain": features as they are; "l2": each of length 1 (means are taken of these, and not
        normalised again); "centered_l2": less the mean of all training features, then of length 1.

    Returns:
      [M, C]; classify by the argmax.

    Raises:
      ValueError: an unknown kind, shapes that do not fit, a label outside 0..C-1, a class without
        features.

    Source: Kang et al., ICLR 2020, arXiv:1910.09217, section 4, and the three kinds of the
    authors' program, whose own choice is "centered_l2" by distance.

    Example:
      >>> import numpy as np
      >>> from ltjax import posthoc
      >>> train, labels = np.array([[1.0, 0.0], [0.8, 0.2], [0.0, 1.0]]), np.array([0, 0, 1])
      >>> query = np.array([[0.1, 0.9]])
      >>> scores = posthoc.nearest_class_mean(train, labels, query, num_classes=2)
      >>> print(scores.argmax(axis=1))
      [1]
    """
    features, query = jnp.asarray(train_features), jnp.asarray(query)
    if kind not in NCM_KINDS:
        raise unknown("unknown kind of nearest class mean", kind, NCM_KINDS)
    if features.ndim != 2 or query.shape[1:] != features.shape[1:]:
        raise ValueError(
            f"train_features are {list(features.shape)}, query {list(query.shape)}; expected [N, D]"
            " and [M, D]"
        )
    if np.shape(train_labels) != features.shape[:1]:
        raise ValueError(
            f"train_labels are {list(np.shape(train_labels))}; expected [{len(features)}], one a"
            " feature"
        )
    if not isinstance(train_labels, jax.core.Tracer):
        _check_labels(np.asarray(train_labels), num_classes)
    if kind == "centered_l2":
        center = jnp.mean(features, axis=0)
        features, query = features - center, query - center
    if kind != "plain":
        features, query = unit(features), unit(query)
    labels = jnp.asarray(train_labels)
    sums = jax.ops.segment_sum(features, labels, num_classes)
    counts = jax.ops.segment_sum(jnp.ones(labels.shape, features.dtype), labels, num_classes)
    means = sums / counts[:, None]
    # |q - m|^2 without [M, C, D] in memory.
    squares = jnp.sum(query**2, axis=1, keepdims=True) + jnp.sum(means**2, axis=1)
    return 2.0 * query @ means.T - squares


def unit(x: jax.Array, axis: int = -1) -> jax.Array:
    """The vectors along an axis scaled to length 1; those of zeros stay."""
    squares = jnp.sum(jnp.square(x), axis=axis, keepdims=True)
    return x * jnp.where(squares > 0.0, jax.lax.rsqrt(jnp.where(squares > 0.0, squares, 1.0)), 0.0)


def _check_classes(logits: jax.Array, **vectors: ArrayLike) -> None:
    for name, vector in vectors.items():
        if np.shape(vector) != logits.shape[-1:]:
            raise ValueError(
                f"{name} has shape {list(np.shape(vector))} for logits {list(logits.shape)};"
                f" expected {list(logits.shape[-1:])}, one value a class"
            )


def _check_labels(labels: np.ndarray, num_classes: int) -> None:
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"train_labels span {labels.min()}..{labels.max()}; expected 0..{num_classes - 1}"
        )
    counts = np.bincount(labels, minlength=num_classes)
    if counts.min() < 1:
        raise ValueError(f"class {counts.argmin()} has no training features, so no mean")
