"""Hessian-vector products of a ResNet against PyTorch's double backward, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ltjax import hessian, losses, models
from parity_tests import reference

pytestmark = pytest.mark.usefixtures("quickly_compiled")


def test_hvp_of_resnet8_in_evaluation_mode():
    torch.manual_seed(0)
    network = reference.ResNet(1, 10).double()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 1.5)
            module.running_mean.normal_(0, 0.1)
    network.eval()
    x, labels = np.random.default_rng(0).normal(size=(4, 16, 16, 3)), np.array([0, 3, 9, 3])
    variables = models.from_torch("resnet8", network.state_dict())
    generator = np.random.default_rng(1)
    named = dict(network.named_parameters())
    direction = {
        name: generator.normal(size=tuple(parameter.shape)) for name, parameter in named.items()
    }

    loss = torch.nn.functional.cross_entropy(
        network(torch.tensor(x.transpose(0, 3, 1, 2))), torch.tensor(labels)
    )
    grads = torch.autograd.grad(loss, list(named.values()), create_graph=True)
    dot = sum(
        (grad * torch.tensor(direction[name])).sum()
        for name, grad in zip(named, grads, strict=True)
    )
    theirs = dict(zip(named, torch.autograd.grad(dot, list(named.values())), strict=True))

    buffers = {name: value.numpy() for name, value in network.named_buffers()}
    vector = models.from_torch("resnet8", {**direction, **buffers})["params"]
    model = models.create("resnet8", 10, param_dtype=jnp.float64)

    def loss_fn(params):
        return losses.cross_entropy(
            model.apply({**variables, "params": params}, jnp.asarray(x)), labels
        ).mean()

    product = jax.jit(lambda params, vector: hessian.hvp(loss_fn, params, vector))(
        variables["params"], vector
    )
    ours = models.to_torch("resnet8", {"params": product, "batch_stats": variables["batch_stats"]})
    for name, expected in theirs.items():
        expected = expected.numpy()
        assert np.linalg.norm(ours[name] - expected) < 1e-9 * np.linalg.norm(expected), name
