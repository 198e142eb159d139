"""What a key draws is what it always drew, so that a seed's run stays the same from release to
release: each random function's output, by its moments, as recorded in draws.json.

    python -m tests.test_draws

records them anew; a change of draws belongs into CHANGELOG.md.
"""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltjax import augment, sampling
from ltjax.objectives.classify import mixing
from ltjax.objectives.objective import Drawn

RECORD = Path(__file__).with_name("draws.json")
GENERATOR = np.random.default_rng(0)
IMAGES = jnp.asarray(GENERATOR.integers(0, 256, (16, 12, 12, 3)), jnp.uint8)
FLOATS = jnp.asarray(IMAGES, jnp.float32) / 255
LABELS = np.repeat(np.arange(4), (8, 4, 3, 1))
COUNTS = np.bincount(LABELS)
SCALE = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}
WHOLE = {
    "resized_crop": (0.3, 0.9),
    "jitter": (0.4, 0.3, 0.2, 0.1),
    "jitter_probability": 0.6,
    "grey": 0.4,
    "blur": 0.5,
    "cutout": 4,
}


def standard(**options):
    return lambda key: augment.standard(key, IMAGES, **SCALE, **options)


def mixed(name, key):
    """Of a config's mixing, with its own orders of partners."""
    made = mixing(name, COUNTS, alpha=0.7, kappa=2.0, tau=0.6, probability=0.5)
    rows = [jnp.arange(len(LABELS)), *(order(key, LABELS, 3) for order in made.orders)]
    return made.mix(key, [Drawn((FLOATS[row],), jnp.asarray(LABELS)[row]) for row in rows])


CASES = {
    "standard": standard(),
    "standard, all at once": standard(**WHOLE, policy=augment.auto_augment("cifar10", 12, 12)),
    "standard, cutout first": standard(cutout=5, cutout_first=True, padding=2, flip=0.3),
    "contrast": lambda key: augment.contrast(key, IMAGES, **SCALE),
    "contrast, grey": lambda key: augment.contrast(key, IMAGES[..., :1], mean=(0.5,), std=(0.2,)),
    "crop and flip": lambda key: augment.random_crop_flip(key, IMAGES, padding=3),
    "cutout": lambda key: augment.random_cutout(key, FLOATS[:, :6], 5, fill=0.2),
    "boxes": lambda key: augment.random_boxes(key, 200, 24, 32),
    "boxes, seldom fitting": lambda key: augment.random_boxes(key, 400, 8, 40, scale=(0.6, 1.0)),
    "resized crop": lambda key: augment.random_resized_crop(key, IMAGES),
    "color jitter": lambda key: augment.random_color_jitter(key, IMAGES, 0.4, 0.3, 0.2, 0.1),
    "grey": lambda key: augment.random_grey(key, IMAGES),
    "blur": lambda key: augment.random_gaussian_blur(key, IMAGES),
    "mixup": lambda key: augment.mixup(key, FLOATS, 0.4),
    "cutmix": lambda key: augment.cutmix(key, FLOATS),
    **{f"mixing {name}": partial(mixed, name) for name in ("mixup", "cutmix", "remix", "cmo")},
    **{
        f"auto_augment {name}": (
            lambda key, name=name: augment.auto_augment(name, 12, 12)(key, IMAGES)
        )
        for name in augment.AUTOAUGMENT
    },
    "rand_augment": lambda key: augment.rand_augment(12, 12)(key, IMAGES),
    "power": lambda key: sampling.power(key, LABELS, num_samples=100),
    "power 0.3": lambda key: sampling.power(key, LABELS, 0.3),
    "class balanced": lambda key: sampling.class_balanced(key, LABELS),
}


def moments(tree):
    """Of each array: shape, mean, deviation, and a fixed random projection."""
    found = []
    for leaf in jax.tree.leaves(tree):
        values = np.asarray(leaf, np.float64)
        weights = np.random.default_rng(1).normal(size=values.shape)
        each = (values.mean(), values.std(), float(np.sum(weights * values)) / values.size**0.5)
        found.append([list(values.shape), [round(float(value), 6) for value in each]])
    return found


def drawn(name):
    return moments(CASES[name](jax.random.key(7)))


@pytest.mark.parametrize("name", CASES)
def test_a_key_draws_what_it_always_drew(name):
    expected = json.loads(RECORD.read_text())[name]
    found = drawn(name)
    assert [shape for shape, _ in found] == [shape for shape, _ in expected]
    for (_, ours), (_, theirs) in zip(found, expected, strict=True):
        # Rounding may move a pixel of uint8 by 1; another key moves everything.
        spread = 1e-3 * max(abs(value) for value in theirs) + 1e-6
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=spread)


def test_grey_and_blur_fall_independently():
    """Each with a key of its own: both, one, and neither occur."""
    images = jnp.asarray(GENERATOR.integers(0, 256, (200, 6, 6, 3)), jnp.uint8)
    options = {"padding": 0, "flip": 0.0, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    out = augment.standard(jax.random.key(0), images, grey=0.5, blur=0.5, **options)
    greyed = np.ptp(np.asarray(out), axis=-1).max(axis=(1, 2)) < 1e-5
    kept = augment.standard(jax.random.key(0), images, grey=0.5, **options)
    blurred = np.abs(np.asarray(out - kept)).max(axis=(1, 2, 3)) > 1e-3
    table = np.array([[np.mean((greyed == a) & (blurred == b)) for a in (0, 1)] for b in (0, 1)])
    assert (table > 0.15).all(), table


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    lines = [f"  {json.dumps(name)}: {json.dumps(drawn(name))}" for name in CASES]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
