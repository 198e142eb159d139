"""Augmentation of a batch on the device: batched, under jit, per-example randomness from one key.

Each random augmentation is a draw (`random_*`, takes a key) and a deterministic operation (takes
the drawn values), so that the operation can be checked against another library given the same draw.
"""

from ltjax.augment.basic import (
    crop,
    cutout,
    flip,
    normalize,
    random_crop_flip,
    random_cutout,
    resize,
    rotate90,
    rotations,
)
from ltjax.augment.blur import gaussian_blur, random_gaussian_blur
from ltjax.augment.jitter import color_jitter, grey, random_color_jitter, random_grey
from ltjax.augment.mixing import MIXES, Mixed, cutmix, mixup, paste, rectangle, remix
from ltjax.augment.policies import AUTOAUGMENT, Policy, auto_augment, rand_augment
from ltjax.augment.resized import random_boxes, random_resized_crop, resized_crop
from ltjax.augment.standard import contrast, standard

__all__ = [
    "AUTOAUGMENT",
    "MIXES",
    "Mixed",
    "Policy",
    "auto_augment",
    "color_jitter",
    "contrast",
    "crop",
    "cutmix",
    "cutout",
    "flip",
    "gaussian_blur",
    "grey",
    "mixup",
    "normalize",
    "paste",
    "rand_augment",
    "random_boxes",
    "random_color_jitter",
    "random_crop_flip",
    "random_cutout",
    "random_gaussian_blur",
    "random_grey",
    "random_resized_crop",
    "rectangle",
    "remix",
    "resize",
    "resized_crop",
    "rotate90",
    "rotations",
    "standard",
]
