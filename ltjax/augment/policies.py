"""AutoAugment and RandAugment: which operation each image gets, drawn from a table made once on the
host.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ltjax.augment import operations
from ltjax.names import unknown

# (operation, probability, magnitude 0..9) twice a sub-policy; Cubuk et al., CVPR 2019,
# arXiv:1805.09501, tables 7 and 9.
_CIFAR10 = """
Invert 0.1 -, Contrast 0.2 6;  Rotate 0.7 2, TranslateX 0.3 9;  Sharpness 0.8 1, Sharpness 0.9 3;  \
ShearY 0.5 8, TranslateY 0.7 9
AutoContrast 0.5 -, Equalize 0.9 -;  ShearY 0.2 7, Posterize 0.3 7;  \
Color 0.4 3, Brightness 0.6 7;  Sharpness 0.3 9, Brightness 0.7 9
Equalize 0.6 -, Equalize 0.5 -;  Contrast 0.6 7, Sharpness 0.6 5;  Color 0.7 7, TranslateX 0.5 8;  \
Equalize 0.3 -, AutoContrast 0.4 -
TranslateY 0.4 3, Sharpness 0.2 6;  Brightness 0.9 6, Color 0.2 8;  Solarize 0.5 2, Invert 0.0 -;  \
Equalize 0.2 -, AutoContrast 0.6 -
Equalize 0.2 -, Equalize 0.6 -;  Color 0.9 9, Equalize 0.6 -;  \
AutoContrast 0.8 -, Solarize 0.2 8;  Brightness 0.1 3, Color 0.7 0
Solarize 0.4 5, AutoContrast 0.9 -;  TranslateY 0.9 9, TranslateY 0.7 9;  \
AutoContrast 0.9 -, Solarize 0.8 3
Equalize 0.8 -, Invert 0.1 -;  TranslateY 0.7 9, AutoContrast 0.9 -
"""
_IMAGENET = """
Posterize 0.4 8, Rotate 0.6 9;  Solarize 0.6 5, AutoContrast 0.6 -;  \
Equalize 0.8 -, Equalize 0.6 -;  Posterize 0.6 7, Posterize 0.6 6
Equalize 0.4 -, Solarize 0.2 4;  Equalize 0.4 -, Rotate 0.8 8;  Solarize 0.6 3, Equalize 0.6 -;  \
Posterize 0.8 5, Equalize 1.0 -
Rotate 0.2 3, Solarize 0.6 8;  Equalize 0.6 -, Posterize 0.4 6;  Rotate 0.8 8, Color 0.4 0;  \
Rotate 0.4 9, Equalize 0.6 -
Equalize 0.0 -, Equalize 0.8 -;  Invert 0.6 -, Equalize 1.0 -;  Color 0.6 4, Contrast 1.0 8;  \
Rotate 0.8 8, Color 1.0 2
Color 0.8 8, Solarize 0.8 7;  Sharpness 0.4 7, Invert 0.6 -;  ShearX 0.6 5, Equalize 1.0 -;  \
Color 0.4 0, Equalize 0.6 -
Equalize 0.4 -, Solarize 0.2 4;  Solarize 0.6 5, AutoContrast 0.6 -;  Invert 0.6 -, Equalize 1.0 -
Color 0.6 4, Contrast 1.0 8;  Equalize 0.8 -, Equalize 0.6 -
"""
_RAND_AUGMENT = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color"),
    *("Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
)

AUTOAUGMENT = {"cifar10": _CIFAR10, "cifar100": _CIFAR10, "imagenet": _IMAGENET}
"""Name -> sub-policies. The paper applies CIFAR-10's to CIFAR-100 too."""


@dataclasses.dataclass(frozen=True, eq=False)
class Policy:
    """Sub-policies as arrays; called with a key and uint8 images [B, H, W, C] it returns augmented
    ones.

    Attributes:
      probability: [P, K], of each of the K operations in turn.
      kind: int [P, K].
      value: [P, K, 2], for both signs.
      coefficients: int32 [P, K, 2, 6], for both signs.
      independent: every operation is drawn for itself (RandAugment) rather than a whole sub-policy.
      fill: colour of what geometry brings in.

    Example:
      >>> from ltjax import augment
      >>> policy = augment.auto_augment("cifar10", 32, 32)
      >>> print(policy.probability.shape, policy.independent)  # 25 pairs, one drawn an image
      (25, 2) False
    """

    probability: np.ndarray
    kind: np.ndarray
    value: np.ndarray
    coefficients: np.ndarray
    independent: bool
    fill: int

    def __call__(self, key: jax.Array, images: jax.Array) -> jax.Array:
        """Each image has its own draws, all from `key`."""
        batch, slots = images.shape[0], self.kind.shape[1]
        row_key, skip_key, sign_key = jax.random.split(key, 3)
        rows = jax.random.randint(
            row_key, (batch, slots if self.independent else 1), 0, len(self.kind)
        )
        skip = jax.random.uniform(skip_key, (batch, slots))
        sign = jax.random.bernoulli(sign_key, 0.5, (batch, slots)).astype(jnp.int32)
        for slot in range(slots):
            row = rows[:, slot if self.independent else 0]
            used = skip[:, slot] < jnp.asarray(self.probability, jnp.float32)[row, slot]
            images = operations.apply(
                images,
                jnp.where(used, jnp.asarray(self.kind)[row, slot], 0),
                jnp.asarray(self.value, jnp.float32)[row, slot, sign[:, slot]],
                jnp.where(
                    used[:, None],
                    jnp.asarray(self.coefficients)[row, slot, sign[:, slot]],
                    jnp.asarray(operations.IDENTITY),
                ),
                self.fill,
            )
        return images


