"""Metrics from logits or other scores, and the adjustment of logits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ltjax.counts import counts_of
from ltjax.metrics.common import wide


def auroc(scores: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Area under each class's one-against-the-rest ROC curve: how often an example of the class
    scores higher than one of another class, ties counting half. Their mean is the macro AUROC.

    Args:
      scores: of each class, [N, C]; probabilities, say. Only their order in a column matters.
      labels: class ids [N].

    Returns:
      float64 [C] in [0, 1]; NaN for a class without examples, or with all of them.

    Source: Hanley and McNeil, Radiology 143(1), 1982 (the Wilcoxon statistic).

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
      >>> print(metrics.auroc(scores, np.array([0, 0, 1, 1])))
      [0.75 0.75]
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    areas = np.full(scores.shape[1], np.nan)
    for c in range(scores.shape[1]):
        own = labels == c
        positives, negatives = int(own.sum()), int((~own).sum())
        if positives and negatives:
            _, place, times = np.unique(scores[:, c], return_inverse=True, return_counts=True)
            ranks = (np.cumsum(times) - (times - 1) / 2)[place]
            wins = ranks[own].sum() - positives * (positives + 1) / 2
            areas[c] = wins / (positives * negatives)
    return areas


def top_k_correct(logits: ArrayLike, labels: ArrayLike, k: int) -> jax.Array:
    """Whether the true class is among the k highest logits (ties count for the label), bool [...];
    works under jit.

    An example with a label outside 0..C-1 or a NaN logit at its label is never correct; a NaN
    elsewhere counts as higher.

    Args:
      logits: [..., C].
      labels: class ids [...] of any integer dtype.
      k: in 1..C.

    Raises:
      ValueError: another k.

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> print(metrics.top_k_correct(np.array([[3.0, 2.0, 1.0]] * 2), np.array([1, 2]), k=2))
      [ True False]
    """
    logits, labels = jnp.asarray(logits), wide(labels)
    if not 1 <= k <= logits.shape[-1]:
        raise ValueError(f"k is {k}; expected 1 to {logits.shape[-1]}, the number of classes")
    ids = jnp.maximum(labels, 0)[..., None]
    own = jnp.take_along_axis(logits, ids, axis=-1, mode="fill", fill_value=jnp.nan)
    return (jnp.sum(~(logits <= own), axis=-1) < k) & (labels >= 0)


def adjust_logits(logits: ArrayLike, class_counts: ArrayLike, tau: float = 1.0) -> jax.Array:
    """Post-hoc logit adjustment: logits - tau * log(n / N); predict by its argmax.

    Args:
      logits: [..., C].
      class_counts: training images of each class, [C], all > 0.
      tau: weight of the prior.

    Returns:
      [..., C] in float32 or wider.

    Raises:
      ValueError: a count below 1, or not one count a class of the logits.

    Source: Menon et al., ICLR 2021, arXiv:2007.07314, eq. 9.

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> adjusted = metrics.adjust_logits(np.array([[1.0, 0.0]]), class_counts=[90, 10])
      >>> print(np.array(adjusted).round(2))  # the rare class wins
      [[1.11 2.3 ]]
    """
    logits = jnp.asarray(logits)
    counts = counts_of(class_counts, logits)
    return logits - tau * jnp.log(counts / jnp.sum(counts))


def negative_log_likelihood(logits: ArrayLike, labels: ArrayLike) -> float:
    """Mean of -log softmax(logits)[label] in nats; logits [N, C], class ids [N].

    Example:
      >>> import numpy as np
      >>> from ltjax import metrics
      >>> logits, labels = np.zeros((2, 4)), np.array([0, 3])
      >>> print(round(metrics.negative_log_likelihood(logits, labels), 3))  # log 4
      1.386
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    top = logits.max(axis=1, keepdims=True)
    norms = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return float(np.mean(norms - logits[np.arange(len(labels)), labels]))
