"""The fields of a config by dotted names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


def get(config: Any, path: str) -> Any:
    """config.a.b from "a.b"."""
    for name in path.split("."):
        config = config[name]
    return config


def has(config: Any, path: str) -> bool:
    """Whether there is a field config.a.b of "a.b"."""
    for name in path.split("."):
        if not isinstance(config, (ConfigDict, Mapping)) or name not in config:
            return False
        config = config[name]
    return True


def flat(config: Mapping) -> dict[str, Any]:
    """{"a.b": value} of every leaf, tuples as lists, as JSON gives them back."""
    leaves: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, (ConfigDict, Mapping)):
            leaves.update({f"{name}.{below}": leaf for below, leaf in flat(value).items()})
        else:
            leaves[name] = list(value) if isinstance(value, tuple) else value
    return leaves
