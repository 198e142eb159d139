"""Random resized crops: a part of each image, enlarged to the whole."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def resized_crop(images: jax.Array, boxes: ArrayLike) -> jax.Array:
    """Enlarges a box of each image to the image's size, bilinearly.

    Args:
      images: [B, H, W, C], uint8 or floating point.
      boxes: int [B, 4], top, left, height and width of a box inside the image.

    Returns:
      [B, H, W, C], the same dtype; whole values are rounded.

    Source: torchvision's resized_crop to the image's own size, where nothing shrinks: half-pixel
      centres, the box's border repeated.

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax import augment
      >>> images = jnp.linspace(0.0, 1.0, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3)
      >>> whole = augment.resized_crop(images, [[0, 0, 8, 8]] * 2)
      >>> print(bool(jnp.allclose(whole, images, atol=1e-5)))
      True
    """
    boxes = jnp.asarray(boxes, jnp.int32)
    pixels = images.astype(jnp.float32)
    pixels = _along(pixels, 1, boxes[:, 0], boxes[:, 2])
    pixels = _along(pixels, 2, boxes[:, 1], boxes[:, 3])
    if jnp.issubdtype(images.dtype, jnp.integer):
        pixels = jnp.round(pixels)
    return pixels.astype(images.dtype)


def _along(images: jax.Array, axis: int, first: jax.Array, length: jax.Array) -> jax.Array:
    """Enlarges the stretch [first, first + length) of an axis, each image its own, to the axis."""
    size = images.shape[axis]
    place = (jnp.arange(size) + 0.5) * (length[:, None] / size) - 0.5
    place = jnp.clip(place, 0.0, length[:, None] - 1.0)
    low = jnp.floor(place).astype(jnp.int32)
    share = place - low
    high = jnp.minimum(low + 1, length[:, None] - 1)
    # A matrix an image, two entries a row: far quicker than a gather on accelerators.
    at = jnp.arange(size)
    weights = jnp.where(at == (first[:, None] + low)[..., None], (1.0 - share)[..., None], 0.0)
    weights += jnp.where(at == (first[:, None] + high)[..., None], share[..., None], 0.0)
    subscripts = "bij,bjwc->biwc" if axis == 1 else "bij,bhjc->bhic"
    return jnp.einsum(subscripts, weights, images, precision="highest")


def random_resized_crop(
    key: jax.Array,
    images: jax.Array,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> jax.Array:
    """`resized_crop` with a box of its own for each image, from `random_boxes`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import augment
      >>> images = jnp.linspace(0.0, 1.0, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3)
      >>> print(augment.random_resized_crop(jax.random.key(0), images, scale=(0.5, 1.0)).shape)
      (2, 8, 8, 3)
    """
    return resized_crop(images, random_boxes(key, *images.shape[:3], scale=scale, ratio=ratio))


def random_boxes(
    key: jax.Array,
    count: int,
    height: int,
    width: int,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> jax.Array:
    """Boxes of a share of the area uniform in `scale` and a width to height log-uniform in `ratio`.

    A box that does not fit is drawn anew; after ten draws it is the largest centred one of a ratio
    in `ratio`.

    Args:
      key: PRNG key.
      count, height, width: of the images.
      scale, ratio: ascending, above 0; scale at most 1.

    Returns:
      int32 [count, 4], top, left, height and width.

    Raises:
      ValueError: a scale or ratio that is not as said.

    Source: Szegedy et al., CVPR 2015, arXiv:1409.4842, section 6; draws as torchvision's
      RandomResizedCrop.

    Example:
      >>> import jax
      >>> from ltjax import augment
      >>> print(augment.random_boxes(jax.random.key(0), 5, 32, 32).shape)
      (5, 4)
    """
    if not 0 < scale[0] <= scale[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
        raise ValueError(
            f"scale is {scale} and ratio {ratio}; expected ascending shares of the area in (0, 1]"
            " and ascending ratios above 0"
        )
    area_key, ratio_key, place_key = jax.random.split(key, 3)
    draw = partial(jax.random.uniform, shape=(count, 10), dtype=jnp.float32)
    area = height * width * draw(area_key, minval=scale[0], maxval=scale[1])
    aspect = jnp.exp(draw(ratio_key, minval=math.log(ratio[0]), maxval=math.log(ratio[1])))
    sides = jnp.stack([jnp.sqrt(area / aspect), jnp.sqrt(area * aspect)], axis=-1)
    sides = jnp.round(sides).astype(jnp.int32)  # [count, 10, 2]
    whole = jnp.asarray([height, width])
    fits = jnp.all((sides > 0) & (sides <= whole), axis=-1)
    first = jnp.argmax(fits, axis=1)[:, None, None]
    chosen = jnp.take_along_axis(sides, first, axis=1)[:, 0]
    largest = jnp.asarray(
        [min(height, round(width / ratio[0])), min(width, round(height * ratio[1]))]
    )
    found = jnp.any(fits, axis=1)[:, None]
    side = jnp.where(found, chosen, largest)
    place = jax.random.randint(place_key, (count, 2), 0, whole - side + 1, jnp.int32)
    place = jnp.where(found, place, (whole - largest) // 2)
    return jnp.concatenate([place, side], axis=1).astype(jnp.int32)
