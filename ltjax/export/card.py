"""model_card.md of an export: what is known of the network, and blanks for what its maker knows.

Source of the headings: Mitchell et al., Model Cards for Model Reporting, FAT* 2019,
arXiv:1810.03993.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax

from ltjax import __version__, recipes
from ltjax.data import is_streamed
from ltjax.experiment.experiment import class_groups

if TYPE_CHECKING:
    from ltjax.trained import Trained

BLANK = "**[to be filled in]**"
LISTED = 100
"""Classes that are named one by one."""
_FIGURES = {
    "test_accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "many": "many",
    "medium": "medium",
    "few": "few",
    "macro_f1": "macro F1",
    "val_accuracy": "accuracy, validation",
    "val_balanced_accuracy": "balanced accuracy, validation",
    "val_macro_f1": "macro F1, validation",
}


def model_card(trained: Trained) -> str:
    """The card in Markdown."""
    config, counts = trained.config, trained.class_counts
    stage = trained.stage
    weights = jax.tree.leaves(trained.variables["params"])
    height, width, channels = trained.image_shape
    began = config.init_from or "random"
    sam = f", SAM with radius {stage.sam.rho:g}" if stage.sam.enabled else ""
    decayed = f"weight decay {stage.optimizer.weight_decay:g}"
    objective = stage.objective.name
    return f"""# Model card: {config.model.name} for {trained.num_classes} classes

## Model

- Network: {config.model.name}, {sum(leaf.size for leaf in weights):,} parameters; \
started from {began} weights.
- Takes: {"photographs" if is_streamed(config.data.name) else "images"}, \
uint8 [N, {height}, {width}, {channels}]. Gives: a probability for each class.
- Made by: ltjax {__version__}, recipe {config.name}, seed {config.seed}.
- Contact: {BLANK}

## Intended use

- For: {BLANK}
- Not for: {BLANK}

## Training data

- Images: {counts.sum():,} of `{config.data.name}`; \
from {counts.max():,} to {counts.min():,} a class \
(imbalance {counts.max() / max(counts.min(), 1):.4g}).
- Where they come from, how they were chosen and labelled, who consented: {BLANK}

{_classes(trained)}

## Training

- Loss: {stage.loss.name}{"" if objective == "classify" else f", objective {objective}"}, \
class weights {stage.reweighting.name}, sampler {stage.sampler.name}.
- {config.training.epochs} epochs, batch {config.training.batch_size}, {stage.optimizer.name}, \
rate {stage.learning_rate.base:g} ({stage.learning_rate.schedule}), {decayed}{sam}.
- Method: {_source(config.name)}

## Figures

{_figures(trained.figures)}

On which population, camera or site they hold, and how that was tested: {BLANK}

## Limits

- Classes with few training images are recognised from few examples; see their figures above.
- Probabilities are about the class frequencies that the training assumed; `prior` changes them.
- Known failures, groups of people or places that it was not tested on: {BLANK}

## Licence

- Of these weights: {BLANK}; they are made from the training \
images{f" and from {config.init_from}" if config.init_from else ""}, whose licences count.
- Of ltjax itself: Apache-2.0.

## Citation

{BLANK}

The software:

    @software{{ltjax, title = {{ltjax: long-tailed image classification in JAX}}, \
version = {{{__version__}}}}}
"""


def _classes(trained: Trained) -> str:
    """A table of the classes, in the order of their ids."""
    counts, label_ids = trained.class_counts, trained.label_ids
    groups = class_groups(trained.config.data, counts[label_ids])
    group_of = {label_ids[c]: name for name, classes in groups.items() for c in classes}
    rows = [
        f"| {c} | {_cell(name)} | {counts[c]:,} | {group_of.get(c, '')} |"
        for c, name in enumerate(trained.class_names[:LISTED])
    ]
    more = trained.num_classes - len(rows)
    told = f"\n\nand {more:,} more, in model.json." if more else ""
    return "\n".join(["| id | class | training images | group |", "| --- " * 4 + "|", *rows]) + told


def _figures(figures: dict[str, Any]) -> str:
    """A table of the last and the best epoch's."""
    columns = [which for which in ("last", "best") if which in figures]
    if not columns:
        return "None: the run has not finished."
    lines = [
        "| in % | " + " | ".join(f"{which} epoch" for which in columns) + " |",
        "| --- " * (1 + len(columns)) + "|",
    ]
    for name, heading in _FIGURES.items():
        if any(name in figures[which] for which in columns):
            values = [figures[which].get(name) for which in columns]
            cells = ["" if value is None else f"{100 * value:.2f}" for value in values]
            lines.append(f"| {heading} | " + " | ".join(cells) + " |")
    validated = any("val_balanced_accuracy" in figures[which] for which in columns)
    chosen = "balanced accuracy on validation images" if validated else "test accuracy"
    told = (
        f"\n\nThe best epoch is the one with the highest {chosen}"
        + ("" if validated else ", so it is no estimate of new images' accuracy")
        + ". Many, medium and few are means over the classes with many, medium and few training"
        " images."
    )
    return "\n".join(lines) + (told if "best" in columns else "")


def _source(recipe: str) -> str:
    """What the recipe's file names as its source."""
    try:
        return recipes.headings(recipe).get("source", BLANK)
    except (FileNotFoundError, ValueError):  # a config of the user's own
        return BLANK


def _cell(text: str) -> str:
    """Text inside a Markdown table."""
    return text.replace("|", "\\|")