def auto_augment(name: str, height: int, width: int, fill: int = 128) -> Policy:
    """AutoAugment with a published policy.

    Args:
      name: a key of `AUTOAUGMENT`.
      height, width: of the images; translations are shares of them.
      fill: grey level that geometry brings in; 128 as the CIFAR programs of the field have it.

    Returns:
      (key, uint8 images [B, height, width, C]) -> the same shape.

    Raises:
      ValueError: an unknown name.

    Source: Cubuk et al., CVPR 2019, arXiv:1805.09501; magnitudes and tables as torchvision's, which
    Pillow's operations turn nearest-neighbour here (as there) and shear about the upper left corner
    (as in the paper's program).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import augment
      >>> policy = augment.auto_augment("cifar10", 8, 8)
      >>> print(policy(jax.random.key(0), jnp.zeros((2, 8, 8, 3), jnp.uint8)).shape)
      (2, 8, 8, 3)
    """
    if name not in AUTOAUGMENT:
        raise unknown("unknown AutoAugment policy", name, AUTOAUGMENT)
    rows = [entry.split(",") for entry in AUTOAUGMENT[name].strip().replace("\n", ";").split(";")]
    parsed = [[tuple(operation.split()) for operation in row] for row in rows]
    entry = partial(_entry, bins=10, height=height, width=width)
    table = [
        [
            entry(operation, 0 if magnitude == "-" else int(magnitude))
            for operation, _, magnitude in row
        ]
        for row in parsed
    ]
    return _policy(
        table,
        np.asarray([[float(probability) for _, probability, _ in row] for row in parsed]),
        False,
        fill,
    )


def rand_augment(
    height: int, width: int, num_ops: int = 2, magnitude: int = 9, fill: int = 128
) -> Policy:
    """RandAugment: `num_ops` operations drawn uniformly of 14, all of one magnitude.

    Args:
      height, width: of the images.
      num_ops: operations an image, in turn.
      magnitude: 0..30.
      fill: grey level that geometry brings in.

    Raises:
      ValueError: a magnitude outside 0..30, or num_ops below 1.

    Source: Cubuk et al., NeurIPS 2020, arXiv:1909.13719; ranges as torchvision's.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import augment
      >>> policy = augment.rand_augment(8, 8, num_ops=2, magnitude=9)
      >>> print(policy(jax.random.key(0), jnp.zeros((2, 8, 8, 3), jnp.uint8)).dtype)
      uint8
    """
    if not 0 <= magnitude <= 30 or num_ops < 1:
        raise ValueError(
            f"RandAugment has num_ops {num_ops} and magnitude {magnitude};"
            " expected at least 1, and 0..30"
        )
    table = [
        [_entry(name, magnitude, bins=31, height=height, width=width)] * num_ops
        for name in _RAND_AUGMENT
    ]
    return _policy(table, np.ones((len(table), num_ops)), True, fill)


def _policy(table: list, probability: np.ndarray, independent: bool, fill: int) -> Policy:
    kind, value, coefficients = (
        np.asarray([[entry[k] for entry in row] for row in table]) for k in range(3)
    )
    return Policy(probability, kind, value, coefficients.astype(np.int32), independent, fill)


def _entry(
    name: str, magnitude: int, *, bins: int, height: int, width: int
) -> tuple[int, list[float], np.ndarray]:
    """Kind, value and coefficients, the latter two for both signs."""
    share = magnitude / (bins - 1)
    signs = (1, -1)
    if name in ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"):
        matrices = [_matrix(name, share * sign, height, width) for sign in signs]
        return (
            operations.KINDS.index("affine"),
            [0.0, 0.0],
            np.stack([operations.fixed_point(matrix) for matrix in matrices]),
        )
    kinds = {"AutoContrast": "auto_contrast"}
    kind = operations.KINDS.index(kinds.get(name, name.lower()))
    if name in ("Brightness", "Color", "Contrast", "Sharpness"):
        values = [1.0 + 0.9 * share * sign for sign in signs]
    elif name == "Solarize":
        values = [255.0 * (1.0 - share)] * 2
    elif name == "Posterize":
        values = [8.0 - round(magnitude / ((bins - 1) / 4))] * 2
    else:
        values = [0.0, 0.0]
    return kind, values, np.asarray([operations.IDENTITY] * 2)


def _matrix(name: str, share: float, height: int, width: int) -> tuple[float, ...]:
    """The affine matrix of a geometric operation at a signed share of its range."""
    if name == "Rotate":
        return operations.rotation(30.0 * share, height, width)
    if name == "ShearX":
        return (1.0, 0.3 * share, 0.0, 0.0, 1.0, 0.0)
    if name == "ShearY":
        return (1.0, 0.0, 0.0, 0.3 * share, 1.0, 0.0)
    # int() cuts to whole pixels.
    if name == "TranslateX":
        return (1.0, 0.0, int(150.0 / 331.0 * width * share), 0.0, 1.0, 0.0)
    return (1.0, 0.0, 0.0, 0.0, 1.0, int(150.0 / 331.0 * height * share))
