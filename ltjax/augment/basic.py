"""Crop, flip, cutout, quarter turns, resizing and normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def crop(images: jax.Array, offsets: jax.Array, padding: int) -> jax.Array:
    """Pads with zeros and cuts a window of the original size out of each image.

    Args:
      images: [B, H, W, C], any dtype.
      offsets: int [B, 2], row and column of the window in the padded image, each in 0..2 * padding.
      padding: pixels on each side.

    Returns:
      [B, H, W, C], the same dtype.

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax import augment
      >>> images = jnp.ones((1, 2, 2, 1))
      >>> print(augment.crop(images, jnp.array([[0, 1]]), padding=1)[0, :, :, 0])
      [[0. 0.]
       [1. 1.]]
    """
    _, height, width, channels = images.shape
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))

    def window(image, offset):
        start = (offset[0], offset[1], jnp.zeros_like(offset[0]))
        return jax.lax.dynamic_slice(image, start, (height, width, channels))

    return jax.vmap(window)(padded, offsets)


def flip(images: jax.Array, flipped: jax.Array) -> jax.Array:
    """Mirrors the images [B, H, W, C] whose entry of `flipped`, bool [B], is True left to right.

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax import augment
      >>> images = jnp.arange(4.0).reshape(2, 1, 2, 1)
      >>> print(augment.flip(images, jnp.array([True, False]))[:, 0, :, 0])
      [[1. 0.]
       [2. 3.]]
    """
    return jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images)


def random_crop_flip(
    key: jax.Array, images: jax.Array, *, padding: int = 4, flip_probability: float = 0.5
) -> jax.Array:
    """The CIFAR augmentation: zero-pad, random crop of the original size, random horizontal flip.

    Args:
      key: PRNG key.
      images: [B, H, W, C], any dtype.
      padding: pixels on each side; 0 crops nothing.
      flip_probability: in [0, 1]; 0 flips nothing (digits are not symmetric).

    Returns:
      [B, H, W, C], the same dtype.

    Source: He et al., CVPR 2016, arXiv:1512.03385, section 4.2.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import augment
      >>> images = jnp.linspace(0.0, 1.0, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3)
      >>> print(augment.random_crop_flip(jax.random.key(0), images, padding=2).shape)
      (2, 8, 8, 3)
    """
    crop_key, flip_key = jax.random.split(key)
    if padding:
        images = crop(
            images, jax.random.randint(crop_key, (images.shape[0], 2), 0, 2 * padding + 1), padding
        )
    if flip_probability:
        images = flip(images, jax.random.bernoulli(flip_key, flip_probability, (images.shape[0],)))
    return images


def cutout(images: jax.Array, centers: jax.Array, size: int, fill: float = 0.0) -> jax.Array:
    """Sets a square of each image to `fill`; the part of it outside the image is cut off.

    Args:
      images: [B, H, W, C], any dtype; on normalised images a fill of 0 is the mean colour, as
        published.
      centers: int [B, 2], row and column in the image. The square covers [center - size // 2,
        center + size - size // 2).
      size: side in pixels.
      fill: value.

    Returns:
      [B, H, W, C], the same dtype.

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax import augment
      >>> print(augment.cutout(jnp.ones((1, 3, 3, 1)), jnp.array([[0, 0]]), size=2)[0, :, :, 0])
      [[0. 1. 1.]
       [1. 1. 1.]
       [1. 1. 1.]]
    """
    _, height, width, _ = images.shape

    def inside(length, center):
        at = jnp.arange(length)[None] - (center[:, None] - size // 2)
        return (at >= 0) & (at < size)

    square = inside(height, centers[:, 0])[:, :, None] & inside(width, centers[:, 1])[:, None, :]
    return jnp.where(square[..., None], jnp.asarray(fill, images.dtype), images)


def random_cutout(
    key: jax.Array, images: jax.Array, size: int = 16, fill: float = 0.0
) -> jax.Array:
    """`cutout` around a pixel drawn uniformly for each image.

    Source: DeVries and Taylor, 2017, arXiv:1708.04552, section 3.2; side 16 for CIFAR-10, 8 for
    CIFAR-100.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import augment
      >>> images = augment.random_cutout(jax.random.key(0), jnp.ones((2, 8, 8, 3)), size=4)
      >>> print(float(images.min()), float(images.max()))
      0.0 1.0
    """
    shape = jnp.asarray(images.shape[1:3])
    return cutout(images, jax.random.randint(key, (images.shape[0], 2), 0, shape), size, fill)


def rotate90(images: jax.Array, turns: jax.Array) -> jax.Array:
    """Turns square images [B, H, H, C] counter-clockwise by 90 degrees times `turns`, int [B] in
    0..3.

    Raises:
      ValueError: images that are not square.

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax import augment
      >>> images = jnp.arange(4.0).reshape(1, 2, 2, 1)
      >>> print(augment.rotate90(images, jnp.array([1]))[0, :, :, 0])
      [[1. 3.]
       [0. 2.]]
    """
    turned = rotations(images)
    return jnp.take_along_axis(turned, turns[:, None, None, None, None], axis=1)[:, 0]


def rotations(images: jax.Array) -> jax.Array:
    """All four quarter turns of each image: [B, 4, H, H, C], counter-clockwise by 0, 90, 180, 270
    degrees.

    Raises:
      ValueError: images that are not square.

    Source: Gidaris et al. (RotNet), ICLR 2018, arXiv:1803.07728, section 3.1: all four copies stand
    in one batch.

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax import augment
      >>> images = jnp.linspace(0.0, 1.0, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3)
      >>> print(augment.rotations(images).shape)
      (2, 4, 8, 8, 3)
    """
    if images.shape[1] != images.shape[2]:
        raise ValueError(
            f"images are {images.shape[1]}x{images.shape[2]}; expected square ones to turn"
        )
    quarter = jnp.swapaxes(images, 1, 2)
    return jnp.stack([images, quarter[:, ::-1], images[:, ::-1, ::-1], quarter[:, :, ::-1]], axis=1)


def resize(images: jax.Array, resolution: int) -> jax.Array:
    """Bilinear resize of floating-point images [B, H, W, C] to [B, resolution, resolution, C].

    Half-pixel centres, as torch's interpolate(mode="bilinear", align_corners=False); with
    antialiasing where it shrinks.

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax import augment
      >>> images = jnp.linspace(0.0, 1.0, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3)
      >>> print(augment.resize(images, 16).shape)
      (2, 16, 16, 3)
    """
    if images.shape[1:3] == (resolution, resolution):
        return images
    if not isinstance(images.shape[0], int):  # exported: jax2onnx takes no batch of any size
        rows, columns = (
            jnp.asarray(_resizing(size, resolution), images.dtype) for size in images.shape[1:3]
        )
        return jnp.einsum("bhwc,hr,ws->brsc", images, rows, columns)
    return jax.image.resize(
        images, (images.shape[0], resolution, resolution, images.shape[-1]), "bilinear"
    )


def _resizing(size: int, resolution: int) -> np.ndarray:
    """Weights of `resize` along one axis, float64 [size, resolution]."""
    step = size / resolution
    centres = (np.arange(resolution) + 0.5) * step - 0.5
    distances = np.abs(centres - np.arange(size)[:, None]) / max(step, 1.0)
    weights = np.maximum(0.0, 1.0 - distances)
    return weights / weights.sum(axis=0)


def normalize(
    images: jax.Array, mean: ArrayLike | Sequence[float], std: ArrayLike | Sequence[float]
) -> jax.Array:
    """uint8 images [..., C] to (images / 255 - mean) / std in the default floating dtype; mean and
    std are [C] of [0, 1] values.

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax import augment
      >>> print(augment.normalize(jnp.array([[[0], [255]]], jnp.uint8), (0.5,), (0.25,))[0, :, 0])
      [-2.  2.]
    """
    dtype = jnp.result_type(float)
    return (images.astype(dtype) / 255.0 - jnp.asarray(mean, dtype)) / jnp.asarray(std, dtype)
