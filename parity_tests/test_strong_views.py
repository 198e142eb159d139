"""Resized crops, hue, grey and blur against torchvision's, given the same draws, and the draws'
distribution.
"""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from ltjax import augment
from ltjax.augment import operations, policies
from ltjax.augment.jitter import turn_hue
from parity_tests import pretrained

PHOTOGRAPHS = np.stack([image[100:132, 200:232] for image in load_sample_images().images])
BOXES = np.array([[3, 5, 20, 13], [0, 0, 32, 32], [31, 31, 1, 1], [10, 0, 9, 32], [1, 30, 31, 2]])


@pytest.fixture(scope="module")
def functional():
    return pretrained.import_torchvision().transforms.functional


def tensor(image):
    return torch.tensor(np.asarray(image).transpose(2, 0, 1) / 255)


def pixels(x):
    return 255 * x.numpy().transpose(1, 2, 0)


def test_resized_crops_are_torchvisions(functional):
    """Floats to float32's rounding; of whole values Pillow rounds twice, so a level may differ."""
    images = PHOTOGRAPHS[np.arange(len(BOXES)) % 2]
    crop = jax.jit(augment.resized_crop)
    floats = crop(jnp.asarray(images, jnp.float32), BOXES)
    expected = [
        pixels(functional.resized_crop(tensor(image), *box.tolist(), [32, 32], antialias=True))
        for image, box in zip(images, BOXES, strict=True)
    ]
    np.testing.assert_allclose(floats, expected, atol=2e-4)
    whole = crop(jnp.asarray(images), BOXES)
    pillow = [
        np.asarray(functional.resized_crop(Image.fromarray(image), *box.tolist(), [32, 32]))
        for image, box in zip(images, BOXES, strict=True)
    ]
    assert whole.dtype == np.uint8
    assert np.abs(np.asarray(whole).astype(int) - np.array(pillow).astype(int)).max() <= 1


def test_boxes_are_drawn_as_torchvision_draws_them(functional):
    """Means of area and of log ratio within four standard errors; every box inside the image."""
    transform = pretrained.import_torchvision().transforms.RandomResizedCrop
    torch.manual_seed(0)
    image = torch.zeros(3, 24, 40)
    theirs = np.array(
        [transform.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(1500)]
    )
    ours = np.asarray(
        jax.jit(lambda key: augment.random_boxes(key, 1500, 24, 40))(jax.random.key(0))
    )
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, 2:] >= 1).all()
    assert (ours[:, :2] + ours[:, 2:] <= [24, 40]).all()

    def statistics(boxes):
        return np.stack(
            [*boxes.T, boxes[:, 2] * boxes[:, 3], np.log(boxes[:, 3] / boxes[:, 2])], axis=1
        )

    a, b = statistics(theirs), statistics(ours)
    error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / 1500)
    assert (np.abs(a.mean(axis=0) - b.mean(axis=0)) < 4 * error).all()


def test_a_box_that_never_fits_is_the_largest_centred_one():
    boxes = jax.jit(
        lambda key: augment.random_boxes(key, 2, 8, 40, scale=(1.0, 1.0), ratio=(0.5, 2.0))
    )(jax.random.key(0))
    np.testing.assert_array_equal(boxes, [[0, 12, 8, 16]] * 2)


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.0, 0.07, 0.3])
def test_hue_is_torchvisions(functional, shift):
    images = np.concatenate(
        [PHOTOGRAPHS[0], np.full((1, 32, 3), 90), 255 * np.eye(3)[None, [0] * 32]]
    )
    ours = turn_hue(jnp.asarray(images, jnp.float32), shift)
    theirs = pixels(functional.adjust_hue(tensor(images), shift))
    np.testing.assert_allclose(ours, theirs, atol=1e-3)  # float32, by way of sixths of a turn


def test_color_jitter_with_hue_is_torchvisions_in_each_order(functional):
    orders = list(permutations(range(4)))
    images = np.random.default_rng(0).uniform(0, 255, size=(24, 5, 4, 3))
    factors = np.random.default_rng(1).uniform([0.6] * 3 + [-0.1], [1.4] * 3 + [0.1], (24, 4))
    steps = (
        *(functional.adjust_brightness, functional.adjust_contrast),
        *(functional.adjust_saturation, functional.adjust_hue),
    )
    expected = []
    for image, factor, order in zip(images, factors, orders, strict=True):
        x = tensor(image)
        for which in order:
            x = steps[which](x, float(factor[which]))
        expected.append(pixels(x))
    ours = jax.jit(augment.color_jitter)(jnp.asarray(images), jnp.asarray(factors), jnp.arange(24))
    np.testing.assert_allclose(ours, expected, atol=2e-3)


