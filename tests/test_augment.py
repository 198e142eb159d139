import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltjax import augment

IMAGES = np.random.default_rng(0).integers(1, 256, (64, 8, 8, 3), np.uint8)


def test_crop_at_the_centre_changes_nothing():
    np.testing.assert_array_equal(augment.crop(jnp.asarray(IMAGES), jnp.full((64, 2), 2), 2), IMAGES)


def test_crop_at_a_corner_brings_in_zeros():
    cropped = np.asarray(augment.crop(jnp.asarray(IMAGES), jnp.zeros((64, 2), int), 2))
    assert not cropped[:, :2].any()
    assert not cropped[:, :, :2].any()
    np.testing.assert_array_equal(cropped[:, 2:, 2:], IMAGES[:, :6, :6])


def test_random_crop_flip_differs_between_images_and_keys_and_keeps_dtype():
    same = jnp.broadcast_to(IMAGES[0], IMAGES.shape)
    out = np.asarray(augment.random_crop_flip(jax.random.key(0), same, padding=2))
    assert out.dtype == np.uint8
    assert len(np.unique(out.reshape(64, -1), axis=0)) > 20
    assert not np.array_equal(out, augment.random_crop_flip(jax.random.key(1), same, padding=2))


def test_flip_happens_at_its_probability():
    out = np.asarray(augment.random_crop_flip(jax.random.key(0), jnp.asarray(IMAGES), padding=0, flip_probability=0.5))
    flipped = (out == IMAGES[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (flipped | (out == IMAGES).all(axis=(1, 2, 3))).all()
    assert 16 <= flipped.sum() <= 48  # 4 standard deviations of Binomial(64, 1/2)


def test_nothing_to_do_changes_nothing():
    np.testing.assert_array_equal(augment.random_crop_flip(jax.random.key(0), IMAGES, padding=0, flip_probability=0.0), IMAGES)


def test_normalize_maps_the_mean_to_zero_and_one_std_to_one():
    pixels = jnp.array([[102, 153]], jnp.uint8)  # 0.4 and 0.6
    np.testing.assert_allclose(augment.normalize(pixels, (0.4, 0.4), (0.2, 0.2)), [[0.0, 1.0]], atol=1e-6)


def test_mixup_mixes_each_image_with_its_partner():
    images = jnp.asarray(IMAGES, jnp.float32)
    mixed, partner, lam = augment.mixup(jax.random.key(0), images, 1.0)
    assert 0 <= lam <= 1
    np.testing.assert_array_equal(np.sort(partner), np.arange(64))
    np.testing.assert_allclose(mixed, lam * images + (1 - lam) * images[partner], rtol=1e-6)
    with pytest.raises(ValueError, match="mixup alpha is 0"):
        augment.mixup(jax.random.key(0), images, 0)
