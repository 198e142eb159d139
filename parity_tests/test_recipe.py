"""The whole: 20 steps of LDAM+DRW+SAM on ResNet-32 in float64, from the same weights on the same
augmented batches. Its other mode on ResNet-8, as one program and with a short last batch.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ltjax import augment, losses, models, optim
from ltjax.experiment.recipe import Recipe, Settings
from ltjax.experiment.state import create_state
from ltjax.objectives import Given, Mixing
from ltjax.objectives.classify import classify
from ltjax.training.step import update
from parity_tests import reference

COUNTS = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
STEPS, BATCH = 20, 8


def batches(last):
    """Augmented, normalised batches, the last of this size. Drawn once, given to both sides."""
    generator = np.random.default_rng(0)
    for step in range(STEPS):
        size = last if step == STEPS - 1 else BATCH
        raw = jnp.asarray(generator.integers(0, 256, (size, 16, 16, 3), np.uint8))
        images = augment.normalize(augment.random_crop_flip(jax.random.key(step), raw), MEAN, STD)
        yield np.asarray(images), generator.integers(0, 10, size)


def rate(step):
    """The recipe's values in small: warm-up, plain, then DRW with the dropped rate."""
    return 0.02 * (step + 1) if step < 5 else 0.1 if step < 12 else 0.001


@pytest.mark.parametrize(
    ("name", "blocks", "both_update", "adaptive", "last"),
    [("resnet32", 5, True, False, BATCH), ("resnet8", 1, False, True, BATCH - 3)],
)
def test_twenty_steps_end_in_the_same_parameters(name, blocks, both_update, adaptive, last):
    torch.manual_seed(0)
    network = reference.ResNet(blocks, 10, normalized=True).double().train()
    variables = models.from_torch(name, network.state_dict())
    sgd = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)
    sam = reference.SAM(sgd, rho=0.8, adaptive=adaptive)
    drw = reference.effective_number(COUNTS)
    loss = partial(losses.ldam, class_counts=COUNTS)
    recipe = Recipe(
        objective=classify(Given(loss, COUNTS, Mixing(), view=None, contrast_view=None)),
        model=models.create(name, 10, classifier="normalized", param_dtype=jnp.float64),
        loss=loss,
        optimizer=lambda learning_rate: optim.sgd(learning_rate, momentum=0.9, weight_decay=2e-4),
        order=lambda key, labels, epoch: jnp.arange(len(labels)),
        mean=MEAN,
        std=STD,
        sam=True,
        adaptive=adaptive,
        both_update_stats=both_update,
    )
    state = create_state(recipe.model, recipe.optimizer(0.1), (16, 16, 3), 0, variables)
    step_fn = jax.jit(partial(update, recipe))
    trained = []
    for step, (images, labels) in enumerate(batches(last)):
        weights = drw if step >= 12 else np.ones(10)
        settings = Settings(
            learning_rate=jnp.asarray(rate(step)),
            rho=jnp.asarray(0.8),
            class_weights=jnp.asarray(weights),
        )
        state = step_fn(state, jnp.asarray(images), jnp.asarray(labels), settings)
        sgd.param_groups[0]["lr"] = rate(step)
        x, y = torch.tensor(images.transpose(0, 3, 1, 2)), torch.tensor(labels)
        for phase in (sam.ascend, sam.descend):
            if phase == sam.descend and not both_update:
                kept = {key: buffer.clone() for key, buffer in network.named_buffers()}
            loss = reference.weighted_mean(
                reference.ldam(network(x), y, class_counts=COUNTS), y, torch.tensor(weights)
            )
            loss.backward()
            phase()
        if not both_update:
            for key, buffer in network.named_buffers():
                buffer.copy_(kept[key])
        trained.append(loss.item())
    ours = models.to_torch(name, state.variables)
    assert int(state.step) == STEPS
    assert trained[0] != trained[-1]
    for key, value in network.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            expected = value.numpy()
            assert np.linalg.norm(ours[key] - expected) / np.linalg.norm(expected) < 1e-8, key
