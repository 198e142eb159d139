"""A trained network as files for other programs: PyTorch's weights, a compiled-to-be JAX program,
an ONNX graph, and what they mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from ltjax import __version__, models
from ltjax.data import is_streamed
from ltjax.experiment.recipe import create_model
from ltjax.export import onnx
from ltjax.export.card import model_card
from ltjax.export.readme import readme
from ltjax.workdir.workdir import write_atomically

if TYPE_CHECKING:
    from ltjax.trained import Trained

PLATFORMS = ("cpu", "cuda", "tpu")


def write(
    trained: Trained, folder: Path, prior: Any = None, say: Callable[[str], None] = print
) -> Path:
    """Writes weights.safetensors, model.stablehlo, model.onnx, model.json, README.md and
    model_card.md; see `Trained.export`. `say` is told what is left out.
    """
    from safetensors.numpy import save_file

    program = serialized(trained, prior)  # first: it refuses a prior that does not fit
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: np.ascontiguousarray(w) for name, w in torch_weights(trained).items()}
    save_file(weights, folder / "weights.safetensors", {"format": "pt"})
    (folder / "model.stablehlo").write_bytes(program)
    about = description(trained, prior)
    write_atomically(folder / "model.json", json.dumps(about, indent=1) + "\n")
    with_onnx = onnx.write(trained, folder, prior, say)
    write_atomically(folder / "README.md", readme(trained, with_onnx))
    write_atomically(folder / "model_card.md", model_card(trained))
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
    params = variables["params"]
    for layer in [name for name in params if name.startswith("linear")]:  # linear_K of experts
        linear = {name: value[..., order] for name, value in params[layer].items()}
        scale = linear.pop("factor", None)  # of a scaled classifier
        params[layer] = {k: v if scale is None else v * scale for k, v in linear.items()}
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
