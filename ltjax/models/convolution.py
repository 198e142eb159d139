"""How a convolution is computed: jax.lax's, and on a CPU the fastest of what equals it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.experimental.xla_metadata import set_xla_metadata


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
    70 times slower. So what is linear in a tangent is written in the layouts whose transpose has
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
