"""Which recipe fits a data set: a few simple rules, stated with their reasons."""

from __future__ import annotations

from typing import Any

SMALL = 64
"""Pixels: images up to this side suit the networks for CIFAR."""
MANY_PHOTOGRAPHS = 100_000
"""About ImageNet-LT's 115,846, on which training from nothing is published."""
FEW_PHOTOGRAPHS = 2_000
BALANCED, LONG_TAILED = 2.0, 10.0
"""Imbalance factors: below the first nearly balanced, from the second on long-tailed."""
_RECIPES = "ltjax --list"
"""Where a recipe and what it reaches are told; a page of them is made with the site alone."""


def advice(found: dict[str, Any], *, in_files: bool) -> list[dict[str, str]]:
    """What to do with a data set, in order: {"do": ..., "why": ..., "see": ...} each.

    Args:
      found: as `ltjax.inspection.inspect` returns it.
      in_files: whether its images are decoded while training.
    """
    return [*_cleaning(found), _recipe(found, in_files), *_scoring(found)]


def _recipe(found: dict[str, Any], in_files: bool) -> dict[str, str]:
    factor, images = found["imbalance_factor"], found["images"]["train"]
    side = min(found["sizes"].get("median", [0]))
    told = f"{images:,} training images of {side} pixels, imbalance factor {factor:g}"
    if not in_files and side <= SMALL:
        if factor < BALANCED:
            return _told(
                "ce: plain cross-entropy",
                f"{told}: below {BALANCED:g} there is little to balance",
                _RECIPES,
            )
        if factor < LONG_TAILED:
            return _told(
                "balanced_softmax: the prior in the loss, at the cost of cross-entropy",
                f"{told}: from {BALANCED:g} on balancing pays, and this way needs no second"
                " stage and no second pass",
                _RECIPES,
            )
        return _told(
            "ldam_drw_sam: margins, deferred re-weighting and SAM; balanced_softmax beside it, in"
            " half the time",
            f"{told}: from {LONG_TAILED:g} on the published figures are far apart (CIFAR-10-LT,"
            " factor 100: 81.9 % against 71.7 % of plain cross-entropy)",
            "results/README",
        )
    if images >= MANY_PHOTOGRAPHS:
        return _told(
            "imagenet_lt_ldam_drw_sam, or finetune from pretrained weights",
            f"{told}: from {MANY_PHOTOGRAPHS:,} on training from nothing is published",
            "photographs",
        )
    loss = " with --config.loss.name=cross_entropy" if factor < BALANCED else ""
    first = (
        "; before it, in minutes on a CPU, heads on frozen features (--mode=posthoc)"
        if images < FEW_PHOTOGRAPHS
        else ""
    )
    return _told(
        f"finetune{loss}: pretrained weights, balanced softmax{first}",
        f"{told}: fewer than {MANY_PHOTOGRAPHS:,} photographs teach less than pretrained weights"
        " bring (frozen ImageNet features reach 82 % on CIFAR-10-LT)",
        "posthoc",
    )


def _cleaning(found: dict[str, Any]) -> list[dict[str, str]]:
    made = []
    if found["unreadable_images"]:
        made.append(
            _told(
                "replace the unreadable images, or train with --config.data.unreadable=skip",
                f"{found['unreadable_images']:,} can't be read",
                "photographs",
            )
        )
    across = found["copies"]["across"]
    if across:
        made.append(
            _told(
                "take the copies out of training",
                ", ".join(f"{count:,} {told}" for told, count in across.items())
                + ": figures on them are too high",
                "own_data",
            )
        )
    if found["copies"]["labels_differ"]:
        made.append(
            _told(
                "decide on one label for images of the same pixels",
                f"{found['copies']['labels_differ']:,} groups of copies have different labels",
                "own_data",
            )
        )
    return made


def _scoring(found: dict[str, Any]) -> list[dict[str, str]]:
    made, images = [], found["images"]
    if not images["val"]:
        share = 0.2 if images["train"] < FEW_PHOTOGRAPHS else 0.1
        made.append(
            _told(
                f"hold images out to choose the epoch by: --config.data.validation={share}",
                "there are no validation images, and the test set should choose nothing",
                "own_data",
            )
        )
    rare = [one["name"] for one in found["classes"] if one["train"] < 5]
    if rare:
        made.append(
            _told(
                "collect more images of these classes, or join them with others",
                f"{len(rare)} {'classes have' if len(rare) > 1 else 'class has'} fewer than 5"
                " training images"
                f" ({', '.join(rare[:5])}{', ...' if len(rare) > 5 else ''}): what a method"
                " reaches on them says little",
                "own_data",
            )
        )
    tested = [one["test"] for one in found["classes"]]
    if images["test"] and max(tested) > BALANCED * max(min(tested), 1):
        made.append(
            _told(
                "read balanced accuracy and macro F1 first",
                f"the test set is imbalanced too ({max(tested):,} to {min(tested):,} images a"
                " class), and plain accuracy is the frequent classes'",
                "own_data",
            )
        )
    return made


def _told(do: str, why: str, see: str) -> dict[str, str]:
    return {"do": do, "why": why, "see": see if see == _RECIPES else f"docs/{see}.md"}
