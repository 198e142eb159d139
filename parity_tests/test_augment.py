"""Crop and flip against PyTorch's tensor operations given the same draws: equal to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ltjax import augment
from parity_tests import reference

IMAGES = np.random.default_rng(0).integers(0, 256, (81, 32, 32, 3), np.uint8)
OFFSETS = np.stack(np.meshgrid(np.arange(9), np.arange(9)), -1).reshape(81, 2)  # every offset once
FLIPPED = np.arange(81) % 2 == 0


def torch_images(images):
    return torch.tensor(images.transpose(0, 3, 1, 2))


def test_crop_at_every_offset():
    expected = (
        reference.crop(torch_images(IMAGES), OFFSETS.tolist(), 4).numpy().transpose(0, 2, 3, 1)
    )
    np.testing.assert_array_equal(
        jax.jit(augment.crop, static_argnums=2)(IMAGES, OFFSETS, 4), expected
    )


def test_flip():
    expected = reference.flip(torch_images(IMAGES), FLIPPED).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(augment.flip(jnp.asarray(IMAGES), jnp.asarray(FLIPPED)), expected)


@pytest.mark.parametrize("seed", [0, 1])
def test_random_crop_flip_is_crop_and_flip_at_its_draws(seed):
    key = jax.random.key(seed)
    crop_key, flip_key = jax.random.split(key)
    offsets = np.asarray(jax.random.randint(crop_key, (81, 2), 0, 9))
    flipped = np.asarray(jax.random.bernoulli(flip_key, 0.5, (81,)))
    expected = (
        reference.flip(reference.crop(torch_images(IMAGES), offsets.tolist(), 4), flipped)
        .numpy()
        .transpose(0, 2, 3, 1)
    )
    np.testing.assert_array_equal(augment.random_crop_flip(key, jnp.asarray(IMAGES)), expected)


def test_normalize_equals_torch():
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    x = torch_images(IMAGES).double() / 255
    expected = (x - torch.tensor(mean).double().view(1, 3, 1, 1)) / torch.tensor(std).double().view(
        1, 3, 1, 1
    )
    # The reference's constants pass through float32 tensors, 6e-8 each.
    np.testing.assert_allclose(
        augment.normalize(jnp.asarray(IMAGES), mean, std),
        expected.numpy().transpose(0, 2, 3, 1),
        rtol=1e-6,
        atol=1e-6,
    )
