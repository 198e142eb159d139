"""Focal-SAM and ImbSAM through the real step: ResNet-8 in float64 from the same weights on the same
batches, with class weights, against a loop in PyTorch.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ltjax import losses, models, optim
from ltjax.experiment.recipe import Recipe, Settings
from ltjax.experiment.state import create_state
from ltjax.objectives import OBJECTIVES, Given, Mixing
from ltjax.training.step import update
from parity_tests import reference

pytestmark = pytest.mark.usefixtures("quickly_compiled")
COUNTS = np.array([60, 25, 10, 5])
STEPS, BATCH, RHO = 6, 12, 0.3
PRIOR = COUNTS / COUNTS.sum()
FOCI = {
    "focal": (1 - 0.5 * (1 - PRIOR) ** 3, 0.5 * (1 - PRIOR) ** 3),
    "tail": (np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.0, 0.0, 2.0, 2.0])),
}


def batches():
    """The third has no tail class: nothing is perturbed."""
    generator = np.random.default_rng(0)
    for step in range(STEPS):
        labels = generator.integers(0, 2 if step == 2 else 4, BATCH)
        yield generator.normal(size=(BATCH, 8, 8, 3)), labels


def theirs(network, plain, perturbed, weights):
    """Yields after each step."""
    sgd = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=2e-4)
    parameters = list(network.parameters())
    for images, labels in batches():
        x, y = torch.tensor(images.transpose(0, 3, 1, 2)), torch.tensor(labels)

        def part(logits, c, y=y):
            values = reference.logit_adjusted(logits, y, class_counts=COUNTS)
            return (torch.tensor(c)[y] * weights[y] * values).sum() / weights[y].sum()

        logits = network(x)
        rest = torch.autograd.grad(part(logits, plain), parameters, retain_graph=True)
        sharp = torch.autograd.grad(part(logits, perturbed), parameters)
        norm = torch.sqrt(sum((g**2).sum() for g in sharp))
        with torch.no_grad():
            before = [p.clone() for p in parameters]
            for p, g in zip(parameters, sharp, strict=True):
                p.add_(RHO * g / (norm + 1e-12))
        second = torch.autograd.grad(part(network(x), perturbed), parameters)
        with torch.no_grad():
            for p, old, a, b in zip(parameters, before, rest, second, strict=True):
                p.copy_(old)
                p.grad = a + b
        sgd.step()


@pytest.fixture(scope="module")
def recipe():
    loss = partial(losses.logit_adjusted, class_counts=COUNTS)
    given = Given(loss, COUNTS, Mixing(), lambda key, images: images, lambda images: images)
    return Recipe(
        model=models.create("resnet8", 4, width=4, param_dtype=jnp.float64),
        objective=OBJECTIVES["classify"].make(given),
        loss=loss,
        optimizer=lambda rate: optim.sgd(rate, momentum=0.9, weight_decay=2e-4),
        order=lambda key, labels, epoch: jnp.arange(len(labels)),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        sam=True,
    )


@pytest.mark.parametrize("focus", FOCI)
def test_six_steps_end_in_the_same_parameters(focus, recipe):
    plain, perturbed = FOCI[focus]
    made = {
        "focal": optim.focal_weights(COUNTS, 3.0, 0.5),
        "tail": optim.tail_weights(COUNTS, 20, 2.0),
    }[focus]
    np.testing.assert_allclose(made, perturbed, rtol=1e-15)
    torch.manual_seed(0)
    network = reference.ResNet(1, 4, width=4).double().train()
    variables = models.from_torch("resnet8", network.state_dict())
    weights = np.array([0.5, 0.8, 1.2, 1.5])
    # The class vectors are arguments of the step's parts, which compile once for both.
    recipe = dataclasses.replace(recipe, focus=jnp.stack([plain, perturbed]))
    settings = Settings(
        learning_rate=jnp.asarray(0.05), rho=jnp.asarray(RHO), class_weights=jnp.asarray(weights)
    )
    state = create_state(recipe.model, recipe.optimizer(0.1), (8, 8, 3), 0, variables)
    step = jax.jit(partial(update, recipe))
    for images, labels in batches():
        state = step(state, jnp.asarray(images), jnp.asarray(labels), settings)
    theirs(network, plain, perturbed, torch.tensor(weights))
    ours = models.to_torch("resnet8", state.variables)
    for name, value in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            expected = value.numpy()
            assert np.linalg.norm(ours[name] - expected) / np.linalg.norm(expected) < 1e-10, name
