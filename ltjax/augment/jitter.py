"""Colour jitter on the device."""

from __future__ import annotations

import jax
import jax.numpy as jnp

_GREY = (0.2989, 0.587, 0.114)
ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
"""Of brightness, contrast and saturation."""


def color_jitter(images: jax.Array, factors: jax.Array, order: jax.Array) -> jax.Array:
    """Brightness, contrast and saturation of each image, scaled one after the other, each cut off
    at 0 and 255.

    Args:
      images: [B, H, W, 3] in 0..255, uint8 or floating point.
      factors: [B, 3] of brightness, contrast and saturation, at least 0; 1 changes nothing.
      order: int [B], number in `ORDERS` of what comes first, second and third.

    Returns:
      float32 [B, H, W, 3], not rounded to whole values.

    Source: torchvision's ColorJitter (brightness against black, contrast against the mean grey,
    saturation against the image in grey).
    """
    images = images.astype(jnp.float32)
    grey_weights = jnp.asarray(_GREY)

    def one(image, factor, order):
        for place in range(3):
            which = jnp.asarray(ORDERS)[order, place]
            grey = jnp.sum(image * grey_weights, axis=-1, keepdims=True)
            other = jnp.where(which == 0, 0.0, jnp.where(which == 1, jnp.mean(grey), grey))
            image = jnp.clip(factor[which] * image + (1.0 - factor[which]) * other, 0.0, 255.0)
        return image

    return jax.vmap(one)(images, factors, order)


def random_color_jitter(
    key: jax.Array, images: jax.Array, brightness: float, contrast: float, saturation: float
) -> jax.Array:
    """Jitter with factors uniform in 1 - x..1 + x (not below 0) and a random order, each image its
    own.

    Args:
      key: PRNG key.
      images: [B, H, W, 3] in 0..255, uint8 or floating point.
      brightness, contrast, saturation: x, at least 0.

    Returns:
      float32 [B, H, W, 3].
    """
    factor_key, order_key = jax.random.split(key)
    spread = jnp.asarray([brightness, contrast, saturation])
    factors = jax.random.uniform(
        factor_key, (images.shape[0], 3), minval=jnp.maximum(1.0 - spread, 0.0), maxval=1.0 + spread
    )
    return color_jitter(
        images, factors, jax.random.randint(order_key, (images.shape[0],), 0, len(ORDERS))
    )
