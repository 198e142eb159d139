"""Layers shared by the networks, in PyTorch's numerics where Flax's differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.experimental.xla_metadata import set_xla_metadata

he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def conv_general_dilated(
    images: jax.Array,
    kernel: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
) -> jax.Array:
    """jax.lax's for nn.Conv, and on a CPU the fastest of what equals it to rounding.

    XLA's CPU compiler takes a plain loop on one thread for depthwise convolutions and where the
    kernel is larger than the map, and its kernel gradient leaves the cache where a batch's patches
    are many. So there, forward and backward and in forward mode (docs/performance.md):

      depthwise          a sum of shifted products, one a place of the kernel
      1x1                one matrix product
      maps hardly larger than the kernel, of 32 channels or more
                         a matrix product a place of the kernel, over the part of the map it reaches
      many patches       lax's, the kernel's gradient (of wide layers all) in groups of images that
                         stay in the cache
      anything else, other devices
                         lax's

    lax's have gradients that are as fast inside a loop as outside of one; by lax's own derivative
    they are not.

    Args:
      images, kernel: [B, H, W, C] and [h, w, C / feature_group_count, D]. A symbolic B takes lax's.
      other arguments: as jax.lax's.
    """
    dilated = any(value != 1 for value in (*(lhs_dilation or ()), *(rhs_dilation or ())))
    exported = not isinstance(images.shape[0], int)  # a batch of any size, maybe for a GPU
    (height, width), (inputs, outputs) = kernel.shape[:2], kernel.shape[2:]
    depthwise = inputs == 1 and images.shape[-1] == outputs == feature_group_count > 1
    by_lax = dilated or images.ndim != 4 or (feature_group_count > 1 and not depthwise)
    if jax.default_backend() != "cpu" or exported or by_lax:
        return jax.lax.conv_general_dilated(
            images,
            kernel,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            precision=precision,
        )
    pads = (
        jax.lax.padtype_to_pads(images.shape[1:3], (height, width), window_strides, padding)
        if isinstance(padding, str)
        else padding
    )
    if depthwise:
        return _shifted_products(images, kernel, window_strides, pads)
    small = min(images.shape[1] - height, images.shape[2] - width) <= 1
    pointwise = height == width == 1 and not any(map(any, pads))
    if pointwise or (small and min(inputs, outputs) >= WIDE):
        return _places(images, kernel, window_strides, pads, precision)
    options = _Options(tuple(window_strides), tuple((a, b) for a, b in pads), precision)
    return _in_groups(options, images, kernel)


class _Options(NamedTuple):
    """Of a convolution, its layouts apart."""

    strides: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    precision: Any

    def convolve(
        self, images: jax.Array, kernel: jax.Array, layouts: tuple[str, str, str]
    ) -> jax.Array:
        """jax.lax's, of images, kernel and outputs in these layouts."""
        return jax.lax.conv_general_dilated(
            images,
            kernel,
            self.strides,
            self.pads,
            dimension_numbers=layouts,
            precision=self.precision,
        )


WIDE = 32
"""Channels from which a small map is worth several matrix products; less is quicker compiled."""


def _shifted_products(
    images: jax.Array, kernel: jax.Array, strides: Sequence[int], pads: Sequence[tuple[int, int]]
) -> jax.Array:
    """A depthwise convolution as one elementwise loop over h * w shifted copies."""
    (batch, *_, channels), (height, width) = images.shape, kernel.shape[:2]
    # Sums of bfloat16 in float32, as in lax's.
    wide = jnp.promote_types(images.dtype, jnp.float32)
    padded = jnp.pad(images, ((0, 0), *pads, (0, 0)))
    ends = [
        (size - reach) // stride * stride + 1
        for size, reach, stride in zip(padded.shape[1:3], (height, width), strides, strict=True)
    ]
    total: Any = 0.0
    for i, j in np.ndindex(height, width):
        shifted = jax.lax.slice(
            padded, (0, i, j, 0), (batch, i + ends[0], j + ends[1], channels), (1, *strides, 1)
        )
        total += shifted.astype(wide) * kernel[i, j, 0].astype(wide)
    return total.astype(images.dtype)