def test_grey_is_torchvisions_and_leaves_the_others(functional):
    ours = augment.grey(jnp.asarray(PHOTOGRAPHS), jnp.asarray([True, False]))
    theirs = pixels(functional.rgb_to_grayscale(tensor(PHOTOGRAPHS[0]), 3))
    np.testing.assert_allclose(ours[0], theirs, atol=1e-4)
    np.testing.assert_array_equal(ours[1], PHOTOGRAPHS[1])


@pytest.mark.parametrize("size", [3, 9])
def test_blur_is_torchvisions(functional, size):
    sigma = np.array([0.3, 2.0])
    ours = jax.jit(augment.gaussian_blur, static_argnums=2)(PHOTOGRAPHS, jnp.asarray(sigma), size)
    theirs = [
        pixels(functional.gaussian_blur(tensor(image), [size, size], [float(s)]))
        for image, s in zip(PHOTOGRAPHS, sigma, strict=True)
    ]
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


@pytest.mark.parametrize(("name", "bins"), [("AutoAugment", 10), ("RandAugment", 31)])
def test_magnitudes_are_torchvisions(name, bins):
    """On images of 40 x 24 pixels."""
    size = height, width = 40, 24
    policy = getattr(pretrained.import_torchvision().transforms, name)()
    for operation, (magnitudes, signed) in policy._augmentation_space(bins, size).items():
        for level in range(bins if len(magnitudes.shape) else 0):  # 0 of "Invert" and the like
            made = policies._entry(operation, level, bins=bins, height=height, width=width)
            for sign, value, row in zip((1, -1), *made[1:], strict=True):
                wanted = sign * float(magnitudes[level]) if signed else float(magnitudes[level])
                matrix = {
                    "ShearX": (1, wanted, 0, 0, 1, 0),
                    "ShearY": (1, 0, 0, wanted, 1, 0),
                    "TranslateX": (1, 0, int(wanted), 0, 1, 0),
                    "TranslateY": (1, 0, 0, 0, 1, int(wanted)),
                    "Rotate": operations.rotation(wanted, height, width),
                }.get(operation, (1, 0, 0, 0, 1, 0))
                # Fixed-point numbers with 16 digits behind the point; torchvision's are float32.
                np.testing.assert_allclose(row, operations.fixed_point(matrix), atol=2)
                if operation in ("Brightness", "Color", "Contrast", "Sharpness"):
                    assert value == pytest.approx(1 + wanted, abs=1e-6)
                elif operation in ("Solarize", "Posterize"):
                    assert value == pytest.approx(wanted, abs=1e-4)


def test_chances_are_kept_and_images_differ():
    """Each of 400 images its own, within four standard deviations of the binomial law."""
    images = jnp.tile(jnp.asarray(PHOTOGRAPHS[:1, :4, :4]), (400, 1, 1, 1))
    changes = {
        0.2: augment.random_grey,
        0.5: lambda key, x: augment.random_gaussian_blur(key, x, probability=0.5, size=3),
        0.8: lambda key, x: augment.random_color_jitter(
            key, x, 0.4, 0.4, 0.4, 0.1, probability=0.8
        ),
    }
    for chance, change in changes.items():
        out = np.asarray(jax.jit(change)(jax.random.key(1), images))
        changed = (np.abs(out - np.asarray(images)) > 1e-3).any(axis=(1, 2, 3))
        assert abs(changed.sum() - 400 * chance) < 4 * np.sqrt(400 * chance * (1 - chance))
        assert out.min() >= 0
        assert out.max() <= 255
    crops = np.asarray(jax.jit(augment.random_resized_crop)(jax.random.key(2), images[:8]))
    assert len(np.unique(crops.reshape(8, -1), axis=0)) > 4


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda: augment.random_boxes(jax.random.key(0), 1, 4, 4, scale=(0.0, 1.0)),
            r"scale is \(0\.0, 1\.0\).*expected ascending shares",
        ),
        (
            lambda: augment.gaussian_blur(jnp.zeros((1, 4, 4, 3)), jnp.ones(1), 4),
            "blur of size 4 for images of 4x4; expected an odd size of at most 7",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()
