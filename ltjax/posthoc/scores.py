"""A classifier on features: every number that some head trains, and the scores they give."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ltjax.posthoc.classifiers import disalign, marc, unit


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Classifier:
    """A classifier on features; `logits` says what it computes.

    Without the optional fields: linear.

    Attributes:
      kernel: [D, C].
      bias: [C]; 0 where there is none.
      length: 0 for a linear classifier; s > 0 for one of cosines,
        s * normalise(h) . normalise(w_c).
      omega, beta: of MARC; omega alone is LWS's scale. [C]
      scale, shift, direction, offset: of DisAlign. [C], [C], [D], [].

    Example:
      >>> import numpy as np
      >>> from ltjax import posthoc
      >>> cosines = posthoc.Classifier.of(np.array([[3.0, 0.0], [0.0, 4.0]]), length=30.0)
      >>> print(posthoc.logits(cosines, np.array([[2.0, 0.0]])))
      [[30.  0.]]
    """

    kernel: jax.Array
    bias: jax.Array
    length: jax.Array
    omega: jax.Array
    beta: jax.Array
    scale: jax.Array
    shift: jax.Array
    direction: jax.Array
    offset: jax.Array

    @classmethod
    def of(
        cls, kernel: ArrayLike, bias: ArrayLike | None = None, length: float = 0.0
    ) -> Classifier:
        """A linear classifier, or one of cosines scaled by `length`.

        Args:
          kernel: [D, C].
          bias: [C]; None is 0.
          length: 0, or the scale of the cosines.
        """
        kernel = jnp.asarray(kernel)
        (dim, num_classes), dtype = kernel.shape, kernel.dtype
        zeros, ones = jnp.zeros(num_classes, dtype), jnp.ones(num_classes, dtype)
        return cls(
            kernel=kernel,
            bias=zeros if bias is None else jnp.asarray(bias, dtype),
            length=jnp.asarray(length, dtype),
            omega=ones,
            beta=zeros,
            scale=zeros,
            shift=zeros,
            direction=jnp.zeros(dim, dtype),
            offset=jnp.zeros([], dtype),
        )

    @property
    def weights(self) -> jax.Array:
        """The kernel [D, C] that multiplies the features; for cosines, the features at length 1."""
        return jnp.where(self.length > 0, self.length * unit(self.kernel, axis=0), self.kernel)


def logits(classifier: Classifier, features: ArrayLike) -> jax.Array:
    """Scores [N, C] of features [N, D].

    Example:
      >>> import numpy as np
      >>> from ltjax import posthoc
      >>> classifier = posthoc.Classifier.of(np.eye(2), np.zeros(2))
      >>> print(posthoc.logits(classifier, np.array([[3.0, 1.0]])))
      [[3. 1.]]
    """
    features = jnp.asarray(features)
    scores = uncalibrated(classifier, features)
    return calibrated(classifier, scores, features, norms_of(classifier))


def uncalibrated(classifier: Classifier, features: jax.Array) -> jax.Array:
    """Scores [N, C] of kernel, bias and length alone.

    Example:
      >>> import numpy as np
      >>> from ltjax import posthoc
      >>> classifier = posthoc.Classifier.of(np.eye(2), np.zeros(2))
      >>> print(posthoc.uncalibrated(classifier, np.array([[3.0, 1.0]])))
      [[3. 1.]]
    """
    squares = jnp.sum(jnp.square(features), axis=1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.where(squares > 0, squares, 1.0))
    scores = features @ classifier.weights
    return jnp.where(classifier.length > 0, inverse, 1.0) * scores + classifier.bias


def calibrated(
    classifier: Classifier, scores: jax.Array, features: jax.Array, norms: jax.Array
) -> jax.Array:
    """Scores [N, C] with what MARC (which takes the classes' norms [1, C]) and DisAlign add."""
    scores = marc(scores, norms, omega=classifier.omega, beta=classifier.beta)
    return disalign(
        scores,
        features,
        scale=classifier.scale,
        bias=classifier.shift,
        direction=classifier.direction,
        offset=classifier.offset,
    )


def norms_of(classifier: Classifier) -> jax.Array:
    """The classes' norms, which nothing trains, as the one row of a kernel that
    has the same ones.
    """
    return jax.lax.stop_gradient(jnp.linalg.norm(classifier.weights, axis=0, keepdims=True))
