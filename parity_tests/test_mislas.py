"""MiSLAS's second stage against PyTorch in float64: label-aware smoothing, a learned scale a class,
two learning rates.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from configs import mislas
from ltjax import losses
from ltjax.experiment import settings
from ltjax.experiment.recipe import make_optimizer
from ltjax.experiment.stages import stages_of
from ltjax.models.layers import Linear
from parity_tests import reference

COUNTS = [500, 200, 80, 30, 12]


def test_ten_steps_of_the_classifier_with_scales_and_two_learning_rates():
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(10, 16, 7)), generator.integers(0, 5, (10, 16))
    kernel, bias = generator.normal(size=(7, 5)), generator.normal(size=5)
    config = stages_of(settings.resolve(mislas.get_config()))[1].config
    optimizer = make_optimizer(config)
    layer = Linear(5, scaled=True, param_dtype=jnp.float64)
    params = {"linear": {"kernel": kernel, "bias": bias, "factor": jnp.ones(5)}}
    state = optimizer(0.0).init(params)

    linear = torch.nn.Linear(7, 5).double()
    linear.weight.data, linear.bias.data = torch.tensor(kernel.T), torch.tensor(bias)
    scale = torch.nn.Parameter(torch.ones(1, 5, dtype=torch.float64))
    groups = [{"params": linear.parameters(), "lr": 0.0}, {"params": [scale], "lr": 0.0}]
    sgd = torch.optim.SGD(groups, momentum=0.9, weight_decay=2e-4)

    @jax.jit
    def step(params, state, x, y, rate):
        def loss(params):
            logits = layer.apply({"params": params["linear"]}, x)
            return jnp.mean(losses.label_aware_smoothing(logits, y, class_counts=COUNTS))

        updates, state = optimizer(rate).update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    for epoch, (x, y) in enumerate(zip(features, labels, strict=True)):
        rate = reference.cosine_rate(epoch, 0.1, 10)
        sgd.param_groups[0]["lr"], sgd.param_groups[1]["lr"] = 0.5 * rate, rate
        sgd.zero_grad()
        logits = scale * linear(torch.tensor(x))
        smooth = reference.label_aware_smoothing(logits, torch.tensor(y), class_counts=COUNTS)
        smooth.mean().backward()
        sgd.step()
        params, state = step(params, state, x, y, rate)
    found = params["linear"]
    np.testing.assert_allclose(found["kernel"], linear.weight.detach().numpy().T, rtol=1e-12)
    np.testing.assert_allclose(found["bias"], linear.bias.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(found["factor"], scale.detach().numpy()[0], rtol=1e-12)
    assert np.abs(found["factor"] - 1).max() > 1e-3
