"""Classifiers after training: every method of `config.posthoc` on the features of one network.

Whatever is chosen (tau, learning rate, epochs, temperature) is chosen on training images held out
with the same long tail, by balanced accuracy. Test labels score what was chosen; what they would
have chosen stands beside it as the oracle.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ltjax import devices, metrics, posthoc
from ltjax.data.splits import grouped_members
from ltjax.experiment.experiment import Experiment, build
from ltjax.experiment.initial import analysed_variables
from ltjax.experiment.settings import check_one_seed
from ltjax.fields import flat
from ltjax.posthoc import HEADS, Classifier
from ltjax.training.classifiers import PROBE, Maker, Method, Part, balanced, confusion
from ltjax.training.features import Features, features_of
from ltjax.workdir.results import as_json
from ltjax.workdir.workdir import read_json, write_atomically

LAST_LAYER = "linear"


def analyse(
    config: ConfigDict, workdir: Path, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Every classifier of `config.posthoc.methods` on the newest checkpoint of `workdir`, or on
    `config.init_from`; writes posthoc.json there.

    Args:
      config: resolved.
      workdir: of the run; made if `config.init_from` is analysed.
      say: receives a line at a time.

    Returns:
      What stands in posthoc.json; docs/posthoc.md describes it.

    Raises:
      ValueError, FileNotFoundError: nothing to analyse, another network than the config's, a
        network that is no classifier on one feature. One line each.
    """
    check_one_seed(config)
    if devices.several_processes():
        raise ValueError("--mode=posthoc runs in one process; start it without --distributed")
    experiment = build(config)
    config = experiment.config
    variables, source = analysed_variables(
        config, workdir, experiment.recipe.model, experiment.dataset
    )
    features, digest = features_of(experiment, variables, workdir, say)
    began = time.monotonic(), time.process_time()
    own = _own_classifier(experiment, variables)
    foreign = _foreign(config, source)
    if not foreign:
        _check_logits(own, features)
    dataset = experiment.dataset
    labels = np.concatenate([dataset.train_labels, dataset.val_labels]).astype(np.int64)
    mask = np.arange(len(labels)) >= len(
        dataset.train_labels
    )  # images that the run held out itself
    if not mask.any():
        mask = _held_out(labels, dataset.train_groups, config.posthoc.held_out, config.seed)
    fit, whole = (
        Part(members, labels[members], _counts(labels[members], len(own.bias)), own)
        for members in (np.flatnonzero(~mask), np.arange(len(labels)))
    )
    maker = Maker(experiment, features, labels, mask, say)
    if foreign:
        say(f"the network has no classifier for these classes: {HEADS[PROBE].title} stands in")
        fit, whole = maker.probe(fit, whole)
    methods = maker.methods(fit, whole, foreign)
    rows = [_row(experiment, method, labels[mask]) for method in methods]
    seen = _seen(config, source, dataset.digest(), len(dataset.val_labels) > 0)
    record: dict[str, Any] = {
        "name": config.name,
        "source": source.replace(str(workdir), workdir.name),
        "data": config.data.name,
        "seed": config.seed,
        "settings": {k: v for k, v in flat(config).items() if k.startswith("posthoc.")},
        "digest": digest,
        "network": config.model.name,
        "classifier": "none" if foreign else config.model.classifier,
        "scale": float(own.length),
        "held_out_seen": seen,
        "own_on_held_out": None if foreign else _own_held_out(own, features, mask, labels),
        "feature_size": features.train.shape[2],
        "class_names": list(dataset.class_names),
        "class_counts": whole.counts.tolist(),
        "held_out_counts": (whole.counts - fit.counts).tolist(),
        "test_images": len(dataset.test_labels),
        "device": f"{len(experiment.devices)} x {experiment.devices[0].device_kind}",
        "seconds": {
            "features": round(features.seconds, 1),
            "table": round(time.monotonic() - began[0], 1),
            "table_processor": round(time.process_time() - began[1], 1),
        },
        "rows": rows,
    }
    if seen and record["own_on_held_out"] is not None:
        say(
            "the network was trained on the held-out images too"
            f" ({100 * record['own_on_held_out']:.1f} % balanced accuracy there): their features"
            " are not like a test image's, and what they choose is chosen with that"
        )
    write_atomically(workdir / "posthoc.json", as_json(record, indent=1) + "\n")
    return record


def _row(experiment: Experiment, method: Method, held_labels: np.ndarray) -> dict[str, Any]:
    """A method's default, chosen and oracle candidate with their figures."""
    test_labels = np.asarray(experiment.dataset.test_labels)
    count = range(len(method.parameters))
    held = [balanced(method.held_out(k), held_labels) for k in count]
    test = [balanced(method.test(k), test_labels) for k in count]
    chosen = posthoc.choose(held, method.distances)
    picks = {
        "default": 0,
        "chosen": chosen,
        "oracle": posthoc.choose(test, method.distances),
    }
    figures = {
        k: {
            "parameters": dict(method.parameters[k]),
            "held_out": round(held[k], 6),
            **_figures(experiment, method.test(k), method.held_out(k), held_labels),
        }
        for k in set(picks.values())
    }
    return {
        "method": method.name,
        "title": method.title,
        "source": method.source,
        "candidates": len(count),
        "ties": int(np.sum(np.asarray(held) == held[chosen])),
        **{pick: figures[k] for pick, k in picks.items()},
    }


