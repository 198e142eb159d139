"""What the losses share: checks of their inputs, and arithmetic that keeps its digits."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ltjax.counts import concrete


def is_ids(labels: jax.Array) -> bool:
    return jnp.issubdtype(labels.dtype, jnp.integer)


def checked(logits: ArrayLike, labels: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Logits in float32 or wider and labels as arrays, or one clear error."""
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    if logits.ndim < 1 or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ValueError(
            f"logits are {logits.dtype}{list(logits.shape)}; expected floating point [..., C]"
        )
    num_classes = logits.shape[-1]
    expected = logits.shape[:-1] if is_ids(labels) else logits.shape
    if labels.shape != expected or not (
        is_ids(labels) or jnp.issubdtype(labels.dtype, jnp.floating)
    ):
        raise ValueError(
            f"labels are {labels.dtype}{list(labels.shape)} for logits {list(logits.shape)};"
            f" expected integer class ids {list(logits.shape[:-1])}"
            f" or floating-point probabilities {list(logits.shape)}"
        )
    values = concrete(labels)
    if values is not None and values.size:
        low, high = values.min(), values.max()
        if is_ids(labels) and not (low >= 0 and high < num_classes):
            raise ValueError(
                f"label {low if low < 0 else high} is outside 0..{num_classes - 1};"
                f" the logits have {num_classes} classes"
            )
        if low < 0:
            raise ValueError(f"labels hold the probability {low}; expected none below 0")
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return logits, labels if is_ids(labels) else labels.astype(logits.dtype)


def no_wrap(labels: jax.Array, num_classes: int) -> jax.Array:
    """Negative ids would count from the end; send them past it, where a gather fills in NaN."""
    wide = labels.astype(jnp.int32) if labels.dtype.itemsize < 4 else labels  # int8 ends at 127
    return jnp.where(wide < 0, num_classes, wide)


def at_label(values: jax.Array, labels: jax.Array) -> jax.Array:
    """values[..., y], or their expectation under probability labels."""
    if not is_ids(labels):
        return jnp.sum(labels * values, axis=-1)
    ids = no_wrap(labels, values.shape[-1])[..., None]
    return jnp.take_along_axis(values, ids, axis=-1, mode="fill", fill_value=jnp.nan)[..., 0]


def below_top(logits: jax.Array) -> jax.Array:
    """Logits less their maximum: the same softmax, and what is then added to logits near 1e4 keeps
    its digits.
    """
    return logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))


def log_prior(counts: jax.Array, logits: jax.Array) -> jax.Array:
    return jnp.log(counts / jnp.sum(counts)).astype(logits.dtype)


def log_probability_and_complement(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Gives log p_c and log(1 - p_c) for every class, exact also where p_c rounds to 1; [..., C]
    each, C >= 2.
    """
    if logits.shape[-1] < 2:
        raise ValueError(f"logits have {logits.shape[-1]} class; expected at least 2")
    logits = below_top(logits)
    top = jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=bool)
    others = jax.nn.logsumexp(jnp.where(top, -jnp.inf, logits), axis=-1, keepdims=True)
    at_top = others - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    # Only a class of p_c > 1/2, so the top one, needs the sum over the others: its p_c may round to
    # 1. For the rest log_softmax and log1p(-p_c) are accurate, and log(1 - p_c) near 0 is not.
    sure = top & (at_top < -math.log(2.0))
    log_probs, probs = jax.nn.log_softmax(logits), jax.nn.softmax(logits)
    # Each log1p sees a number away from -1 where it isn't taken, so that its gradient is finite.
    at_sure = jnp.log1p(-jnp.exp(jnp.where(sure, at_top, -1.0)))
    return (
        jnp.where(sure, at_sure, log_probs),
        jnp.where(sure, at_top, jnp.log1p(-jnp.where(sure, 0.0, probs))),
    )
