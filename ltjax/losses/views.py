"""Losses of several views of a batch's images: contrastive ones and GLMC's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ltjax.losses.inputs import checked, is_ids, no_wrap


def balanced_contrastive(
    features: ArrayLike, labels: ArrayLike, *, prototypes: ArrayLike, temperature: float = 0.1
) -> jax.Array:
    """Balanced contrastive learning (BCL): supervised contrast in which every class has one
    prototype and weighs the same in the denominator.

    A is the set of all B * V features and C prototypes, b_c of them of class c. An anchor i (each
    feature) has log q_ij = s_ij / T - log sum_k exp(s_ik / T) / (b_{y_k} - [y_k = y_i]), k over A
    without i, and its loss is the mean of -log q_ij over the others j of its class. The result is
    the mean over anchors.

    Args:
      features: unit length, [B, V, D]: V views of each image.
      labels: class ids [B].
      prototypes: unit length, [C, D].
      temperature: T > 0.

    Returns:
      Scalar, in float32 or wider.

    Raises:
      ValueError: shapes that do not fit, labels outside 0..C-1, or a temperature not above 0.

    Source: Zhu et al., CVPR 2022, arXiv:2207.09052, eq. 5 to 7, as the authors' program has it (1
    is taken off b only at the anchor's own class).

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> prototypes = np.eye(3)  # of three classes, unit length
      >>> views = np.stack([prototypes[[0, 2]]] * 2, axis=1)  # [2 images, 2 views, 3]
      >>> print(losses.balanced_contrastive(views, np.array([0, 2]), prototypes=prototypes).shape)
      ()
    """
    features, labels, prototypes = map(jnp.asarray, (features, labels, prototypes))
    if (
        features.ndim != 3
        or prototypes.ndim != 2
        or prototypes.shape[1] != features.shape[2]
        or labels.shape != features.shape[:1]
        or not is_ids(labels)
    ):
        raise ValueError(
            f"features are {list(features.shape)} with labels {labels.dtype}{list(labels.shape)}"
            f" and prototypes {list(prototypes.shape)}; expected [B, V, D], class ids [B], [C, D]"
        )
    _above_zero("temperature", temperature)
    dtype = jnp.promote_types(features.dtype, jnp.float32)
    num_classes = prototypes.shape[0]
    # For its check of the labels alone.
    checked(jnp.zeros((labels.shape[0], num_classes), dtype), labels)
    size, views, _ = features.shape
    anchors = features.astype(dtype).reshape(size * views, -1)
    own = jnp.repeat(labels, views)
    others = jnp.concatenate([anchors, prototypes.astype(dtype)])
    classes = jnp.concatenate([own, jnp.arange(num_classes)])
    similarities = jnp.matmul(anchors, others.T, precision="highest") / temperature
    members = jnp.bincount(no_wrap(classes, num_classes), length=num_classes).astype(dtype)
    # A class id outside 0..C-1 has no members: NaN, never trained on.
    each = jnp.take(members, no_wrap(classes, num_classes), mode="fill", fill_value=jnp.nan)
    same = own[:, None] == classes[None, :]
    itself = jnp.arange(size * views)[:, None] == jnp.arange(len(others))[None, :]
    weights = jnp.log(each - same)
    denominator = jax.nn.logsumexp(
        jnp.where(itself, -jnp.inf, similarities - weights), axis=1, keepdims=True
    )
    positive = same & ~itself
    log_q = jnp.where(positive, similarities - denominator, 0.0)
    return -jnp.mean(jnp.sum(log_q, axis=1) / jnp.sum(positive, axis=1))


def glmc(
    logits: ArrayLike,
    balanced_logits: ArrayLike,
    predictions: ArrayLike,
    projections: ArrayLike,
    labels: ArrayLike,
    partners: ArrayLike,
    *,
    lam: ArrayLike,
    class_weights: ArrayLike,
    progress: ArrayLike,
    similarity: float = 4.0,
) -> jax.Array:
    """GLMC: cross-entropy of two mixed views, passing from a plain to a re-weighted classifier as
    training goes on, and the agreement of the views.

    With a = 1 - progress^2: a * L + (1 - a) * L_w + similarity * S. L is the sum over both views of
    the mean cross-entropy against lam * labels + (1 - lam) * partners on the plain classifier; L_w
    the same on the balanced one with each target times its class weight; S = -cos(p_1, z_2) -
    cos(p_2, z_1), averaged, without a gradient through z.

    Args:
      logits: of the plain classifier for the mixup and the CutMix view, [2, B, C].
      balanced_logits: of the other, [2, B, C].
      predictions: p, of the projections' predictor, [2, B, D].
      projections: z, [2, B, D].
      labels, partners: class ids [B] of the images and of what is mixed into them, for both views.
      lam: share of the labels, scalar or [B]. As published it is the drawn share in both views,
        although CutMix's rectangle is cut off at the border.
      class_weights: [C], of mean 1 (published: proportional to n_c^-1.2).
      progress: epoch / epochs, in [0, 1].
      similarity: weight of S, >= 0.

    Returns:
      Scalar, in float32 or wider.

    Raises:
      ValueError: shapes that do not fit, labels outside 0..C-1, or a negative similarity.

    Source: Du et al., CVPR 2023, arXiv:2305.08661, eq. 4 to 10.

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> logits = np.zeros((2, 4, 3))  # mixup view and CutMix view, four images, three classes
      >>> features = np.ones((2, 4, 8))
      >>> labels, partners = np.array([0, 0, 1, 2]), np.array([2, 1, 0, 0])
      >>> loss = losses.glmc(
      ...     *(logits, logits, features, features, labels, partners),
      ...     lam=0.7, class_weights=np.ones(3), progress=0.5,
      ... )
      >>> print(np.array(loss).round(3))
      -5.803
    """
    logits, balanced_logits, predictions, projections = map(
        jnp.asarray, (logits, balanced_logits, predictions, projections)
    )
    labels, partners = jnp.asarray(labels), jnp.asarray(partners)
    if (
        logits.ndim != 3
        or logits.shape[0] != 2
        or balanced_logits.shape != logits.shape
        or predictions.shape[:2] != logits.shape[:2]
        or predictions.ndim != 3
        or projections.shape != predictions.shape
        or np.shape(class_weights) != logits.shape[2:]
    ):
        raise ValueError(
            f"logits are {list(logits.shape)} and {list(balanced_logits.shape)}, predictions"
            f" {list(predictions.shape)}, projections {list(projections.shape)}, class_weights"
            f" {list(np.shape(class_weights))}; expected [2, B, C] twice, [2, B, D] twice, [C]"
        )
    if similarity < 0:
        raise ValueError(f"similarity is {similarity}; expected a weight >= 0")
    for ids in (labels, partners):
        if not is_ids(ids):
            raise ValueError(f"labels are {ids.dtype}{list(ids.shape)}; expected class ids [B]")
        checked(logits[0], ids)
    dtype = jnp.promote_types(logits.dtype, jnp.float32)
    lam, progress = jnp.asarray(lam, dtype), jnp.asarray(progress, dtype)
    class_weights = jnp.asarray(class_weights, dtype)

    def target(ids):
        ids = no_wrap(ids, logits.shape[2])
        rows = jax.nn.one_hot(ids, logits.shape[2], dtype=dtype)
        return jnp.where((ids >= logits.shape[2])[:, None], jnp.nan, rows)

    share = lam[:, None] if lam.ndim else lam
    targets = share * target(labels) + (1.0 - share) * target(partners)

    def both_views(scores, targets):
        log_probs = jax.nn.log_softmax(scores.astype(dtype))
        return -jnp.sum(jnp.mean(jnp.sum(targets * log_probs, axis=-1), axis=-1))

    apart = -jnp.mean(_cosine(predictions, projections[::-1], dtype), axis=-1)
    plain = 1.0 - jnp.square(progress)
    return (
        plain * both_views(logits, targets)
        + (1.0 - plain) * both_views(balanced_logits, class_weights * targets)
        + similarity * jnp.sum(apart)
    )


def _cosine(predictions: jax.Array, projections: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Cosine of the last axis, a norm below 1e-8 counting as that; no gradient to projections."""

    def unit(x):
        square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
        return x / jnp.sqrt(jnp.maximum(square, 1e-16))

    projections = jax.lax.stop_gradient(projections).astype(dtype)
    return jnp.sum(unit(predictions.astype(dtype)) * unit(projections), axis=-1)


def _above_zero(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} is {value}; expected a value above 0")
