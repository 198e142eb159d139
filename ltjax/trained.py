"""A finished run as an object: `ltjax.load(path)` (`ltjax.loading`) gives a `Trained`, which
predicts.

Classes are numbered and named here as the user has them, whatever order the trainer used.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from ml_collections import ConfigDict

from ltjax import augment, metrics
from ltjax.data import decode, is_streamed
from ltjax.experiment.experiment import class_groups
from ltjax.experiment.priors import implied_prior
from ltjax.experiment.recipe import logit_scale, make_model, make_objective

_SIZES = (1, 8, 64, 512)
"""Images that a program is compiled for; other batches are padded to the next."""
_PIXELS = 64 * 224 * 224
"""Of one batch at most."""


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A trained network with its preprocessing and its classes.

    Images are uint8: [N, H, W, C], [N, H, W] of grey ones, or a sequence of [H, W, C] or [H, W] of
    different sizes. Those of the network's own size are taken as they are; others pass through the
    view of evaluation (scaled, then the middle cut out). Grey images are repeated for a network of
    three channels. Any number of images uses programs compiled for at most four batch sizes.

    Attributes:
      config: of the run, resolved.
      class_names: C names; the place of a name is its class's id here.
      class_counts: training images of each class, int64 [C].
      image_shape: (H, W, C) that the network takes.
      variables: of the network, {"params", "batch_stats"}.
      label_ids: id here of each of the network's outputs, int [C].
      stage: the config as it was in the stage that the weights come from.
      figures: of the run's last and best epoch, as far as it has finished.

    Example:
      >>> import contextlib, io, tempfile, numpy as np, ltjax
      >>> folder, labels = tempfile.TemporaryDirectory(), np.repeat([0, 1, 2], [40, 15, 5])
      >>> images = np.random.default_rng(0).integers(0, 256, (60, 8, 8)).astype(np.uint8)
      >>> small = {"model": "resnet8", "model.width": 4, "epochs": 1}
      >>> with contextlib.redirect_stdout(io.StringIO()):  # what the run says
      ...     trained = ltjax.fit("ce", (images, labels), workdir=folder.name, **small)
      >>> plain, turned = (trained.predict_proba(images, prior=p) for p in (None, [1, 1, 98]))
      >>> print(trained.features(images).shape, bool(np.all(turned[:, 2] > plain[:, 2])))
      (60, 16) True
    """

    config: ConfigDict = dataclasses.field(repr=False)
    class_names: tuple[str, ...]
    class_counts: np.ndarray
    image_shape: tuple[int, int, int]
    variables: dict[str, Any] = dataclasses.field(repr=False)
    label_ids: np.ndarray = dataclasses.field(repr=False)
    stage: ConfigDict = dataclasses.field(repr=False)
    figures: dict[str, Any] = dataclasses.field(repr=False, default_factory=dict)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def predict_proba(
        self,
        images: ArrayLike | Sequence[ArrayLike],
        *,
        prior: str | ArrayLike | None = None,
        flip: bool = False,
        five_crop: bool = False,
    ) -> np.ndarray:
        """Probability of each class, float32 [N, C].

        Args:
          images: see the class.
          prior: how frequent the classes are where the images come from: "train" as in training,
            "uniform" all alike, or counts (or shares) [C]. The probabilities of balanced methods
            are about a world where all classes are equally frequent; this turns them to yours. It
            is exact for (re-)weighted, re-sampled or logit-adjusted cross-entropy at its optimum,
            and an approximation for margins (LDAM, VS). None leaves them as they are.
          flip: average with the mirrored image's.
          five_crop: average over the middle and the four corners of the scaled image; of runs whose
            evaluation crops (photographs).

        Raises:
          ValueError: images or a prior that do not fit; one line.

        Source: Saerens et al., Neural Computation 14(1), 2002, eq. 4 (prior).
        """
        function = partial(self.predict_views, prior=prior, flip=flip)
        return self._each(images, function, five_crop, self.num_classes)

    def predict_views(
        self, views: np.ndarray, *, prior: str | ArrayLike | None = None, flip: bool = False
    ) -> np.ndarray:
        """Probabilities, float32 [B, C], averaged over the views, uint8 [B, V, H, W, C] as `views`
        makes them. Options as `predict_proba`.
        """
        logits = self._outputs(self._mirrored(views) if flip else views)[0].astype(np.float64)
        return _softmax(logits + self.log_prior(prior)).mean(axis=1).astype(np.float32)

    def predict(self, images: ArrayLike | Sequence[ArrayLike], **options: Any) -> np.ndarray:
        """Id of the most probable class, int64 [N]; `class_names` has its name. Options as
        `predict_proba`.
        """
        return np.argmax(self.predict_proba(images, **options), axis=1)

    def features(self, images: ArrayLike | Sequence[ArrayLike]) -> np.ndarray:
        """What the last layer sees of each image, float32 [N, D] (of ResLT, its branches' in
        turn).
        """
        size = self._feature_size
        return self._each(images, lambda views: self._outputs(views)[1][:, 0], False, size)

    def evaluate(
        self, images: ArrayLike | Sequence[ArrayLike], labels: ArrayLike, **options: Any
    ) -> dict[str, Any]:
        """Figures on labelled images.

        Args:
          images, **options: as `predict_proba`.
          labels: class ids [N] as in `class_names`.

        Returns:
          In [0, 1]: accuracy, balanced_accuracy, macro_precision, macro_f1, auroc (mean of the
          classes', one against the rest), calibration_error, and many, medium and few where there
          are such classes; log_loss in nats; per_class [C] (recall, NaN without images); confusion
          [C, C], true class in rows.

        Raises:
          ValueError: images or labels that do not fit; one line.
        """
        labels = np.asarray(labels)
        labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"labels are {labels.dtype}{list(labels.shape)}; expected whole numbers [N]"
            )
        if len(labels) != len(images) or not len(labels):  # type: ignore[arg-type]
            raise ValueError(
                f"{len(labels)} labels for {len(images)} images; expected one each"  # type: ignore[arg-type]
            )
        if not 0 <= labels.min() <= labels.max() < self.num_classes:
            raise ValueError(
                f"labels span {labels.min()}..{labels.max()}; expected 0..{self.num_classes - 1}"
            )
        probabilities = self.predict_proba(images, **options)
        confusion = np.asarray(
            metrics.confusion_matrix(labels, probabilities.argmax(axis=1), self.num_classes)
        )
        precision, recall, f1 = metrics.macro_precision_recall_f1(confusion)
        areas = metrics.auroc(probabilities, labels)
        own = np.take_along_axis(probabilities, labels[:, None], axis=1)
        groups = {
            name: self.label_ids[classes]
            for name, classes in class_groups(
                self.config.data, self.class_counts[self.label_ids]
            ).items()
            if len(classes)
        }
        return {
            "accuracy": metrics.accuracy(confusion),
            "balanced_accuracy": recall,
            "macro_precision": precision,
            "macro_f1": f1,
            "auroc": float(np.nanmean(areas)) if np.isfinite(areas).any() else float("nan"),
            "log_loss": float(-np.log(np.maximum(own, np.finfo(np.float32).tiny)).mean()),
            "calibration_error": metrics.calibration_error(probabilities, labels),
            **metrics.group_accuracy(confusion, groups),
            "per_class": metrics.per_class_accuracy(confusion),
            "confusion": confusion,
        }

    def views(self, image: np.ndarray, five_crop: bool = False, as_is: bool = True) -> np.ndarray:
        """What the network sees of one image: uint8 [V, H, W, C], V of 1 or 5.

        Args:
          image: uint8 [h, w] or [h, w, c].
          five_crop: the four corners too.
          as_is: an image of the network's own size is taken as it is.
        """
        if five_crop and self.scaled_to == self.image_shape[:2]:
            raise ValueError(
                "five_crop needs a run whose evaluation crops: of photographs, with"
                " config.data.shorter_side above config.data.image_size"
            )
        image = self._channels(np.asarray(image))
        size = self.image_shape[:2]
        if as_is and image.shape[:2] == size and not five_crop:
            return image[None]
        return decode.crops(image, size, self.scaled_to, five_crop)

    @property
    def scaled_to(self) -> tuple[int, int]:
        """Height and width that an image is scaled to before its middle is cut out."""
        if not is_streamed(self.config.data.name):
            return self.image_shape[:2]
        return self.config.data.shorter_side, self.config.data.shorter_side

    def _channels(self, image: np.ndarray) -> np.ndarray:
        """One image as uint8 [h, w, C]."""
        wanted = self.image_shape[2]
        if image.dtype != np.uint8:
            hint = (
                "; of values in [0, 1] make (images * 255).round().astype(np.uint8)"
                if np.issubdtype(image.dtype, np.floating)
                else ""
            )
            raise ValueError(f"images are {image.dtype}; expected uint8 in 0..255{hint}")
        if image.ndim == 2:
            image = image[..., None]
        if image.ndim != 3 or 0 in image.shape:
            raise ValueError(
                f"an image has shape {list(image.shape)}; expected [H, W] or [H, W, {wanted}]"
            )
        if image.shape[2] == 1 and wanted == 3:
            return np.repeat(image, 3, axis=2)
        if image.shape[2] != wanted:
            raise ValueError(f"an image has {image.shape[2]} channels; this network takes {wanted}")
        return image

    def _each(
        self,
        images: Any,
        function: Callable[[np.ndarray], np.ndarray],
        five_crop: bool,
        width: int,
    ) -> np.ndarray:
        """The function of views [B, V, H, W, C], batch by batch: float32 [N, width]."""
        _check_many(images, self.image_shape)
        per_batch = self.batch_size(5 if five_crop else 1)
        made = [np.zeros((0, width), np.float32)]
        for first in range(0, len(images), per_batch):
            batch = images[first : first + per_batch]
            views = np.stack([self.views(np.asarray(image), five_crop) for image in batch])
            made.append(function(views).astype(np.float32))
        return np.concatenate(made)

    def batch_size(self, views: int = 1) -> int:
        """Images that pass through the network at once, of `views` each."""
        return max(1, self._sizes[-1] // views)

    @cached_property
    def _sizes(self) -> tuple[int, ...]:
        side = self.config.data.resolution
        pixels = side * side or self.image_shape[0] * self.image_shape[1]
        return tuple(size for size in _SIZES if size == 1 or size * pixels <= _PIXELS)

    @staticmethod
    def _mirrored(views: np.ndarray) -> np.ndarray:
        return np.concatenate([views, views[:, :, :, ::-1]], axis=1)

    def _outputs(self, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scaled logits [B, V, C], columns by id, and features [B, V, D]
        of views [B, V, H, W, C].
        """
        flat = views.reshape(-1, *views.shape[2:])
        made = []
        for first in range(0, len(flat), self._sizes[-1]):
            part = flat[first : first + self._sizes[-1]]
            size = next(size for size in self._sizes if size >= len(part))
            padded = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), np.uint8)])
            logits, features = jax.device_get(self._program(self.variables, padded))
            made.append((logits[: len(part)], features[: len(part)]))
        logits, features = (np.concatenate(parts) for parts in zip(*made, strict=True))
        if not np.isfinite(logits).all():
            raise ValueError("the network's outputs are not finite; the run has diverged")
        return tuple(values.reshape(*views.shape[:2], -1) for values in (logits, features))  # type: ignore[return-value]

    @cached_property
    def _program(self) -> Callable[..., tuple[jax.Array, jax.Array]]:
        return jax.jit(self.outputs)

    @cached_property
    def _feature_size(self) -> int:
        image = jax.ShapeDtypeStruct((1, *self.image_shape), jnp.uint8)
        return jax.eval_shape(self.outputs, self.variables, image)[1].shape[-1]

    def outputs(self, variables: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Logits [B, C], columns by id, at the scale whose softmax the loss looked at, and features
        [B, D], of uint8 [B, H, W, C]. A pure function.
        """
        config = self.stage
        objective = make_objective(config, self.class_counts[self.label_ids], self.image_shape[:2])
        model: Any = make_model(config, self.num_classes, objective)
        x = augment.normalize(images, config.data.mean, config.data.std)
        if config.data.resolution:
            x = augment.resize(x, config.data.resolution)
        logits, features = model.apply(variables, x, train=False, features=True)
        logits = self.logit_scale * logits[:, np.argsort(self.label_ids)]
        return logits, features.astype(jnp.float32)

    @property
    def logit_scale(self) -> float:
        """What the loss multiplies the network's outputs with."""
        return logit_scale(self.stage)

    def export(self, folder: str | Path, *, prior: str | ArrayLike | None = None) -> Path:
        """Writes what other programs need to use the network; README.md there says how.

        weights.safetensors has PyTorch's names, classes by id; model.stablehlo (jax.export, for
        CPU, CUDA and TPU) and model.onnx take uint8 [N, H, W, C] of any N and give probabilities
        float32 [N, C], preprocessing inside; model.json has classes, normalisation, sizes, recipe
        and figures; model_card.md tells them to people. Without jax2onnx and onnxruntime (pip
        install 'ltjax[onnx]') there is no model.onnx, and a line on the error stream says so.

        Args:
          folder: created if absent.
          prior: as `predict_proba`; inside model.stablehlo and model.onnx.

        Returns:
          The folder.
        """
        from ltjax.export import write

        return write(self, Path(folder).expanduser(), prior, partial(print, file=sys.stderr))

    def log_prior(self, prior: str | ArrayLike | None) -> np.ndarray:
        """What is added to the logits, float64 [C]."""
        if prior is None:
            return np.zeros(self.num_classes)
        if isinstance(prior, str):
            if prior not in ("train", "uniform"):
                raise ValueError(f"prior is {prior!r}; expected 'train', 'uniform' or counts [C]")
            target = self.class_counts if prior == "train" else np.ones(self.num_classes)
        else:
            target = np.asarray(prior, np.float64)
            if target.shape != (self.num_classes,) or not (
                np.isfinite(target).all() and (target > 0).all()
            ):
                raise ValueError(
                    f"prior has shape {list(target.shape)}, least value"
                    f" {target.min() if target.size else 'none'}; expected {self.num_classes}"
                    " counts or shares above 0, one a class"
                )
        counts = self.class_counts[self.label_ids]
        implied = implied_prior(self.stage, counts)[np.argsort(self.label_ids)]
        return np.log(target / target.sum()) - np.log(implied)


def _check_many(images: Any, shape: tuple[int, int, int]) -> None:
    """Raises ValueError where one image was given instead of several."""
    dims = getattr(images, "shape", None)
    if isinstance(images, (str, Path)) or not hasattr(images, "__len__"):
        raise ValueError(f"images are a {type(images).__name__}; expected an array [N, H, W, C]")
    if dims is not None and (len(dims) == 2 or (len(dims) == 3 and tuple(dims) == shape)):
        raise ValueError(
            f"images have shape {list(dims)}, one image's; expected [N, H, W, C]: give images[None]"
        )
    if dims is not None and len(dims) not in (3, 4):
        raise ValueError(f"images have shape {list(dims)}; expected [N, H, W] or [N, H, W, C]")


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)
