"""Augmentations of a batch as a whole, from raw to normalised images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from ltjax.augment.basic import normalize, random_crop_flip, random_cutout
from ltjax.augment.blur import random_gaussian_blur
from ltjax.augment.jitter import random_color_jitter, random_grey
from ltjax.augment.resized import random_resized_crop


def standard(
    key: jax.Array,
    images: jax.Array,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    resized_crop: Sequence[float] = (),
    padding: int = 4,
    flip: float = 0.5,
    jitter: Sequence[float] = (),
    jitter_probability: float = 1.0,
    grey: float = 0.0,
    blur: float = 0.0,
    policy: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    cutout: int = 0,
    cutout_first: bool = False,
) -> jax.Array:
    """Resized crop, crop and flip, colour jitter, grey, blur, policy, cutout, normalisation, in
    this order: that of the programs that have both jitter and a policy (PaCo's and BCL's).

    Args:
      key: PRNG key; the first and third of its four parts are used, the others are free.
      images: uint8 [B, H, W, C].
      mean, std: normalisation a channel.
      resized_crop: least and largest share of the area of `random_resized_crop`; () is off.
      padding, flip: of `random_crop_flip`; 0 is off.
      jitter: brightness, contrast, saturation and, where given, hue; () is off.
      jitter_probability, grey, blur: of an image to be jittered, to lose its colour, to be blurred.
      policy: (key, uint8 images) -> uint8 images; None is off.
      cutout: side of the square set to the mean colour; 0 is off.
      cutout_first: before normalisation, so that the square is black.

    Returns:
      Normalised images [B, H, W, C].

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import augment
      >>> images = jnp.zeros((2, 8, 8, 3), jnp.uint8)
      >>> mean, std = (0.5,) * 3, (0.25,) * 3
      >>> print(augment.standard(jax.random.key(0), images, mean=mean, std=std).shape)
      (2, 8, 8, 3)
    """
    crop_key, _, color_key, _ = jax.random.split(key, 4)
    if resized_crop:
        scale = (resized_crop[0], resized_crop[1])
        images = random_resized_crop(jax.random.fold_in(crop_key, 2), images, scale=scale)
    images = random_crop_flip(crop_key, images, padding=padding, flip_probability=flip)
    policy_key, cutout_key = jax.random.split(color_key)
    if jitter:
        images = random_color_jitter(
            jax.random.fold_in(policy_key, 1), images, *jitter, probability=jitter_probability
        )
    if grey:
        images = random_grey(jax.random.fold_in(crop_key, 3), images, grey)
    if blur:
        images = random_gaussian_blur(jax.random.fold_in(crop_key, 4), images, probability=blur)
    if policy and images.dtype != jnp.uint8:
        # The policy splits its key, and the jitter's is one of the parts: so another, but only
        # here, since each by itself keeps the draws it has always had.
        policy_key = jax.random.fold_in(policy_key, 3)
        images = jnp.round(images).astype(jnp.uint8)
    if policy:
        images = policy(policy_key, images)
    if cutout and cutout_first:
        images = random_cutout(cutout_key, images, cutout)
    images = normalize(images, mean, std)
    return random_cutout(cutout_key, images, cutout) if cutout and not cutout_first else images


def contrast(
    key: jax.Array,
    images: jax.Array,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    flip: float = 0.5,
) -> jax.Array:
    """The views that contrastive methods compare: random resized crop, flip, colour jitter (0.4,
    0.4, 0.4, hue 0.1) with probability 0.8, grey with probability 0.2, normalisation.

    Images that are not in colour are cropped and flipped alone. Arguments as `standard`.

    Source: Khosla et al., NeurIPS 2020, arXiv:2004.11362; BCL's and ProCo's programs for CIFAR.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import augment
      >>> images = jnp.zeros((2, 8, 8, 3), jnp.uint8)
      >>> mean, std = (0.5,) * 3, (0.25,) * 3
      >>> print(augment.contrast(jax.random.key(0), images, mean=mean, std=std).shape)
      (2, 8, 8, 3)
    """
    in_color = images.shape[-1] == 3
    return standard(
        *(key, images),
        mean=mean,
        std=std,
        resized_crop=(0.08, 1.0),
        padding=0,
        flip=flip,
        jitter=(0.4, 0.4, 0.4, 0.1) if in_color else (),
        jitter_probability=0.8,
        grey=0.2 if in_color else 0.0,
    )
