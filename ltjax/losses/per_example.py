"""Losses for long-tailed classification: pure functions, one value an example, never reduced.

Every loss takes logits ``[..., C]`` and labels that are class ids ``[...]`` (any integer dtype) or,
where stated, probabilities ``[..., C]`` (any floating dtype), and returns ``[...]``. Arithmetic is
float64 for float64 logits and float32 otherwise, so bfloat16 logits are safe. Values and gradients
are finite for logits up to 1e36 in size (float32 ends at 3e38, and LDAM multiplies by its scale;
1e306 in float64), and all work under jit, grad and vmap.

Bad labels and class counts raise ValueError before tracing, where their values can be seen. Inside
jit a class id outside 0..C-1 gives a NaN loss, so it is never silently trained on.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def cross_entropy(
    logits: ArrayLike, labels: ArrayLike, *, label_smoothing: float = 0.0
) -> jax.Array:
    """Softmax cross-entropy.

    Args:
      logits: unnormalised scores, [..., C].
      labels: class ids [...] or probabilities [..., C].
      label_smoothing: e in [0, 1]; the target becomes (1 - e) * target + e / C.

    Returns:
      Per-example loss [...].

    Raises:
      ValueError: labels that do not fit the logits, or label_smoothing outside [0, 1].

    Source: label smoothing is Szegedy et al., CVPR 2016, arXiv:1512.00567, section 7.
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing is {label_smoothing}; expected a value in [0, 1]")
    logits, labels = _check(logits, labels)
    log_probs = jax.nn.log_softmax(logits)
    loss = -_at_label(log_probs, labels)
    if label_smoothing:
        loss = (1.0 - label_smoothing) * loss - label_smoothing * jnp.mean(log_probs, axis=-1)
    return loss


def focal(logits: ArrayLike, labels: ArrayLike, *, gamma: float = 1.0) -> jax.Array:
    """Focal loss in its softmax form, (1 - p_y)^gamma * cross-entropy.

    p_y is the model's probability: a class weight multiplies the finished loss and never enters the
    focal factor. 1 - p_y is formed from the other classes' logits, so value and gradient stay exact
    when p_y rounds to 1.

    Args:
      logits: [..., C] with C >= 2.
      labels: class ids [...] or probabilities [..., C] (then the expectation over classes).
      gamma: focusing parameter, >= 0; 0 is cross-entropy. The focal paper uses 2.

    Returns:
      Per-example loss [...].

    Raises:
      ValueError: labels that do not fit the logits, or a negative gamma.

    Source: Lin et al., ICCV 2017, arXiv:1708.02002, eq. 4.
    """
    if gamma < 0:
        raise ValueError(f"gamma is {gamma}; expected a value >= 0")
    logits, labels = _check(logits, labels)
    log_probs, log_others = _log_probability_and_complement(logits)
    return _at_label(jnp.exp(gamma * log_others) * -log_probs, labels)


def ldam_margins(class_counts: ArrayLike, max_margin: float = 0.5) -> jax.Array:
    """Label-distribution-aware margins: proportional to n_c^(-1/4), the largest scaled to
    `max_margin`.

    Args:
      class_counts: training images of each class, [C], all > 0.
      max_margin: margin of the rarest class, in units of cosine similarity.

    Returns:
      Margins [C] in (0, max_margin].

    Raises:
      ValueError: a count below 1.

    Source: Cao et al., NeurIPS 2019, arXiv:1906.07413, eq. 13.
    """
    counts = _counts(class_counts)
    # (n_c / n_min)^(-1/4) is n_c^(-1/4) / max(n^(-1/4)) with one rounding less.
    return max_margin * (counts / jnp.min(counts)) ** -0.25


