"""Networks and pixels of the ImageNet recipes against torchvision's."""

import io
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from ltjax import augment, models
from parity_tests import pretrained

pytestmark = pytest.mark.usefixtures("quickly_compiled")
TORCHVISION = {"resnext50": "resnext50_32x4d", "resnext101": "resnext101_32x8d"}


@pytest.fixture(scope="module")
def torchvision():
    return pretrained.import_torchvision()


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50"])
def test_networks_for_photographs_are_torchvisions(torchvision, name):
    """Logits, training-mode logits and the statistics after them, with torch's own random weights
    and other statistics.
    """
    torch.manual_seed(0)
    network = torchvision.models.get_model(TORCHVISION.get(name, name), num_classes=7).double()
    with torch.no_grad():
        for buffer_name, buffer in network.named_buffers():
            if buffer_name.endswith("running_mean"):
                buffer.normal_(std=0.1)
            elif buffer_name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
    variables = models.from_torch(name, network.state_dict())
    model = models.create(name, 7, param_dtype=jnp.float64)
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3))
    batch = torch.tensor(images.transpose(0, 3, 1, 2))
    with torch.no_grad():
        expected = network.eval()(batch).numpy()
        trained = network.train()(batch).numpy()
    np.testing.assert_allclose(
        jax.jit(model.apply)(variables, images),
        expected,
        rtol=1e-9,
        atol=1e-9 * np.abs(expected).max(),
    )
    logits, updated = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))(
        variables, images
    )
    # 53 BatchNorms in a row over 2 images; the last map has 8 values a channel, so rounding is
    # magnified.
    np.testing.assert_allclose(logits, trained, rtol=1e-6, atol=1e-7 * np.abs(trained).max())
    written = models.to_torch(name, {**variables, **updated})
    for key, value in network.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            np.testing.assert_allclose(
                written[key], value.numpy(), rtol=1e-6, atol=1e-8, err_msg=key
            )


@pytest.mark.parametrize(
    "name",
    ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50", "resnext101"],
)
def test_every_network_has_torchvisions_parameters(torchvision, name):
    with torch.device("meta"):
        network = torchvision.models.get_model(TORCHVISION.get(name, name))
    model = models.create(name, 1000)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3))))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == sum(
        p.numel() for p in network.parameters()
    )
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    theirs = {key for key in network.state_dict() if not key.endswith("num_batches_tracked")}
    assert set(models.to_torch(name, zeros)) == theirs


def test_weights_start_as_torchvisions(torchvision):
    """Deviations of the large layers, which a random draw gives to a few parts in a hundred."""
    name = "resnet18"
    network = torchvision.models.get_model(name, num_classes=10)
    variables = jax.jit(models.create(name, 10).init)(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    ours = models.to_torch(name, variables)
    for key, value in network.state_dict().items():
        if value.ndim > 1 and value.numel() > 5000:
            np.testing.assert_allclose(ours[key].std(), value.numpy().std(), rtol=0.06, err_msg=key)


def test_zero_init_starts_each_block_as_its_shortcut(torchvision):
    variables = jax.jit(models.create("resnet18", 10, zero_init=True).init)(
        jax.random.key(0), jnp.zeros((1, 64, 64, 3))
    )
    network = torchvision.models.resnet18(num_classes=10, zero_init_residual=True)
    ours = models.to_torch("resnet18", variables)
    zeros = {
        key
        for key, value in network.state_dict().items()
        if key.endswith("weight") and not value.any()
    }
    assert len(zeros) == 8
    assert {
        key for key, value in ours.items() if key.endswith("weight") and not value.any()
    } == zeros


@pytest.mark.parametrize("order", range(6))
def test_color_jitter_is_torchvisions_in_each_order(torchvision, order):
    functional = torchvision.transforms.functional
    images = np.random.default_rng(order).uniform(0, 255, size=(2, 9, 7, 3))
    factors = np.array([[1.4, 0.6, 1.3], [0.7, 1.35, 0.0]])
    steps = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)
    expected = []
    for image, factor in zip(images, factors, strict=True):
        x = torch.tensor(image.transpose(2, 0, 1) / 255)
        for which in list(permutations(range(3)))[order]:
            x = steps[which](x, float(factor[which]))
        expected.append(255 * x.numpy().transpose(1, 2, 0))
    found = augment.color_jitter(jnp.asarray(images), jnp.asarray(factors), jnp.full(2, order))
    np.testing.assert_allclose(found, expected, atol=2e-4)  # float32 of values up to 255


