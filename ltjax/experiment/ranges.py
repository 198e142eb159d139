"""The range of every number of a config."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ml_collections import ConfigDict

from ltjax.fields import get

RANGES: dict[str, str] = {
    "seed": "[0, 2147483647]",
    "seeds": "[0, 2147483647]",
    "data.factor": "(0, 1]",
    "data.max_count": "[0, inf)",
    "data.counts": "[1, inf)",
    "data.majority_class": "[0, inf)",
    "data.majority_count": "[0, inf)",
    "data.minority_count": "[0, inf)",
    "data.subset_seed": "[0, 4294967295]",
    "data.mean": "[0, 1]",
    "data.std": "(0, inf)",
    "data.test_fraction": "[0, 1)",
    "data.validation": "[0, 1)",
    "data.channels": "[0, inf)",
    "data.image_size": "[1, inf)",
    "data.shorter_side": "[1, inf)",
    "data.crop_scale": "(0, 1]",
    "data.workers": "[-1, inf)",
    "data.resolution": "[0, inf)",
    "data.groups": "[1, inf)",
    "data.group_thresholds": "[0, inf)",
    "augment.padding": "[0, inf)",
    "augment.flip": "[0, 1]",
    "augment.jitter": "[0, inf)",
    "augment.num_ops": "[1, inf)",
    "augment.magnitude": "[0, 30]",
    "augment.cutout": "[0, inf)",
    "augment.resized_crop": "(0, 1]",
    "augment.jitter_probability": "[0, 1]",
    "augment.grey": "[0, 1]",
    "augment.blur": "[0, 1]",
    "mixing.alpha": "(0, inf)",
    "mixing.kappa": "[1, inf)",
    "mixing.tau": "[0, 1]",
    "mixing.probability": "[0, 1]",
    "objective.balpoe.taus": "[0, inf)",
    "objective.sade.tau": "[0, inf)",
    "model.experts.number": "[1, inf)",
    "objective.bcl.classification": "[0, inf)",
    "objective.bcl.contrast": "[0, inf)",
    "objective.bcl.temperature": "(0, inf)",
    "objective.bcl.width": "[1, inf)",
    "objective.bcl.dimensions": "[2, inf)",
    "objective.proco.contrast": "[0, inf)",
    "objective.proco.temperature": "(0, inf)",
    "objective.proco.width": "[1, inf)",
    "objective.proco.dimensions": "[2, inf)",
    "objective.glmc.similarity": "[0, inf)",
    "objective.glmc.exponent": "[0, inf)",
    "objective.glmc.q": "[0, inf)",
    "objective.glmc.dimensions": "[1, inf)",
    "model.width": "[0, inf)",
    "model.efficientnet.stochastic_depth": "[0, 1)",
    "model.efficientnet.dropout": "[0, 1)",
    "loss.cross_entropy.label_smoothing": "[0, 1)",
    "loss.focal.gamma": "[0, inf)",
    "loss.ldam.max_margin": "[0, inf)",
    "loss.ldam.scale": "(0, inf)",
    "loss.vector_scaling.gamma": "[0, inf)",
    "loss.vector_scaling.tau": "[0, inf)",
    "loss.logit_adjusted.tau": "[0, inf)",
    "loss.label_aware_smoothing.head": "[0, 1)",
    "loss.label_aware_smoothing.tail": "[0, 1)",
    "loss.influence_balanced.alpha": "(0, inf)",
    "loss.influence_balanced.epsilon": "(0, inf)",
    "loss.reslt.beta": "[0, 1]",
    "loss.reslt.label_smoothing": "[0, 1)",
    "loss.reslt.medium_from": "[-1, inf)",
    "loss.reslt.tail_from": "[-1, inf)",
    "reweighting.beta": "[0, 1)",
    "sampler.q": "[0, inf)",
    "optimizer.momentum": "[0, 1)",
    "optimizer.weight_decay": "[0, inf)",
    "optimizer.classifier_rate": "[0, inf)",
    "learning_rate.base": "[0, inf)",
    "learning_rate.warmup_epochs": "[0, inf)",
    "learning_rate.warmup_start": "[0, 1]",
    "learning_rate.milestones": "[0, inf)",
    "learning_rate.factors": "[0, inf)",
    "sam.rho": "[0, inf)",
    "sam.rho_min": "[0, inf)",
    "sam.rho_steps": "[0, inf)",
    "sam.milestones": "[0, inf)",
    "sam.focal.gamma": "[0, inf)",
    "sam.focal.lam": "[0, inf)",
    "sam.tail.threshold": "[0, inf)",
    "sam.tail.scale": "(0, inf)",
    "training.epochs": "[1, inf)",
    "training.published_epochs": "[1, inf)",
    "training.batch_size": "[1, inf)",
    "training.accumulate": "[1, inf)",
    "training.patience": "[0, inf)",
    "training.steps_per_call": "[-1, inf)",
    "training.unroll": "[1, inf)",
    "training.vmap_seeds": "[-1, 1]",
    "training.cpu_devices": "[0, inf)",
    "evaluation.every": "[1, inf)",
    "evaluation.batch_size": "[1, inf)",
    "checkpoint.every": "[1, inf)",
    "checkpoint.at": "[0, inf)",
    "checkpoint.minutes": "[0, inf)",
    "checkpoint.keep": "[1, inf)",
    "hessian.classes": "[0, inf)",
    "hessian.max_images": "[0, inf)",
    "hessian.batch_size": "[0, inf)",
    "hessian.keep_gib": "[0, inf)",
    "hessian.num_steps": "[1, inf)",
    "hessian.num_probes": "[1, inf)",
    "hessian.trace_probes": "[1, inf)",
    "hessian.tolerance": "[0, inf)",
    "posthoc.held_out": "(0, 1)",
    "posthoc.taus": "[0, inf)",
    "posthoc.learning_rates": "(0, inf)",
    "posthoc.epochs": "[1, inf)",
    "posthoc.batch_size": "[0, inf)",
    "posthoc.weight_decay": "[0, inf)",
    "posthoc.smoothing": "[0, 1]",
    "posthoc.kernel_rate": "[0, inf)",
    "posthoc.augmented_passes": "[0, inf)",
    "posthoc.shifts": "[1, inf)",
    "posthoc.bins": "[1, inf)",
    "published.cifar10": "[0, 100]",
    "published.cifar100": "[0, 100]",
    "published.image_list": "[0, 100]",
    "published.factor": "(0, 1]",
}
"""Field -> interval of its value, or of each value where it holds several."""


def check_ranges(config: ConfigDict, where: str = "") -> None:
    """Raises ValueError for a number outside its range, or for one that is none.

    Args:
      config: resolved; fields of `published` may be None.
      where: before the field's name in the error.
    """
    for path, interval in RANGES.items():
        value = get(config, path)
        several = isinstance(value, (tuple, list))
        for number in value if several else () if value is None else (value,):
            if not _within(number, interval):
                each = "each of its values " if several else ""
                raise ValueError(
                    f"{where}config.{path} is {value!r}; expected {each}{_told(interval)}"
                )


def _within(number: object, interval: str) -> bool:
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return False
    low, high = _ends(interval)
    above = number >= low if interval[0] == "[" else number > low
    below = number <= high if interval[-1] == "]" else number < high
    return above and below


def _ends(interval: str) -> Sequence[float]:
    return [float(end) for end in interval[1:-1].split(",")]


def _told(interval: str) -> str:
    low, high = _ends(interval)
    from_low, to_high = interval[0] == "[", interval[-1] == "]"
    if math.isinf(high):
        return f"at least {low:.10g}" if from_low else f"a value above {low:.10g}"
    if from_low and to_high:
        return f"{low:.10g} to {high:.10g}"
    least = f"{low:.10g} or more" if from_low else f"above {low:.10g}"
    return f"{least}, {'at most' if to_high else 'below'} {high:.10g}"
