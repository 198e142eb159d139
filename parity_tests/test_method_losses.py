"""The losses of features, experts and views against PyTorch: value and every gradient, relative
error under 1e-12 in float64 and 1e-5 in float32, on the same numbers.

float32 carries 6e-8 a step; temperature 0.1 multiplies similarities by 10 and alpha / influence
by up to 1,000, relative errors included, and sums run over some 100 terms: 1e-5 leaves a factor of
ten above what is measured.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ltjax import losses
from parity_tests import reference_methods as reference
from parity_tests.test_losses import assert_close

COUNTS = np.array([5000, 1796, 645, 232, 232, 83, 50])
C = len(COUNTS)
GENERATOR = np.random.default_rng(0)
LABELS = np.concatenate([np.arange(C), GENERATOR.integers(0, C, 13)])
PARTNERS = np.roll(LABELS, 3)
B = len(LABELS)
WEIGHTS = COUNTS**-1.2 / np.mean(COUNTS**-1.2)
LOGITS = 3 * GENERATOR.normal(size=(3, B, C))


def unit(*shape):
    x = GENERATOR.normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


CASES = {
    "influence balanced": (
        (LOGITS[0], np.maximum(GENERATOR.normal(size=(B, 16)), 0)),
        lambda z, h: losses.influence_balanced(
            z, LABELS, features=h, alpha=100.0, epsilon=1e-3, class_weights=WEIGHTS
        ),
        lambda z, h: reference.influence_balanced(
            z,
            torch.tensor(LABELS),
            h,
            alpha=100.0,
            epsilon=1e-3,
            class_weights=torch.tensor(WEIGHTS),
        ),
    ),
    "balanced experts": (
        (LOGITS,),
        lambda z: losses.balanced_experts(z, LABELS, class_counts=COUNTS, taus=(0.0, 1.0, 2.0)),
        lambda z: reference.balanced_experts(
            z, torch.tensor(LABELS), torch.tensor(COUNTS * 1.0), (0, 1, 2)
        ),
    ),
    "sade": (
        (LOGITS,),
        lambda z: losses.sade(z, LABELS, class_counts=COUNTS, tau=2.0),
        lambda z: reference.sade(z, torch.tensor(LABELS), torch.tensor(COUNTS * 1.0), 2.0),
    ),
    "balanced contrastive": (
        (unit(B, 2, 8), unit(C, 8)),
        lambda f, m: losses.balanced_contrastive(f, LABELS, prototypes=m, temperature=0.1),
        lambda f, m: reference.balanced_contrastive(f, LABELS, m, 0.1),
    ),
    "one view contrastive": (
        (unit(4, 1, 8), unit(C, 8)),
        lambda f, m: losses.balanced_contrastive(f, LABELS[:4], prototypes=m, temperature=0.07),
        lambda f, m: reference.balanced_contrastive(f, LABELS[:4], m, 0.07),
    ),
    "glmc": (
        (LOGITS[:2], LOGITS[1:], *GENERATOR.normal(size=(2, 2, B, 8))),
        lambda z, b, p, q: losses.glmc(
            z, b, p, q, LABELS, PARTNERS, lam=0.3, class_weights=WEIGHTS, progress=0.6
        ),
        lambda z, b, p, q: reference.glmc(
            *(z, b, p, q, torch.tensor(LABELS), torch.tensor(PARTNERS)),
            *(0.3, torch.tensor(WEIGHTS), 0.6, 4.0),
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_value_and_every_gradient_equal_pytorchs(case, dtype, tolerance):
    arrays, ours, theirs = CASES[case]
    arrays = [array.astype(dtype) for array in arrays]
    places = tuple(range(len(arrays)))

    @jax.jit
    def value_and_gradients(*arrays):
        return ours(*arrays), jax.grad(lambda *x: jnp.sum(ours(*x)), places)(*arrays)

    value, gradients = value_and_gradients(*arrays)
    tensors = [torch.tensor(array.astype(np.float64), requires_grad=True) for array in arrays]
    expected = theirs(*tensors)
    expected.sum().backward()
    assert value.dtype == dtype
    assert_close(np.asarray(value), expected.detach().numpy(), tolerance)
    for mine, tensor in zip(gradients, tensors, strict=True):
        zero = np.zeros(tensor.shape)
        assert_close(
            np.asarray(mine), zero if tensor.grad is None else tensor.grad.numpy(), tolerance
        )
