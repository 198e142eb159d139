"""Heads beside a network's classifier, on the features that it reads.

A module here holds a network and calls it; the parameters of its heads stand beside the network's
own and begin with `head_`, so that the network's keep their names and starting values.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax

from ltjax.models.layers import BatchNorm, Linear, _normalized

PREFIX = "head_"


def is_head(name: str) -> bool:
    """Whether a parameter of this first name belongs to a head; a network's own names do not begin
    so. Heads start anew where a run takes over weights without them.
    """
    return name.startswith(PREFIX)


class Projection(nn.Module):
    """Linear, BatchNorm, ReLU, linear, to unit length: [N, D] -> [N, dimensions]."""

    width: int
    dimensions: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = nn.relu(BatchNorm(name="bn")(Linear(self.width, name="hidden")(x), train=train))
        return _normalized(Linear(self.dimensions, name="out")(x), axis=-1)


class Projected(nn.Module):
    """A network with a projection of its features, for contrast.

    Apply as the network; with projections=True to logits [B, C], unit features [B, dimensions] and,
    with `prototypes`, unit prototypes [C, dimensions], which another projection makes of the
    classifier's rows (else None).

    Attributes:
      network: whose classifier is called `linear`.
      width, dimensions: of the projections.
      prototypes: whether there are any.

    Source: Zhu et al. (BCL), CVPR 2022, arXiv:2207.09052, section 3.3; Du et al. (ProCo), TPAMI
    2024, arXiv:2403.06726.
    """

    network: nn.Module
    width: int = 512
    dimensions: int = 128
    prototypes: bool = False

    def setup(self) -> None:
        nn.share_scope(self, self.network)

    @nn.compact
    def __call__(
        self, images: jax.Array, train: bool = False, projections: bool = False, **options: Any
    ) -> Any:
        if not (projections or self.is_initializing()):
            return self.network(images, train=train, **options)
        sizes = (self.width, self.dimensions)
        logits, features = self.network(images, train=train, features=True)
        projected = Projection(*sizes, name="head_projection")(features, train=train)
        prototypes = None
        if self.prototypes:
            rows = self.variables["params"]["linear"]["kernel"].T
            prototypes = Projection(*sizes, name="head_prototypes")(rows, train=train)
        return (logits, projected, prototypes) if projections else logits


class TwoClassifiers(nn.Module):
    """A network with a second, balanced classifier, which predicts, and linear layers that project
    its features and predict the projection.

    Apply as the network; with both=True to the logits of both classifiers [B, C], predictions and
    projections [B, dimensions].

    Source: Du et al. (GLMC), CVPR 2023, arXiv:2305.08661; the authors' program.
    """

    network: nn.Module
    num_classes: int
    dimensions: int = 128

    def setup(self) -> None:
        nn.share_scope(self, self.network)

    @nn.compact
    def __call__(
        self, images: jax.Array, train: bool = False, both: bool = False, features: bool = False
    ) -> Any:
        logits, seen = self.network(images, train=train, features=True)
        balanced = Linear(self.num_classes, name="head_balanced")(seen)
        if both or self.is_initializing():
            projections = Linear(self.dimensions, name="head_projection")(seen)
            predictions = Linear(self.dimensions, name="head_predictor")(projections)
            if both:
                return logits, balanced, predictions, projections
        return (balanced, seen) if features else balanced