def ldam(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    class_counts: ArrayLike,
    max_margin: float = 0.5,
    scale: float = 30.0,
) -> jax.Array:
    """LDAM loss: cross-entropy of scale * (logits - margin of the true class at the true class).

    Args:
      logits: cosines of a normalised classifier, [..., C].
      labels: class ids [...] or probabilities [..., C] (then the expectation over classes).
      class_counts: training images of each class, [C], all > 0.
      max_margin: margin of the rarest class.
      scale: s, the inverse temperature of the softmax over cosines.

    Returns:
      Per-example loss [...].

    Raises:
      ValueError: labels or class_counts that do not fit the logits, or a count below 1.

    Source: Cao et al., NeurIPS 2019, arXiv:1906.07413, eq. 10 and 13.
    """
    logits, labels = _check(logits, labels)
    logits = _below_top(logits)
    margins = ldam_margins(_counts(class_counts, logits), max_margin).astype(logits.dtype)
    if _is_ids(labels):
        margin = jnp.where(jax.nn.one_hot(labels, logits.shape[-1], dtype=bool), margins, 0.0)
        return cross_entropy(scale * (logits - margin), labels)
    # For each class in turn as the label: log(1 + exp(log-sum of the others - its own score)).
    log_probs, log_others = _log_probability_and_complement(scale * logits)
    return _at_label(jax.nn.softplus(log_others - log_probs + scale * margins), labels)


def vector_scaling(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    class_counts: ArrayLike,
    gamma: float = 0.3,
    tau: float = 1.0,
) -> jax.Array:
    """Vector-scaling (VS) loss: cross-entropy of logits / D + i, D_c = (n_max / n_c)^gamma, i_c =
    tau * log(n_c / N).

    With gamma = 0 it is logit adjustment; with tau = 0 it is class-dependent temperatures (CDT).

    Args:
      logits: [..., C].
      labels: class ids [...] or probabilities [..., C].
      class_counts: training images of each class, [C], all > 0.
      gamma: exponent of the multiplicative part, >= 0.
      tau: weight of the additive part.

    Returns:
      Per-example loss [...].

    Raises:
      ValueError: labels or class_counts that do not fit the logits, or a count below 1.

    Source: Kini et al., NeurIPS 2021, arXiv:2103.01550, eq. 5.
    """
    logits, labels = _check(logits, labels)
    counts = _counts(class_counts, logits)
    scales = (counts / jnp.max(counts)) ** gamma
    return cross_entropy(
        _below_top(logits * scales.astype(logits.dtype)) + tau * _log_prior(counts, logits), labels
    )


def balanced_softmax(logits: ArrayLike, labels: ArrayLike, *, class_counts: ArrayLike) -> jax.Array:
    """Balanced softmax: cross-entropy of logits + log n.

    Args:
      logits: [..., C].
      labels: class ids [...] or probabilities [..., C].
      class_counts: training images of each class, [C], all > 0.

    Returns:
      Per-example loss [...].

    Raises:
      ValueError: labels or class_counts that do not fit the logits, or a count below 1.

    Source: Ren et al., NeurIPS 2020, arXiv:2007.10740, eq. 4.
    """
    logits, labels = _check(logits, labels)
    return cross_entropy(
        _below_top(logits) + jnp.log(_counts(class_counts, logits)).astype(logits.dtype), labels
    )


def logit_adjusted(
    logits: ArrayLike, labels: ArrayLike, *, class_counts: ArrayLike, tau: float = 1.0
) -> jax.Array:
    """Logit-adjusted loss: cross-entropy of logits + tau * log(n / N). For the post-hoc form see
    `metrics.adjust_logits`.

    Args:
      logits: [..., C].
      labels: class ids [...] or probabilities [..., C].
      class_counts: training images of each class, [C], all > 0.
      tau: weight of the prior; 1 is balanced softmax.

    Returns:
      Per-example loss [...].

    Raises:
      ValueError: labels or class_counts that do not fit the logits, or a count below 1.

    Source: Menon et al., ICLR 2021, arXiv:2007.07314, eq. 10.
    """
    logits, labels = _check(logits, labels)
    return cross_entropy(
        _below_top(logits) + tau * _log_prior(_counts(class_counts, logits), logits), labels
    )


def weighted_mean(
    losses: ArrayLike, labels: ArrayLike, class_weights: ArrayLike | None = None
) -> jax.Array:
    """Mean of per-example losses under class weights: sum_i w[y_i] l_i / sum_i w[y_i].

    Args:
      losses: per-example losses [...].
      labels: class ids [...] or probabilities [..., C] (then w_i is the expected weight).
      class_weights: [C], not all 0 on the batch; None is the plain mean.

    Returns:
      Scalar.

    Raises:
      ValueError: labels that fit neither form.

    Source: the weighted mean of PyTorch's CrossEntropyLoss(weight=...).
    """
    losses, labels = jnp.asarray(losses), jnp.asarray(labels)
    if class_weights is None:
        return jnp.mean(losses)
    class_weights = jnp.asarray(class_weights, losses.dtype)
    if _is_ids(labels) and labels.shape == losses.shape:
        weights = jnp.take(class_weights, _no_wrap(labels, class_weights.shape[0]), mode="fill")
    elif not _is_ids(labels) and labels.shape == (*losses.shape, *class_weights.shape):
        weights = labels.astype(losses.dtype) @ class_weights
    else:
        raise ValueError(
            f"labels are {labels.dtype}{list(labels.shape)} for losses {list(losses.shape)}; expected class ids"
            f" {list(losses.shape)} or probabilities {[*losses.shape, *class_weights.shape]}"
        )
    return jnp.sum(weights * losses) / jnp.sum(weights)


