"""What a key draws, so that a seed's run stays the same from release to release."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ltjax import augment, sampling
from ltjax.objectives.classify import mixing
from ltjax.objectives.objective import Drawn

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


def flipped_bits(key, images):
    """Instead of a policy, whose own draws are below."""
    return images ^ jax.random.bits(key, images.shape, jnp.uint8)


def standard(**options):
    return lambda key: augment.standard(key, IMAGES, **SCALE, **options)


def mixed(name, key):
    """Of a config's mixing, with its own orders of partners."""
    made = mixing(name, COUNTS, alpha=0.7, kappa=2.0, tau=0.6, probability=0.5)
    rows = [jnp.arange(len(LABELS)), *(order(key, LABELS, 3) for order in made.orders)]
    return made.mix(key, [Drawn((FLOATS[row],), jnp.asarray(LABELS)[row]) for row in rows])


DRAWS = {
    "standard": standard(),
    "standard, all at once": standard(**WHOLE, policy=flipped_bits),
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
CASES = {f"draws.{name}": partial(draw, jax.random.key(7)) for name, draw in DRAWS.items()}
