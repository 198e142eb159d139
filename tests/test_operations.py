"""AutoAugment's operations against Pillow's own, and the policies' tables and draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_sample_images

from ltjax import augment
from ltjax.augment import operations, policies

GREY = (128, 128, 128)


def photographs(count, height, width):
    """Pieces of scikit-learn's two photographs, with flat, dark and bright ones among them."""
    generator = np.random.default_rng(0)
    sources = load_sample_images().images
    pieces = []
    for k in range(count - 3):
        source = sources[k % 2]
        row, column = (
            generator.integers(0, size - cut)
            for size, cut in zip(source.shape, (height, width), strict=False)
        )
        pieces.append(source[row : row + height, column : column + width])
    flat = np.full((height, width, 3), 77, np.uint8)
    two = flat.copy()
    two[:3] = 200
    return np.stack([*pieces, flat, two, generator.integers(0, 256, (height, width, 3), np.uint8)])


IMAGES = photographs(24, 32, 32)
WIDE = photographs(9, 20, 41)


def pillow(images, operation):
    return np.stack([np.asarray(operation(Image.fromarray(image))) for image in images])


def levels(ours, theirs):
    """Largest difference in levels of 255."""
    return int(np.abs(np.asarray(ours).astype(int) - theirs.astype(int)).max())


@pytest.mark.parametrize("images", [IMAGES, WIDE], ids=["square", "wide"])
@pytest.mark.parametrize("share", [-1.0, -0.52, -1 / 9, 0.0, 2 / 9, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("name", ["ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"])
def test_geometry_is_pillows_to_the_bit(name, share, images):
    count, height, width, _ = images.shape
    across, down = int(150 / 331 * width * share), int(150 / 331 * height * share)
    matrix = {
        "ShearX": (1, 0.3 * share, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, 0.3 * share, 1, 0),
        "TranslateX": (1, 0, across, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, down),
    }.get(name, policies._matrix(name, share, height, width))
    np.testing.assert_allclose(policies._matrix(name, share, height, width), matrix)
    coefficients = jnp.tile(operations.fixed_point(matrix)[None], (count, 1))
    if name == "Rotate":
        expected = pillow(images, lambda image: image.rotate(30.0 * share, fillcolor=GREY))
    else:
        expected = pillow(
            images,
            lambda image: image.transform(
                image.size, Image.AFFINE, matrix, Image.NEAREST, fillcolor=GREY
            ),
        )
    np.testing.assert_array_equal(operations.affine(jnp.asarray(images), coefficients), expected)


@pytest.mark.parametrize("images", [IMAGES, WIDE], ids=["square", "wide"])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (operations.equalize, ImageOps.equalize),
        (operations.invert, ImageOps.invert),
        *(
            (
                lambda x, t=t: operations.solarize(x, jnp.float32(t)),
                lambda image, t=t: ImageOps.solarize(image, t),
            )
            for t in (0, 56.67, 255)
        ),
        *(
            (
                lambda x, b=b: operations.posterize(x, jnp.float32(b)),
                lambda image, b=b: ImageOps.posterize(image, b),
            )
            for b in (1, 4, 8)
        ),
    ],
    ids=[
        "equalize",
        "invert",
        "solarize 0",
        "solarize 56.67",
        "solarize 255",
        "posterize 1",
        "posterize 4",
        "posterize 8",
    ],
)
def test_integer_operations_are_pillows_to_the_bit(ours, theirs, images):
    np.testing.assert_array_equal(jax.jit(ours)(jnp.asarray(images)), pillow(images, theirs))


