"""The image operations of AutoAugment and RandAugment on uint8 batches, each with a parameter an
image, in Pillow's arithmetic.

Geometry uses Pillow's 16.16 fixed point, and equalize, invert, solarize, posterize and the grey of
contrast and colour its integers, so these equal Pillow's bit for bit. Blending is float32 in Pillow
too, and auto-contrast float64: equal but for a level (1/255) where rounding falls on an integer.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

IDENTITY = (65536, 0, 32768, 0, 65536, 32768)
"""`affine` with these coefficients changes nothing."""

KINDS = (
    "identity",
    "affine",
    "auto_contrast",
    "equalize",
    "invert",
    "solarize",
    "posterize",
    "brightness",
    "contrast",
    "color",
    "sharpness",
)


def apply(
    images: jax.Array, kind: jax.Array, value: jax.Array, coefficients: jax.Array, fill: int = 128
) -> jax.Array:
    """Each image's own operation. All are computed and one is kept: far cheaper under jit than a
    branch an image.

    Args:
      images: uint8 [B, H, W, C].
      kind: int [B], index into `KINDS`.
      value: float [B], the operation's parameter.
      coefficients: int32 [B, 6], of `affine`; `IDENTITY` for the other kinds.
      fill: colour of what geometry brings in.

    Returns:
      uint8 [B, H, W, C].
    """
    images = affine(images, coefficients, fill)
    out = images
    for number, name in enumerate(KINDS[2:], start=2):
        operation = globals()[name]
        changed = operation(images, value) if name in _WITH_VALUE else operation(images)
        out = jnp.where((kind == number)[:, None, None, None], changed, out)
    return out


def affine(images: jax.Array, coefficients: jax.Array, fill: int = 128) -> jax.Array:
    """Nearest-neighbour affine transform, as Image.transform(size, Image.AFFINE, ..., NEAREST).

    Args:
      images: uint8 [B, H, W, C].
      coefficients: int32 [B, 6] in 1/65536 pixel, from `fixed_point`.
      fill: colour of what lies outside.
    """
    batch, height, width, _ = images.shape
    a, b, c, d, e, f = (coefficients[:, k, None, None] for k in range(6))
    row, column = jnp.arange(height)[None, :, None], jnp.arange(width)[None, None, :]
    x = (c + row * b + column * a) >> 16
    y = (f + row * e + column * d) >> 16
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = jnp.clip(y, 0, height - 1) * width + jnp.clip(x, 0, width - 1)
    flat = images.reshape(batch, height * width, -1)
    taken = jnp.take_along_axis(flat, index.reshape(batch, -1, 1), axis=1).reshape(images.shape)
    return jnp.where(inside[..., None], taken, jnp.asarray(fill, images.dtype))


def fixed_point(matrix: tuple[float, ...]) -> np.ndarray:
    """Pillow's fixed-point form, int32 [6], of x' = a x + b y + c, y' = d x + e y + f (output to
    input pixels).
    """
    a, b, c, d, e, f = matrix
    values = (a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5)
    return np.asarray([math.floor(value * 65536.0 + 0.5) for value in values], np.int32)


def rotation(degrees: float, height: int, width: int) -> tuple[float, ...]:
    """The matrix by which Image.rotate turns an image counter-clockwise around its centre."""
    angle = -math.radians(degrees % 360.0)
    cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
    x, y = width / 2, height / 2
    return (cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y)


def auto_contrast(images: jax.Array) -> jax.Array:
    """Stretches each channel so that its darkest pixel becomes 0 and its lightest 255;
    ImageOps.autocontrast.
    """
    pixels = images.astype(jnp.int32)
    low, high = (reduce(pixels, axis=(1, 2), keepdims=True) for reduce in (jnp.min, jnp.max))
    stretched = 255 * (pixels - low) // jnp.maximum(high - low, 1)
    return jnp.where(high > low, stretched, pixels).astype(images.dtype)


def equalize(images: jax.Array) -> jax.Array:
    """Flattens each channel's histogram; ImageOps.equalize."""
    batch, height, width, channels = images.shape
    pixels = (
        images.reshape(batch, height * width, channels).astype(jnp.int32).transpose(0, 2, 1)
    )  # [B, C, N]
    histogram = jax.vmap(jax.vmap(lambda values: jnp.zeros(256, jnp.int32).at[values].add(1)))(
        pixels
    )
    below = jnp.cumsum(histogram, axis=-1) - histogram
    brightest = jnp.take_along_axis(histogram, pixels.max(axis=-1, keepdims=True), axis=-1)
    step = (height * width - brightest) // 255
    table = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
    table = jnp.where(step > 0, table, jnp.arange(256))
    out = jnp.take_along_axis(table, pixels, axis=-1)
    return out.transpose(0, 2, 1).reshape(images.shape).astype(images.dtype)


