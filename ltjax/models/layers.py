"""Layers shared by the networks, in PyTorch's numerics where Flax's differ."""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ltjax.models.convolution import conv_general_dilated

he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")

Conv = partial(nn.Conv, conv_general_dilated=conv_general_dilated)
"""Flax's, computed so."""


class BatchNorm(nn.Module):
    """Batch normalisation over all but the last axis, with PyTorch's running statistics.

    Flax's own layer keeps a biased running variance; PyTorch's, and so every published figure, an
    unbiased one. Statistics are computed in float32 or wider. Under a sharded jit the batch is the
    global batch.

    Attributes:
      momentum: weight of the new batch in the running statistics (torch's sense).
      epsilon: added to the variance.
      zero_init: whether the scale starts at 0 instead of 1.
      dtype: of the output; None follows the input and parameters.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5
    zero_init: bool = False
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        channels = x.shape[-1:]
        scale = self.param(
            "scale",
            nn.initializers.zeros if self.zero_init else nn.initializers.ones,
            channels,
            self.param_dtype,
        )
        bias = self.param("bias", nn.initializers.zeros, channels, self.param_dtype)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels, self.param_dtype)
        var = self.variable("batch_stats", "var", jnp.ones, channels, self.param_dtype)
        dtype = self.dtype or jnp.result_type(x, scale)
        wide = x.astype(jnp.promote_types(dtype, jnp.float32))
        if train:
            axes = tuple(range(x.ndim - 1))
            # One pass over the batch, less one of its values: E[x^2] - E[x]^2 cancels where the
            # mean is large beside the deviation (float32, mean 1e3 and deviation 1: no digit is
            # left).
            near = jax.lax.stop_gradient(wide[(0,) * len(axes)])
            less = wide - near
            mean_less = jnp.mean(less, axes)
            batch_mean = near + mean_less
            batch_var = jnp.maximum(jnp.mean(jnp.square(less), axes) - jnp.square(mean_less), 0.0)
            if not self.is_initializing():
                size = x.size // x.shape[-1]
                unbiased = batch_var * (size / max(size - 1, 1))
                mean.value += self.momentum * (batch_mean.astype(mean.value.dtype) - mean.value)
                var.value += self.momentum * (unbiased.astype(var.value.dtype) - var.value)
        else:
            batch_mean, batch_var = mean.value, var.value
        multiplier = scale * jax.lax.rsqrt(batch_var + self.epsilon)
        return ((wide - batch_mean) * multiplier + bias).astype(dtype)


class NormalizedLinear(nn.Module):
    """Cosine classifier: normalise(x) . normalise(W) per class column; no bias, no scale (the loss
    has it).

    Source: Cao et al., NeurIPS 2019, arXiv:1906.07413, section 4 and the authors' NormedLinear.
    """

    features: int
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", _unit_columns, (x.shape[-1], self.features), self.param_dtype)
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        return _normalized(x, axis=-1) @ _normalized(kernel, axis=0)


def classifier(
    kind: str, num_classes: int, *, dtype: Any, param_dtype: Any, name: str, kernel_init=he_normal
) -> nn.Module:
    """The last layer: "linear" (PyTorch's uniform bias), "normalized", or "scaled" (linear, times a
    learned scale a class).

    Raises:
      ValueError: another kind.
    """
    if kind == "normalized":
        return NormalizedLinear(num_classes, dtype=dtype, param_dtype=param_dtype, name=name)
    if kind in ("linear", "scaled"):
        return Linear(
            num_classes,
            kernel_init=kernel_init,
            scaled=kind == "scaled",
            dtype=dtype,
            param_dtype=param_dtype,
            name=name,
        )
    raise ValueError(f"classifier is {kind!r}; expected 'linear', 'normalized' or 'scaled'")


def classified(network: Any, x: jax.Array, features: bool, **options: Any) -> Any:
    """Logits of pooled features [B, D] by the network's own classifier, called `linear`; with
    `features`, both.
    """
    logits = classifier(
        network.classifier,
        network.num_classes,
        dtype=None,
        param_dtype=network.param_dtype,
        name="linear",
        **options,
    )(x)
    return (logits, x) if features else logits


class Linear(nn.Module):
    """nn.Dense whose bias starts uniform in +-1/sqrt(fan_in), as PyTorch's.

    With `scaled`, each output is multiplied, bias included, by a parameter that starts at 1
    (learnable weight scaling; Kang et al., ICLR 2020, arXiv:1910.09217, section 4.4).
    """

    features: int
    kernel_init: Any = he_normal
    scaled: bool = False
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        bound = x.shape[-1] ** -0.5
        kernel = self.param(
            "kernel", self.kernel_init, (x.shape[-1], self.features), self.param_dtype
        )
        bias = self.param("bias", _uniform(bound), (self.features,), self.param_dtype)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        logits = x @ kernel + bias
        if not self.scaled:
            return logits
        scale = self.param("factor", nn.initializers.ones, (self.features,), self.param_dtype)
        return logits * scale.astype(logits.dtype)


def torch_uniform(fan_in: int):
    """PyTorch's default start of convolution and linear layers: uniform in +-1/sqrt(fan_in)."""
    return _uniform(fan_in**-0.5)


def _uniform(bound: float):
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)


def _unit_columns(key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
    return _normalized(jax.random.uniform(key, shape, dtype, -1.0, 1.0), axis=0)


def _normalized(x: jax.Array, axis: int) -> jax.Array:
    """X / max(norm, 1e-12) as torch.nn.functional.normalize, with a finite gradient at 0."""
    squares = jnp.sum(jnp.square(x), axis=axis, keepdims=True)
    zero = squares == 0.0
    norm = jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, squares)))
    return x / jnp.maximum(norm, 1e-12)