@pytest.mark.parametrize("images", [IMAGES, WIDE], ids=["square", "wide"])
@pytest.mark.parametrize("name", ["Brightness", "Contrast", "Color", "Sharpness"])
def test_blending_is_pillows_to_a_level(name, images):
    """Both compute in float32 and truncate: a product that is whole in one and a rounding below in
    the other differs by one level.
    """
    blended = jax.jit(getattr(operations, name.lower()))
    for factor in (0.1, 0.4, 0.73, 1.0, 1.3, 1.9):
        ours = blended(jnp.asarray(images), jnp.full(len(images), factor))
        expected = pillow(
            images, lambda image, f=factor: getattr(ImageEnhance, name)(image).enhance(f)
        )
        assert levels(ours, expected) <= 1, factor
        assert (np.asarray(ours) != expected).mean() < 0.002, factor


@pytest.mark.parametrize("images", [IMAGES, WIDE], ids=["square", "wide"])
def test_auto_contrast_is_pillows_to_a_level(images):
    assert (
        levels(operations.auto_contrast(jnp.asarray(images)), pillow(images, ImageOps.autocontrast))
        <= 1
    )


def test_each_image_gets_its_own_operation():
    kinds = np.arange(24) % len(operations.KINDS)
    coefficients = np.tile(np.asarray(operations.IDENTITY), (24, 1))
    coefficients[kinds == 1] = operations.fixed_point((1.0, 0.3, 0.0, 0.0, 1.0, 0.0))
    values = np.where(
        kinds == operations.KINDS.index("posterize"),
        4.0,
        np.where(kinds == operations.KINDS.index("solarize"), 100.0, 1.5),
    )
    out = np.asarray(
        operations.apply(
            jnp.asarray(IMAGES),
            jnp.asarray(kinds),
            jnp.asarray(values, jnp.float32),
            jnp.asarray(coefficients),
        )
    )
    images, values = jnp.asarray(IMAGES), jnp.asarray(values, jnp.float32)
    for kind, name in enumerate(operations.KINDS):
        if name == "identity":
            expected = images
        elif name == "affine":
            expected = operations.affine(images, jnp.asarray(coefficients))
        else:
            arguments = (values,) if name in operations._WITH_VALUE else ()
            expected = getattr(operations, name)(images, *arguments)
        own = kinds == kind
        assert own.any()
        np.testing.assert_array_equal(out[own], np.asarray(expected)[own], err_msg=name)


def test_grey_is_pillows_luma_of_any_colour():
    colors = np.random.default_rng(0).integers(0, 256, (1, 300, 300, 3), np.uint8)
    expected = pillow(colors, lambda image: image.convert("L"))
    np.testing.assert_array_equal(operations._grey(jnp.asarray(colors)), expected)


def test_grey_images_of_one_channel_work():
    policy = policies.auto_augment("cifar10", 8, 8)
    out = jax.eval_shape(policy, jax.random.key(0), jnp.asarray(IMAGES[:, :8, :8, :1]))
    assert out.shape == (24, 8, 8, 1)
    assert out.dtype == jnp.uint8


@pytest.mark.parametrize("name", ["cifar10", "imagenet"])
def test_policies_have_25_sub_policies_and_known_operations(name):
    policy = policies.auto_augment(name, 32, 32)
    assert policy.kind.shape == (25, 2)
    assert ((policy.probability >= 0) & (policy.probability <= 1)).all()


def test_policy_acts_at_its_probabilities():
    """Inverting with probability 0.25: 240 images, 4 standard deviations."""
    flat = jnp.zeros(IMAGES.shape, jnp.uint8)
    table = [[policies._entry("Invert", 0, bins=10, height=32, width=32)]]
    policy = policies._policy(table, np.array([[0.25]]), False, 128)
    inverted = [
        np.asarray(policy(jax.random.key(seed), flat)).any(axis=(1, 2, 3)) for seed in range(10)
    ]
    assert abs(np.mean(inverted) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 240)


