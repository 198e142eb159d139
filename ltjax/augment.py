"""Augmentation of a batch on the device: batched, under jit, per-example randomness from one key.

Each random augmentation is a draw (`random_*`, takes a key) and a deterministic operation (takes the drawn values), so that
the operation can be checked against another library given the same draw.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

__all__ = ["crop", "flip", "mixup", "normalize", "random_crop_flip"]


def crop(images: jax.Array, offsets: jax.Array, padding: int) -> jax.Array:
    """Pads with zeros and cuts a window of the original size out of each image.

    Args:
      images: [B, H, W, C], any dtype.
      offsets: int [B, 2], row and column of the window in the padded image, each in 0..2 * padding.
      padding: pixels on each side.

    Returns:
      [B, H, W, C], the same dtype.
    """
    _, height, width, channels = images.shape
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))

    def window(image, offset):
        return jax.lax.dynamic_slice(image, (offset[0], offset[1], 0), (height, width, channels))

    return jax.vmap(window)(padded, offsets)


def flip(images: jax.Array, flipped: jax.Array) -> jax.Array:
    """Mirrors the images [B, H, W, C] whose entry of `flipped`, bool [B], is True left to right."""
    return jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images)


def random_crop_flip(key: jax.Array, images: jax.Array, *, padding: int = 4, flip_probability: float = 0.5) -> jax.Array:
    """The CIFAR augmentation: zero-pad, random crop of the original size, random horizontal flip.

    Args:
      key: PRNG key.
      images: [B, H, W, C], any dtype.
      padding: pixels on each side; 0 crops nothing.
      flip_probability: in [0, 1]; 0 flips nothing (digits are not symmetric).

    Returns:
      [B, H, W, C], the same dtype.

    Source: He et al., CVPR 2016, arXiv:1512.03385, section 4.2.
    """
    crop_key, flip_key = jax.random.split(key)
    if padding:
        images = crop(images, jax.random.randint(crop_key, (images.shape[0], 2), 0, 2 * padding + 1), padding)
    if flip_probability:
        images = flip(images, jax.random.bernoulli(flip_key, flip_probability, (images.shape[0],)))
    return images


def normalize(images: jax.Array, mean: ArrayLike | Sequence[float], std: ArrayLike | Sequence[float]) -> jax.Array:
    """uint8 images [..., C] to (images / 255 - mean) / std in the default floating dtype; mean and std are [C] of [0, 1] values."""
    dtype = jnp.result_type(float)
    return (images.astype(dtype) / 255.0 - jnp.asarray(mean, dtype)) / jnp.asarray(std, dtype)


def mixup(key: jax.Array, images: jax.Array, alpha: float = 1.0) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mixes each image with a partner: lam * x + (1 - lam) * x[partner], one lam a batch.

    Train on `losses.mixup(loss against y, loss against y[partner], lam)`.

    Args:
      key: PRNG key.
      images: floating point [B, H, W, C].
      alpha: of lam ~ Beta(alpha, alpha), > 0.

    Returns:
      Mixed images [B, H, W, C]; partner int [B]; lam, scalar.

    Raises:
      ValueError: alpha not above 0.

    Source: Zhang et al., ICLR 2018, arXiv:1710.09412, eq. 1.
    """
    if not alpha > 0:
        raise ValueError(f"mixup alpha is {alpha}; expected a value above 0")
    lam_key, partner_key = jax.random.split(key)
    lam = jax.random.beta(lam_key, alpha, alpha).astype(images.dtype)
    partner = jax.random.permutation(partner_key, images.shape[0])
    return lam * images + (1 - lam) * images[partner], partner, lam
