"""Weights that a run starts from: PyTorch-named files, other runs, and layers that start anew."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from ltjax import models
from ltjax.experiment.parameters import trained_parameters
from ltjax.experiment.recipe import create_model, make_optimizer, num_outputs
from ltjax.experiment.stages import stages_of
from ltjax.experiment.state import TrainState, create_state, initial_variables
from ltjax.models.torch_weights import load_state_dict, naming
from ltjax.workdir.checkpoint import Checkpoints
from ltjax.workdir.workdir import read_json


def load_variables(config: ConfigDict, model: nn.Module, image_shape: tuple[int, ...]) -> dict:
    """Variables of the model from `config.init_from`, but for the parameters that match
    `config.init_except`.

    Raises:
      ValueError: an unreadable file, or weights of another network.
    """
    source = config.init_from
    folder = Path(source)
    try:
        if (folder / "config.json").is_file():
            variables = run_variables(folder)
        else:
            state_dict = load_state_dict(source)
            _check_numerics(config, state_dict)
            variables = models.from_torch(config.model.name, state_dict)
    except ValueError as error:
        raise ValueError(
            f"config.init_from: {error}"
            if source in str(error)
            else f"config.init_from: {source}: {error}"
        ) from None
    variables = jax.tree.map(lambda value: value.astype(jnp.float32), variables)
    if config.init_except:
        init_key, _ = jax.random.split(jax.random.key(config.seed))
        return taken_over(
            variables,
            initial_variables(model, image_shape, init_key),
            config.init_except,
            "init_except",
        )
    check_shapes(variables, config, model, image_shape, f"config.init_from: {source}")
    return variables


def check_shapes(
    variables: dict, config: ConfigDict, model: nn.Module, image_shape: tuple[int, ...], source: str
) -> None:
    """Raises ValueError, naming the source, if the variables are another network's than the
    config's.
    """
    expected = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *image_shape))))
    if jax.tree.map(jnp.shape, variables) != jax.tree.map(jnp.shape, expected):
        linear = {name: jnp.shape(value) for name, value in variables["params"]["linear"].items()}
        raise ValueError(
            f"{source} holds another network than config.model and config.data describe"
            f" (its classifier: {linear}; config.model.classifier={config.model.classifier!r});"
            " --config.init_except=linear takes all but the classifier of init_from"
        )


def run_variables(workdir: Path) -> dict:
    """The variables in the newest checkpoint of another run, whatever its data. A damaged one is
    reported, and the one before it used.

    Raises:
      FileNotFoundError: no checkpoint there; ValueError: none that can be read.
    """
    record = read_json(workdir / "config.json")
    config = recorded_config(record)
    stages = stages_of(config)
    shape = (32, 32, len(config.data.mean))

    def like(number: int) -> TrainState:
        stage = stages[number]
        model = create_model(stage.config, num_outputs(stage.config, len(record["class_names"])))
        trained = partial(trained_parameters, stage.config.parameters.trainable)
        shapes = jax.eval_shape(
            lambda: create_state(
                model, make_optimizer(stage.config)(jnp.zeros([])), shape, 0, trained=trained
            )
        )
        place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), shapes
        )

    if not (workdir / "checkpoints").is_dir():
        raise FileNotFoundError(f"{workdir} holds no checkpoints; train it first")
    checkpoints = Checkpoints(workdir)
    restored = checkpoints.restore(like)
    checkpoints.close()
    if restored is None:
        raise FileNotFoundError(f"{workdir / 'checkpoints'} is empty; train it first")
    return restored.state.variables


def recorded_config(record: dict) -> ConfigDict:
    """The resolved config that a run's config.json holds."""
    leaves = {tuple(name.split(".")): _hashable(leaf) for name, leaf in record["config"].items()}
    config = ConfigDict(unflatten_dict(leaves))
    config.stage = config.get("stage", ConfigDict())
    return config


def taken_over(variables: Any, fresh: Any, pattern: str, where: str) -> dict:
    """`variables` but for the parameters and statistics that match the pattern, which are `fresh`."""
    old, new = flatten_dict(variables), flatten_dict(fresh)
    anew = {path for path in new if pattern and re.match(pattern, "/".join(path[1:]))}
    if pattern and not anew:
        names = sorted({path[1] for path in new})
        raise ValueError(
            f"{where}: {pattern!r} matches no parameter; they begin with {', '.join(names)}"
        )
    differing = sorted(
        "/".join(path[1:])
        for path in new
        if path not in anew and np.shape(old.get(path)) != new[path].shape
    )
    if differing:
        raise ValueError(
            f"{where}: {len(differing)} parameters have another shape than before ({', '.join(differing[:3])});"
            " they must start anew (stage.NAME.parameters.reset or init_except, for instance linear)"
        )
    return unflatten_dict({path: new[path] if path in anew else old[path] for path in new})


def _check_numerics(config: ConfigDict, state_dict: Any) -> None:
    """Weights of torchvision's EfficientNets do not fit TensorFlow's padding, which their names
    alone tell.
    """
    name = config.model.name
    if (
        name.startswith("efficientnet")
        and config.model.efficientnet.numerics != "torch"
        and naming(name, state_dict) == "torchvision"
    ):
        raise ValueError(
            "these are torchvision's weights; give --config.model.efficientnet.numerics=torch"
        )


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
