"""Base optimisers by name; each a function of the learning rate that the loop sets every epoch."""

from __future__ import annotations

from collections.abc import Callable

import optax
from jax.typing import ArrayLike


def sgd(
    learning_rate: ArrayLike,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """PyTorch's SGD: weight decay is added to the gradient of every parameter, then momentum, then
    the learning rate.

    The momentum buffer holds unscaled gradients, so a drop of the learning rate acts at once.

    Args:
      learning_rate: >= 0, a Python or traced scalar.
      momentum: in [0, 1).
      nesterov: Nesterov's form.
      weight_decay: coupled L2 coefficient, for BatchNorm and biases too.

    Example:
      >>> import jax.numpy as jnp, numpy as np
      >>> from ltjax import optim
      >>> optimizer = optim.sgd(0.1, momentum=0.9, weight_decay=0.5)
      >>> updates, _ = optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)), jnp.ones(2))
      >>> print(np.array(updates).round(3))
      [-0.15 -0.15]
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.trace(momentum, nesterov=nesterov),
        optax.scale_by_learning_rate(learning_rate),
    )


def adamw(learning_rate: ArrayLike, *, weight_decay: float = 0.0) -> optax.GradientTransformation:
    """optax.adamw: decoupled weight decay."""
    return optax.adamw(learning_rate, weight_decay=weight_decay)


def adam(learning_rate: ArrayLike, *, weight_decay: float = 0.0) -> optax.GradientTransformation:
    """PyTorch's Adam: weight decay is added to the gradient."""
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(learning_rate))


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
}
"""Name in a config -> optimiser."""
