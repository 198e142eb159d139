import importlib
from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from ltjax import augment
from ltjax.augment import mixing
from ltjax.experiment import experiment, settings

IMAGES = np.random.default_rng(0).integers(1, 256, (64, 8, 8, 3), np.uint8)


def test_crop_at_the_centre_changes_nothing():
    np.testing.assert_array_equal(
        augment.crop(jnp.asarray(IMAGES), jnp.full((64, 2), 2), 2), IMAGES
    )


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
    out = np.asarray(
        augment.random_crop_flip(
            jax.random.key(0), jnp.asarray(IMAGES), padding=0, flip_probability=0.5
        )
    )
    flipped = (out == IMAGES[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (flipped | (out == IMAGES).all(axis=(1, 2, 3))).all()
    assert 16 <= flipped.sum() <= 48  # 4 standard deviations of Binomial(64, 1/2)


def test_nothing_to_do_changes_nothing():
    np.testing.assert_array_equal(
        augment.random_crop_flip(jax.random.key(0), IMAGES, padding=0, flip_probability=0.0), IMAGES
    )


def test_normalize_maps_the_mean_to_zero_and_one_std_to_one():
    pixels = jnp.array([[102, 153]], jnp.uint8)  # 0.4 and 0.6
    np.testing.assert_allclose(
        augment.normalize(pixels, (0.4, 0.4), (0.2, 0.2)), [[0.0, 1.0]], atol=1e-6
    )


def test_rotations_are_four_counter_clockwise_turns():
    turned = np.asarray(augment.rotations(jnp.asarray(IMAGES)))
    for k in range(4):
        np.testing.assert_array_equal(turned[:, k], np.rot90(IMAGES, k, axes=(1, 2)))
    own = np.arange(64) % 4
    np.testing.assert_array_equal(
        augment.rotate90(jnp.asarray(IMAGES), jnp.asarray(own)), turned[np.arange(64), own]
    )
    with pytest.raises(ValueError, match="images are 8x6; expected square ones"):
        augment.rotations(jnp.zeros((1, 8, 6, 3)))


@pytest.mark.parametrize("size", [3, 4])
def test_cutout_clears_a_square_cut_off_at_the_border(size):
    centers = np.stack([np.arange(64) // 8, np.arange(64) % 8], axis=1)
    out = np.asarray(augment.cutout(jnp.asarray(IMAGES), jnp.asarray(centers), size))
    for image, cut, (row, column) in zip(IMAGES, out, centers, strict=True):
        expected = image.copy()
        top, left = row - size // 2, column - size // 2
        expected[max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = 0
        np.testing.assert_array_equal(cut, expected)


def test_random_cutout_has_its_own_place_in_each_image():
    same = jnp.broadcast_to(IMAGES[0], IMAGES.shape)
    out = np.asarray(augment.random_cutout(jax.random.key(0), same, 4))
    assert len(np.unique(out.reshape(64, -1), axis=0)) > 20


@pytest.mark.parametrize(("size", "resolution"), [(8, 20), (20, 7)])
def test_a_batch_of_any_size_is_resized_as_one_of_a_known_size(size, resolution):
    images = np.random.default_rng(0).normal(size=(3, size, size, 2)).astype(np.float32)
    (batch,) = jax.export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((batch, size, size, 2), jnp.float32)
    resize = jax.jit(partial(augment.resize, resolution=resolution))
    exported = jax.export.export(resize)(shape)
    np.testing.assert_allclose(exported.call(images), resize(images), atol=1e-5)  # of float32


def test_resize_to_the_same_size_changes_nothing_and_keeps_a_constant():
    images = jnp.asarray(IMAGES, jnp.float32)
    assert augment.resize(images, 8) is images
    np.testing.assert_allclose(augment.resize(jnp.full((1, 8, 8, 3), 7.0), 20), 7.0, rtol=1e-6)


@pytest.mark.parametrize("mix", [augment.mixup, augment.cutmix])
def test_mixing_gives_each_image_its_share_and_a_partner(mix):
    images = jnp.asarray(IMAGES, jnp.float32)
    for seed in range(6):
        mixed, partner, lam = mix(jax.random.key(seed), images, 1.0)
        assert 0 <= lam <= 1
        np.testing.assert_array_equal(np.sort(partner), np.arange(64))
        if mix is augment.mixup:
            np.testing.assert_allclose(mixed, lam * images + (1 - lam) * images[partner], rtol=1e-6)
        else:
            # Every pixel is the image's or the partner's, the same place in all images, lam the
            # share of its own.
            own, other = (
                np.asarray(mixed == source).all(axis=3) for source in (images, images[partner])
            )
            assert (own | other).all()
            moving = np.asarray(partner) != np.arange(64)
            assert lam == pytest.approx(
                float((~(other & ~own))[moving].all(axis=0).mean()), abs=1e-6
            )
    with pytest.raises(ValueError, match="mixup alpha is 0"):
        mix(jax.random.key(0), images, 0)


def test_cutmix_rectangles_have_the_drawn_area_on_average():
    """For alpha = 1 a side is sqrt(u), u uniform, of which the border leaves s - s^2/4 on average:
    an area of 1/2 - 1/5 + 1/48.
    """
    images = jnp.zeros((2, 32, 32, 1))
    shares = jax.vmap(lambda key: augment.cutmix(key, images, 1.0).lam)(
        jax.random.split(jax.random.key(0), 2000)
    )
    # 2,000 draws are within 0.02; sides are cut to whole even pixels of 32, which costs up to
    # another 0.03.
    assert 0.0 <= float(shares.mean()) - (1 - (1 / 2 - 1 / 5 + 1 / 48)) + 0.02 < 0.07


def test_rectangles_are_centred_on_every_pixel_alike():
    """Half an image wide: at the first of 4 pixels half of it is outside, and at the last none."""
    rows = jax.vmap(
        lambda key: augment.rectangle(key, jnp.zeros((1, 4, 4, 1)), jnp.asarray(0.75))[0][0, ..., 0]
    )(jax.random.split(jax.random.key(0), 2000)).any(axis=2)
    shares = [
        np.mean([np.array_equal(row, wanted) for row in np.asarray(rows)])
        for wanted in (
            [True, False, False, False],
            [True, True, False, False],
            [False, True, True, False],
            [False, False, True, True],
        )
    ]
    np.testing.assert_allclose(shares, 0.25, atol=0.05)  # 5 deviations of 2,000 draws


def test_contrast_is_standard_at_simclrs_strengths():
    images = jax.random.randint(jax.random.key(1), (6, 16, 16, 3), 0, 256).astype(jnp.uint8)
    own = {"resized_crop": (0.08, 1.0), "padding": 0, "flip": 0.5}
    own |= {"jitter": (0.4, 0.4, 0.4, 0.1), "jitter_probability": 0.8, "grey": 0.2}
    statistics = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    ours = augment.contrast(jax.random.key(0), images, **statistics)
    plain = augment.standard(jax.random.key(0), images, **statistics, **own)
    np.testing.assert_allclose(ours, plain, atol=1e-6)
    statistics = {"mean": (0.5,), "std": (0.25,)}
    own |= {"jitter": (), "grey": 0.0, "flip": 1.0}
    ours = augment.contrast(jax.random.key(0), images[..., :1], flip=1.0, **statistics)
    plain = augment.standard(jax.random.key(0), images[..., :1], **statistics, **own)
    np.testing.assert_allclose(ours, plain, atol=1e-6)


def test_jitter_draws_factors_on_both_sides_of_one():
    images = jnp.full((500, 2, 2, 3), 0.5)
    factors = (
        augment.random_color_jitter(jax.random.key(0), images, 0.4, 0.0, 0.0)[:, 0, 0, 0] / 0.5
    )
    # Uniform in 0.6..1.4.
    assert 0.6 <= factors.min() < 0.62
    assert 1.38 < factors.max() <= 1.4 + 1e-6
    assert float(factors.mean()) == pytest.approx(1.0, abs=0.05)


def test_remix_gives_the_label_to_the_rarer_class_as_its_equation_says():
    counts = np.array([100, 40, 30, 1])
    labels = jnp.arange(64) % 4
    images = jnp.asarray(IMAGES, jnp.float32)
    seen = set()
    for seed in range(12):
        mixed, partner, lam = augment.remix(
            jax.random.key(seed), images, labels, counts, kappa=3.0, tau=0.5
        )
        plain, _, share = augment.mixup(jax.random.key(seed), images)
        np.testing.assert_array_equal(mixed, plain)
        ratio = counts[np.asarray(labels)] / counts[np.asarray(labels[partner])]
        expected = np.full(64, float(share))
        expected[(ratio >= 3) & (share < 0.5)] = 0.0
        expected[(ratio <= 1 / 3) & (1 - share < 0.5)] = 1.0
        np.testing.assert_allclose(lam, expected, rtol=1e-6)
        seen |= set(np.unique(np.asarray(lam)).tolist()) & {0.0, 1.0}
    assert seen == {0.0, 1.0}


def test_remix_leaves_a_share_of_just_tau_alone(monkeypatch):
    def half(key, images, alpha):
        return mixing.Mixed(images, jnp.array([1, 0]), jnp.full(2, 0.5))

    monkeypatch.setattr(mixing, "mixup", half)
    given = jax.random.key(0), jnp.asarray(IMAGES[:2]), jnp.array([0, 1]), [900, 10]
    np.testing.assert_array_equal(augment.remix(*given, tau=0.5).lam, 0.5)
    np.testing.assert_array_equal(augment.remix(*given, tau=0.51).lam, [0.0, 1.0])
    given = (*given[:3], [900, 300])  # three times as many are enough
    np.testing.assert_array_equal(augment.remix(*given, tau=0.51, kappa=3.0).lam, [0.0, 1.0])


def test_remix_with_tau_0_is_mixup():
    images = jnp.asarray(IMAGES, jnp.float32)
    lam = augment.remix(
        jax.random.key(0), images, jnp.arange(64) % 4, [100, 40, 30, 1], tau=0.0
    ).lam
    np.testing.assert_allclose(lam, float(augment.mixup(jax.random.key(0), images).lam), rtol=1e-6)


def test_the_jitter_stands_before_the_policy_and_draws_from_another_key(monkeypatch):
    keys = {}

    def jitter(key, images, *_, **__):
        keys["jitter"] = jax.random.key_data(key)
        return images + 0.6

    def policy(key, images):
        keys["policy"] = np.stack(
            [jax.random.key_data(one) for one in (key, *jax.random.split(key, 5))]
        )
        assert images.dtype == jnp.uint8
        return 255 - images

    module = importlib.import_module("ltjax.augment.standard")
    monkeypatch.setattr(module, "random_color_jitter", jitter)
    images = jnp.full((2, 4, 4, 1), 99, jnp.uint8)
    options = {"mean": (0.0,), "std": (1.0,), "padding": 0, "flip": 0.0}
    both = augment.standard(
        jax.random.key(0), images, policy=policy, jitter=(0.4, 0.4, 0.4), **options
    )
    np.testing.assert_allclose(both, (255 - 100) / 255, rtol=1e-6)
    assert not (keys["policy"] == keys["jitter"]).all(axis=1).any()


STRONG = {
    "resized_crop": (0.3, 1.0),
    "jitter": (0.4, 0.4, 0.4, 0.1),
    "jitter_probability": 0.8,
    "grey": 0.2,
    "blur": 0.5,
}


def test_strong_views_end_normalised_and_differ_from_image_to_image():
    images = jnp.tile(jnp.asarray(IMAGES[:1]), (16, 1, 1, 1))
    view = jax.jit(partial(augment.standard, mean=(0.5,) * 3, std=(0.25,) * 3, padding=0, **STRONG))
    out = np.asarray(view(jax.random.key(0), images))
    assert out.shape == images.shape
    assert np.abs(out).max() <= 2.0 + 1e-5
    assert len(np.unique(out.round(3).reshape(16, -1), axis=0)) > 12


def test_cutout_before_normalisation_is_black_and_after_the_policy():
    """Inverted first, white images are black all over, and the square could not be seen; the policy
    here turns black to white.
    """
    black = jnp.zeros((8, 8, 8, 3), jnp.uint8)
    options = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "padding": 0, "cutout": 4}
    policy = lambda key, images: 255 - images  # noqa: E731
    for first, hole in ((True, -2.0), (False, 0.0)):
        view = partial(augment.standard, policy=policy, cutout_first=first, **options)
        out = np.asarray(view(jax.random.key(0), black))
        assert set(np.unique(out)) == {hole, 2.0}


def test_a_config_asks_for_strong_views(digits_config):
    digits_config.augment.update(STRONG)
    digits_config.augment.cutout = 4
    digits_config.augment.cutout_first = True
    view = experiment.build(settings.resolve(digits_config)).recipe.views[0]
    assert STRONG.items() <= view.keywords.items()
    assert view.keywords["cutout_first"]
    for field, value, told in (
        ("jitter", (0.4, 0.4), "expected brightness, contrast and saturation"),
        ("jitter", (0.4, 0.4, 0.4, 0.6), r"the hue's of at most 0\.5"),
        ("resized_crop", (0.5, 0.1), "expected two ascending shares"),
    ):
        digits_config.augment.update(STRONG)
        digits_config.augment[field] = value
        with pytest.raises(ValueError, match=told):
            settings.resolve(digits_config)


def test_boxes_are_the_same_where_numbers_are_64_bits_wide():
    boxes = augment.random_boxes(jax.random.key(0), 2000, 37, 64)
    with jax.enable_x64(True):
        wide = augment.random_boxes(jax.random.key(0), 2000, 37, 64)
    assert wide.dtype == boxes.dtype
    np.testing.assert_array_equal(wide, boxes)


def test_crops_and_shares_where_numbers_are_64_bits_wide():
    with jax.enable_x64(True):
        images, at = jnp.asarray(IMAGES), jnp.asarray([[0, 1]] * len(IMAGES), jnp.int32)
        np.testing.assert_array_equal(augment.crop(images, at, 1)[:, 1:], IMAGES[:, :-1])
        for dtype in (jnp.float32, jnp.float64):
            assert augment.mixup(jax.random.key(0), images.astype(dtype)).lam.dtype == dtype


def test_views_are_float32_where_images_are_float64():
    key, some = jax.random.key(0), jnp.arange(len(IMAGES)) % 2 > 0
    with jax.enable_x64(True):
        images = jnp.asarray(IMAGES, float)
        for made in (
            augment.grey(images, some),
            augment.gaussian_blur(images, jnp.ones(len(IMAGES))),
            augment.random_gaussian_blur(key, images),
            augment.random_color_jitter(key, images, 0.4, 0.3, 0.2, probability=0.5),
        ):
            assert made.dtype == jnp.float32


def test_boxes_of_small_images_are_not_empty_and_may_be_a_list():
    boxes = augment.random_boxes(jax.random.key(0), 500, 3, 3, scale=(0.01, 0.2))
    assert boxes[:, 2:].min() == 1
    images = jnp.arange(9, dtype=jnp.uint8).reshape(1, 3, 3, 1)
    np.testing.assert_array_equal(augment.resized_crop(images, [[0, 0, 3, 3]]), images)


def test_boxes_of_one_ratio_are_squares():
    boxes = np.asarray(augment.random_boxes(jax.random.key(0), 50, 32, 32, ratio=(1.0, 1.0)))
    sides = boxes[:, 2:]
    np.testing.assert_array_equal(sides[:, 0], sides[:, 1])
    assert len(np.unique(sides)) > 5


def test_grey_and_blur_fall_independently():
    """Each with a key of its own: both, one, and neither occur."""
    images = jnp.asarray(np.random.default_rng(1).integers(0, 256, (200, 6, 6, 3)), jnp.uint8)
    options = {"padding": 0, "flip": 0.0, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    out = augment.standard(jax.random.key(0), images, grey=0.5, blur=0.5, **options)
    greyed = np.ptp(np.asarray(out), axis=-1).max(axis=(1, 2)) < 1e-5
    kept = augment.standard(jax.random.key(0), images, grey=0.5, **options)
    blurred = np.abs(np.asarray(out - kept)).max(axis=(1, 2, 3)) > 1e-3
    table = np.array([[np.mean((greyed == a) & (blurred == b)) for a in (0, 1)] for b in (0, 1)])
    assert (table > 0.15).all(), table
