"""A trained network as files for other programs: PyTorch's weights, a compiled-to-be JAX program,
and what they mean.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from ltjax import __version__, models
from ltjax.data import is_streamed
from ltjax.experiment.recipe import create_model
from ltjax.workdir.workdir import write_atomically

if TYPE_CHECKING:
    from ltjax.trained import Trained

PLATFORMS = ("cpu", "cuda", "tpu")


def write(trained: Trained, folder: Path, prior: Any = None) -> Path:
    """Writes weights.safetensors, model.stablehlo, model.json and README.md; see `Trained.export`."""
    from safetensors.numpy import save_file

    program = serialized(trained, prior)  # first: it refuses a prior that does not fit
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: np.ascontiguousarray(w) for name, w in torch_weights(trained).items()}
    save_file(weights, folder / "weights.safetensors", {"format": "pt"})
    (folder / "model.stablehlo").write_bytes(program)
    about = description(trained, prior)
    write_atomically(folder / "model.json", json.dumps(about, indent=1) + "\n")
    write_atomically(folder / "README.md", readme(trained))
    return folder


def serialized(trained: Trained, prior: Any = None) -> bytes:
    """The function of images uint8 [N, H, W, C] to probabilities float32 [N, C], weights and
    preprocessing inside, by jax.export.
    """
    adjustment = jnp.asarray(trained.log_prior(prior), jnp.float32)

    def probabilities(images: jax.Array) -> jax.Array:
        logits, _ = trained.outputs(trained.variables, images)
        return jax.nn.softmax(logits.astype(jnp.float32) + adjustment)

    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *trained.image_shape), jnp.uint8)
    exported = jax.export.export(jax.jit(probabilities), platforms=PLATFORMS)(images)
    return bytes(exported.serialize())


def torch_weights(trained: Trained) -> dict[str, np.ndarray]:
    """The state dict under PyTorch's names (timm's for EfficientNets), outputs in the order of the
    class ids.
    """
    variables: dict[str, Any] = jax.device_get(trained.variables)
    order = np.argsort(trained.label_ids)
    linear = {name: value[..., order] for name, value in variables["params"]["linear"].items()}
    scale = linear.pop("scale", None)  # of a scaled classifier
    if scale is not None:
        linear = {name: value * scale for name, value in linear.items()}
    variables["params"]["linear"] = linear
    plain = create_model(trained.stage, trained.num_classes)  # without an objective's heads
    image = jnp.zeros((1, *trained.image_shape))
    shapes = jax.eval_shape(lambda: plain.init(jax.random.key(0), image))
    variables = {
        part: {name: value for name, value in variables[part].items() if name in shapes[part]}
        for part in ("params", "batch_stats")
    }
    name = trained.config.model.name
    return models.to_torch(name, variables, "timm" if name.startswith("efficientnet") else "")


def description(trained: Trained, prior: Any) -> dict[str, Any]:
    """What model.json says."""
    config = trained.config
    return {
        "classes": list(trained.class_names),
        "training_images": trained.class_counts.tolist(),
        "image_shape": list(trained.image_shape),
        "before_the_crop": list(trained.scaled_to) if is_streamed(config.data.name) else None,
        "mean": list(config.data.mean),
        "std": list(config.data.std),
        "resolution": config.data.resolution or None,
        "model": config.model.name,
        "classifier": config.model.classifier,
        "logit_scale": trained.logit_scale,
        "prior_in_stablehlo": prior if prior is None or isinstance(prior, str) else list(prior),
        "recipe": config.name,
        "init_from": config.init_from or None,
        "licence": "of the training images and of init_from; ltjax itself is Apache-2.0",
        "figures": trained.figures,
        "ltjax": __version__,
        "jax": jax.__version__,
    }


def readme(trained: Trained) -> str:
    """How to use the files, in JAX and in PyTorch."""
    height, width, channels = trained.image_shape
    crop = (
        f"Scale a photograph until it just covers {trained.scaled_to[0]} pixels (bilinear, with"
        f" antialiasing) and cut out the middle {height} x {width}."
        if trained.scaled_to != (height, width)
        else f"Images are {height} x {width}."
    )
    network = _torch_network(trained)
    torch_part = (
        f"## PyTorch\n\n```python\n{network}\n```\n"
        if network
        else "## PyTorch\n\nweights.safetensors has the names of the network's PyTorch program"
        " (for CIFAR networks the LDAM-DRW authors' models/resnet_cifar.py); multiply its outputs"
        f" by {trained.logit_scale:g} before the softmax.\n"
    )
    return f"""# {trained.config.model.name}, {trained.num_classes} classes

Images are uint8 [N, {height}, {width}, {channels}] (NHWC, {"RGB" if channels == 3 else "grey"}), N as
you like. {crop} `model.json` has the classes, the normalisation and the run's figures.

## JAX

```python
import json, pathlib, jax.export
classes = json.loads(pathlib.Path("model.json").read_text())["classes"]
model = jax.export.deserialize(bytearray(pathlib.Path("model.stablehlo").read_bytes()))
probabilities = model.call(images)
names = [classes[k] for k in probabilities.argmax(axis=1)]
```

{torch_part}"""


def _torch_network(trained: Trained) -> str:
    """Lines that make PyTorch's counterpart and its probabilities; "" where no package has it."""
    config, name, count = trained.config, trained.config.model.name, trained.num_classes
    if config.model.width or config.model.dtype != "float32":
        return ""
    if name.startswith("efficientnet"):
        tensorflow = config.model.efficientnet.numerics == "tensorflow"
        timm_name = f"tf_{name}" if tensorflow else name
        lines = ["import torch, timm", f'network = timm.create_model("{timm_name}"', "classifier"]
    elif name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"):
        lines = ["import torch, torchvision", f"network = torchvision.models.{name}(", "fc"]
    else:
        return ""
    imports, made, head = lines
    made += f"{', ' if made[-1] != '(' else ''}num_classes={count}).eval()"
    body = [
        imports,
        "from safetensors.torch import load_file",
        made,
        'weights = load_file("weights.safetensors")',
    ]
    outputs = "network(x)"
    if config.model.classifier == "normalized":
        body += [f'kernel = weights.pop("{head}.weight")', f"network.{head} = torch.nn.Identity()"]
        unit = "torch.nn.functional.normalize"
        outputs = f"({unit}(network(x)) @ {unit}(kernel, dim=0))"
    scale = f"{trained.logit_scale:g} * " if trained.logit_scale != 1 else ""
    mean, std = (
        [float(value) for value in values] for values in (config.data.mean, config.data.std)
    )
    body += [
        "network.load_state_dict(weights, strict=False)  # BatchNorm's step counts are left out",
        "x = torch.from_numpy(images).permute(0, 3, 1, 2) / 255",
        f"x = (x - torch.tensor({mean}).view(-1, 1, 1)) / torch.tensor({std}).view(-1, 1, 1)",
    ]
    if config.data.resolution:
        body.append(
            f"x = torch.nn.functional.interpolate(x, {config.data.resolution}, mode='bilinear',"
            " antialias=True)"
        )
    body.append(f"probabilities = ({scale}{outputs}).softmax(1)")
    return "\n".join(body)
