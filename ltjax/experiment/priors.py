"""How frequent a training run makes the classes look."""

from __future__ import annotations

import numpy as np
from ml_collections import ConfigDict

from ltjax import reweighting


def implied_prior(config: ConfigDict, class_counts: np.ndarray) -> np.ndarray:
    """The class frequencies that a network's probabilities assume after training.

    The optimum of cross-entropy over classes drawn with probability s_c and weighted by w_c is
    p(c | x) proportional to p(x | c) s_c w_c; a loss that adds tau log n_c to the logits in
    training (balanced softmax, logit adjustment, the additive part of VS) leaves
    p(x | c) s_c w_c / n_c^tau without it.

    Args:
      config: resolved, of the last stage.
      class_counts: training images of each class, int [C].

    Returns:
      float64 [C], sum 1.

    Raises:
      ValueError: a loss for which this is not known.

    Source: Menon et al., ICLR 2021, arXiv:2007.07314, section 4; Elkan, IJCAI 2001.
    """
    counts = np.asarray(class_counts, np.float64)
    q = {"shuffled": 1.0, "square_root": 0.5, "power": config.sampler.q, "reversed": -1.0}
    drawn = counts ** q.get(config.sampler.name, 0.0)  # progressive ends in the balanced one
    options = (
        {"beta": config.reweighting.beta} if config.reweighting.name == "effective_number" else {}
    )
    weights = reweighting.WEIGHTS[config.reweighting.name](class_counts, **options)
    if config.objective.name != "classify":
        raise ValueError(
            f"prior is not known to fit a run with the objective {config.objective.name!r}; leave"
            " it out"
        )
    if config.loss.name not in _ADDED:
        raise ValueError(
            f"prior is not known to fit a run with the loss {config.loss.name!r}: which class"
            f" frequencies its probabilities assume is known for {', '.join(_ADDED)}; leave it out"
        )
    added = _ADDED[config.loss.name]
    tau = config.loss[config.loss.name].tau if added is None else added
    implied = drawn * np.asarray(weights, np.float64) / counts**tau
    return implied / implied.sum()


_ADDED: dict[str, float | None] = {
    "cross_entropy": 0.0,
    "focal": 0.0,
    "ldam": 0.0,
    "label_aware_smoothing": 0.0,
    "reslt": 0.0,
    "balanced_softmax": 1.0,
    "logit_adjusted": None,
    "vector_scaling": None,
}
"""Loss -> the power of the counts that it adds to the logits' exponentials; None is its own tau."""