def reslt(
    branch_logits: ArrayLike,
    labels: ArrayLike,
    *,
    branch_masks: ArrayLike,
    beta: float,
    label_smoothing: float = 0.0,
) -> jax.Array:
    """ResLT's loss of three branches: beta * (each branch on its classes) + (1 - beta) * (their sum
    on all classes).

    The branches' part is one mean over all (example, branch) pairs whose mask is set: a tail
    example counts three times, a head example once.

    Args:
      branch_logits: head, medium and tail branch, [3, B, C]; their sum predicts.
      labels: class ids [B].
      branch_masks: classes that each branch learns from, bool [3, C]; the first row is all True as
        published.
      beta: weight of the branches' part, in [0, 1] (system B calls it alpha).
      label_smoothing: of both parts, as `cross_entropy`.

    Returns:
      Scalar.

    Raises:
      ValueError: shapes that do not fit, labels outside 0..C-1, or a beta outside [0, 1].

    Source: Cui et al., TPAMI 2022, arXiv:2101.10633, eq. 3 to 5; the authors' program adds 1e-7
    inside the branches' logarithm, this does not.
    """
    branch_logits, labels = jnp.asarray(branch_logits), jnp.asarray(labels)
    if (
        branch_logits.ndim != 3
        or branch_logits.shape[0] != 3
        or labels.shape != branch_logits.shape[1:2]
        or not _is_ids(labels)
    ):
        raise ValueError(
            f"branch_logits are {list(branch_logits.shape)} with labels {labels.dtype}{list(labels.shape)};"
            " expected [3, B, C] and class ids [B]"
        )
    if np.shape(branch_masks) != (3, branch_logits.shape[-1]):
        raise ValueError(
            f"branch_masks are {list(np.shape(branch_masks))}; expected [3, {branch_logits.shape[-1]}]"
        )
    if not 0.0 <= beta <= 1.0:
        raise ValueError(f"beta is {beta}; expected a value in [0, 1]")
    losses = cross_entropy(
        branch_logits, jnp.broadcast_to(labels, (3, *labels.shape)), label_smoothing=label_smoothing
    )
    masks = jnp.take(
        jnp.asarray(branch_masks, losses.dtype),
        _no_wrap(labels, branch_logits.shape[-1]),
        axis=1,
        mode="fill",
    )
    # A batch without any masked example has no branches' part, rather than 0 / 0.
    branches = jnp.sum(masks * losses) / jnp.maximum(jnp.sum(masks), 1.0)
    summed = jnp.sum(branch_logits, axis=0, dtype=losses.dtype)  # bfloat16 is too narrow for a sum
    fused = jnp.mean(cross_entropy(summed, labels, label_smoothing=label_smoothing))
    return beta * branches + (1.0 - beta) * fused


def mixup(loss_a: ArrayLike, loss_b: ArrayLike, lam: ArrayLike) -> jax.Array:
    """Loss of a mixed example: lam * loss under the first labels + (1 - lam) * loss under the
    second.

    Args:
      loss_a: losses against the labels of the images weighted by lam, any shape.
      loss_b: losses of the same logits against the partners' labels, the same shape.
      lam: mixing coefficient in [0, 1], a scalar or of that shape.

    Returns:
      Mixed loss, the same shape.

    Source: Zhang et al., ICLR 2018, arXiv:1710.09412, in the form of the authors' program.
    """
    lam = jnp.asarray(lam)
    return lam * jnp.asarray(loss_a) + (1.0 - lam) * jnp.asarray(loss_b)


def _is_ids(labels: jax.Array) -> bool:
    return jnp.issubdtype(labels.dtype, jnp.integer)


def _concrete(x: ArrayLike) -> np.ndarray | None:
    """The values of x, or None while it is being traced."""
    return None if isinstance(x, jax.core.Tracer) else np.asarray(x)


