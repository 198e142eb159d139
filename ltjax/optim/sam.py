"""Sharpness-aware minimisation (SAM) and its adaptive form (ASAM) as an optax transformation.

Source: Foret et al., ICLR 2021, arXiv:2010.01412, algorithm 1; Kwon et al. (ASAM), ICML 2021,
arXiv:2102.11600, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike


class SamState(NamedTuple):
    """State of `sam`: updates done so far (for a scheduled rho) and the base optimiser's state."""

    step: jax.Array
    base: Any


def ascend(params: Any, grads: Any, rho: ArrayLike, adaptive: bool = False) -> Any:
    """The point where SAM takes its gradient: params + e.

    SAM: e = rho * g / (||g|| + 1e-12). ASAM: e = rho * w^2 g / (|| |w| g || + 1e-12). The norm runs
    over all parameters and is taken in float32 or wider.

    Args:
      params: pytree of parameters w.
      grads: gradient g of the plain loss (no weight decay), the same structure.
      rho: radius, a scalar >= 0, Python or traced.
      adaptive: ASAM.

    Returns:
      Pytree like params.
    """
    scaled = jax.tree.map(lambda w, g: jnp.abs(w) * g, params, grads) if adaptive else grads
    norm = optax.tree.norm(
        jax.tree.map(lambda g: g.astype(jnp.promote_types(g.dtype, jnp.float32)), scaled)
    )
    factor = rho / (norm + 1e-12)

    def perturbed(w, g):
        return w + (factor * (jnp.square(w) * g if adaptive else g)).astype(w.dtype)

    return jax.tree.map(perturbed, params, grads)


def sam(
    base: optax.GradientTransformation, rho: float | optax.Schedule, adaptive: bool = False
) -> optax.GradientTransformationExtraArgs:
    """SAM around any optax optimiser: the base sees the gradient at w + e and updates w.

    Example:
        optimizer = ltjax.optim.sam(optax.sgd(0.1, momentum=0.9), rho=0.05)
        state = optimizer.init(params)
        grads = jax.grad(loss)(params)
        updates, state = optimizer.update(grads, state, params, grad_fn=jax.grad(loss))
        params = optax.apply_updates(params, updates)

    A loss of which only a part is perturbed (Focal-SAM, ImbSAM; `focal_weights`, `tail_weights`)
    gives that part's gradient as `grads` and `grad_fn`, and the other part's, at params, as
    `plain_grads`: the perturbation comes from `grads` alone, and the base sees grad_fn(w + e) +
    plain_grads.

    Weight decay belongs into the base (`ltjax.optim.sgd`), so that it sees w and not w + e, and e
    does not contain it. A network with BatchNorm decides in `grad_fn` what its second pass does to
    the running statistics; `ascend` gives the perturbed parameters to those who write their own
    step.

    Args:
      base: any optax optimiser.
      rho: radius >= 0, or an optax schedule of the update count.
      adaptive: ASAM.

    Returns:
      A transformation; `update(grads, state, params, grad_fn=..., plain_grads=None)` takes the
      gradient at params and a function grad_fn(params) -> grads, called once at the perturbed
      point. Further keyword arguments reach the base.

    Raises:
      ValueError: a negative rho, or update without params or grad_fn.
    """
    if not callable(rho) and rho < 0:
        raise ValueError(f"rho is {rho}; expected a radius >= 0")
    base = optax.with_extra_args_support(base)

    def init(params):
        return SamState(jnp.zeros([], jnp.int32), base.init(params))

    def update(
        grads,
        state,
        params=None,
        *,
        grad_fn: Callable[[Any], Any] | None = None,
        plain_grads: Any = None,
        **extra,
    ):
        if params is None or grad_fn is None:
            raise ValueError(
                "sam needs update(grads, state, params, grad_fn=...): it takes a second gradient at"
                " params + e"
            )
        radius = rho(state.step) if callable(rho) else rho
        second = grad_fn(ascend(params, grads, radius, adaptive))
        if plain_grads is not None:
            second = jax.tree.map(jnp.add, second, plain_grads)
        updates, base_state = base.update(second, state.base, params, **extra)
        return updates, SamState(optax.safe_increment(state.step), base_state)

    return optax.GradientTransformationExtraArgs(init, update)