def _places(
    images: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    precision: Any,
) -> jax.Array:
    """A convolution as a sum over the kernel's places, each a matrix product over the part of the
    map that it reaches: what falls on the padding is not computed.
    """
    wide = jnp.promote_types(images.dtype, jnp.float32)
    sizes = [
        (size + sum(pad) - reach) // stride + 1
        for size, pad, reach, stride in zip(
            images.shape[1:3], pads, kernel.shape[:2], strides, strict=True
        )
    ]
    total: Any = None
    for place in np.ndindex(*kernel.shape[:2]):
        # Outputs first..last read input stride * output + offset, inside the map.
        offsets = [at - pad[0] for at, pad in zip(place, pads, strict=True)]
        first = [max(0, -(at // stride)) for at, stride in zip(offsets, strides, strict=True)]
        last = [
            min(count, (size - 1 - at) // stride + 1)
            for count, size, at, stride in zip(
                sizes, images.shape[1:3], offsets, strides, strict=True
            )
        ]
        if any(end <= start for start, end in zip(first, last, strict=True)):
            continue
        rows, columns = (
            slice(stride * start + at, stride * (end - 1) + at + 1, stride)
            for start, end, at, stride in zip(first, last, offsets, strides, strict=True)
        )
        product = jnp.einsum(
            "bhwc,cd->bhwd",
            images[:, rows, columns],
            kernel[place],
            precision=precision,
            preferred_element_type=wide,
        )
        around = [(a, count - b) for a, b, count in zip(first, last, sizes, strict=True)]
        product = jnp.pad(product, ((0, 0), *around, (0, 0)))
        total = product if total is None else total + product
    return total.astype(images.dtype)


def _in_groups(options: _Options, images: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution with its kernel's gradient in groups of images whose patches stay in the
    cache; of the whole batch where that is small. Wide layers on large maps, whose groups are of
    fewer images, are computed in groups forward too.

    XLA's takes 12 ms for 128 images, 4 x 1.3 ms for 4 x 32 (16 channels of 32 x 32 pixels, two
    cores), and 2,745 ms for 32 images, 227 ms for 8 x 4 (64 channels of these). Group i holds
    images i, i + k, ...: a sharded batch stays on its devices.
    """
    batch, *size, _ = images.shape
    patch = math.prod((*size, *kernel.shape[:3]))
    count = CACHED_IMAGES
    if math.prod(size) > 64:  # smaller maps' patches cost nothing
        while count > 1 and count * patch > CACHED_PATCHES and batch // count < MAX_GROUPS:
            count //= 2
    if batch * patch < CACHED_PATCHES or batch % count or batch <= count:
        return _convolve(options, 1, images, kernel)
    if count < CACHED_IMAGES:
        return _of_groups(partial(_convolve, options, 1), batch // count, images, kernel)
    return _convolve(options, batch // count, images, kernel)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _convolve(options: _Options, groups: int, images: jax.Array, kernel: jax.Array) -> jax.Array:
    """jax.lax's, whose gradients are fast inside a loop too, the kernel's in groups."""
    return options.convolve(images, kernel, ("NHWC", "HWIO", "NHWC"))


def _convolve_jvp(options: _Options, groups: int, primals: Any, tangents: Any) -> Any:
    """XLA's CPU compiler transposes a convolution's operands to the layouts its fast ones want, but
    not inside a loop: there the gradients that lax derives run on a plain loop of one thread, up to
    60 times slower. So what is linear in a tangent is written in the layouts whose transpose has
    those wanted, and the operands are transposed here.
    """
    images, kernel = primals
    total: Any = 0.0
    if not isinstance(tangents[0], SymbolicZero):
        turned = kernel.transpose(0, 1, 3, 2)
        total += options.convolve(tangents[0], turned, ("NHWC", "HWOI", "NHWC"))
    if not isinstance(tangents[1], SymbolicZero):
        in_kernel = partial(_linear_in_kernel, options)
        if groups == 1:
            total += in_kernel(images, tangents[1])
        else:
            total += _of_groups(in_kernel, groups, images, tangents[1])
    return options.convolve(images, kernel, ("NHWC", "HWIO", "NHWC")), total


_convolve.defjvp(_convolve_jvp, symbolic_zeros=True)


def _linear_in_kernel(options: _Options, images: jax.Array, kernel: jax.Array) -> jax.Array:
    turned = images.transpose(3, 1, 2, 0), kernel.transpose(2, 0, 1, 3)
    return options.convolve(*turned, ("CHWN", "IHWO", "HWNC")).transpose(2, 0, 1, 3)


def _of_groups(
    convolve: Callable[[jax.Array, jax.Array], jax.Array],
    groups: int,
    images: jax.Array,
    kernel: jax.Array,
) -> jax.Array:
    # A call of its own, whose operand XLA must store: it would else fuse the whole chain of blocks
    # that led to `images` into the slices and transposes of every group, and compute it each time.
    with set_xla_metadata(inlineable="false"):
        split = _interleaved(images, groups)
    outputs = [convolve(group, kernel) for group in split]
    return jnp.stack(outputs, 1).reshape(-1, *outputs[0].shape[1:])


@partial(jax.jit, static_argnames="groups")
def _interleaved(images: jax.Array, groups: int) -> list[jax.Array]:
    split = images.reshape(-1, groups, *images.shape[1:])
    return [jax.lax.squeeze(group, [1]) for group in jax.lax.split(split, [1] * groups, axis=1)]


CACHED_IMAGES = 32
CACHED_PATCHES = 9 * 2**19
"""Values in the patches of 32 images of 16 channels and 32 x 32 pixels under a 3 x 3 kernel."""
MAX_GROUPS = 16
"""A program of more, for groups below 32 images, takes too long to compile."""

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
