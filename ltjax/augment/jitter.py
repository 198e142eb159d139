"""Colour jitter and grey on the device."""

from __future__ import annotations

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np

_GREY = (0.2989, 0.587, 0.114)


def color_jitter(images: jax.Array, factors: jax.Array, order: jax.Array) -> jax.Array:
    """Brightness, contrast, saturation and hue of each image, changed one after the other, each cut
    off at 0 and 255.

    Args:
      images: [B, H, W, 3] in 0..255, uint8 or floating point.
      factors: [B, 3] of brightness, contrast and saturation, at least 0, of which 1 changes
        nothing; or [B, 4], with the hue's shift in turns of the colour circle, of which 0 changes
        nothing.
      order: int [B], which of the permutations of range(3) or range(4), in itertools' order, says
        what comes first, second, ...

    Returns:
      float32 [B, H, W, 3], not rounded to whole values.

    Source: torchvision's ColorJitter (brightness against black, contrast against the mean grey,
    saturation against the image in grey, hue by way of HSV).

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax import augment
      >>> images = jnp.full((2, 8, 8, 3), 100.0)
      >>> factors = jnp.array([[1.5, 1.0, 1.0], [1.0, 1.0, 1.0]])
      >>> jittered = augment.color_jitter(images, factors, order=jnp.array([0, 0]))
      >>> print(jittered[:, 0, 0, 0].round())
      [150. 100.]
    """
    images, factors = images.astype(jnp.float32), factors.astype(jnp.float32)
    number = factors.shape[1]
    orders = jnp.asarray(list(permutations(range(number))))

    def one(image, factor, order):
        for place in range(number):
            which = orders[order, place]
            grey = jnp.sum(image * jnp.asarray(_GREY, jnp.float32), axis=-1, keepdims=True)
            other = jnp.where(which == 0, 0.0, jnp.where(which == 1, jnp.mean(grey), grey))
            blended = factor[which] * image + (1.0 - factor[which]) * other
            blended = jnp.clip(blended, 0.0, 255.0)
            if number == 4:
                turned = turn_hue(image, factor[3]) if image.shape[-1] == 3 else image
                blended = jnp.where(which == 3, turned, blended)
            image = blended
        return image

    return jax.vmap(one)(images, factors, order)


def turn_hue(image: jax.Array, shift: jax.Array) -> jax.Array:
    """Turns the hue of an image [..., 3] in 0..255 by `shift` turns of the colour circle; greys
    stay.

    Source: torchvision's adjust_hue of floating-point images.
    """
    red, green, blue = (image[..., k] for k in range(3))
    top, bottom = jnp.max(image, axis=-1), jnp.min(image, axis=-1)
    span = top - bottom
    safe = jnp.where(span == 0, 1.0, span)
    hue = jnp.where(
        top == red,
        (green - blue) / safe,
        jnp.where(top == green, 2.0 + (blue - red) / safe, 4.0 + (red - green) / safe),
    )
    sixth = jnp.where(span == 0, 0.0, hue) + 6.0 * shift
    # Channel n of a colour: top - span * clip(min(k, 4 - k), 0, 1), k = (n + sixth) mod 6.
    k = jnp.mod(jnp.asarray([5.0, 3.0, 1.0], image.dtype) + sixth[..., None], 6.0)
    return top[..., None] - span[..., None] * jnp.clip(jnp.minimum(k, 4.0 - k), 0.0, 1.0)


def random_color_jitter(
    key: jax.Array,
    images: jax.Array,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float = 0.0,
    *,
    probability: float = 1.0,
) -> jax.Array:
    """Jitter with factors uniform in 1 - x..1 + x (not below 0), hue uniform in -x..x, and a random
    order, each image its own.

    Args:
      key: PRNG key.
      images: [B, H, W, 3] in 0..255, uint8 or floating point.
      brightness, contrast, saturation: x, at least 0.
      hue: x in [0, 0.5]; 0 leaves it out.
      probability: in [0, 1], that an image is changed at all.

    Returns:
      float32 [B, H, W, 3].

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import augment
      >>> images = jnp.linspace(0.0, 1.0, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3)
      >>> print(augment.random_color_jitter(jax.random.key(0), images, 0.4, 0.4, 0.4, 0.1).shape)
      (2, 8, 8, 3)
    """
    factor_key, order_key = jax.random.split(key)
    spread = np.array([brightness, contrast, saturation, *([hue] if hue else [])], np.float32)
    centre = np.array([1.0, 1.0, 1.0, *([0.0] if hue else [])], np.float32)
    lowest = np.array([0.0, 0.0, 0.0, *([-0.5] if hue else [])], np.float32)
    shape = (images.shape[0], len(spread))
    factors = jax.random.uniform(
        factor_key, shape, jnp.float32, np.maximum(centre - spread, lowest), centre + spread
    )
    number = len(list(permutations(range(len(spread)))))
    orders = jax.random.randint(order_key, (images.shape[0],), 0, number)
    changed = color_jitter(images, factors, orders)
    if probability >= 1:
        return changed
    chosen = jax.random.bernoulli(jax.random.fold_in(key, 2), probability, images.shape[:1])
    return jnp.where(chosen[:, None, None, None], changed, images.astype(jnp.float32))


def grey(images: jax.Array, chosen: jax.Array) -> jax.Array:
    """Takes the colour from the images [B, H, W, 3] whose entry of `chosen`, bool [B], is True.

    Returns:
      float32 [B, H, W, 3], not rounded.

    Source: torchvision's rgb_to_grayscale.

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax import augment
      >>> images = jnp.linspace(0.0, 1.0, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3)
      >>> grey = augment.grey(images, jnp.array([True, False]))
      >>> print(bool(jnp.allclose(grey[0, ..., 0], grey[0, ..., 2])))
      True
    """
    images = images.astype(jnp.float32)
    luma = jnp.sum(images * jnp.asarray(_GREY, jnp.float32), axis=-1, keepdims=True)
    return jnp.where(chosen[:, None, None, None], luma, images)


def random_grey(key: jax.Array, images: jax.Array, probability: float = 0.2) -> jax.Array:
    """`grey` of some of the images, each with the probability.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import augment
      >>> images = jnp.linspace(0.0, 1.0, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3)
      >>> print(augment.random_grey(jax.random.key(0), images, 0.2).shape)
      (2, 8, 8, 3)
    """
    return grey(images, jax.random.bernoulli(key, probability, images.shape[:1]))
