"""Class-wise Hessian spectra of a trained network: loss, extreme eigenvalues, trace and density for
each class's images.

Source: the analysis of Rangwani et al., NeurIPS 2022, "Escaping saddle points for effective
generalization on class-imbalanced data".
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from ltjax import augment, hessian, losses
from ltjax.experiment.experiment import Experiment, build
from ltjax.experiment.initial import analysed_variables
from ltjax.experiment.settings import check_one_seed
from ltjax.fields import flat
from ltjax.workdir.results import as_json
from ltjax.workdir.workdir import write_atomically

WHOLE = "all"


@dataclasses.dataclass(frozen=True)
class Subset:
    """Images that are analysed together: a name, the class (-1 is all), and which images."""

    name: str
    label: int
    indices: np.ndarray


def analyse(
    config: ConfigDict, workdir: Path, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Analyses the newest checkpoint of `workdir`, or `config.init_from`, and writes hessian.json
    and hessian.npz there.

    Every class is written once done; the same command again continues with the next.

    Args:
      config: resolved.
      workdir: of the run; made if `config.init_from` is analysed.
      say: receives a line a class.

    Returns:
      What stands in hessian.json: "settings", and "rows" with, for each class and all images:
      images, loss, lambda_max and lambda_min with their residuals, ratio lambda_min / lambda_max,
      trace with its standard error, products, seconds.

    Raises:
      ValueError, FileNotFoundError: nothing to analyse, a class without images, parameters that are
        not finite. One line each.
    """
    check_one_seed(config)
    experiment = build(config)
    config = experiment.config
    variables, _ = analysed_variables(config, workdir, experiment.recipe.model, experiment.dataset)
    subsets = list(_subsets(experiment))
    record: dict[str, Any] = {
        "settings": {
            name: value for name, value in flat(config).items() if name.startswith("hessian.")
        },
        "parameters": _fingerprint(variables),
        "loss": "the run's own"
        if config.hessian.loss == "run"
        else "cross-entropy of the logits as they are",
        "device": f"{len(experiment.devices)} x {experiment.devices[0].device_kind}",
        "class_counts": experiment.class_counts.tolist(),
        "rows": [],
    }
    arrays: dict[str, np.ndarray] = {}
    before = _earlier(workdir, record)
    if before is not None:
        record["rows"], arrays = before
        say(f"continuing: {len(record['rows'])} of {len(subsets)} done before")
    losses_fn = _losses_fn(experiment, variables["batch_stats"])
    done = {row["name"] for row in record["rows"]}
    left = [subset for subset in subsets if subset.name not in done]
    began, seen = time.monotonic(), 0
    for subset in left:
        row, nodes, weights = _one(experiment, losses_fn, variables["params"], subset)
        record["rows"].append(row)
        arrays |= {f"nodes_{subset.name}": nodes, f"weights_{subset.name}": weights}
        _write_arrays(workdir / "hessian.npz", arrays)
        write_atomically(workdir / "hessian.json", as_json(record, indent=1) + "\n")
        seen += len(subset.indices)
        remaining = sum(len(other.indices) for other in left) - seen
        minutes = (time.monotonic() - began) / seen * remaining / 60
        say(
            f"{subset.name}: {row['images']} images, loss {row['loss']:.4f},"
            f" eigenvalues {row['lambda_min']:.4g} to {row['lambda_max']:.4g}"
            f" (ratio {row['ratio']:.4f}),"
            f" trace {row['trace']:.4g} ± {row['trace_error']:.2g},"
            f" {row['seconds']:.0f} s; {minutes:.1f} minutes left"
        )
    return record


def _subsets(experiment: Experiment) -> Iterator[Subset]:
    config, dataset = experiment.config.hessian, experiment.dataset
    labels = dataset.train_labels if config.images == "train" else dataset.test_labels
    classes = tuple(config.classes) or range(dataset.num_classes)
    generator = np.random.RandomState(0)
    chosen = {}
    for label in range(dataset.num_classes):
        members = np.flatnonzero(labels == label)
        chosen[label] = generator.permutation(members)[: config.max_images or len(members)]
    for label in classes:
        if label not in chosen:
            raise ValueError(
                f"config.hessian.classes holds {label};"
                f" expected classes in 0..{dataset.num_classes - 1}"
            )
        if not len(chosen[label]):
            raise ValueError(
                f"class {label} has no {config.images} images to analyse;"
                " leave it out of config.hessian.classes"
            )
        yield Subset(dataset.class_names[label], label, chosen[label])
    if config.whole:
        yield Subset(WHOLE, -1, np.concatenate(list(chosen.values())))


