"""Sharpness-aware minimisation (SAM) and its adaptive form (ASAM) as an optax transformation.

Source: Foret et al., ICLR 2021, arXiv:2010.01412, algorithm 1; Kwon et al. (ASAM), ICML 2021,
arXiv:2102.11600, algorithm 1.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike


class SamState(NamedTuple):
    """State of `sam`: updates done so far (for a scheduled rho) and the base optimiser's state.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from ltjax import optim
      >>> optimizer, w = optim.sam(optax.sgd(0.1), rho=0.05), jnp.ones(3)
      >>> state = optimizer.init(w)
      >>> _, state = optimizer.update(w, state, w, grad_fn=lambda w: w)
      >>> print(state.step)
      1
    """

    step: jax.Array
    base: Any


def ascend(params: Any, grads: Any, rho: ArrayLike, adaptive: bool = False) -> Any:
    """The point where SAM takes its gradient: params + e.

    SAM: e = rho * g / (||g|| + 1e-12). ASAM: e = rho * w^2 g / (|| |w| g || + 1e-12). The norm runs
    over all parameters; products and norm are taken in float32 or wider.

    Args:
      params: pytree of parameters w.
      grads: gradient g of the plain loss (no weight decay), the same structure.
      rho: radius, a scalar >= 0, Python or traced.
      adaptive: ASAM.

    Returns:
      Pytree like params.

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax import optim
      >>> print(optim.ascend(jnp.zeros(2), jnp.array([3.0, 4.0]), rho=0.1))
      [0.06 0.08]
    """
    # |w| g and w g have one norm.
    scaled = jax.tree.map(lambda w, g: _wide(w) * _wide(g) if adaptive else _wide(g), params, grads)
    factor = rho / (optax.tree.norm(scaled) + 1e-12)

    def perturbed(w, g):
        direction = jnp.square(_wide(w)) * _wide(g) if adaptive else g
        return w + (factor * direction).astype(w.dtype)

    return jax.tree.map(perturbed, params, grads)


def sam(
    base: optax.GradientTransformation,
    rho: float | jax.Array | optax.Schedule,
    adaptive: bool = False,
    *,
    mask: Any = None,
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

    sam goes outside of optax's wrappers, since grad_fn needs all parameters and its gradient is the
    one to accumulate or to check; inside of them it is refused:

        sam(optax.MultiSteps(base, 4).gradient_transformation(), rho)   an e for each small batch
        sam(optax.apply_if_finite(base, 3), rho)
        sam(optax.multi_transform(...), rho, mask=trained)

    Args:
      base: any optax optimiser.
      rho: radius >= 0, or an optax schedule of the update count.
      adaptive: ASAM.
      mask: bools like params, or of whole subtrees (or a function of params that gives them): False
        where e is 0, for parameters that base does not train. None is True everywhere; beside
        optax.multi_transform, which may freeze some, it has to be said.

    Returns:
      A transformation; `update(grads, state, params, grad_fn=..., plain_grads=None)` takes the
      gradient at params and a function grad_fn(params) -> grads, called once at the perturbed
      point. Further keyword arguments reach the base.

    Raises:
      ValueError: a negative rho, update without params or grad_fn, init inside of a wrapper, or
        optax.multi_transform without a mask.

    Example:
      >>> import jax, jax.numpy as jnp, optax, numpy as np
      >>> from ltjax import optim
      >>> grad = jax.grad(lambda w: jnp.sum((w - 1.0) ** 2))
      >>> optimizer = optim.sam(optax.sgd(0.1), rho=0.05)
      >>> w = jnp.zeros(3)
      >>> state = optimizer.init(w)
      >>> updates, state = optimizer.update(grad(w), state, w, grad_fn=grad)
      >>> print(np.array(optax.apply_updates(w, updates)).round(3))  # plain descent: 0.2
      [0.206 0.206 0.206]
    """
    if not (callable(rho) or isinstance(rho, jax.core.Tracer)) and not rho >= 0:
        raise ValueError(f"rho is {rho}; expected a radius >= 0")
    base = optax.with_extra_args_support(base)

    def init(params):
        _refuse_wrappers(params)
        state = base.init(params)
        if mask is None and _has(state, optax.PartitionState):
            raise ValueError(
                "sam around optax.multi_transform needs mask=..., bools like params: False for"
                " those that stay frozen and are not to be perturbed (mask=True perturbs all)"
            )
        return SamState(jnp.zeros([], jnp.int32), state)

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
        second = grad_fn(ascend(params, _masked(mask, grads, params), radius, adaptive))
        if plain_grads is not None:
            second = jax.tree.map(jnp.add, second, plain_grads)
        updates, base_state = base.update(second, state.base, params, **extra)
        return updates, SamState(optax.safe_increment(state.step), base_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _masked(mask: Any, grads: Any, params: Any) -> Any:
    if mask is None:
        return grads
    kept = mask(params) if callable(mask) else mask
    return jax.tree.map(
        lambda keep, below: below if keep else jax.tree.map(jnp.zeros_like, below), kept, grads
    )


def _has(tree: Any, kind: type) -> bool:
    found = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, kind))
    return any(isinstance(node, kind) for node in found)


def _refuse_wrappers(params: Any) -> None:
    """One line where an optax wrapper would hand sam a part of what it needs."""
    if _has(params, optax.MaskedNode):
        raise ValueError(
            "sam inside optax.masked or multi_transform sees only some parameters,"
            " and grad_fn needs all: put it outside, sam(optax.multi_transform(...), rho, mask=...)"
        )
    # MultiSteps and apply_if_finite look at the first gradients alone, and nothing in init's
    # arguments tells of them; its callers do.
    frame = inspect.currentframe()
    while frame is not None:
        wrapper = frame.f_code.co_qualname.split(".")[0]
        if wrapper in _WRAPPERS and frame.f_globals.get("__name__", "").startswith("optax."):
            raise ValueError(f"sam inside optax.{wrapper} {_WRAPPERS[wrapper]}, rho)")
        frame = frame.f_back


_WRAPPERS = {
    "MultiSteps": "would take its second gradient of the last small batch alone: put it outside,"
    " sam(optax.MultiSteps(base, k).gradient_transformation()",
    "apply_if_finite": "would let a second gradient that is not finite through: put it outside,"
    " sam(optax.apply_if_finite(base, n)",
}