@pytest.mark.parametrize("quality", [95, 60])
@pytest.mark.parametrize("size", [(427, 640), (300, 200), (150, 400)])
def test_evaluations_pixels_are_torchvisions(torchvision, size, quality):
    simplejpeg = pytest.importorskip("simplejpeg")
    assert simplejpeg
    from ltjax.data import decode

    transforms = torchvision.transforms
    for photo in load_sample_images().images:
        file = io.BytesIO()
        Image.fromarray(photo[: size[0], : size[1]]).save(file, "JPEG", quality=quality)
        image = Image.open(io.BytesIO(file.getvalue())).convert("RGB")
        expected = np.asarray(
            transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])(image)
        )
        np.testing.assert_array_equal(decode.center_crop(file.getvalue(), 224, 256), expected)


def test_random_crops_are_torchvisions_up_to_the_filter(torchvision):
    """The same box by both: Pillow's antialiased bilinear filter on the full image, ours on a JPEG
    that may be decoded smaller.
    """
    pytest.importorskip("cv2")
    from ltjax.data import decode

    differences = []
    for photo in load_sample_images().images:
        file = io.BytesIO()
        Image.fromarray(photo).save(file, "JPEG", quality=95)
        image = Image.open(io.BytesIO(file.getvalue())).convert("RGB")
        for seed in range(20):
            left, top, across, down = decode.crop_box(*image.size, np.random.default_rng(seed))
            expected = torchvision.transforms.functional.resized_crop(
                image, top, left, down, across, [96, 96]
            )
            found = decode.random_resized_crop(file.getvalue(), np.random.default_rng(seed), 96)
            differences.append(np.abs(found.astype(float) - np.asarray(expected, float)).mean())
    assert (
        np.mean(differences) < 6.0
    )  # grey levels of 255; a crop one pixel aside differs by more on these photographs
    assert max(differences) < 14.0


def test_crop_boxes_are_distributed_as_torchvisions(torchvision):
    """Mean and deviation of 3,000 boxes of each, within five standard errors."""
    from ltjax.data import decode

    generator = np.random.default_rng(0)
    torch.manual_seed(0)
    image = torch.zeros(3, 300, 500)
    draw = torchvision.transforms.RandomResizedCrop.get_params
    theirs = np.array([draw(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)])[
        :, [1, 0, 3, 2]
    ]
    ours = np.array([decode.crop_box(500, 300, generator) for _ in range(3000)])
    error = theirs.std(0) * np.sqrt(2 / 3000)
    assert np.all(np.abs(ours.mean(0) - theirs.mean(0)) < 5 * error)
    np.testing.assert_allclose(ours.std(0), theirs.std(0), rtol=0.1)


@pytest.mark.parametrize("size", [(1000, 10), (10, 1000), (3, 2)])
def test_extreme_shapes_fall_back_to_torchvisions_middle(torchvision, size):
    from ltjax.data import decode

    width, height = size
    draw = torchvision.transforms.RandomResizedCrop.get_params
    if max(size) > 100:  # no box ever fits: both take the middle
        top, left, down, across = draw(torch.zeros(3, height, width), [0.9, 1.0], [3 / 4, 4 / 3])
        assert decode.crop_box(width, height, np.random.default_rng(0), (0.9, 1.0)) == (
            left,
            top,
            across,
            down,
        )
    for seed in range(50):
        left, top, across, down = decode.crop_box(width, height, np.random.default_rng(seed))
        assert 0 <= left <= left + across <= width
        assert 0 <= top <= top + down <= height
        assert min(across, down) > 0