def _losses_fn(experiment: Experiment, batch_stats: Any) -> Callable[[Any, Any], jax.Array]:
    recipe = experiment.recipe
    own = experiment.config.hessian.loss == "run"

    def losses_fn(params, batch):
        images, labels = batch
        images = augment.normalize(images, recipe.mean, recipe.std)
        images = augment.resize(images, recipe.resolution) if recipe.resolution else images
        logits: Any = recipe.model.apply(
            {"params": params, "batch_stats": batch_stats}, images, train=False
        )
        return recipe.loss(logits, labels) if own else losses.cross_entropy(logits, labels)

    return losses_fn


def _one(
    experiment: Experiment, losses_fn: Callable, params: Any, subset: Subset
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    config, dataset = experiment.config.hessian, experiment.dataset
    train = config.images == "train"
    images = dataset.read(config.images, subset.indices)
    labels = (dataset.train_labels if train else dataset.test_labels)[subset.indices]
    weights = None
    if config.loss == "run":
        weights = np.asarray(
            experiment.settings(experiment.config.training.epochs - 1).class_weights
        )[labels]
    began = time.monotonic()
    devices = len(experiment.devices)
    batch = config.batch_size or (64 if experiment.devices[0].platform == "cpu" else 512)
    operator = hessian.DatasetOperator(
        *(losses_fn, params, (images, labels), -(-batch // devices) * devices),
        weights=weights,
        sharding=experiment.recipe.batch_sharding,
        scan=False,
        keep_bytes=int(config.keep_gib * 2**30),
    )
    probe_key, trace_key = jax.random.split(
        jax.random.fold_in(jax.random.key(experiment.config.seed), subset.label + 1)
    )
    spectrum = hessian.spectrum_of(operator, params, probe_key, config.num_steps, config.num_probes)
    trace = hessian.trace(
        operator, params, trace_key, config.trace_probes, tolerance=config.tolerance
    )
    row = {
        "name": subset.name,
        "class": subset.label,
        "images": len(subset.indices),
        "loss": operator.loss,
        "lambda_max": spectrum.largest,
        "lambda_max_residual": spectrum.largest_residual,
        "lambda_min": spectrum.smallest,
        "lambda_min_residual": spectrum.smallest_residual,
        "ratio": spectrum.smallest / spectrum.largest if spectrum.largest else float("nan"),
        "trace": trace.value,
        "trace_error": trace.standard_error,
        "trace_probes": trace.products,
        "seconds": round(time.monotonic() - began, 1),
    }
    return row, spectrum.nodes, spectrum.weights


def _fingerprint(variables: Any) -> float:
    """Tells one checkpoint from another: the sum of absolute values, in float64."""
    return float(
        sum(np.abs(np.asarray(leaf, np.float64)).sum() for leaf in jax.tree.leaves(variables))
    )


def _earlier(workdir: Path, record: dict[str, Any]) -> tuple[list, dict[str, np.ndarray]] | None:
    """Rows and arrays of an interrupted analysis of the same checkpoint with the same settings."""
    try:
        before = json.loads((workdir / "hessian.json").read_text(encoding="utf-8"))
        with np.load(workdir / "hessian.npz") as file:
            arrays = dict(file)
    except (OSError, ValueError, KeyError):
        return None
    if any(before.get(name) != record[name] for name in ("settings", "parameters")):
        return None
    rows = [row for row in before["rows"] if f"nodes_{row['name']}" in arrays]
    return (rows, arrays) if rows else None


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    partial = path.with_name("partial-" + path.name)
    np.savez(partial, allow_pickle=False, **arrays)
    partial.replace(path)
