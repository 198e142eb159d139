"""SAM and ASAM around SGD against PyTorch in float64, step for step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from ltjax import optim
from parity_tests import reference

GENERATOR = np.random.default_rng(0)
X, Y = GENERATOR.normal(size=(32, 6)), GENERATOR.normal(size=(32, 3))
START = {
    "w1": GENERATOR.normal(size=(6, 5)),
    "b1": np.zeros(5),
    "w2": GENERATOR.normal(size=(5, 3)),
}


def loss_of(xp):
    def loss(p):
        hidden = xp.tanh((jnp.asarray(X) if xp is jnp else torch.tensor(X)) @ p["w1"] + p["b1"])
        return ((hidden @ p["w2"] - (jnp.asarray(Y) if xp is jnp else torch.tensor(Y))) ** 2).mean()

    return loss


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("nesterov", [False, True])
def test_twenty_steps_of_sam_with_momentum_and_weight_decay(adaptive, nesterov):
    theirs = {name: torch.tensor(value, requires_grad=True) for name, value in START.items()}
    sgd = torch.optim.SGD(
        theirs.values(), lr=0.1, momentum=0.9, weight_decay=2e-2, nesterov=nesterov
    )
    sam = reference.SAM(sgd, rho=0.3, adaptive=adaptive)
    ours = {name: jnp.asarray(value) for name, value in START.items()}
    optimizer = optim.sam(
        optim.sgd(0.1, momentum=0.9, weight_decay=2e-2, nesterov=nesterov),
        rho=0.3,
        adaptive=adaptive,
    )
    state = optimizer.init(ours)
    grad_fn = jax.grad(loss_of(jnp))

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(grad_fn(params), state, params, grad_fn=grad_fn)
        return optax.apply_updates(params, updates), state

    for _ in range(20):
        loss_of(torch)(theirs).backward()
        sam.ascend()
        loss_of(torch)(theirs).backward()
        sam.descend()
        ours, state = step(ours, state)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value.detach().numpy(), rtol=1e-11)


@pytest.mark.parametrize("focus", ["focal", "tail"])
def test_several_steps_of_focal_sam_and_imbsam(focus):
    """Three classes; the plain part is the rest of the loss, and the head classes'."""
    counts, labels = np.array([60, 30, 10]), np.arange(32) % 3
    c = {
        "focal": optim.focal_weights(counts, 3.0, 0.5),
        "tail": optim.tail_weights(counts, 20, 2.0),
    }[focus]
    plain = 1 - np.asarray(c) if focus == "focal" else np.array([1.0, 1.0, 0.0])
    expected = 0.5 * (1 - counts / 100) ** 3 if focus == "focal" else np.array([0.0, 0.0, 2.0])
    np.testing.assert_allclose(c, expected, rtol=1e-15)

    def part(p, weights):
        scores = jnp.tanh(jnp.asarray(X) @ p["w1"] + p["b1"]) @ p["w2"]
        values = optax.softmax_cross_entropy_with_integer_labels(scores, labels)
        return jnp.mean(jnp.asarray(weights)[labels] * values)

    theirs = {name: torch.tensor(value, requires_grad=True) for name, value in START.items()}
    sgd = torch.optim.SGD(theirs.values(), lr=0.1, momentum=0.9, weight_decay=2e-2)

    def their_gradient(weights):
        scores = torch.tanh(torch.tensor(X) @ theirs["w1"] + theirs["b1"]) @ theirs["w2"]
        values = torch.nn.functional.cross_entropy(scores, torch.tensor(labels), reduction="none")
        loss = (torch.tensor(weights)[torch.tensor(labels)] * values).sum() / len(labels)
        return torch.autograd.grad(loss, list(theirs.values()))

    ours = {name: jnp.asarray(value) for name, value in START.items()}
    optimizer = optim.sam(optim.sgd(0.1, momentum=0.9, weight_decay=2e-2), rho=0.3)
    state = optimizer.init(ours)

    @jax.jit
    def step(params, state):
        perturbed = jax.grad(part)
        updates, state = optimizer.update(
            perturbed(params, c),
            state,
            params,
            grad_fn=lambda p: perturbed(p, c),
            plain_grads=jax.grad(part)(params, plain),
        )
        return optax.apply_updates(params, updates), state

    for _ in range(10):
        rest, sharp = their_gradient(plain), their_gradient(expected)
        norm = torch.sqrt(sum((g**2).sum() for g in sharp))
        with torch.no_grad():
            before = [p.clone() for p in theirs.values()]
            for p, g in zip(theirs.values(), sharp, strict=True):
                p.add_(0.3 * g / (norm + 1e-12))
        second = their_gradient(expected)
        with torch.no_grad():
            for p, old, a, b in zip(theirs.values(), before, rest, second, strict=True):
                p.copy_(old)
                p.grad = a + b
        sgd.step()
        ours, state = step(ours, state)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value.detach().numpy(), rtol=1e-11)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(optim.OPTIMIZERS["adam"], torch.optim.Adam), (optim.OPTIMIZERS["adamw"], torch.optim.AdamW)],
)
def test_adam_and_adamw_with_weight_decay_follow_torch(ours, theirs):
    tensors = {name: torch.tensor(value, requires_grad=True) for name, value in START.items()}
    reference_optimizer = theirs(tensors.values(), lr=0.02, weight_decay=0.3)
    optimizer = ours(0.02, weight_decay=0.3)
    params = {name: jnp.asarray(value) for name, value in START.items()}
    state = optimizer.init(params)
    for _ in range(5):
        reference_optimizer.zero_grad()
        loss_of(torch)(tensors).backward()
        reference_optimizer.step()
        updates, state = optimizer.update(jax.grad(loss_of(jnp))(params), state, params)
        params = optax.apply_updates(params, updates)
    for name, value in tensors.items():
        np.testing.assert_allclose(params[name], value.detach().numpy(), rtol=1e-10)


def test_sgd_follows_torch_through_learning_rate_drops():
    theirs = {name: torch.tensor(value, requires_grad=True) for name, value in START.items()}
    sgd = torch.optim.SGD(theirs.values(), lr=0.1, momentum=0.9, weight_decay=2e-2)
    ours = {name: jnp.asarray(value) for name, value in START.items()}
    state = optim.sgd(0.1).init(ours)
    for rate in [0.02, 0.1, 0.1, 0.1, 0.001, 0.001, 0.00001]:
        sgd.param_groups[0]["lr"] = rate
        sgd.zero_grad()
        loss_of(torch)(theirs).backward()
        sgd.step()
        updates, state = optim.sgd(rate, weight_decay=2e-2).update(
            jax.grad(loss_of(jnp))(ours), state, ours
        )
        ours = optax.apply_updates(ours, updates)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value.detach().numpy(), rtol=1e-12)
