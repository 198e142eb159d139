"""Cross-entropy, the focal loss and LDAM: one value an example."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ltjax.counts import counts_of
from ltjax.losses.inputs import (
    at_label,
    below_top,
    checked,
    is_ids,
    log_probability_and_complement,
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
