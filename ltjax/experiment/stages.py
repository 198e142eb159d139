"""The stages of a run: each with the whole config as it is in that stage."""

from __future__ import annotations

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from ltjax import objectives
from ltjax.names import unknown

STAGE_SECTIONS = (
    *("target", "objective", "parameters", "loss", "reweighting", "sampler", "augment", "mixing"),
    *("optimizer", "learning_rate", "sam"),
)
"""What a stage may state besides its epochs."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes:
      name: in the config; "" where the run has one stage.
      config: the whole config as it is in this stage.
      first, epochs: its first epoch in the run, and how many.
      published_epochs: how many its own milestones are stated for.
      states: sections that it states itself.
      starts_anew: whether the optimiser's state is dropped when it begins: the target or
        objective, the optimiser or the parameters that train are others than before, or layers
        start anew.
    """

    name: str
    config: ConfigDict
    first: int
    epochs: int
    published_epochs: int
    states: frozenset[str]
    starts_anew: bool = False

    def span(self, section: str) -> tuple[int, int, int]:
        """First epoch, epochs and published epochs that a schedule of this section counts in: the
        stage's if stated, else the run's.
        """
        if section in self.states:
            return self.first, self.epochs, self.published_epochs
        return 0, self.config.training.epochs, self.config.training.published_epochs


def stages_of(config: ConfigDict) -> list[Stage]:
    """The stages of a resolved config, in order; one if it names none.

    Stage lengths scale with training.epochs like milestones do; in a very short run a stage may be
    left without epochs, but not the last.

    Raises:
      ValueError: a stage that is not described, or states what a stage can't.
    """
    total, published = config.training.epochs, config.training.published_epochs
    names = tuple(config.stages)
    if not names:
        return [Stage("", config, 0, total, published, frozenset())]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"config.stages names {name!r} twice; give each stage a name of its own"
            )
    made: list[Stage] = []
    before, first = 0, 0
    for k, name in enumerate(names):
        stated = config.stage[name]
        length = stage_epochs(config, name)
        before += length
        end = total if k == len(names) - 1 else min(round(before * total / published), total - 1)
        own = config.copy_and_resolve_references()
        own.lock()
        for section in stated:
            if section == "epochs":
                continue
            if section not in STAGE_SECTIONS:
                raise unknown(f"config.stage.{name} states", section, ("epochs", *STAGE_SECTIONS))
            _override(own, section, stated[section], f"config.stage.{name}.{section}")
        anew = bool(made) and _starts_anew(made[-1].config, own, "parameters" in stated)
        states = frozenset(stated) - {"epochs"}
        made.append(Stage(name, own, first, end - first, length, states, anew))
        first = end
    return made


def _starts_anew(before: ConfigDict, own: ConfigDict, resets: bool) -> bool:
    """By what holds before and after, whichever of the two stages states it."""
    return (
        objective_name(before) != objective_name(own)
        or before.optimizer != own.optimizer
        or before.parameters.trainable != own.parameters.trainable
        or (resets and bool(own.parameters.reset))
    )


def objective_name(config: ConfigDict) -> str:
    """A key of `objectives.OBJECTIVES`: the target or the loss may name it, else the objective
    does.
    """
    for name in (config.target, config.loss.name):
        if name in objectives.OBJECTIVES:
            return name
    return config.objective.name


def stage_epochs(config: ConfigDict, name: str) -> int:
    """How many epochs a stage states."""
    if name not in config.stage:
        raise unknown("config.stages names", name, config.stage)
    epochs = config.stage[name].get("epochs")
    if not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"config.stage.{name}.epochs is {epochs}; expected at least 1")
    return epochs


def _override(config: Any, name: str, value: Any, path: str) -> None:
    if name not in config:
        raise unknown(f"{path.rpartition('.')[0]} has no field", name, config)
    if isinstance(value, ConfigDict) and isinstance(config[name], ConfigDict):
        for below in value:
            _override(config[name], below, value[below], f"{path}.{below}")
        return
    try:
        config[name] = value
    except (TypeError, ValueError):
        raise ValueError(f"{path} is {value!r}; expected a value like {config[name]!r}") from None
