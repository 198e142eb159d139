"""The fields of a config by dotted names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from ltjax import recipes


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


def defaults(config: ConfigDict) -> dict[str, Any]:
    """The leaves of configs/base.py with the values of the config's data set, as `flat`."""
    base = recipes.module_of(recipes.folder() / "base.py").get_config()
    of_data_set = flat(base.by_dataset.get(config.data.name.partition(":")[0], {}))
    return {
        name: of_data_set.get(name) if value is None else value
        for name, value in flat(base).items()
        if not name.startswith(("by_dataset.", "published."))
    }
