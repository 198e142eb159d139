"""Training on arrays in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from ltjax import fields, recipes
from ltjax.data.arrays import from_arrays
from ltjax.experiment import settings
from ltjax.loading import load
from ltjax.names import unknown
from ltjax.trained import Trained
from ltjax.training import loop


def fit(
    recipe: str | Path | ConfigDict,
    train: tuple[Any, Any],
    test: tuple[Any, Any] | None = None,
    *,
    workdir: str | Path,
    validation: float | tuple[Any, Any] = 0.0,
    class_names: Sequence[str] | None = None,
    groups: ArrayLike | Mapping[str, ArrayLike] | None = None,
    epochs: int | None = None,
    model: str | None = None,
    **overrides: Any,
) -> Trained:
    """Trains a recipe on images and labels in memory; the same call continues a run that stopped.

    Args:
      recipe: a name ("ldam_drw_sam"), the path of a config file, or a config.
      train, test: (images, labels): images uint8 [N, H, W] or [N, H, W, C] of one size; labels [N]
        or [N, 1], class ids 0..C-1 or names.
      workdir: folder of the run; created if absent.
      validation: images that choose the epoch: a share of each class's training images, or
        (images, labels); none by default.
      class_names: C names, by id.
      groups: of each training image (patient, camera, site), [N]: no group is held out in part; or
        {"train": ..., "val": ..., "test": ...}, to have it checked that no two splits share one.
      epochs: instead of the recipe's; its milestones scale along.
      model: name of the network instead of the recipe's.
      **overrides: fields of the config by their dotted names, `**{"sam.rho": 0.1}`.

    Returns:
      The trained network: of the epoch best on the validation images if there are any, else of the
      last.

    Raises:
      ValueError: images, labels or fields that do not fit, one line; `ltjax.training.loop.train`
        names the others.

    Example:
      >>> import contextlib, io, tempfile, numpy as np, ltjax
      >>> folder, labels = tempfile.TemporaryDirectory(), np.repeat([0, 1, 2], [40, 15, 5])
      >>> images = np.random.default_rng(0).integers(0, 256, (60, 8, 8)).astype(np.uint8)
      >>> small = {"model": "resnet8", "model.width": 4, "epochs": 1}
      >>> with contextlib.redirect_stdout(io.StringIO()):  # what the run says
      ...     trained = ltjax.fit("ce", (images, labels), workdir=folder.name, **small)
      >>> print(trained.class_counts, trained.image_shape, trained.predict(images).shape)
      [40 15  5] (8, 8, 1) (60,)
    """
    config = recipes.load(recipe)
    config.data.name, config.data.dir = "npz", ""
    share, val = (0.0, validation) if isinstance(validation, tuple) else (validation, None)
    given = {"training.epochs": epochs, "model.name": model, "data.validation": share or None}
    for name, value in {**{k: v for k, v in given.items() if v is not None}, **overrides}.items():
        _set(config, name, value)
    whole = from_arrays(train, test, val=val, class_names=class_names, groups=groups)
    folder = Path(workdir).expanduser()
    resolved = settings.resolve(config)
    loop.train(resolved, folder, whole)
    validates = len(whole.val_labels) or resolved.data.validation
    return load(folder, checkpoint="best" if validates else "last")


def _set(config: ConfigDict, name: str, value: Any) -> None:
    """Raises ValueError where there is no such field, or it takes another kind of value."""
    above, _, last = name.rpartition(".")
    try:
        section = fields.get(config, above) if above else config
    except (KeyError, AttributeError, TypeError):
        section = None
    if not isinstance(section, ConfigDict) or last not in section:
        raise unknown("unknown config field", name, fields.flat(config))
    value = value.item() if isinstance(value, np.generic) else value
    try:
        section[last] = tuple(value) if isinstance(value, list) else value
    except (TypeError, ValueError):
        raise ValueError(
            f"config.{name} is {value!r}; expected a value like {section[last]!r}"
        ) from None
