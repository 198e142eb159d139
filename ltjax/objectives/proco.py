"""ProCo's mathematics: the classes' features as von Mises-Fisher laws on the unit sphere, estimated
while training, and the contrast logits in their closed form.

Source: Du et al., TPAMI 2024, arXiv:2403.06726; the authors' program.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

MAX_CONCENTRATION = 1e5
"""Cap of kappa, as published; a class with one image has a mean of length 1, so an infinite one."""


class Estimate(NamedTuple):
    """Mean unit feature of each class, [C, D], and how many it is of, [C].

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax.objectives import proco
      >>> estimate = proco.Estimate(jnp.eye(2), jnp.array([10.0, 0.0]))
      >>> print(estimate.means.shape, estimate.counts)
      (2, 2) [10.  0.]
    """

    means: jax.Array
    counts: jax.Array


def updated(estimate: Estimate, features: ArrayLike, labels: ArrayLike) -> Estimate:
    """The estimate with a batch taken in: running means, one weight an image.

    A class without images keeps its mean; the first images of one of count 0 replace it.

    Args:
      estimate: means [C, D] and counts [C], floating point.
      features: unit length, [B, D]; no gradient passes.
      labels: class ids [B]; those outside 0..C-1 count nowhere.

    Raises:
      ValueError: shapes that do not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax.objectives import proco
      >>> before = proco.Estimate(jnp.zeros((2, 2)), jnp.zeros(2))
      >>> after = proco.updated(before, jnp.eye(2), jnp.array([0, 0]))
      >>> print(after.means[0], after.counts)  # the mean of both
      [0.5 0.5] [2. 0.]
    """
    features, labels = jnp.asarray(features), jnp.asarray(labels)
    means, counts = estimate
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(
            f"features are {list(features.shape)} with labels {list(labels.shape)}; expected"
            " [B, D] and class ids [B]"
        )
    _check_means(features, means)
    members = jax.nn.one_hot(labels, means.shape[0], dtype=means.dtype)
    features = jax.lax.stop_gradient(features).astype(means.dtype)
    new = jnp.sum(members, axis=0)
    total = counts + new
    sums = jnp.matmul(members.T, features, precision="highest")
    change = (sums - new[:, None] * means) / jnp.maximum(total, 1)[:, None]
    return Estimate(means + change, total)


def contrast_logits(features: ArrayLike, means: ArrayLike, temperature: float = 0.1) -> jax.Array:
    """Log of the expected exp(f . g / T) over each class's features g.

    With R_c = ||m_c||, mu_c = m_c / R_c, kappa_c = D R_c / (1 - R_c^2), at most 1e5, v = D / 2 - 1
    and A(k) = log I_v(k) - v log k: u_c = A(||kappa_c mu_c + f / T||) - A(kappa_c). No gradient
    passes to the means.

    Args:
      features: f, unit length, [B, D].
      means: m, [C, D], of length at most 1.
      temperature: T > 0.

    Returns:
      [B, C] in float32 or wider, to rounding: in float32 within 3e-6 at D = 128 and T = 0.1.

    Raises:
      ValueError: shapes that do not fit, fewer than 2 dimensions, or a temperature not above 0.

    Source: equations 15 to 17 of the paper. The authors' recurrence loses digits above kappa = 1e3
      (in float64); this is exact there.

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax.objectives import proco
      >>> means = jnp.array([[0.9, 0.0], [0.0, 0.9]])
      >>> print(jnp.argmax(proco.contrast_logits(jnp.eye(2), means), axis=1))
      [0 1]
    """
    features, means = jnp.asarray(features), jnp.asarray(means)
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; expected a value above 0")
    if features.ndim != 2 or features.shape[1] < 2:
        raise ValueError(f"features are {list(features.shape)}; expected [B, D] with D >= 2")
    _check_means(features, means)
    dtype = jnp.promote_types(features.dtype, jnp.float32)
    features = features.astype(dtype) / temperature
    means = jax.lax.stop_gradient(means).astype(dtype)
    dimensions = means.shape[1]
    square = jnp.sum(jnp.square(means), axis=1)
    length = jnp.sqrt(square)
    # kappa / R; the second bound is the cap, and holds where rounding takes R above 1.
    scale = dimensions / jnp.maximum(1.0 - square, dimensions * length / MAX_CONCENTRATION)
    inner = jnp.matmul(features, (scale[:, None] * means).T, precision="highest")
    # ||kappa mu + f / T||^2 - kappa^2, which float32 could not take from values near 1e10.
    change = 2.0 * inner + jnp.sum(jnp.square(features), axis=1, keepdims=True)
    return _rise(dimensions / 2 - 1, change, scale * length)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _rise(order: float, change: jax.Array, start: jax.Array) -> jax.Array:
    """A(sqrt(start^2 + change)) - A(start).

    By the uniform expansion A is order * (s - log(1 + s)) - log(s) / 2 + log U and a constant, s =
    sqrt(1 + (k / order)^2). Of s and the logarithms the difference is taken before the values,
    since float32 keeps no digits of A near 1e5.
    """
    end = _end(change, start)
    (u_start, *below_start), (u_end, *below_end) = (_down_from_top(order, k) for k in (start, end))
    top = order + len(below_start) - 1
    s_start, s_end = (jnp.sqrt(1.0 + jnp.square(k / top)) for k in (start, end))
    longer = change / top**2 / (s_start + s_end)
    rise = top * (longer - jnp.log1p(longer / (1.0 + s_start))) - 0.5 * jnp.log1p(longer / s_start)
    rise += jnp.log(u_end) - jnp.log(u_start)
    # A_v = A_{v+1} - log(r_v / k) leads down from the expansion's order.
    for at_start, at_end in zip(below_start[1:], below_end[1:], strict=True):
        rise -= jnp.log(at_end / at_start)
    return rise


@_rise.defjvp
def _rise_jvp(order, primals, tangents):
    change, start = primals
    slope = 0.5 * _down_from_top(order, _end(change, start))[-1]  # of A by k^2; none to `start`
    return _rise(order, change, start), slope * tangents[0]


def _end(change: jax.Array, start: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.maximum(jnp.square(start) + change, 0.0))


def bessel_ratio(order: float, argument: ArrayLike) -> jax.Array:
    """I_{order + 1}(k) / I_order(k) of the modified Bessel functions, to rounding for every k >= 0.

    Args:
      order: >= 0, static.
      argument: k >= 0, any shape.

    Source: the uniform expansion for large orders, DLMF 10.41.3 and 10.41.5, without the leading
      terms' cancellation; smaller orders by the recurrence DLMF 10.29.1 down from one of at least
      32.

    Example:
      >>> from ltjax.objectives import proco
      >>> print(round(float(proco.bessel_ratio(0.5, 2.0)), 4))  # of order 1/2: coth(k) - 1/k
      0.5373
    """
    argument = jnp.asarray(argument)
    return argument * _down_from_top(order, argument)[-1]


def _down_from_top(order: float, argument: jax.Array) -> list[jax.Array]:
    """The expansion's U at the least order + n of at least 32, and the ratios divided by k, which
    is finite at 0, of the orders from there down to `order`.
    """
    steps = max(0, math.ceil(_LARGE - order))
    top = order + steps
    z = argument / top
    root = jnp.sqrt(1.0 + jnp.square(z))
    t = 1.0 / root
    u, q = (_horner(c, t) for c in _expansion(top))
    # r = z / (1 + root) - z t Q / U, of which both terms hold a factor z = k / top.
    found = [u, (1.0 / (1.0 + root) - t * q / u) / top]
    for step in range(steps):
        found.append(1.0 / (2.0 * (top - step) + jnp.square(argument) * found[-1]))
    return found


_LARGE, _TERMS = 32, 10


@lru_cache
def _expansion(order: float) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients by powers of t of U = sum U_k(t) / order^k and of Q, from I' = (V) and V_k = U_k
    - (1 - t^2) Q_k: Q_{k+1} = t U_k / 2 + t^2 U_k'.
    """
    u_sum, q_sum = np.zeros(3 * _TERMS + 1), np.zeros(3 * _TERMS + 1)
    u = [Fraction(1)]
    for k in range(_TERMS):
        u_sum[: len(u)] += np.array(u, float) / order**k
        slope = [power * c for power, c in enumerate(u)][1:]
        q = _sum([0, *(c / 2 for c in u)], [0, 0, *slope])
        q_sum[: len(q)] += np.array(q, float) / order ** (k + 1)
        # DLMF 10.41.9: U_{k+1} = t^2 (1 - t^2) U_k' / 2 + (integral of (1 - 5 t^2) U_k) / 8
        turned = [c / 2 for c in _sum([0, 0, *slope], [0, 0, 0, 0, *(-c for c in slope)])]
        inside = _sum(u, [0, 0, *(-5 * c for c in u)])
        u = _sum(turned, [0, *(c / (8 * (power + 1)) for power, c in enumerate(inside))])
    return u_sum, q_sum


def _sum(a: list, b: list) -> list:
    longer, shorter = (a, b) if len(a) > len(b) else (b, a)
    return [c + (shorter[i] if i < len(shorter) else 0) for i, c in enumerate(longer)]


def _horner(coefficients: np.ndarray, t: jax.Array) -> jax.Array:
    value = jnp.zeros_like(t)
    for c in coefficients[::-1]:
        value = value * t + float(c)
    return value


def _check_means(features: jax.Array, means: jax.Array) -> None:
    if means.ndim != 2 or means.shape[1] != features.shape[1]:
        raise ValueError(
            f"means are {list(means.shape)} for features {list(features.shape)}; expected"
            f" [C, {features.shape[1]}]"
        )
