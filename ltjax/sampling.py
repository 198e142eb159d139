"""Epoch orders: which training image stands at each place of an epoch. Pure functions of a PRNG
key.

Each takes a key and the training labels int [N] and returns int32 indices into them. `shuffled`
visits every image once; the others draw with replacement: first a class, then an image of it, both
exactly (no floating-point sum over images). Under jit give `num_classes`, since the number of
classes can't be read from traced labels.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

__all__ = [
    "SAMPLERS",
    "class_balanced",
    "class_probabilities",
    "power",
    "progressive",
    "reversed",
    "shuffled",
    "square_root",
]


def shuffled(key: jax.Array, labels: ArrayLike) -> jax.Array:
    """A random permutation: every image once. Returns int32 [N].

    Example:
      >>> import jax
      >>> from ltjax import sampling
      >>> print(sorted(sampling.shuffled(jax.random.key(0), [0, 0, 1]).tolist()))
      [0, 1, 2]
    """
    return jax.random.permutation(key, jnp.arange(np.shape(labels)[0], dtype=jnp.int32))


def power(
    key: jax.Array,
    labels: ArrayLike,
    q: float = 0.5,
    *,
    num_classes: int | None = None,
    num_samples: int | None = None,
) -> jax.Array:
    """Draws with class probability proportional to n_c^q: 1 instance-balanced, 1/2 square root, 0
    class-balanced.

    Args:
      key: PRNG key.
      labels: class ids [N].
      q: exponent, any real; -1 is `reversed`.
      num_classes: C; read from the labels when they are not traced.
      num_samples: length of the epoch, N by default.

    Returns:
      int32 [num_samples] indices into labels. A class without images is never drawn.

    Raises:
      ValueError: traced labels without num_classes.

    Source: Kang et al., ICLR 2020, arXiv:1910.09217, eq. 1.

    Example:
      >>> import jax, numpy as np
      >>> from ltjax import sampling
      >>> labels = np.repeat([0, 1], [9000, 1000])
      >>> order = sampling.power(jax.random.key(0), labels, q=0.5)
      >>> print(round(float(np.mean(labels[order] == 1)), 2))  # 1 / (1 + sqrt(9))
      0.25
    """
    labels, counts = _labels_and_counts(labels, num_classes)
    return _draw(key, labels, counts, class_probabilities(counts, q), num_samples)


def square_root(
    key: jax.Array,
    labels: ArrayLike,
    *,
    num_classes: int | None = None,
    num_samples: int | None = None,
) -> jax.Array:
    """Class probability proportional to the square root of n_c: `power` with q = 1/2.

    Example:
      >>> import jax, numpy as np
      >>> from ltjax import sampling
      >>> labels = np.repeat([0, 1], [900, 100])
      >>> print(sampling.square_root(jax.random.key(0), labels, num_samples=64).shape)
      (64,)
    """
    return power(key, labels, 0.5, num_classes=num_classes, num_samples=num_samples)


def class_balanced(
    key: jax.Array,
    labels: ArrayLike,
    *,
    num_classes: int | None = None,
    num_samples: int | None = None,
) -> jax.Array:
    """Every class equally likely: `power` with q = 0, the weighted random sampler with weights 1 /
    n_y.

    Example:
      >>> import jax, numpy as np
      >>> from ltjax import sampling
      >>> labels = np.repeat([0, 1], [900, 100])
      >>> order = sampling.class_balanced(jax.random.key(0), labels)
      >>> print(order.shape, round(float(np.mean(labels[order] == 1)), 1))
      (1000,) 0.5
    """
    return power(key, labels, 0.0, num_classes=num_classes, num_samples=num_samples)


def reversed(
    key: jax.Array,
    labels: ArrayLike,
    *,
    num_classes: int | None = None,
    num_samples: int | None = None,
) -> jax.Array:
    """Class probability proportional to 1 / n_c, so the tail is drawn most: `power` with q = -1.

    Source: Zhou et al. (BBN), CVPR 2020, arXiv:1912.02413, section 4.2.

    Example:
      >>> import jax, numpy as np
      >>> from ltjax import sampling
      >>> labels = np.repeat([0, 1], [900, 100])
      >>> order = sampling.reversed(jax.random.key(0), labels)
      >>> print(round(float(np.mean(labels[order] == 1)), 1))
      0.9
    """
    return power(key, labels, -1.0, num_classes=num_classes, num_samples=num_samples)


def progressive(
    key: jax.Array,
    labels: ArrayLike,
    progress: ArrayLike,
    *,
    num_classes: int | None = None,
    num_samples: int | None = None,
) -> jax.Array:
    """Class probability (1 - progress) * n_c / N + progress / C: from instance- to class-balanced.

    Args:
      progress: epoch / number of epochs in [0, 1], a Python or traced number.
      The rest as `power`.

    Source: Kang et al., ICLR 2020, arXiv:1910.09217, eq. 2.

    Example:
      >>> import jax, numpy as np
      >>> from ltjax import sampling
      >>> labels = np.repeat([0, 1], [900, 100])
      >>> for progress in (0.0, 1.0):  # of training
      ...     order = sampling.progressive(jax.random.key(0), labels, progress)
      ...     print(round(float(np.mean(labels[order] == 1)), 1))
      ...
      0.1
      0.5
    """
    labels, counts = _labels_and_counts(labels, num_classes)
    probabilities = (1.0 - progress) * class_probabilities(
        counts, 1.0
    ) + progress * class_probabilities(counts, 0.0)
    return _draw(key, labels, counts, jnp.asarray(probabilities), num_samples)


def class_probabilities(class_counts: ArrayLike, q: float) -> jax.Array:
    """n_c^q / sum n^q over the classes that have images, 0 for the others; floating point [C].

    Example:
      >>> import numpy as np
      >>> from ltjax import sampling
      >>> for q in (0.0, 1.0):
      ...     print(np.array(sampling.class_probabilities([90, 10], q)).round(2))
      ...
      [0.5 0.5]
      [0.9 0.1]
    """
    counts = jnp.asarray(class_counts, jnp.result_type(float))
    powers = jnp.where(counts > 0, jnp.maximum(counts, 1.0) ** q, 0.0)
    return powers / jnp.sum(powers)


SAMPLERS: dict[str, Callable[..., jax.Array]] = {
    "shuffled": shuffled,
    "class_balanced": class_balanced,
    "square_root": square_root,
    "power": power,
    "progressive": progressive,
    "reversed": reversed,
}
"""Name in a config -> epoch order."""


def _labels_and_counts(labels: ArrayLike, num_classes: int | None) -> tuple[jax.Array, jax.Array]:
    if num_classes is None:
        if isinstance(labels, jax.core.Tracer):
            raise ValueError("num_classes is needed when the labels are traced (inside jit)")
        num_classes = int(np.max(np.asarray(labels))) + 1
    labels = jnp.asarray(labels)
    return labels, jnp.bincount(labels, length=num_classes)


def _draw(
    key: jax.Array,
    labels: jax.Array,
    counts: jax.Array,
    probabilities: jax.Array,
    num_samples: int | None,
) -> jax.Array:
    class_key, image_key = jax.random.split(key)
    shape = (labels.shape[0] if num_samples is None else num_samples,)
    classes = jax.random.categorical(class_key, jnp.log(probabilities), shape=shape)
    by_class = jnp.argsort(labels, stable=True).astype(jnp.int32)
    first = jnp.cumsum(counts) - counts
    within = jax.random.randint(image_key, shape, 0, counts[classes])
    return by_class[first[classes] + within]
