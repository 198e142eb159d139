"""The whole epoch of every recipe lowers for GPUs and TPUs, on a machine without either."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltjax import data
from ltjax.experiment import experiment, settings
from ltjax.experiment.recipe import compiled_as
from ltjax.models import MODELS, efficientnet
from ltjax.models.resnet import ResNet
from ltjax.training.step import train_steps
from tests.test_configs import NAMES, load

SHALLOW = {
    "resnet20": MODELS["resnet8"],
    "resnet32": MODELS["resnet8"],
    "reslt_resnet32": MODELS["reslt_resnet8"],
    "resnet18_cifar": partial(ResNet, blocks=(1, 1, 1, 1)),
    "resnet50": partial(ResNet, stem="imagenet", blocks=(1, 1, 1, 1), bottleneck=True),
    "resnet152": partial(ResNet, stem="imagenet", blocks=(1, 1, 1, 1), bottleneck=True),
}
"""The same layers, fewer of them."""
COUNTS, SIZE, BATCH = (16, *range(12, 3, -1)), 32, 8
"""Eleven whole batches; a short one, which traces every step again, is the quickstart's alone."""
LOWERED: dict[tuple, str] = {}
"""Stages of several recipes compile to the same program."""


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_lowers_for_accelerators(name, monkeypatch):
    for network, shallow in SHALLOW.items():
        monkeypatch.setitem(MODELS, network, shallow)
    b0 = efficientnet.VARIANTS["efficientnet_b0"]
    monkeypatch.setitem(efficientnet.VARIANTS, "efficientnet_b0", b0._replace(depth=0.1))
    config = load(name)
    config.data.profile, config.data.resolution = "full", 0
    config.data.groups, config.data.image_size, config.data.shorter_side = (3, 6), SIZE, SIZE
    config.training.batch_size, config.training.cpu_devices = BATCH, 1
    config = settings.resolve(config)
    labels = np.repeat(np.arange(len(COUNTS)), COUNTS)[: -3 if name == "quickstart" else None]
    images = np.zeros((len(labels), SIZE, SIZE, len(config.data.mean)), np.uint8)
    names = tuple("0123456789")
    given = data.Dataset(config.data.name, images, labels, images, labels, names, "noise")
    built = experiment.build(config, given)
    # From here on as where the default backend is a GPU.
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    steps, rest = divmod(len(labels), BATCH)
    sizes = {"batch_size": BATCH, "full_steps": steps, "remainder": rest, "unroll": 1}
    for k, recipe in enumerate(built.recipes):
        key = compiled_as(built.stages[k]), str(recipe.model), config.data.mean
        if key not in LOWERED:
            values = built.state_like(k), images, labels.astype(np.int32), built.settings(0)
            shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), values)
            program = jax.jit(partial(train_steps, recipe), static_argnames=tuple(sizes))
            lowered = program.trace(*shapes, **sizes).lower(lowering_platforms=("cuda", "tpu"))
            LOWERED[key] = lowered.as_text()
        kernels = sum(jnp.ndim(x) == 4 for x in jax.tree.leaves(built.state_like(k).params))
        assert "stablehlo.while" in LOWERED[key]
        assert LOWERED[key].count("stablehlo.convolution") >= kernels
