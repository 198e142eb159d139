"""A config's augmentation of a batch, from raw to normalised images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from ltjax.augment.basic import normalize, random_crop_flip, random_cutout
from ltjax.augment.jitter import random_color_jitter


def standard(
    key: jax.Array,
    images: jax.Array,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    padding: int = 4,
    flip: float = 0.5,
    policy: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    jitter: Sequence[float] = (),
    cutout: int = 0,
) -> jax.Array:
    """Crop and flip, colour jitter, policy, normalisation, cutout, in this order: that of the
    programs that have both jitter and a policy (PaCo's and BCL's).

    Args:
      key: PRNG key; the first and third of its four parts are used, the others are free.
      images: uint8 [B, H, W, C].
      mean, std: normalisation a channel.
      padding, flip: of `random_crop_flip`; 0 is off.
      policy: (key, uint8 images) -> uint8 images; None is off.
      jitter: brightness, contrast and saturation; () is off.
      cutout: side of the square set to the mean colour; 0 is off.

    Returns:
      Normalised images [B, H, W, C].
    """
    crop_key, _, color_key, _ = jax.random.split(key, 4)
    images = random_crop_flip(crop_key, images, padding=padding, flip_probability=flip)
    policy_key, cutout_key = jax.random.split(color_key)
    if jitter:
        images = random_color_jitter(jax.random.fold_in(policy_key, 1), images, *jitter)
    if policy and jitter:
        # The policy splits its key, and the jitter's is one of the parts: so another, but only
        # here, since each by itself keeps the draws it has always had.
        policy_key = jax.random.fold_in(policy_key, 3)
        images = jnp.round(images).astype(jnp.uint8)
    if policy:
        images = policy(policy_key, images)
    images = normalize(images, mean, std)
    return random_cutout(cutout_key, images, cutout) if cutout else images
