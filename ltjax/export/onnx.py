"""A trained network as an ONNX graph, by jax2onnx, checked by ONNX Runtime before it is kept."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from ltjax.trained import Trained

FILE = "model.onnx"
OPSET = 18
"""Of ONNX 1.13 (2022): what runtimes of some years ago read too."""
_PACKAGES = ("jax2onnx", "onnx", "onnxruntime")
_DIFFERENCE = 1e-3
"""Between probabilities; float32 sums in another order give 1e-6, LDAM's scale of 30 1e-4."""


def write(trained: Trained, folder: Path, prior: Any, say: Callable[[str], None]) -> bool:
    """Writes model.onnx: images uint8 [N, H, W, C] of any N to probabilities float32 [N, C],
    preprocessing inside; whether it is there.

    One that an earlier export left is removed. Where packages are missing, the network can't be
    converted, or ONNX Runtime gives other probabilities, `say` is told in one line, and there is no
    file. A network that computes in bfloat16 does so in float32 here.
    """
    (folder / FILE).unlink(missing_ok=True)
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        say(f"{FILE} is left out: pip install 'ltjax[onnx]' brings {' and '.join(missing)}")
        return False
    exact = dataclasses.replace(trained, stage=_in_float32(trained.stage))
    partial = folder / f"{FILE}.partial"
    try:
        with _quiet():
            partial.write_bytes(graph(exact, prior))
            difference = _difference(exact, prior, partial)
    except Exception as error:  # of three packages, and of what they can't convert
        partial.unlink(missing_ok=True)
        reason = (str(error).strip().splitlines() or [""])[0]
        say(f"{FILE} is left out: {type(error).__name__} in its conversion: {reason}")
        return False
    if not difference < _DIFFERENCE:
        partial.unlink()
        say(
            f"{FILE} is left out: its probabilities differ by {difference:.2g} in ONNX Runtime;"
            f" expected below {_DIFFERENCE:g}"
        )
        return False
    os.replace(partial, folder / FILE)
    return True


def graph(trained: Trained, prior: Any = None) -> bytes:
    """The serialized model; its metadata hold the classes' names as JSON."""
    import jax2onnx
    import onnx

    adjustment = jnp.asarray(trained.log_prior(prior), jnp.float32)

    def probabilities(images: jax.Array) -> jax.Array:
        logits, _ = trained.outputs(trained.variables, images)
        return jax.nn.softmax(logits.astype(jnp.float32) + adjustment)

    model: Any = jax2onnx.to_onnx(
        probabilities,
        # A batch of no number: convolutions stay convolutions (ltjax.models.layers).
        [jax.ShapeDtypeStruct(("N", *trained.image_shape), jnp.uint8)],
        model_name=trained.config.model.name,
        opset=OPSET,
        input_names=["images"],
        output_names=["probabilities"],
    )
    onnx.helper.set_model_props(model, {"classes": json.dumps(list(trained.class_names))})
    return model.SerializeToString()


def _difference(trained: Trained, prior: Any, file: Path) -> float:
    """The largest between ONNX Runtime's probabilities and ours, of three images."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 256, (3, *trained.image_shape), np.uint8)
    (found,) = session.run(None, {"images": images})
    return float(np.abs(found - trained.predict_proba(images, prior=prior)).max())


def _in_float32(stage: Any) -> Any:
    made = stage.copy_and_resolve_references()
    made.model.dtype = "float32"
    return made


@contextmanager
def _quiet() -> Iterator[None]:
    """Without jax2onnx's notes on its steps and on the libraries that it would convert too."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