def _check(logits: ArrayLike, labels: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Logits in float32 or wider and labels as arrays, or one clear error."""
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    if logits.ndim < 1 or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ValueError(
            f"logits are {logits.dtype}{list(logits.shape)}; expected floating point [..., C]"
        )
    num_classes = logits.shape[-1]
    expected = logits.shape[:-1] if _is_ids(labels) else logits.shape
    if labels.shape != expected or not (
        _is_ids(labels) or jnp.issubdtype(labels.dtype, jnp.floating)
    ):
        raise ValueError(
            f"labels are {labels.dtype}{list(labels.shape)} for logits {list(logits.shape)}; expected integer class ids"
            f" {list(logits.shape[:-1])} or floating-point probabilities {list(logits.shape)}"
        )
    values = _concrete(labels)
    if (
        values is not None
        and _is_ids(labels)
        and values.size
        and not (values.min() >= 0 and values.max() < num_classes)
    ):
        bad = values.min() if values.min() < 0 else values.max()
        raise ValueError(
            f"label {bad} is outside 0..{num_classes - 1}; the logits have {num_classes} classes"
        )
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return logits, labels if _is_ids(labels) else labels.astype(logits.dtype)


def _counts(class_counts: ArrayLike, logits: jax.Array | None = None) -> jax.Array:
    """Class counts as floating point, checked for length, and for values where they can be seen."""
    values = _concrete(class_counts)
    shape = np.shape(class_counts)
    if len(shape) != 1 or (logits is not None and shape[0] != logits.shape[-1]):
        wanted = (
            "[C]" if logits is None else f"[{logits.shape[-1]}], one count a class of the logits"
        )
        raise ValueError(f"class_counts has shape {list(shape)}; expected {wanted}")
    if values is not None and values.size and not values.min() >= 1:
        raise ValueError(
            f"class_counts holds {values.min()} (class {values.argmin()}); expected at least 1 image a class"
        )
    return jnp.asarray(class_counts, jnp.result_type(float))


def _no_wrap(labels: jax.Array, num_classes: int) -> jax.Array:
    """Negative ids would count from the end; send them past it, where a gather fills in NaN."""
    wide = labels.astype(jnp.int32) if labels.dtype.itemsize < 4 else labels  # int8 ends at 127
    return jnp.where(wide < 0, num_classes, wide)


def _at_label(values: jax.Array, labels: jax.Array) -> jax.Array:
    """values[..., y], or their expectation under probability labels."""
    if not _is_ids(labels):
        return jnp.sum(labels * values, axis=-1)
    ids = _no_wrap(labels, values.shape[-1])[..., None]
    return jnp.take_along_axis(values, ids, axis=-1, mode="fill", fill_value=jnp.nan)[..., 0]


def _below_top(logits: jax.Array) -> jax.Array:
    """Logits less their maximum: the same softmax, and what is then added to logits near 1e4 keeps
    its digits.
    """
    return logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))


def _log_prior(counts: jax.Array, logits: jax.Array) -> jax.Array:
    return jnp.log(counts / jnp.sum(counts)).astype(logits.dtype)


def _log_probability_and_complement(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Gives log p_c and log(1 - p_c) for every class, exact also where p_c rounds to 1; [..., C]
    each, C >= 2.
    """
    if logits.shape[-1] < 2:
        raise ValueError(f"logits have {logits.shape[-1]} class; expected at least 2")
    logits = _below_top(logits)
    top = jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=bool)
    others = jax.nn.logsumexp(jnp.where(top, -jnp.inf, logits), axis=-1, keepdims=True)
    at_top = others - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    # Only a class of p_c > 1/2, so the top one, needs the sum over the others: its p_c may round to
    # 1. For the rest log_softmax and log1p(-p_c) are accurate, and log(1 - p_c) near 0 is not.
    sure = top & (at_top < -math.log(2.0))
    log_probs, probs = jax.nn.log_softmax(logits), jax.nn.softmax(logits)
    # Each log1p sees a number away from -1 where it isn't taken, so that its gradient is finite.
    at_sure = jnp.log1p(-jnp.exp(jnp.where(sure, at_top, -1.0)))
    return (
        jnp.where(sure, at_sure, log_probs),
        jnp.where(sure, at_top, jnp.log1p(-jnp.where(sure, 0.0, probs))),
    )
