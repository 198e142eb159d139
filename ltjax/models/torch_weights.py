"""PyTorch state dicts to and from Flax variables, and reading them from a file."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from ltjax.models.registry import create
from ltjax.models.torch_names import schemes
from ltjax.names import unknown

_STEMS = (
    "conv1.weight",
    "model.conv1.weight",
    "_conv_stem.weight",
    "features.0.0.weight",
    "conv_stem.weight",
)
_HEADS = ("linear", "fc", "_fc", "classifier.1", "classifier")
_KEPT_UNDER = ("state_dict", "model", "state_dict_ema")


def from_torch(name: str, state_dict: Mapping[str, Any]) -> dict:
    """Variables of a network from the state dict of its PyTorch counterpart.

    Number of classes, kind of classifier, width and image channels are read from the arrays.
    EfficientNets may be named as in efficientnet-pytorch, torchvision or timm (see `numerics` of
    the module for what else tells these apart). The prefixes "module." (DataParallel,
    AveragedModel) and "_orig_mod." (torch.compile) are dropped; `num_batches_tracked` and
    `n_averaged` have no counterpart and are ignored.

    Args:
      name: a key of `ltjax.models.MODELS`.
      state_dict: torch's names -> arrays or tensors, for instance conv1.weight,
        layer1.0.bn1.running_var, linear.weight.

    Returns:
      {"params": ..., "batch_stats": ...} in the arrays' own dtype; bfloat16 becomes float32.

    Raises:
      ValueError: missing or unexpected names, a shape that does not fit, or a value that is not
        finite.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import models
      >>> model = models.create("resnet8", num_classes=10, width=4)
      >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
      >>> state_dict = models.to_torch("resnet8", variables)
      >>> variables = models.from_torch("resnet8", state_dict)
      >>> print(sorted(variables), variables["params"]["linear"]["kernel"].shape)
      ['batch_stats', 'params'] (16, 10)
    """
    arrays = {
        _plain(key): _array(value)
        for key, value in state_dict.items()
        if not key.endswith(("num_batches_tracked", "n_averaged"))
    }
    options, channels = _options(name, arrays)
    template = flatten_dict(_shapes(name, options, channels))
    names = _fitting(name, template, arrays)
    missing = sorted(set(names.values()) - set(arrays))
    unexpected = sorted(set(arrays) - set(names.values()))
    if missing or unexpected:
        raise ValueError(
            f"state dict does not fit {name}: {len(missing)} names missing{_some(missing)},"
            f" {len(unexpected)} unexpected{_some(unexpected)}"
        )
    variables = {}
    for path, leaf in template.items():
        value = _to_flax(arrays[names[path]], options["classifier"])
        if value.shape != leaf.shape:
            raise ValueError(f"{names[path]} gives shape {value.shape}; {name} needs {leaf.shape}")
        if not np.isfinite(value).all():
            raise ValueError(
                f"{names[path]} holds values that are not finite;"
                " the file is damaged or the run diverged"
            )
        variables[path] = jnp.asarray(value)
    return unflatten_dict(variables)


def to_torch(name: str, variables: Mapping[str, Any], naming: str = "") -> dict[str, np.ndarray]:
    """The state dict that PyTorch's counterpart loads: torch's names -> NumPy arrays. The inverse
    of `from_torch`.

    Args:
      name: a key of `ltjax.models.MODELS`.
      variables: {"params": ..., "batch_stats": ...}.
      naming: of EfficientNets: efficientnet_pytorch (the default), torchvision, timm.

    Raises:
      ValueError: variables of another network, or an unknown naming.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from ltjax import models
      >>> model = models.create("resnet8", num_classes=10, width=4)
      >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
      >>> state_dict = models.to_torch("resnet8", variables)
      >>> print(state_dict["linear.weight"].shape)
      (10, 16)
    """
    flat = flatten_dict({key: variables[key] for key in ("params", "batch_stats")})
    known = schemes(name)
    if naming and naming not in known:
        raise unknown(f"unknown naming of {name}", naming, known)
    named = known[naming or next(iter(known))]
    kind = "linear" if ("params", "linear", "bias") in flat else "normalized"
    arrays = {named(path): _to_torch(np.asarray(value), kind) for path, value in flat.items()}
    try:
        options, channels = _options(name, arrays)
        expected = {
            path: leaf.shape
            for path, leaf in flatten_dict(_shapes(name, options, channels)).items()
        }
    except (ValueError, KeyError):
        expected = {}
    if expected != {path: np.shape(leaf) for path, leaf in flat.items()}:
        raise ValueError(f"variables are not those of {name}")
    return arrays


def naming(name: str, state_dict: Mapping[str, Any]) -> str:
    """Which program's names a state dict uses: a key of `ltjax.models.torch_names.schemes(name)`,
    the best fitting.
    """
    keys = {_plain(key) for key in state_dict}
    known = schemes(name)
    paths = flatten_dict(_shapes(name, {"num_classes": 10, "classifier": "linear"}, 3))
    return max(known, key=lambda scheme: sum(known[scheme](path) in keys for path in paths))


def load_state_dict(path: str | Path) -> dict[str, Any]:
    """Reads a state dict from .pth/.pt (torch's weights_only loader), .npz or .safetensors. Nothing
    in a file is executed.

    A checkpoint that keeps the state dict under "state_dict", "model" or "state_dict_ema" (the
    first of these that it has), or one in another, is unpacked.

    Args:
      path: of a file; package:NAME, the one weight file inside an installed Python package; or
        hub:OWNER/NAME, model.safetensors of that repository of the Hugging Face hub, downloaded
        once.

    Raises:
      ValueError: another suffix, or a file that can't be read, named.
      FileNotFoundError: no such file, package or repository.
      ImportError: a .pth without torch installed, or a hub name without huggingface_hub.
    """
    path = _located(str(path))
    if not path.exists():
        beside = sorted(each.name for each in path.parent.glob("*") if each.suffix in _READERS)
        there = f"{path.parent} holds {', '.join(beside[:5])}" if beside else "look at the path"
        raise FileNotFoundError(f"{path}: no such weight file; {there}")
    if path.suffix not in _READERS:
        raise ValueError(f"{path}: expected a file ending in .pth, .pt, .npz or .safetensors")
    try:
        state_dict = _READERS[path.suffix](path)
    except ImportError:
        raise
    except (
        Exception
    ) as error:  # each format has its own errors; the user needs the file's name and the reason
        raise ValueError(
            f"{path}: not a readable {path.suffix} weight file ({str(error).splitlines()[0]})"
        ) from error
    while isinstance(state_dict, Mapping):
        within = [
            state_dict[key] for key in _KEPT_UNDER if isinstance(state_dict.get(key), Mapping)
        ]
        if not within:
            return dict(state_dict)
        state_dict = within[0]
    raise ValueError(f"{path}: holds a {type(state_dict).__name__}; expected a state dict")


def _located(source: str) -> Path:
    """The file that a name stands for."""
    kind, _, name = source.partition(":")
    if name.startswith("//"):
        raise ValueError(f"{source} is an address; download it and give the file's path")
    if kind == "package" and name:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(
                f"{source}: no such installed package (pip install {name.replace('_', '-')})"
            )
        files = [
            path
            for folder in spec.submodule_search_locations
            for path in sorted(Path(folder).rglob("*"))
            if path.suffix in _READERS
        ]
        if len(files) != 1:
            raise FileNotFoundError(
                f"{source}: expected one weight file in the package, found {len(files)};"
                " give the file itself"
            )
        return files[0]
    if kind == "hub" and name:
        try:
            import huggingface_hub
        except ImportError:
            raise ImportError(
                f"{source}: needs the huggingface_hub package: pip install huggingface_hub"
            ) from None
        try:
            return Path(huggingface_hub.hf_hub_download(name, "model.safetensors"))
        except Exception as error:  # network, name, permission: many types
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise FileNotFoundError(
                f"{source}: can't be had from the hub ({reason});"
                " download the file and give its path"
            ) from None
    return Path(source)


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
            f"{path}: reading a .pth file needs PyTorch (pip install torch);"
            " or convert it once to .npz or .safetensors"
        ) from None
    return torch.load(path, map_location="cpu", weights_only=True)


_READERS = {
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".pth": _read_pth,
    ".pt": _read_pth,
    ".tar": _read_pth,
}


def _options(name: str, arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], int]:
    """What `create` needs to make the network these arrays belong to, and the image channels."""
    head = next(
        (key for key in _HEADS if f"{key}.weight" in arrays and arrays[f"{key}.weight"].ndim == 2),
        None,
    )
    stem = next((arrays[key] for key in _STEMS if key in arrays and arrays[key].ndim == 4), None)
    if head is None:
        raise ValueError(
            "state dict has no 2-d linear.weight;"
            f" it has {len(arrays)} names{_some(sorted(arrays))}"
        )
    if stem is None:
        raise ValueError(
            f"state dict has no 4-d conv1.weight; it has {len(arrays)} names{_some(sorted(arrays))}"
        )
    # torch's Linear keeps (C, features); the authors' NormedLinear (features, C) and no bias.
    kind = "linear" if f"{head}.bias" in arrays else "normalized"
    num_classes = arrays[f"{head}.weight"].shape[0 if kind == "linear" else 1]
    if f"{head}.factor" in arrays:
        kind = "scaled"
    options: dict[str, Any] = {"num_classes": num_classes, "classifier": kind}
    if not name.startswith("efficientnet"):
        options["width"] = stem.shape[0]
    if name.startswith("reslt_"):
        options["head"] = "grouped" if "branches.weight" in arrays else "batch_norm"
    return options, stem.shape[1]


def _shapes(name: str, options: dict[str, Any], channels: int) -> dict:
    model = create(name, **options)
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, channels))))


def _fitting(
    name: str, template: Mapping[tuple[str, ...], Any], arrays: Mapping[str, np.ndarray]
) -> dict[tuple[str, ...], str]:
    """Torch's name of each leaf, in the scheme that fits the arrays best."""
    candidates = [{path: named(path) for path in template} for named in schemes(name).values()]
    return max(candidates, key=lambda names: len(set(names.values()) & set(arrays)))


def _to_flax(value: np.ndarray, kind: str) -> np.ndarray:
    if value.ndim == 4:
        return value.transpose(2, 3, 1, 0)  # OIHW -> HWIO
    return value.T if value.ndim == 2 and kind != "normalized" else value


def _to_torch(value: np.ndarray, kind: str) -> np.ndarray:
    if value.ndim == 4:
        return np.ascontiguousarray(value.transpose(3, 2, 0, 1))
    return np.ascontiguousarray(value.T) if value.ndim == 2 and kind == "linear" else value


def _array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype == jnp.bfloat16 else array


def _plain(key: str) -> str:
    """A name without the prefixes of torch's wrappers, in any order."""
    while key.startswith(("module.", "_orig_mod.")):
        key = key.partition(".")[2]
    return key


def _some(names: list[str]) -> str:
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
