"""Schedules of the epoch (from 0): plain functions of Python numbers, evaluated once an epoch on
the host in float64.

Each returns a function epoch -> value. Milestones are the first epoch of a new value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

EpochSchedule = Callable[[int], float]


def constant(value: float) -> EpochSchedule:
    """The same value in every epoch.

    Example:
      >>> from ltjax import optim
      >>> print(optim.constant(0.1)(17))
      0.1
    """
    return lambda epoch: value


def piecewise(values: Sequence[float], milestones: Sequence[int]) -> EpochSchedule:
    """values[0] until milestones[0], then values[1], ...

    The published SAM radius is piecewise((0.05, 0.1, 0.5, 0.6), (5, 160, 180)).

    Raises:
      ValueError: not one value more than milestones, or milestones not ascending.

    Example:
      >>> from ltjax import optim
      >>> rho = optim.piecewise((0.05, 0.1, 0.5), milestones=(5, 160))
      >>> print([round(float(rho(epoch)), 2) for epoch in (4, 5, 160)])
      [0.05, 0.1, 0.5]
    """
    if len(values) != len(milestones) + 1 or list(milestones) != sorted(milestones):
        raise ValueError(
            f"values {tuple(values)} with milestones {tuple(milestones)};"
            " expected ascending milestones and one value more than milestones"
        )
    return lambda epoch: values[sum(epoch >= milestone for milestone in milestones)]


def warmup_piecewise(
    base: float,
    warmup_epochs: int,
    factors: Sequence[float],
    milestones: Sequence[int],
    warmup_start: float = 0.0,
) -> EpochSchedule:
    """Base * (epoch + 1) / warmup_epochs while warming up, then base * factors[i] from
    milestones[i] on.

    With a warmup_start the warm-up rises from that share: base * (warmup_start * (1 - k) + k), k =
    (epoch + 1) / warmup_epochs.

    The CIFAR recipe's learning rate is warmup_piecewise(0.1, 5, (0.01, 0.0001), (160, 180)).

    Source: the LDAM-DRW authors' adjust_learning_rate; with warmup_start 1/3, the ResLT authors'.

    Example:
      >>> from ltjax import optim
      >>> rate = optim.warmup_piecewise(0.1, 5, factors=(0.01, 0.0001), milestones=(160, 180))
      >>> print([round(float(rate(epoch)), 6) for epoch in (0, 4, 159, 160, 199)])
      [0.02, 0.1, 0.1, 0.001, 1e-05]
    """
    after = piecewise((1.0, *factors), milestones)

    def value(epoch: int) -> float:
        if epoch >= warmup_epochs:
            return base * after(epoch)
        warm = base * (epoch + 1) / warmup_epochs
        return (
            warm + base * warmup_start * (1.0 - (epoch + 1) / warmup_epochs)
            if warmup_start
            else warm
        )

    return value


def linear(start: float, end: float, num_epochs: int) -> EpochSchedule:
    """From start in epoch 0 to end in the last epoch, evenly.

    Example:
      >>> from ltjax import optim
      >>> rho = optim.linear(0.05, 0.8, num_epochs=200)
      >>> print(round(float(rho(0)), 3), round(float(rho(199)), 3))
      0.05 0.8
    """
    return lambda epoch: start + (end - start) * min(epoch / max(num_epochs - 1, 1), 1.0)


def cosine(base: float, num_epochs: int, warmup_epochs: int = 0) -> EpochSchedule:
    """Base * (1 + cos(pi * epoch / num_epochs)) / 2, stepped once an epoch, after a linear warm-up
    to it.

    Source: Loshchilov and Hutter, ICLR 2017, arXiv:1608.03983, eq. 5 without restarts.

    Example:
      >>> from ltjax import optim
      >>> rate = optim.cosine(0.1, num_epochs=200)
      >>> print(rate(0), round(float(rate(100)), 6))
      0.1 0.05
    """

    def value(epoch: int) -> float:
        warm = min((epoch + 1) / warmup_epochs, 1.0) if warmup_epochs else 1.0
        return warm * base * 0.5 * (1.0 + math.cos(math.pi * min(epoch, num_epochs) / num_epochs))

    return value