def _figures(
    experiment: Experiment, logits: np.ndarray, held_logits: np.ndarray, held_labels: np.ndarray
) -> dict[str, Any]:
    """Of test logits; the temperature is that of the held-out ones."""
    labels, options = np.asarray(experiment.dataset.test_labels), experiment.config.posthoc
    table = confusion(logits, labels)
    recall = metrics.per_class_accuracy(table)
    temperature = posthoc.temperature(held_logits, held_labels)
    groups = {name: classes for name, classes in experiment.groups.items() if len(classes)}
    plain = _softmax(logits)
    shifted = {
        way: {
            f"{factor:g}": round(
                posthoc.shifted_accuracy(
                    recall, experiment.class_counts, factor, backward=way == "backward"
                ),
                6,
            )
            for factor in options.shifts
        }
        for way in ("forward", "backward")
    }
    members = {"all": np.arange(len(labels))} | {
        name: np.flatnonzero(np.isin(labels, classes)) for name, classes in groups.items()
    }
    return {
        "accuracy": metrics.accuracy(table),
        "balanced_accuracy": metrics.balanced_accuracy(table),
        **metrics.group_accuracy(table, groups),
        "per_class": [round(float(value), 6) for value in recall],
        **_calibration(logits, labels, options.bins),
        "temperature": round(temperature, 4),
        "scaled": _calibration(logits / temperature, labels, options.bins),
        "shifted": shifted,
        "reliability": {
            name: np.stack(metrics.reliability(plain[rows], labels[rows], options.bins), axis=1)
            .round(6)
            .tolist()
            for name, rows in members.items()
        },
    }


def _calibration(logits: np.ndarray, labels: np.ndarray, bins: int) -> dict[str, float]:
    probabilities = _softmax(logits)
    return {
        "ece": round(metrics.calibration_error(probabilities, labels, bins), 6),
        "classwise_ece": round(metrics.classwise_calibration_error(probabilities, labels, bins), 6),
        "nll": round(metrics.negative_log_likelihood(logits, labels), 6),
    }


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(np.asarray(logits, np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _counts(labels: np.ndarray, num_classes: int) -> np.ndarray:
    return np.bincount(labels, minlength=num_classes)


def _own_classifier(experiment: Experiment, variables: Any) -> Classifier:
    """The network's last layer. A normalised one gives cosines; with the LDAM loss they are trained
    as logits times its scale, and are taken so here, else as they are.
    """
    layer = {name: jnp.asarray(leaf) for name, leaf in variables["params"][LAST_LAYER].items()}
    if experiment.config.model.classifier == "normalized":
        loss = experiment.stages[-1].config.loss
        return Classifier.of(
            layer["kernel"], length=loss.ldam.scale if loss.name == "ldam" else 1.0
        )
    branches = 3 if experiment.config.model.name.startswith("reslt_") else 1  # their logits' sum
    return Classifier.of(layer["kernel"], branches * layer["bias"])


def _check_logits(own: Classifier, features: Features) -> None:
    """Raises ValueError where the network's logits are not its last layer's on its features."""
    scale = float(own.length) or 1.0
    ours = np.asarray(posthoc.logits(own, features.test[:256])) / scale
    theirs = features.test_logits[:256]
    error = np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-6)
    if not error < 0.02:  # bfloat16 has three digits
        raise ValueError(
            f"the network's logits are not those of its layer {LAST_LAYER!r} on its features (they"
            f" differ by {error:.2g} of the largest): --mode=posthoc needs one classifier on one"
            " feature"
        )


def _foreign(config: ConfigDict, source: str) -> bool:
    """Whether the network's last layer was not taken from `config.init_from`, so knows nothing."""
    pattern = config.init_except if source == config.init_from else ""
    return bool(pattern) and re.match(pattern, f"{LAST_LAYER}/kernel") is not None


def _seen(config: ConfigDict, source: str, digest: str, val: bool) -> bool | None:
    """Whether the network was trained on the held-out images (`val`: of a validation split); None
    where that is not known.
    """
    if source != config.init_from:
        return not val  # a run is only analysed with its own images
    record = Path(source) / "config.json"
    same = record.is_file() and read_json(record)["data"]["digest"] == digest
    return not val if same else None


def _held_out(labels: np.ndarray, groups: np.ndarray | None, share: float, seed: int) -> np.ndarray:
    """A part of the training images to choose by, whole groups where these are told, bool [N]."""
    if groups is None:
        return posthoc.held_out(labels, share, seed=seed)
    members = grouped_members(labels, groups, share, seed)
    if not len(members):
        raise ValueError(
            "config.posthoc.held_out: every group holds all images of some class, so none can be"
            " held out; give validation images, or no groups"
        )
    return np.isin(np.arange(len(labels)), members)


def _own_held_out(
    own: Classifier, features: Features, mask: np.ndarray, labels: np.ndarray
) -> float:
    logits = np.asarray(posthoc.logits(own, features.train[0][mask]))
    return round(balanced(logits, labels[mask]), 6)
