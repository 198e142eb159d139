"""Gaussian blur on the device."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def gaussian_blur(images: jax.Array, sigma: jax.Array, size: int = 5) -> jax.Array:
    """Blurs each image with its own width, the border mirrored.

    Args:
      images: [B, H, W, C], uint8 or floating point.
      sigma: standard deviation in pixels, [B], > 0.
      size: of the kernel, odd, at most 2 * min(H, W) - 1.

    Returns:
      float32 [B, H, W, C], not rounded.

    Raises:
      ValueError: an even size, or one that the images cannot mirror.

    Source: torchvision's gaussian_blur.

    Example:
      >>> import jax.numpy as jnp, numpy as np
      >>> from ltjax import augment
      >>> images = jnp.zeros((1, 5, 5, 1)).at[0, 2, 2].set(1.0)
      >>> print(np.array(augment.gaussian_blur(images, jnp.array([1.0]))[0, 2, :, 0]).round(2))
      [0.04 0.1  0.16 0.1  0.04]
    """
    half = size // 2
    if size % 2 == 0 or not 0 < size <= 2 * min(images.shape[1:3]) - 1:
        raise ValueError(
            f"blur of size {size} for images of {images.shape[1]}x{images.shape[2]};"
            f" expected an odd size of at most {2 * min(images.shape[1:3]) - 1}"
        )
    away = jnp.arange(-half, half + 1, dtype=jnp.float32)
    kernel = jnp.exp(-0.5 * jnp.square(away / sigma.astype(jnp.float32)[:, None]))
    kernel = kernel / jnp.sum(kernel, axis=1, keepdims=True)
    pixels = images.astype(jnp.float32)
    for axis in (1, 2):
        margin = [(half, half) if a == axis else (0, 0) for a in range(4)]
        padded, length = jnp.pad(pixels, margin, "reflect"), pixels.shape[axis]
        shifted = [jax.lax.slice_in_dim(padded, k, k + length, axis=axis) for k in range(size)]
        pixels = jnp.einsum("kbhwc,bk->bhwc", jnp.stack(shifted), kernel, precision="highest")
    return pixels


def random_gaussian_blur(
    key: jax.Array,
    images: jax.Array,
    *,
    probability: float = 0.5,
    sigma: tuple[float, float] = (0.1, 2.0),
    size: int = 5,
) -> jax.Array:
    """`gaussian_blur` of some of the images, with sigma uniform in its range.

    Args:
      key: PRNG key.
      images: [B, H, W, C] in 0..255.
      probability: in [0, 1], of each image.
      sigma: ascending, above 0.
      size: of the kernel, odd.

    Returns:
      float32 [B, H, W, C].

    Source: Chen et al. (SimCLR), ICML 2020, arXiv:2002.05709, appendix A: sides of a tenth of the
      image.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import augment
      >>> images = jnp.linspace(0.0, 1.0, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3)
      >>> print(augment.random_gaussian_blur(jax.random.key(0), images, probability=1.0).shape)
      (2, 8, 8, 3)
    """
    chance_key, sigma_key = jax.random.split(key)
    drawn = jax.random.uniform(sigma_key, images.shape[:1], jnp.float32, *sigma)
    blurred = jax.random.bernoulli(chance_key, probability, images.shape[:1])
    return jnp.where(
        blurred[:, None, None, None],
        gaussian_blur(images, drawn, size),
        images.astype(jnp.float32),
    )