def test_both_signs_are_drawn():
    """96 translations, 5 standard deviations."""
    image = jnp.tile(jnp.asarray(IMAGES[:1]), (24, 1, 1, 1))
    table = [[policies._entry("TranslateX", 9, bins=10, height=32, width=32)]]
    policy = policies._policy(table, np.ones((1, 1)), False, 0)
    out = np.concatenate([policy(jax.random.key(seed), image) for seed in range(4)])
    left = ~out[:, :, :14].any(axis=(1, 2, 3))
    right = ~out[:, :, -14:].any(axis=(1, 2, 3))
    assert (left ^ right).all()
    assert 24 < left.sum() < 72


def test_rand_augment_draws_each_operation_alone_and_repeats_with_its_key():
    # One image 400 times: two operations drawn apart give more outcomes than one, or one twice.
    images = jnp.full((400, 32, 32, 3), 100, jnp.uint8).at[:, :16].set(200)
    once, twice = (
        jax.jit(augment.rand_augment(32, 32, num_ops=count, magnitude=9)) for count in (1, 2)
    )
    first, again, other = (np.asarray(twice(jax.random.key(seed), images)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=(1, 2, 3)).mean() > 0.5
    alone = np.asarray(once(jax.random.key(0), images))
    alike = [len(np.unique(found.reshape(400, -1), axis=0)) for found in (alone, first)]
    assert alike[1] > 2 * alike[0], "pairs of different operations"


def test_images_below_three_pixels_keep_their_sharpness():
    """As the border of larger ones does."""
    for shape in ((2, 2, 8, 3), (2, 8, 2, 3)):
        images = jnp.arange(np.prod(shape), dtype=jnp.uint8).reshape(shape)
        np.testing.assert_array_equal(operations.sharpness(images, jnp.full(2, 1.9)), images)


def test_two_neighbouring_levels_become_black_and_white():
    images = jnp.asarray([[[[100], [101]]]], jnp.uint8)
    np.testing.assert_array_equal(operations.auto_contrast(images).ravel(), [0, 255])


def test_one_factor_for_all_is_taken_as_float32():
    """Where numbers are 64 bits wide too: 90 times 0.7 is cut to 62 or 63."""
    images, factor = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1), 0.7
    expected = np.arange(256, dtype=np.float32) * np.float32(factor)
    with jax.enable_x64(True):
        found = (
            operations.brightness(images, factor),
            operations.brightness(images, jnp.asarray([factor])),
        )
    for one in found:
        np.testing.assert_array_equal(one.ravel(), expected.astype(np.uint8))
    assert (expected.astype(np.uint8) != (np.arange(256) * factor).astype(np.uint8)).any()


def test_nothing_drawn_changes_nothing():
    policy = augment.rand_augment(32, 32, num_ops=2, magnitude=0)
    out = np.asarray(policy(jax.random.key(3), jnp.asarray(IMAGES)))
    # At magnitude 0 all but auto-contrast, equalize and solarize (threshold 255: white turns black)
    # are the identity.
    unchanged = (out == IMAGES).all(axis=(1, 2, 3)).mean()
    assert 0.4 < unchanged < 0.9


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda: augment.auto_augment("cifar", 32, 32),
            "unknown AutoAugment policy 'cifar'; did you mean 'cifar10",
        ),
        (
            lambda: augment.rand_augment(32, 32, magnitude=31),
            "magnitude 31; expected at least 1, and 0..30",
        ),
        (lambda: augment.rand_augment(32, 32, num_ops=0), "num_ops 0"),
    ],
)
def test_bad_policies_are_refused(make, told):
    with pytest.raises(ValueError, match=told):
        make()


def test_three_pixels_are_enough_to_sharpen():
    """The middle of a 3x3 image is blended with its mean of 13 parts, the border stays."""
    image = jnp.full((1, 3, 3, 1), 26, jnp.uint8).at[0, 1, 1, 0].set(130)
    smooth = operations.sharpness(image, jnp.zeros(1))
    expected = np.full((3, 3), 26)
    expected[1, 1] = (8 * 26 + 5 * 130) / 13
    np.testing.assert_array_equal(smooth[0, ..., 0], expected)
