"""Mixing of images with partners from the same batch: mixup, CutMix, Remix.

Each returns the mixed images, the partners, and lam: train on lam * loss(y) + (1 - lam) *
loss(y[partner]).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


class Mixed(NamedTuple):
    """A mixed batch: images [B, H, W, C], partner int [B], and the labels' lam, a scalar or [B].

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import augment
      >>> images = jnp.arange(4.0).reshape(4, 1, 1, 1)
      >>> mixed = augment.mixup(jax.random.key(0), images)
      >>> again = mixed.lam * images + (1 - mixed.lam) * images[mixed.partner]
      >>> print(bool(jnp.allclose(mixed.images, again)))
      True
    """

    images: jax.Array
    partner: jax.Array
    lam: jax.Array


def mixup(key: jax.Array, images: jax.Array, alpha: float = 1.0) -> Mixed:
    """Mixes each image with a partner: lam * x + (1 - lam) * x[partner], one lam a batch.

    Train on `losses.mixup(loss against y, loss against y[partner], lam)`.

    Args:
      key: PRNG key.
      images: floating point [B, H, W, C].
      alpha: of lam ~ Beta(alpha, alpha), > 0.

    Returns:
      Mixed images [B, H, W, C]; partner int [B]; lam, scalar.

    Raises:
      ValueError: alpha not above 0.

    Source: Zhang et al., ICLR 2018, arXiv:1710.09412, eq. 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import augment
      >>> mixed = augment.mixup(jax.random.key(0), jnp.zeros((4, 8, 8, 3)), alpha=1.0)
      >>> print(mixed.images.shape, mixed.lam.shape)
      (4, 8, 8, 3) ()
    """
    partner, lam = _draw(key, images, alpha)
    return Mixed(lam * images + (1 - lam) * images[partner], partner, lam)


def cutmix(key: jax.Array, images: jax.Array, alpha: float = 1.0) -> Mixed:
    """Puts a rectangle of the partner into each image, one rectangle a batch; lam is the share of
    the image's own pixels.

    Args, Returns and Raises as `mixup`; images of any dtype.

    Source: Yun et al., ICCV 2019, arXiv:1905.04899, eq. 1 and 2: sides W and H times sqrt(1 - lam),
    cut off at the border, and lam computed anew from what is left.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import augment
      >>> mixed = augment.cutmix(jax.random.key(0), jnp.zeros((2, 8, 8, 3)))
      >>> print(mixed.images.shape, mixed.partner.shape)
      (2, 8, 8, 3) (2,)
    """
    partner, lam = _draw(key, images, alpha)
    inside, own = rectangle(key, images, lam)
    return Mixed(jnp.where(inside, images[partner], images), partner, own)


def paste(
    key: jax.Array,
    images: jax.Array,
    patches: jax.Array,
    alpha: float = 1.0,
    *,
    probability: float = 0.5,
) -> tuple[jax.Array, jax.Array]:
    """Puts a rectangle of other images into the images, as `cutmix` does of the batch's own, or, of
    a batch as a whole, leaves them as they are.

    Args:
      key, alpha: as `mixup`.
      images: [B, H, W, C], any dtype.
      patches: what the rectangles are cut from, [B, H, W, C].
      probability: of pasting, in [0, 1].

    Returns:
      Images [B, H, W, C]; lam, scalar, the share of the images' own pixels: 1 where nothing is
      pasted.

    Raises:
      ValueError: alpha not above 0.

    Source: Park et al. (CMO), CVPR 2022, arXiv:2112.00412, algorithm 1, with patches of a batch
      drawn with weights 1 / n_c; the authors' program pastes into half of the batches.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import augment
      >>> images, patches = jnp.zeros((2, 8, 8, 3)), jnp.ones((2, 8, 8, 3))
      >>> mixed, lam = augment.paste(jax.random.key(0), images, patches, probability=1.0)
      >>> print(bool(jnp.isclose(mixed.mean(), 1 - lam, atol=1e-5)))
      True
    """
    _, lam = _draw(key, images, alpha)
    inside, own = rectangle(key, images, lam)
    pasted = jax.random.bernoulli(jax.random.fold_in(key, 3), probability)
    return jnp.where(pasted & inside, patches, images), jnp.where(pasted, own, 1.0)


def remix(
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    class_counts: ArrayLike,
    alpha: float = 1.0,
    *,
    kappa: float = 3.0,
    tau: float = 0.5,
) -> Mixed:
    """Mixup whose label goes to the rarer class where the counts are far apart; lam is an example's
    own, [B].

    With counts n_i of an image's class and n_j of its partner's: the label's lam is 0 if n_i / n_j
    >= kappa and lam < tau; 1 if n_i / n_j <= 1 / kappa and 1 - lam < tau; else the images' lam.

    Args:
      key, images, alpha: as `mixup`.
      labels: class ids [B].
      class_counts: training images of each class, [C].
      kappa: ratio of counts from which the rarer class takes the label, >= 1.
      tau: share below which the more frequent class gives up its label, in [0, 1]; 0 is mixup.

    Raises:
      ValueError: alpha not above 0.

    Source: Chou et al., ECCV Workshops 2020, arXiv:2007.03943, eq. 8.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import augment
      >>> labels = jnp.array([0, 0, 1])
      >>> mixed = augment.remix(jax.random.key(0), jnp.zeros((3, 8, 8, 3)), labels, [900, 10])
      >>> print(mixed.images.shape, mixed.lam.shape)
      (3, 8, 8, 3) (3,)
    """
    mixed, partner, lam = mixup(key, images, alpha)
    counts = jnp.asarray(class_counts, lam.dtype)[labels]
    ratio = counts / counts[partner]
    to_partner = (ratio >= kappa) & (lam < tau)
    to_own = (ratio <= 1.0 / kappa) & (1.0 - lam < tau)
    return Mixed(mixed, partner, jnp.where(to_partner, 0.0, jnp.where(to_own, 1.0, lam)))


MIXES: dict[str, Callable[..., Mixed] | None] = {
    "none": None,
    "mixup": mixup,
    "cutmix": cutmix,
    "remix": remix,
}
"""Name in a config -> mixing."""


def rectangle(key: jax.Array, images: jax.Array, lam: jax.Array) -> tuple[jax.Array, jax.Array]:
    """CutMix's rectangle, bool [1, H, W, 1], and the share of the pixels outside it.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import augment
      >>> images, lam = jnp.zeros((2, 8, 8, 3)), jnp.asarray(0.7)
      >>> inside, outside = augment.rectangle(jax.random.key(0), images, lam)
      >>> print(inside.shape, bool(jnp.isclose(outside, 1 - inside.mean())))
      (1, 8, 8, 1) True
    """
    _, height, width, _ = images.shape
    center_key = jax.random.fold_in(key, 2)  # 0 and 1 gave lam and the partners
    center = jax.random.randint(center_key, (2,), 0, jnp.array([height, width]))
    side = jnp.sqrt(1.0 - lam)

    def inside(length, center):
        half = (length * side).astype(jnp.int32) // 2
        at = jnp.arange(length)
        return (at >= center - half) & (at < center + half)

    rectangle = inside(height, center[0])[:, None] & inside(width, center[1])[None, :]
    return rectangle[None, :, :, None], 1.0 - jnp.mean(rectangle, dtype=lam.dtype)


def _draw(key: jax.Array, images: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    if not alpha > 0:
        raise ValueError(f"mixup alpha is {alpha}; expected a value above 0")
    lam_key, partner_key = jax.random.split(key)
    dtype = images.dtype if jnp.issubdtype(images.dtype, jnp.floating) else jnp.float32
    lam = jax.random.beta(lam_key, alpha, alpha).astype(dtype)
    return jax.random.permutation(partner_key, images.shape[0]), lam
