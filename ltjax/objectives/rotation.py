"""Which way up an image is: a pretext task that needs no labels.

Source: Gidaris et al. (RotNet), ICLR 2018, arXiv:1803.07728.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from ltjax import augment
from ltjax.objectives.classify import classify
from ltjax.objectives.objective import Given, Objective

ROTATIONS = 4


def rotation(given: Given) -> Objective:
    """Classification of each image's four quarter turns, all of them in one batch."""
    return dataclasses.replace(classify(given), targets=turned)


def turned(images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Four copies of each image, labelled by their quarter turns; label -1 stays -1.

    Args:
      images: square, [B, H, H, C].
      labels: [B]; only whether one is below 0 counts.

    Returns:
      Images [4 B, H, H, C] and labels [4 B] in 0..3.
    """
    images = augment.rotations(images).reshape(-1, *images.shape[1:])
    turns = jnp.arange(ROTATIONS, dtype=labels.dtype)
    return images, jnp.where(labels[:, None] < 0, -1, turns).reshape(-1)
