"""PyTorch state dicts to and from Flax variables, and reading them from a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from ltjax.models.registry import create

_LEAVES = {
    ("params", "kernel"): "weight",
    ("params", "scale"): "weight",
    ("params", "bias"): "bias",
    ("batch_stats", "mean"): "running_mean",
    ("batch_stats", "var"): "running_var",
}


def from_torch(name: str, state_dict: Mapping[str, Any]) -> dict:
    """Variables of a network from the state dict of its PyTorch counterpart.

    Number of classes and kind of classifier are read from `linear.weight` and `linear.bias`, width and image channels from
    `conv1.weight`. A "module." prefix (DataParallel) is dropped; `num_batches_tracked` has no counterpart and is ignored.

    Args:
      name: a key of `ltjax.models.MODELS`.
      state_dict: torch's names -> arrays or tensors, for instance conv1.weight, layer1.0.bn1.running_var, linear.weight.

    Returns:
      {"params": ..., "batch_stats": ...} in the arrays' own dtype.

    Raises:
      ValueError: missing or unexpected names, a shape that does not fit, or a value that is not finite.
    """
    arrays = {key.removeprefix("module."): _array(value) for key, value in state_dict.items()}
    arrays = {key: value for key, value in arrays.items() if not key.endswith("num_batches_tracked")}
    num_classes, kind = _head(arrays)
    stem = arrays.get("conv1.weight")
    if stem is None or stem.ndim != 4:
        raise ValueError(f"state dict has no 4-d conv1.weight; it has {len(arrays)} names{_some(sorted(arrays))}")
    template = flatten_dict(_shapes(name, num_classes, kind, *stem.shape[:2]))
    names = {path: _torch_name(path) for path in template}
    missing = sorted(set(names.values()) - set(arrays))
    unexpected = sorted(set(arrays) - set(names.values()))
    if missing or unexpected:
        raise ValueError(
            f"state dict does not fit {name}: {len(missing)} names missing{_some(missing)}, {len(unexpected)} unexpected{_some(unexpected)}"
        )
    variables = {}
    for path, leaf in template.items():
        value = _to_flax(arrays[names[path]], kind)
        if value.shape != leaf.shape:
            raise ValueError(f"{names[path]} gives shape {value.shape}; {name} needs {leaf.shape}")
        if not np.isfinite(value).all():
            raise ValueError(f"{names[path]} holds values that are not finite; the file is damaged or the run diverged")
        variables[path] = jnp.asarray(value)
    return unflatten_dict(variables)


def to_torch(name: str, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The state dict that PyTorch's counterpart loads: torch's names -> NumPy arrays. The inverse of `from_torch`.

    Args:
      name: a key of `ltjax.models.MODELS`.
      variables: {"params": ..., "batch_stats": ...}.

    Raises:
      ValueError: variables of another network.
    """
    flat = flatten_dict({key: variables[key] for key in ("params", "batch_stats")})
    head = flat[("params", "linear", "kernel")]
    kind = "linear" if ("params", "linear", "bias") in flat else "normalized"
    channels, width = flat[("params", "conv1", "kernel")].shape[2:]
    expected = flatten_dict(_shapes(name, head.shape[-1], kind, width, channels))
    if {path: leaf.shape for path, leaf in expected.items()} != {path: np.shape(leaf) for path, leaf in flat.items()}:
        raise ValueError(f"variables are not those of {name}")
    return {_torch_name(path): _to_torch(np.asarray(value), kind) for path, value in flat.items()}


def load_state_dict(path: str | Path) -> dict[str, Any]:
    """Reads a state dict from .pth/.pt (torch's weights_only loader), .npz or .safetensors. Nothing in a file is executed.

    A checkpoint that keeps the state dict under "state_dict" or "model" is unpacked.

    Raises:
      ValueError: another suffix, or a file that can't be read, named.
      FileNotFoundError: no such file.
      ImportError: a .pth without torch installed.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such weight file")
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors, ".pth": _read_pth, ".pt": _read_pth, ".tar": _read_pth}
    if path.suffix not in readers:
        raise ValueError(f"{path}: expected a file ending in .pth, .pt, .npz or .safetensors")
    try:
        state_dict = readers[path.suffix](path)
    except ImportError:
        raise
    except Exception as error:  # each format has its own errors; the user needs the file's name and the reason
        raise ValueError(f"{path}: not a readable {path.suffix} weight file ({str(error).splitlines()[0]})") from error
    for key in ("state_dict", "model"):
        if isinstance(state_dict, Mapping) and isinstance(state_dict.get(key), Mapping):
            state_dict = state_dict[key]
    return dict(state_dict)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)


def _read_pth(path: Path) -> dict[str, Any]:
    try:
        import torch
    except ImportError:
        raise ImportError(
            f"{path}: reading a .pth file needs PyTorch (pip install torch); or convert it once to .npz or .safetensors"
        ) from None
    return torch.load(path, map_location="cpu", weights_only=True)


def _head(arrays: Mapping[str, np.ndarray]) -> tuple[int, str]:
    """Number of classes and kind of the classifier."""
    weight = arrays.get("linear.weight")
    if weight is None or weight.ndim != 2:
        raise ValueError(f"state dict has no 2-d linear.weight; it has {len(arrays)} names{_some(sorted(arrays))}")
    # torch's Linear keeps (C, features); the authors' NormedLinear (features, C) and no bias.
    return (weight.shape[0], "linear") if "linear.bias" in arrays else (weight.shape[1], "normalized")


def _shapes(name: str, num_classes: int, kind: str, width: int, channels: int) -> dict:
    model = create(name, num_classes, classifier=kind, width=width)
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, channels))))


def _torch_name(path: tuple[str, ...]) -> str:
    collection, *modules, leaf = path
    modules = [re.sub(r"^(layer\d+)_(\d+)$", r"\1.\2", module) for module in modules]
    return ".".join([*modules, _LEAVES[collection, leaf]])


def _to_flax(value: np.ndarray, kind: str) -> np.ndarray:
    if value.ndim == 4:
        return value.transpose(2, 3, 1, 0)  # OIHW -> HWIO
    return value.T if value.ndim == 2 and kind == "linear" else value


def _to_torch(value: np.ndarray, kind: str) -> np.ndarray:
    if value.ndim == 4:
        return np.ascontiguousarray(value.transpose(3, 2, 0, 1))
    return np.ascontiguousarray(value.T) if value.ndim == 2 and kind == "linear" else value


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def _some(names: list[str]) -> str:
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
