"""What a network gives to its last layer, for every training and test image, kept on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ltjax import augment, devices
from ltjax.experiment.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Features:
    """Penultimate features and the network's own logits.

    Attributes:
      train: float32 [P, N, D]: of the training images and then the validation images, as in
        evaluation; then of each augmented pass over them.
      train_logits: of the first, [N, C].
      test, test_logits: [M, D], [M, C].
      seconds: that computing them took.
    """

    train: np.ndarray
    train_logits: np.ndarray
    test: np.ndarray
    test_logits: np.ndarray
    seconds: float


def features_of(
    experiment: Experiment, variables: Any, workdir: Path, say: Callable[[str], None] = print
) -> tuple[Features, str]:
    """The features of a network's training and test images, and the digest that names them.

    They stand in WORKDIR/posthoc/features.npz; what is there is used if the parameters, the images
    and how they are prepared are the same, and else replaced.
    """
    digest = _digest(experiment, variables)
    file = workdir / "posthoc" / "features.npz"
    found = _read(file, digest)
    if found is not None:
        say(f"features: {file}, {found.seconds:.0f} s spared")
        return found, digest
    began = time.monotonic()
    forward = _forward(experiment)
    place = devices.replicated(experiment.devices)
    variables = devices.put(variables, place)
    own = ["train", "val"] if len(experiment.dataset.val_labels) else ["train"]
    passes = []
    for number in range(1 + experiment.config.posthoc.augmented_passes):
        made = [_pass(experiment, forward, variables, split, number, say) for split in own]
        passes.append([np.concatenate(arrays) for arrays in zip(*made, strict=True)])
    test = _pass(experiment, forward, variables, "test", 0, say)
    found = Features(
        train=np.stack([one[0] for one in passes]),
        train_logits=passes[0][1],
        test=test[0],
        test_logits=test[1],
        seconds=time.monotonic() - began,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name("partial-" + file.name)
    np.savez(partial, allow_pickle=False, digest=np.asarray(digest), **dataclasses.asdict(found))
    partial.replace(file)
    return found, digest


def _forward(experiment: Experiment) -> Callable[..., tuple[jax.Array, jax.Array]]:
    recipe = experiment.recipe
    padding, flip = experiment.config.augment.padding, experiment.config.augment.flip

    @jax.jit
    def forward(variables, images, key):
        if recipe.batch_sharding is not None:
            images = jax.lax.with_sharding_constraint(images, recipe.batch_sharding)
        if key is not None:
            images = augment.random_crop_flip(key, images, padding=padding, flip_probability=flip)
        images = augment.normalize(images, recipe.mean, recipe.std)
        images = augment.resize(images, recipe.resolution) if recipe.resolution else images
        outputs: Any = recipe.model.apply(variables, images, train=False, features=True)
        logits, features = outputs
        return features.astype(jnp.float32), logits.astype(jnp.float32)

    return forward


def _pass(
    experiment: Experiment,
    forward: Callable[..., tuple[jax.Array, jax.Array]],
    variables: Any,
    split: str,
    number: int,
    say: Callable[[str], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Every image of a split once, in order; those of pass 0 as in evaluation."""
    dataset, count = experiment.dataset, len(experiment.devices)
    size = len(getattr(dataset, f"{split}_labels"))
    # A CPU's convolutions like what stays in its cache.
    wanted = 64 if experiment.devices[0].platform == "cpu" else 512
    batch = -(-min(wanted * count, size) // count) * count
    key = jax.random.fold_in(jax.random.key(experiment.config.seed), number) if number else None
    features, logits = [], []
    began = told = time.monotonic()
    for first in range(0, size, batch):
        places = np.arange(first, first + batch) % size  # the last batch begins anew
        images = jnp.asarray(dataset.read(split, places))
        folded = None if key is None else jax.random.fold_in(key, first)
        made = forward(variables, images, folded)
        features.append(np.asarray(made[0]))
        logits.append(np.asarray(made[1]))
        if time.monotonic() - told > 30:
            told = time.monotonic()
            done = first + batch
            say(
                f"features of {split} images: {done} of {size},"
                f" {(told - began) * (size - done) / done:.0f} s left"
            )
    return np.concatenate(features)[:size], np.concatenate(logits)[:size]


def _digest(experiment: Experiment, variables: Any) -> str:
    """Of the parameters, the images and what is done to them."""
    config, dataset = experiment.config, experiment.dataset
    digest = hashlib.sha256(dataset.digest().encode())
    for name in ("val_labels", "test_labels", "val_images", "test_images"):
        if hasattr(dataset, name):
            digest.update(np.ascontiguousarray(getattr(dataset, name)).tobytes())
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(np.asarray(leaf)).tobytes())
    recipe, passes = experiment.recipe, config.posthoc.augmented_passes
    how = [list(recipe.mean), list(recipe.std), recipe.resolution, config.model.to_dict(), passes]
    if passes:
        how += [config.augment.padding, config.augment.flip, config.seed]
    if not hasattr(dataset, "test_images"):
        how += [config.data.image_size, config.data.shorter_side]
    digest.update(json.dumps(how, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _read(file: Path, digest: str) -> Features | None:
    """What is kept there, if it is of this digest; a damaged file is computed anew."""
    try:
        with np.load(file) as stored:
            if str(stored["digest"]) != digest:
                return None
            arrays = {name: stored[name] for name in stored.files if name != "digest"}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return Features(**arrays | {"seconds": float(arrays["seconds"])})
