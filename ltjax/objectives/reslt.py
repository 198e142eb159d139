"""ResLT: three branches, of which the medium and the tail one learn from their classes alone.

Source: Cui et al., TPAMI 2022, arXiv:2101.10633; the formula is `ltjax.losses.reslt`.
"""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
import numpy as np

from ltjax import losses
from ltjax.objectives.classify import both_labels
from ltjax.objectives.objective import Given, Objective


def reslt(
    given: Given, *, beta: float, medium_from: int, tail_from: int, label_smoothing: float = 0.0
) -> Objective:
    """ResLT's loss of a network with branches, whose sum predicts.

    Args:
      given: its loss and class counts are not used.
      beta, label_smoothing: as `ltjax.losses.reslt`.
      medium_from, tail_from: first class of the medium and of the tail branch.

    Raises:
      ValueError: classes that do not ascend, or that there are not.
    """
    outputs = len(given.class_counts)
    if not 0 <= medium_from <= tail_from < outputs:
        raise ValueError(
            f"config.loss.reslt.medium_from is {medium_from}, tail_from {tail_from};"
            f" expected ascending classes below {outputs}"
        )
    masks = np.arange(outputs)[None] >= np.asarray((0, medium_from, tail_from))[:, None]
    of_branches = partial(
        losses.reslt, branch_masks=masks, beta=beta, label_smoothing=label_smoothing
    )

    def loss(forward, batch, class_weights, memory, key):
        branches = forward(batch.images, branches=True)

        def against(labels, whole, share=None):
            return of_branches(branches, labels)

        return both_labels(against, batch), jnp.sum(branches, axis=0), memory

    return Objective(loss, mix=given.mixing.mix, orders=given.mixing.orders)
