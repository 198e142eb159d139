"""Each loss against PyTorch: value and gradient, relative error under 1e-12 in float64 and 1e-5 in
float32.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ltjax import losses
from parity_tests import reference

COUNTS = {
    2: [700, 30],
    4: [500, 120, 30, 7],
    10: [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50],
    100: list(range(500, 100, -4)),
}
NAMES = sorted(losses.LOSSES)


def cases():
    generator = np.random.default_rng(0)
    yield "random", generator.normal(0, 3, (64, 10)), generator.integers(0, 10, 64)
    yield "cosines", generator.uniform(-1, 1, (64, 10)), generator.integers(0, 10, 64)
    yield "two classes", generator.normal(0, 3, (32, 2)), generator.integers(0, 2, 32)
    yield "hundred classes", generator.normal(0, 3, (64, 100)), generator.integers(0, 100, 64)
    yield "batch of one", generator.normal(0, 3, (1, 4)), np.array([3])
    yield "absent class", generator.normal(0, 3, (32, 4)), generator.choice([0, 1, 3], 32)
    yield "equal logits", np.zeros((8, 4)), np.arange(8) % 4
    huge = generator.normal(0, 1, (64, 4))
    yield (
        "huge logits",
        1e4 * np.sign(huge) * (np.abs(huge) > 0.3) + huge,
        generator.integers(0, 4, 64),
    )


CASES = {name: (logits, labels) for name, logits, labels in cases()}


def both(name, logits, labels, dtype):
    """(value, gradient of the sum) of ltjax and of the reference, in float64 arrays."""
    options = (
        {"class_counts": COUNTS[logits.shape[1]]}
        if "class_counts" in inspect.signature(losses.LOSSES[name]).parameters
        else {}
    )
    logits = logits.astype(dtype)

    def ours(z):
        values = losses.LOSSES[name](z, jnp.asarray(labels), **options)
        return jnp.sum(values), values

    gradient, value = jax.jit(jax.grad(ours, has_aux=True))(jnp.asarray(logits))
    # The reference always runs in float64, on the very numbers ltjax was given.
    z = torch.tensor(logits.astype(np.float64), requires_grad=True)
    expected = reference.LOSSES[name](z, torch.tensor(labels), **options)
    expected.sum().backward()
    return (np.asarray(value), np.asarray(gradient)), (expected.detach().numpy(), z.grad.numpy())


def assert_close(ours, theirs, tolerance):
    """Relative error of the whole array; an entry that underflows beside large ones has no accuracy
    of its own to ask for.
    """
    norm = np.linalg.norm(theirs)
    if norm == 0:
        np.testing.assert_array_equal(ours, theirs)
    else:
        assert np.linalg.norm(ours - theirs) / norm < tolerance


def test_every_loss_in_the_configs_dict_has_a_reference():
    assert set(losses.LOSSES) == set(reference.LOSSES)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_value_and_gradient(name, case, dtype, tolerance):
    ours, theirs = both(name, *CASES[case], dtype)
    for mine, expected in zip(ours, theirs, strict=True):
        assert mine.dtype == dtype
        assert np.isfinite(mine).all()
        assert_close(mine, expected, tolerance)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_label_smoothing(smoothing):
    logits, labels = CASES["random"]
    ours = losses.cross_entropy(logits, labels, label_smoothing=smoothing)
    theirs = reference.cross_entropy(
        torch.tensor(logits), torch.tensor(labels), label_smoothing=smoothing
    )
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_with_other_gammas(gamma):
    logits, labels = CASES["random"]
    theirs = reference.focal(torch.tensor(logits), torch.tensor(labels), gamma=gamma)
    np.testing.assert_allclose(
        losses.focal(logits, labels, gamma=gamma), theirs.numpy(), rtol=1e-12
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_soft_labels_equal_torchs_cross_entropy_with_probabilities(smoothing):
    logits, _ = CASES["random"]
    probabilities = np.random.default_rng(1).dirichlet(np.ones(10), 64)
    theirs = torch.nn.functional.cross_entropy(
        torch.tensor(logits),
        torch.tensor(probabilities),
        reduction="none",
        label_smoothing=smoothing,
    )
    np.testing.assert_allclose(
        losses.cross_entropy(logits, probabilities, label_smoothing=smoothing),
        theirs.numpy(),
        rtol=1e-12,
    )


@pytest.mark.parametrize("case", ["random", "absent class", "two classes", "batch of one"])
def test_weighted_mean_equals_torchs_weighted_cross_entropy(case):
    logits, labels = CASES[case]
    weights = reference.effective_number(COUNTS[logits.shape[1]])
    theirs = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(labels), weight=torch.tensor(weights)
    )
    ours = losses.weighted_mean(losses.cross_entropy(logits, labels), labels, weights)
    np.testing.assert_allclose(ours, theirs.item(), rtol=1e-12)


def test_mixup_loss_equals_cross_entropy_of_mixed_targets():
    logits, a = CASES["random"]
    b, lam = np.roll(a, 1), 0.3
    mixed = lam * np.eye(10)[a] + (1 - lam) * np.eye(10)[b]
    theirs = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(mixed), reduction="none"
    )
    ours = losses.mixup(losses.cross_entropy(logits, a), losses.cross_entropy(logits, b), lam)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12)
