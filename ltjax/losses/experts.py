"""Losses of several experts, each of which learns for a class distribution of its own."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ltjax.counts import counts_of
from ltjax.losses.inputs import below_top, checked, log_prior
from ltjax.losses.per_example import cross_entropy


def balanced_experts(
    expert_logits: ArrayLike,
    labels: ArrayLike,
    *,
    class_counts: ArrayLike,
    taus: Sequence[float] = (0.0, 1.0, 2.0),
) -> jax.Array:
    """BalPoE: the mean over experts of cross-entropy of logits_e + tau_e * log(n / N).

    At tau 0 an expert learns the training distribution, at 1 a balanced one, above 1 a reversed
    one. Averaged logits predict for a balanced test set if the taus average 1.

    Args:
      expert_logits: [E, ..., C].
      labels: class ids [...] or probabilities [..., C].
      class_counts: training images of each class, [C], all > 0.
      taus: weight of the prior for each expert, E of them.

    Returns:
      Per-example loss [...].

    Raises:
      ValueError: labels, class_counts or taus that do not fit the logits, or a count below 1.

    Source: Aimar et al., CVPR 2023, arXiv:2206.05260, eq. 8 and 9.

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> logits = np.zeros((3, 2, 2))  # three experts, two images, two classes
      >>> loss = losses.balanced_experts(logits, np.array([0, 1]), class_counts=[90, 10])
      >>> print(np.array(loss).round(2))  # a mistake on the rare class costs more
      [0.27 2.47]
    """
    expert_logits = _experts(expert_logits, labels, len(taus))
    counts = counts_of(class_counts, expert_logits)
    prior = log_prior(counts, expert_logits)
    return _mean_over_experts(expert_logits, labels, [tau * prior for tau in taus])


def sade(
    expert_logits: ArrayLike, labels: ArrayLike, *, class_counts: ArrayLike, tau: float = 2.0
) -> jax.Array:
    """SADE: the sum of three experts' cross-entropies, for the training distribution, a balanced
    and a reversed one.

    Their logits are z_1; z_2 + log pi; z_3 + log pi - tau * log(reversed pi). In the reversed prior
    the rarest class has the share of the fullest, and so on; equal counts rank in order of their
    class ids (the authors' program leaves their order to an unstable sort).

    Args:
      expert_logits: [3, ..., C].
      labels: class ids [...] or probabilities [..., C].
      class_counts: training images of each class, [C], all > 0.
      tau: weight of the reversed prior.

    Returns:
      Per-example loss [...].

    Raises:
      ValueError: labels or class_counts that do not fit the logits, or a count below 1.

    Source: Zhang et al., NeurIPS 2022, arXiv:2107.09249, eq. 2 to 4.

    Example:
      >>> import numpy as np
      >>> from ltjax import losses
      >>> loss = losses.sade(np.zeros((3, 2, 2)), np.array([0, 1]), class_counts=[90, 10])
      >>> print(np.array(loss).round(2))
      [0.8  9.59]
    """
    expert_logits = _experts(expert_logits, labels, 3)
    counts = counts_of(class_counts, expert_logits)
    prior = log_prior(counts, expert_logits)
    ascending = jnp.argsort(counts, stable=True)
    backwards = jnp.zeros_like(prior).at[ascending].set(prior[ascending[::-1]])
    added = [jnp.zeros_like(prior), prior, prior - tau * backwards]
    return 3.0 * _mean_over_experts(expert_logits, labels, added)


def _experts(expert_logits: ArrayLike, labels: ArrayLike, number: int) -> jax.Array:
    expert_logits = jnp.asarray(expert_logits)
    if expert_logits.ndim < 2 or expert_logits.shape[0] != number:
        raise ValueError(
            f"expert_logits are {list(expert_logits.shape)}; expected [{number}, ..., C], one row"
            " an expert"
        )
    checked(expert_logits[0], labels)
    return expert_logits.astype(jnp.promote_types(expert_logits.dtype, jnp.float32))


def _mean_over_experts(
    expert_logits: jax.Array, labels: ArrayLike, added: Sequence[jax.Array]
) -> jax.Array:
    losses = [
        cross_entropy(below_top(logits) + prior, labels)
        for logits, prior in zip(expert_logits, added, strict=True)
    ]
    return jnp.mean(jnp.stack(losses), axis=0)
