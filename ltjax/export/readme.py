"""README.md of an export: the lines that use its files in JAX, PyTorch and ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ltjax.trained import Trained


def readme(trained: Trained, with_onnx: bool) -> str:
    """How to use the files, in JAX, in PyTorch and in ONNX Runtime."""
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

Images are uint8 [N, {height}, {width}, {channels}] (NHWC, {"RGB" if channels == 3 else "grey"}), \
N as
you like. {crop} `model.json` has the classes, the normalisation and the run's figures,
`model_card.md` tells what the network was trained on and leaves room for what it is for.

## JAX

```python
import json, pathlib, jax.export
classes = json.loads(pathlib.Path("model.json").read_text())["classes"]
model = jax.export.deserialize(bytearray(pathlib.Path("model.stablehlo").read_bytes()))
probabilities = model.call(images)
names = [classes[k] for k in probabilities.argmax(axis=1)]
```

{torch_part}{_ONNX if with_onnx else ""}"""


_ONNX = """
## ONNX

```python
import json, pathlib, onnxruntime
classes = json.loads(pathlib.Path("model.json").read_text())["classes"]
session = onnxruntime.InferenceSession("model.onnx")
(probabilities,) = session.run(["probabilities"], {"images": images})
names = [classes[k] for k in probabilities.argmax(axis=1)]
```
"""


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
