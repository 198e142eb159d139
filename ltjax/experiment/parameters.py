"""The parameters of a network that train, and the frozen ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict


def split_parameters(params: Any, trainable: str) -> tuple[Any, Callable[[Any], Any]]:
    """The parameters that train, and what puts them back among the frozen ones.

    Gradients, SAM's norm, weight decay and momentum see the first alone.

    Raises:
      ValueError: an expression that matches no parameter.
    """
    if not trainable:
        return params, lambda trained: trained
    flat = flatten_dict(params)
    trained: dict[tuple[str, ...], Any] = {}
    frozen: dict[tuple[str, ...], Any] = {}
    for path, value in flat.items():
        (trained if re.match(trainable, "/".join(path)) else frozen)[path] = value
    if not trained:
        names = sorted({path[0] for path in flat})
        raise ValueError(
            f"config.parameters.trainable {trainable!r} matches no parameter;"
            f" they begin with {', '.join(names)}"
        )
    return unflatten_dict(trained), lambda trained: unflatten_dict(
        {**frozen, **flatten_dict(trained)}
    )


def trained_parameters(pattern: str, params: Any) -> Any:
    """The parameters that train, of all."""
    return split_parameters(params, pattern)[0]
