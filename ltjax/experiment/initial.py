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
from ltjax.data import Dataset, StreamedDataset
from ltjax.experiment.parameters import trained_parameters
from ltjax.experiment.recipe import make_model, make_objective, make_optimizer
from ltjax.experiment.stages import Stage, stages_of
from ltjax.experiment.state import TrainState, create_state, initial_variables
from ltjax.fields import defaults
from ltjax.models.heads import is_head
from ltjax.models.torch_weights import load_state_dict, naming
from ltjax.workdir.checkpoint import Checkpoints, Restored
from ltjax.workdir.workdir import Workdir, read_json


def load_variables(
    config: ConfigDict, model: nn.Module, image_shape: tuple[int, ...], reset: str = ""
) -> dict:
    """Variables of the model from `config.init_from`, but for the parameters that match
    `config.init_except`, or `reset` of the stage that begins with them, and for heads that are
    not there.

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
    _check_channels(variables, image_shape, source)
    anew = {"init_except": config.init_except, "parameters.reset": reset}
    patterns = {where: pattern for where, pattern in anew.items() if pattern}
    if patterns or _heads(variables) != _heads(_shapes(model, image_shape)):
        init_key, _ = jax.random.split(jax.random.key(config.seed))
        fresh = initial_variables(model, image_shape, init_key)
        for where, pattern in patterns.items():
            check_matches(fresh, pattern, where)
        whole = "|".join(f"(?:{pattern})" for pattern in patterns.values())
        return taken_over(variables, fresh, whole, " and ".join(patterns) or "init_from")
    check_shapes(variables, config, model, image_shape, f"config.init_from: {source}")
    return variables


def check_shapes(
    variables: dict, config: ConfigDict, model: nn.Module, image_shape: tuple[int, ...], source: str
) -> None:
    """Raises ValueError, naming the source, if the variables are another network's than the
    config's.
    """
    expected = _shapes(model, image_shape)
    if jax.tree.map(jnp.shape, variables) != jax.tree.map(jnp.shape, expected):
        linear = {name: jnp.shape(value) for name, value in variables["params"]["linear"].items()}
        raise ValueError(
            f"{source} holds another network than config.model and config.data describe"
            f" (its classifier: {linear}; config.model.classifier={config.model.classifier!r});"
            " --config.init_except=linear takes all but the classifier of init_from"
        )


def scored_variables(
    config: ConfigDict,
    workdir: Path | None,
    model: nn.Module,
    dataset: Dataset | StreamedDataset,
    what: str = "evaluate",
) -> tuple[dict, str]:
    """Variables to evaluate or analyse and their name: the run in `workdir`, or `config.init_from`.

    The flags that trained a run score that run, also where it began from `config.init_from`. Where
    it began from something else, what `config.init_from` names is meant.

    Args:
      config: resolved.
      workdir: may be absent, or None.
      model, dataset: of the config.
      what: is to be done, for the error.

    Raises:
      FileNotFoundError: there is neither. ValueError: a run of another recipe, of other images or
        still at its rotations, or weights of another network.
    """
    if workdir is not None and _trained(workdir) and config.init_from in ("", _began_from(workdir)):
        Workdir(workdir).check_scored(config, dataset)
        restored, stage = run_checkpoint(workdir)
        if stage.config.target != "class":
            raise ValueError(
                f"nothing to {what}: {workdir} is still in stage {stage.name!r}; train it on"
            )
        variables = restored.state.variables
        check_shapes(variables, config, model, dataset.image_shape, str(workdir))
        return variables, f"{workdir}, step {int(restored.state.step)}"
    if config.init_from:
        return load_variables(config, model, dataset.image_shape), config.init_from
    raise FileNotFoundError(
        f"nothing to {what}: {workdir} holds no checkpoints; give --workdir=RUN or"
        " --config.init_from=FILE"
    )


def analysed_variables(
    config: ConfigDict, workdir: Path, model: nn.Module, dataset: Dataset | StreamedDataset
) -> tuple[dict, str]:
    """`scored_variables` to analyse, all of them finite; `workdir` is made where it is absent.

    Raises:
      FileNotFoundError, ValueError: as `scored_variables`, and of values that are not finite.
    """
    variables, source = scored_variables(config, workdir, model, dataset, "analyse")
    workdir.mkdir(parents=True, exist_ok=True)
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        if not np.isfinite(np.asarray(leaf)).all():
            name = "/".join(str(part.key) for part in path)
            raise ValueError(
                f"{source}: {name} holds values that are not finite; the run diverged, there is"
                " nothing to analyse"
            )
    return variables, source


def _trained(workdir: Path) -> bool:
    return (workdir / "config.json").is_file() and any((workdir / "checkpoints").glob("[0-9]*"))


def _began_from(workdir: Path) -> str:
    return read_json(workdir / "config.json")["config"].get("init_from", "")


def run_variables(workdir: Path) -> dict:
    """The variables in the newest checkpoint of another run, whatever its data. A damaged one is
    reported, and the one before it used.

    Raises:
      FileNotFoundError: no checkpoint there; ValueError: none that can be read.
    """
    return run_checkpoint(workdir)[0].state.variables


def run_checkpoint(workdir: Path, newest: int | None = None) -> tuple[Restored, Stage]:
    """The newest checkpoint of a run, of those up to step `newest` if given, and the stage it is
    in. Raises as `run_variables`.
    """
    record = read_json(workdir / "config.json")
    config = recorded_config(record)
    stages = stages_of(config)
    shape, counts = (32, 32, len(config.data.mean)), np.asarray(record["data"]["class_counts"])

    def like(number: int) -> TrainState:
        stage = stages[number]
        objective = make_objective(stage.config, counts, shape[:2])
        model = make_model(stage.config, len(counts), objective)
        trained = partial(trained_parameters, stage.config.parameters.trainable)
        optimizer = make_optimizer(stage.config)(jnp.zeros([]))
        shapes = jax.eval_shape(
            lambda: create_state(
                model, optimizer, shape, 0, trained=trained, memory=objective.memory
            )
        )
        place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), shapes
        )

    if not (workdir / "checkpoints").is_dir():
        raise FileNotFoundError(f"{workdir} holds no checkpoints; train it first")
    restored = Checkpoints(workdir).restore(like, newest)
    if restored is None:
        raise FileNotFoundError(f"{workdir / 'checkpoints'} is empty; train it first")
    return restored, stages[restored.stage]


def recorded_config(record: dict) -> ConfigDict:
    """The resolved config that a run's config.json holds, with the defaults of fields that are
    newer than the run.
    """
    recorded = ConfigDict({"data": {"name": record["config"]["data.name"]}})
    held = {**defaults(recorded), **record["config"]}
    config = ConfigDict(
        unflatten_dict({tuple(name.split(".")): _hashable(leaf) for name, leaf in held.items()})
    )
    config.stage = config.get("stage", ConfigDict())
    config.objective = config.get("objective", ConfigDict({"name": "classify"}))
    return config


def taken_over(variables: Any, fresh: Any, pattern: str, where: str) -> dict:
    """`variables` but for the parameters and statistics that match the pattern or belong to a head
    that was not there, which are `fresh`.
    """
    check_matches(fresh, pattern, where)
    old, new = flatten_dict(variables), flatten_dict(fresh)
    anew = {path for path in new if pattern and re.match(pattern, "/".join(path[1:]))}
    anew |= {path for path in new if path not in old and is_head(path[1])}
    differing = sorted(
        "/".join(path[1:])
        for path in new
        if path not in anew and np.shape(old.get(path)) != new[path].shape
    )
    if differing:
        raise ValueError(
            f"{where}: {len(differing)} parameters have another shape than before"
            f" ({', '.join(differing[:3])}); they must start anew"
            " (stage.NAME.parameters.reset or init_except, for instance linear)"
        )
    return unflatten_dict({path: new[path] if path in anew else old[path] for path in new})


def check_matches(variables: Any, pattern: str, where: str) -> None:
    """Raises ValueError for a regular expression that matches no parameter and no statistic."""
    paths = flatten_dict(variables)
    if pattern and not any(re.match(pattern, "/".join(path[1:])) for path in paths):
        names = sorted({path[1] for path in paths})
        raise ValueError(
            f"{where}: {pattern!r} matches no parameter; they begin with {', '.join(names)}"
        )


def _check_channels(variables: dict, image_shape: tuple[int, ...], source: str) -> None:
    stem = next(name for name in ("conv1", "conv_stem") if name in variables["params"])
    theirs, ours = variables["params"][stem]["kernel"].shape[2], image_shape[2]
    if theirs != ours:
        grey = "; --config.data.channels=3 repeats grey images" if ours == 1 else ""
        raise ValueError(
            f"config.init_from: {source} is for images of {theirs} channels,"
            f" these have {ours}{grey}"
        )


def _shapes(model: nn.Module, image_shape: tuple[int, ...]) -> Any:
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *image_shape))))


def _heads(variables: Any) -> set[str]:
    return {name for name in variables["params"] if is_head(name)}


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