def invert(images: jax.Array) -> jax.Array:
    """255 - x."""
    return 255 - images


def solarize(images: jax.Array, threshold: jax.Array) -> jax.Array:
    """Inverts pixels at or above a threshold [B]."""
    return jnp.where(images.astype(jnp.float32) < _each(threshold), images, 255 - images)


def posterize(images: jax.Array, bits: jax.Array) -> jax.Array:
    """Keeps the highest `bits` [B] bits, 1..8, of each pixel."""
    dropped = 8 - _each(bits).astype(jnp.int32)
    return ((images.astype(jnp.int32) >> dropped) << dropped).astype(images.dtype)


def brightness(images: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with black; factor [B], 1 changes nothing."""
    return _blend(jnp.zeros_like(images), images, factor)


def contrast(images: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with the image's mean grey; factor [B], 1 changes nothing."""
    grey = _grey(images)
    size = grey.shape[1] * grey.shape[2]
    # Twice the sum of 224 x 224 pixels of 255 fits into 32 bits with room to spare.
    mean = (2 * jnp.sum(grey, axis=(1, 2), keepdims=True) + size) // (2 * size)
    return _blend(mean[..., None], images, factor)


def color(images: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with the grey image; factor [B], 0 is grey and 1 changes nothing."""
    return _blend(_grey(images)[..., None], images, factor)


def sharpness(images: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with the smoothed image (3x3, centre 5 of 13, border kept); factor [B], 1 changes
    nothing.
    """
    pixels = images.astype(jnp.int32)
    if min(images.shape[1:3]) < 3:
        return images
    total = 4 * pixels[:, 1:-1, 1:-1]
    for row in range(3):
        for column in range(3):
            total += pixels[
                :, row : row + pixels.shape[1] - 2, column : column + pixels.shape[2] - 2
            ]
    return _blend(pixels.at[:, 1:-1, 1:-1].set((2 * total + 13) // 26), images, factor)


_WITH_VALUE = ("solarize", "posterize", "brightness", "contrast", "color", "sharpness")


def _blend(start: jax.Array, images: jax.Array, factor: jax.Array) -> jax.Array:
    """Start + factor * (images - start), cut to 0..255 and truncated; ImagingBlend."""
    start, end = start.astype(jnp.float32), images.astype(jnp.float32)
    return jnp.clip(start + _each(factor).astype(jnp.float32) * (end - start), 0.0, 255.0).astype(
        images.dtype
    )


def _grey(images: jax.Array) -> jax.Array:
    """Pillow's luma of RGB, int32 [B, H, W]; of one channel, itself."""
    pixels = images.astype(jnp.int32)
    if images.shape[-1] == 1:
        return pixels[..., 0]
    return (19595 * pixels[..., 0] + 38470 * pixels[..., 1] + 7471 * pixels[..., 2] + 32768) >> 16


def _each(value: jax.Array) -> jax.Array:
    """A parameter an image, or one for all, against [B, H, W, C]."""
    value = jnp.asarray(value)
    return value[:, None, None, None] if value.ndim else value
