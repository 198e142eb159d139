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

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ltjax.losses.inputs import (
    at_label,
    below_top,
    checked,
    counts_of,
    is_ids,
    log_prior,
    log_probability_and_complement,
    no_wrap,
)


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

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> logits = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
      >>> print(np.array(losses.cross_entropy(logits, np.array([0, 2]))).round(3))
      [0.24  1.099]
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing is {label_smoothing}; expected a value in [0, 1]")
    logits, labels = checked(logits, labels)
    log_probs = jax.nn.log_softmax(logits)
    loss = -at_label(log_probs, labels)
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

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> logits = np.array([[4.0, 0.0], [0.0, 0.0]])  # a sure image and an unsure one
      >>> print(np.array(losses.focal(logits, np.array([0, 0]), gamma=2.0)).round(5))
      [1.0000e-05 1.7329e-01]
    """
    if gamma < 0:
        raise ValueError(f"gamma is {gamma}; expected a value >= 0")
    logits, labels = checked(logits, labels)
    log_probs, log_others = log_probability_and_complement(logits)
    return at_label(jnp.exp(gamma * log_others) * -log_probs, labels)


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

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> print(np.array(losses.ldam_margins([5000, 500, 50])).round(3))
      [0.158 0.281 0.5  ]
    """
    counts = counts_of(class_counts)
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

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> cosines = np.array([[0.5, 0.4], [0.4, 0.5]])  # the rare class needs a wider margin
      >>> loss = losses.ldam(cosines, np.array([0, 1]), class_counts=[5000, 50])
      >>> print(np.array(loss).round(3))
      [ 1.905 12.   ]
    """
    logits, labels = checked(logits, labels)
    logits = below_top(logits)
    margins = ldam_margins(counts_of(class_counts, logits), max_margin).astype(logits.dtype)
    if is_ids(labels):
        margin = jnp.where(jax.nn.one_hot(labels, logits.shape[-1], dtype=bool), margins, 0.0)
        return cross_entropy(scale * (logits - margin), labels)
    # For each class in turn as the label: log(1 + exp(log-sum of the others - its own score)).
    log_probs, log_others = log_probability_and_complement(scale * logits)
    return at_label(jax.nn.softplus(log_others - log_probs + scale * margins), labels)


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

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> logits = np.array([[2.0, 0.0], [0.0, 2.0]])
      >>> loss = losses.vector_scaling(logits, np.array([0, 1]), class_counts=[90, 10])
      >>> print(np.array(loss).round(3))
      [0.015 1.435]
    """
    logits, labels = checked(logits, labels)
    counts = counts_of(class_counts, logits)
    scales = (counts / jnp.max(counts)) ** gamma
    return cross_entropy(
        below_top(logits * scales.astype(logits.dtype)) + tau * log_prior(counts, logits), labels
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

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> logits, labels = np.zeros((2, 2)), np.array([0, 1])
      >>> loss = losses.balanced_softmax(logits, labels, class_counts=[90, 10])
      >>> print(np.array(loss).round(3))  # -log of the class's share of the training images
      [0.105 2.303]
    """
    logits, labels = checked(logits, labels)
    return cross_entropy(
        below_top(logits) + jnp.log(counts_of(class_counts, logits)).astype(logits.dtype), labels
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

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> logits, labels = np.zeros((2, 2)), np.array([0, 1])
      >>> loss = losses.logit_adjusted(logits, labels, class_counts=[90, 10], tau=1.0)
      >>> print(np.array(loss).round(3))
      [0.105 2.303]
    """
    logits, labels = checked(logits, labels)
    return cross_entropy(
        below_top(logits) + tau * log_prior(counts_of(class_counts, logits), logits), labels
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

    Example:
      >>> import numpy as np
      >>> from ltjax import losses, reweighting
      >>> labels = np.array([0, 0, 0, 1])
      >>> each = np.array([1.0, 1.0, 1.0, 5.0])
      >>> print(losses.weighted_mean(each, labels))
      2.0
      >>> print(losses.weighted_mean(each, labels, reweighting.inverse_frequency([3, 1])))
      3.0
    """
    losses, labels = jnp.asarray(losses), jnp.asarray(labels)
    if class_weights is None:
        return jnp.mean(losses)
    class_weights = jnp.asarray(class_weights, losses.dtype)
    if is_ids(labels) and labels.shape == losses.shape:
        weights = jnp.take(class_weights, no_wrap(labels, class_weights.shape[0]), mode="fill")
    elif not is_ids(labels) and labels.shape == (*losses.shape, *class_weights.shape):
        weights = labels.astype(losses.dtype) @ class_weights
    else:
        raise ValueError(
            f"labels are {labels.dtype}{list(labels.shape)} for losses {list(losses.shape)};"
            f" expected class ids {list(losses.shape)}"
            f" or probabilities {[*losses.shape, *class_weights.shape]}"
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

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> logits = np.zeros((3, 2, 3))  # three branches, two images, three classes
      >>> masks = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1]])
      >>> loss = losses.reslt(logits, np.array([0, 2]), branch_masks=masks, beta=0.9)
      >>> print(np.array(loss).round(3))
      1.099
    """
    branch_logits, labels = jnp.asarray(branch_logits), jnp.asarray(labels)
    if (
        branch_logits.ndim != 3
        or branch_logits.shape[0] != 3
        or labels.shape != branch_logits.shape[1:2]
        or not is_ids(labels)
    ):
        raise ValueError(
            f"branch_logits are {list(branch_logits.shape)} with labels"
            f" {labels.dtype}{list(labels.shape)}; expected [3, B, C] and class ids [B]"
        )
    if np.shape(branch_masks) != (3, branch_logits.shape[-1]):
        raise ValueError(
            f"branch_masks are {list(np.shape(branch_masks))};"
            f" expected [3, {branch_logits.shape[-1]}]"
        )
    if not 0.0 <= beta <= 1.0:
        raise ValueError(f"beta is {beta}; expected a value in [0, 1]")
    losses = cross_entropy(
        branch_logits, jnp.broadcast_to(labels, (3, *labels.shape)), label_smoothing=label_smoothing
    )
    masks = jnp.take(
        jnp.asarray(branch_masks, losses.dtype),
        no_wrap(labels, branch_logits.shape[-1]),
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

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> logits = np.array([[2.0, 0.0], [0.0, 2.0]])
      >>> loss_a = losses.cross_entropy(logits, np.array([0, 1]))
      >>> loss_b = losses.cross_entropy(logits, np.array([1, 0]))
      >>> print(np.array(losses.mixup(loss_a, loss_b, 0.75)).round(3))
      [0.627 0.627]
    """
    lam = jnp.asarray(lam)
    return lam * jnp.asarray(loss_a) + (1.0 - lam) * jnp.asarray(loss_b)
