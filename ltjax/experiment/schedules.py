"""Learning rate and SAM radius by epoch, from a config."""

from __future__ import annotations

from collections.abc import Callable

from ml_collections import ConfigDict

from ltjax.optim import EpochSchedule, constant, cosine, linear, piecewise, warmup_piecewise


def learning_rate_schedule(
    config: ConfigDict, first: int = 0, epochs: int | None = None, published: int | None = None
) -> EpochSchedule:
    """Epoch of the run -> learning rate.

    Args:
      config: the run's or a stage's.
      first, epochs, published: as `Stage.span`; the run's by default.

    Raises:
      ValueError: factors and milestones that do not fit.
    """
    rate = config.learning_rate
    epochs, scaled = _scaling(config, epochs, published)
    if rate.schedule == "cosine":
        schedule = cosine(rate.base, epochs, scaled(rate.warmup_epochs))
    elif rate.schedule == "constant":
        schedule = constant(rate.base)
    else:
        milestones = [scaled(epoch) for epoch in rate.milestones]
        if len(rate.factors) != len(milestones):
            raise ValueError(
                f"config.learning_rate.factors {rate.factors} and milestones {rate.milestones}:"
                " expected as many of one as of the other"
            )
        schedule = warmup_piecewise(
            rate.base, scaled(rate.warmup_epochs), rate.factors, milestones, rate.warmup_start
        )
    return lambda epoch: schedule(epoch - first)


def rho_schedule(
    config: ConfigDict, first: int = 0, epochs: int | None = None, published: int | None = None
) -> EpochSchedule:
    """Epoch of the run -> SAM radius. Arguments as `learning_rate_schedule`."""
    sam = config.sam
    epochs, scaled = _scaling(config, epochs, published)
    if sam.schedule == "piecewise":
        if len(sam.rho_steps) != len(sam.milestones) + 1:
            raise ValueError(
                f"config.sam.rho_steps {sam.rho_steps} and milestones {sam.milestones}:"
                " expected one step more than milestones"
            )
        schedule = piecewise(sam.rho_steps, [scaled(epoch) for epoch in sam.milestones])
    elif sam.schedule == "linear":
        schedule = linear(sam.rho_min, sam.rho, epochs)
    else:
        schedule = constant(sam.rho)
    return lambda epoch: schedule(epoch - first)


def _scaling(
    config: ConfigDict, epochs: int | None, published: int | None
) -> tuple[int, Callable[[int], int]]:
    """Epochs of a span, and what makes a milestone of the published number of epochs one of it."""
    epochs = config.training.epochs if epochs is None else epochs
    published = published or config.training.published_epochs
    return epochs, lambda epoch: round(epoch * epochs / published)
