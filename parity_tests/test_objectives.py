"""Each method's whole loss through the training step's forward pass: value, every gradient,
BatchNorm statistics and memory, against its definition in PyTorch on one small network, float64.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch.nn import functional as F

from ltjax import losses, objectives
from ltjax.models.layers import BatchNorm, Linear
from parity_tests import reference_methods

pytestmark = pytest.mark.usefixtures("quickly_compiled")
COUNTS = np.array([50, 20, 8, 3])
BATCH, CLASSES, FEATURES = 12, 4, 6
CLOSE = {"rtol": 1e-9, "atol": 1e-11}  # float64 through two BatchNorms; observed below 1e-12


class Small(nn.Module):
    """What is asked of a network: a layer called `linear`, features, BatchNorm."""

    @nn.compact
    def __call__(self, images, train=False, features=False):
        x = images.reshape(len(images), -1)
        x = Linear(FEATURES, param_dtype=jnp.float64, name="first")(x)
        x = nn.relu(BatchNorm(param_dtype=jnp.float64, name="bn")(x, train=train))
        logits = Linear(CLASSES, param_dtype=jnp.float64, name="linear")(x)
        return (logits, x) if features else logits


def given():
    return objectives.Given(
        loss=partial(losses.balanced_softmax, class_counts=COUNTS),
        class_counts=COUNTS,
        mixing=objectives.Mixing(),
        view=None,
        contrast_view=None,
    )


def double(tree):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float64), tree)


@partial(jax.jit, static_argnums=0)
def ours(objective, variables, batch, memory=()):
    """Value, gradients, logits, statistics and memory of a step's loss."""
    model = objective.heads(Small())

    def whole(params):
        after = {}

        def forward(images, **options):
            stated = variables | {"params": params}
            outputs, updated = model.apply(
                stated, images, train=True, mutable=["batch_stats"], **options
            )
            after.update(updated)
            return outputs

        value, logits, remembered = objective.loss(
            forward, batch, jnp.ones(CLASSES), memory, jax.random.key(0)
        )
        return value, (logits, after["batch_stats"], remembered)

    (value, rest), grads = jax.value_and_grad(whole, has_aux=True)(variables["params"])
    return value, grads, *rest


def drawn(seed, views):
    generator = np.random.default_rng(seed)
    images = generator.normal(size=(views, BATCH, 2, 2, 3))
    return images, generator.permutation(np.arange(BATCH) % CLASSES)


class Torch:
    """The same network and heads in PyTorch, from our parameters by their names."""

    def __init__(self, params):
        self.tensors = jax.tree.map(
            lambda leaf: torch.tensor(np.asarray(leaf), requires_grad=True), params
        )

    def linear(self, x, *path):
        at = self.tensors
        for name in path:
            at = at[name]
        return x @ at["kernel"] + at["bias"]

    def norm(self, x, *path):
        at = self.tensors
        for name in path:
            at = at[name]
        return F.batch_norm(x, None, None, at["scale"], at["bias"], training=True)

    def features(self, images):
        x = torch.tensor(images.reshape(len(images), -1))
        return F.relu(self.norm(self.linear(x, "first"), "bn"))

    def projection(self, x, head):
        x = F.relu(self.norm(self.linear(x, head, "hidden"), head, "bn"))
        return F.normalize(self.linear(x, head, "out"), dim=1)

    def gradients(self, value):
        """As our tree; 0 where the loss does not reach."""
        leaves, tree = jax.tree.flatten(self.tensors, is_leaf=torch.is_tensor)
        found = torch.autograd.grad(value, leaves, allow_unused=True)
        return jax.tree.unflatten(
            tree,
            [
                np.zeros(leaf.shape) if grad is None else grad.numpy()
                for leaf, grad in zip(leaves, found, strict=True)
            ],
        )


def assert_close(ours, theirs):
    jax.tree.map(partial(np.testing.assert_allclose, **CLOSE), ours, theirs)


def started(objective):
    model = objective.heads(Small())
    return double(jax.jit(model.init)(jax.random.key(1), jnp.zeros((2, 2, 2, 3))))


def balanced(logits, labels):
    return F.cross_entropy(logits + torch.tensor(np.log(COUNTS)), labels)


def test_heads_stand_beside_the_network_and_leave_its_start_as_it_was():
    objective = objectives.OBJECTIVES["bcl"].make(
        given(), classification=2.0, contrast=0.6, temperature=0.1, width=8, dimensions=5
    )
    plain = Small().init(jax.random.key(1), jnp.zeros((2, 2, 2, 3)))["params"]
    headed = objective.heads(Small()).init(jax.random.key(1), jnp.zeros((2, 2, 2, 3)))["params"]
    assert set(headed) - set(plain) == {"head_projection", "head_prototypes"}
    for name, value in plain.items():
        jax.tree.map(np.testing.assert_array_equal, headed[name], value)


def test_bcl():
    objective = objectives.OBJECTIVES["bcl"].make(
        given(), classification=2.0, contrast=0.6, temperature=0.1, width=8, dimensions=5
    )
    variables = started(objective)
    images, labels = drawn(0, 3)
    batch = objectives.Batch(*map(jnp.asarray, (images[0], labels)), views=tuple(images[1:]))
    value, grads, logits, _, _ = ours(objective, variables, batch)
    net, y = Torch(variables["params"]), torch.tensor(labels)
    seen = net.features(images.reshape(3 * BATCH, 2, 2, 3))
    scores, unit = net.linear(seen, "linear"), net.projection(seen, "head_projection")
    rows = net.tensors["linear"]["kernel"].T
    prototypes = net.projection(rows, "head_prototypes")
    pairs = torch.stack([unit[BATCH : 2 * BATCH], unit[2 * BATCH :]], dim=1)
    apart = reference_methods.balanced_contrastive(pairs, y, prototypes, 0.1)
    expected = 2.0 * balanced(scores[:BATCH], y) + 0.6 * apart
    np.testing.assert_allclose(value, expected.item(), **CLOSE)
    np.testing.assert_allclose(logits, scores[:BATCH].detach().numpy(), **CLOSE)
    assert_close(grads, net.gradients(expected))


def test_proco_over_three_steps_and_an_epoch_s_end():
    objective = objectives.OBJECTIVES["proco"].make(
        given(), contrast=0.7, temperature=0.1, width=8, dimensions=5
    )
    variables = started(objective)
    memory = double(objective.memory(jax.random.key(2)))
    running = [[np.array(part) for part in estimate] for estimate in memory]
    for step in range(3):
        if step == 2:
            memory = double(objective.turn(memory, jax.random.key(5)))
            running = [running[1], [np.array(part) for part in memory.following]]
            np.testing.assert_allclose(np.linalg.norm(running[1][0], axis=1), 0.9, rtol=1e-6)
            assert not running[1][1].any()
        images, labels = drawn(step, 3)
        batch = objectives.Batch(*map(jnp.asarray, (images[0], labels)), views=tuple(images[1:]))
        value, grads, _, _, memory = ours(objective, variables, batch, memory)
        net, y = Torch(variables["params"]), torch.tensor(labels)
        seen = net.features(images.reshape(3 * BATCH, 2, 2, 3))
        scores, unit = net.linear(seen, "linear"), net.projection(seen, "head_projection")
        expected = balanced(scores[:BATCH], y)
        for view in (unit[BATCH : 2 * BATCH], unit[2 * BATCH :]):
            for estimate in running:
                include(estimate, view.detach().numpy(), labels)
            expected = expected + 0.35 * balanced(contrast_of(view, running[0][0]), y)
        np.testing.assert_allclose(value, expected.item(), rtol=1e-8)
        theirs = net.gradients(expected)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-9), grads, theirs)
        for estimate, reached in zip(memory, running, strict=True):
            np.testing.assert_allclose(estimate.means, reached[0], **CLOSE)
            np.testing.assert_array_equal(estimate.counts, reached[1])


def include(estimate, features, labels):
    """One image after the other: a running mean that replaces a class's start."""
    means, counts = estimate
    for feature, label in zip(features, labels, strict=True):
        counts[label] += 1
        means[label] += (feature - means[label]) / counts[label]


def contrast_of(features, means, temperature=0.1):
    """By the Bessel function's own power series, in PyTorch."""
    dimensions = means.shape[1]
    order = dimensions / 2 - 1
    length = np.linalg.norm(means, axis=1)
    kappa = dimensions * length / (1 - length**2)
    assert kappa.max() < 200  # where the series below has converged
    mean = torch.tensor(means / length[:, None] * kappa[:, None])
    ends = torch.linalg.vector_norm(mean[None] + features[:, None] / temperature, dim=-1)
    return rising(ends, order) - rising(torch.tensor(kappa), order)


def rising(k, order):
    """log I_v(k) - v log k up to a constant: log sum (k^2 / 4)^m / (m! Gamma(m + v + 1))."""
    m = torch.arange(400, dtype=torch.float64)
    terms = m * torch.log(k[..., None] ** 2 / 4) - torch.lgamma(m + 1) - torch.lgamma(m + order + 1)
    return torch.logsumexp(terms, dim=-1)


@pytest.mark.parametrize("progress", [0.0, 0.6])
def test_glmc(progress):
    objective = objectives.OBJECTIVES["glmc"].make(
        given(), similarity=4.0, exponent=1.2, q=0.0, dimensions=5
    )
    variables = started(objective)
    images, labels = drawn(0, 4)
    others = drawn(1, 1)[1]
    drawn_images = [
        objectives.Drawn((images[0], images[1]), jnp.asarray(labels)),
        objectives.Drawn((images[2], images[3]), jnp.asarray(others)),
    ]
    batch = objective.mix(jax.random.key(3), drawn_images)
    lam = float(batch.lam)
    np.testing.assert_allclose(batch.images, lam * images[0] + (1 - lam) * images[2])
    pasted = np.asarray(batch.views[0])
    assert (np.equal(pasted, images[1]) | np.equal(pasted, images[3])).all()
    batch = batch._replace(progress=jnp.asarray(progress))
    value, grads, logits, _, _ = ours(objective, variables, batch)
    net = Torch(variables["params"])
    seen = net.features(np.concatenate([batch.images, pasted]))
    plain, balanced_logits = net.linear(seen, "linear"), net.linear(seen, "head_balanced")
    projections = net.linear(seen, "head_projection")
    predictions = net.linear(projections, "head_predictor")
    hot = [F.one_hot(torch.tensor(ids), CLASSES).double() for ids in (labels, others)]
    target = lam * hot[0] + (1 - lam) * hot[1]
    weights = COUNTS**-1.2
    weights = torch.tensor(weights / weights.mean())
    both = [balanced_logits[:BATCH], balanced_logits[BATCH:]]
    expected = (1 - progress**2) * (
        F.cross_entropy(plain[:BATCH], target) + F.cross_entropy(plain[BATCH:], target)
    ) + progress**2 * sum(
        -(weights * target * F.log_softmax(one, dim=1)).sum(1).mean() for one in both
    )
    p, z = predictions.reshape(2, BATCH, -1), projections.reshape(2, BATCH, -1).detach()
    expected = expected - 4.0 * sum(
        F.cosine_similarity(p[k], z[1 - k], dim=1).mean() for k in range(2)
    )
    np.testing.assert_allclose(value, expected.item(), **CLOSE)
    np.testing.assert_allclose(logits, both[0].detach().numpy(), **CLOSE)
    assert_close(grads, net.gradients(expected))


@pytest.mark.parametrize("name", ["balpoe", "sade"])
def test_experts(name):
    options = {"balpoe": {"taus": (0.0, 1.0, 2.0)}, "sade": {"tau": 2.0}}[name]
    objective = objectives.OBJECTIVES[name].make(given(), **options)
    generator = np.random.default_rng(0)
    scores, labels = generator.normal(size=(3, BATCH, CLASSES)), np.arange(BATCH) % CLASSES
    batch = objectives.Batch(jnp.zeros((BATCH, 1)), jnp.asarray(labels))

    def whole(scores):
        value, logits, _ = objective.loss(
            lambda images, branches: scores, batch, jnp.ones(CLASSES), (), None
        )
        return value, logits

    (value, logits), grads = jax.value_and_grad(whole, has_aux=True)(jnp.asarray(scores))
    theirs = torch.tensor(scores, requires_grad=True)
    of = getattr(reference_methods, {"balpoe": "balanced_experts"}.get(name, name))
    counts = torch.tensor(COUNTS, dtype=torch.float64)
    expected = of(theirs, torch.tensor(labels), counts, *options.values()).mean()
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), **CLOSE)
    np.testing.assert_allclose(grads, theirs.grad.numpy(), **CLOSE)
    np.testing.assert_allclose(logits, scores.mean(axis=0))


def test_cmo_is_cutmix_with_patches_of_another_order():
    """The drawn rectangle pasted and both labels weighed by NumPy and PyTorch."""
    from ltjax.objectives.classify import classify, mixing

    mixed = mixing("cmo", COUNTS, alpha=1.0, probability=1.0)
    cmo = classify(given()._replace(mixing=mixed))
    generator = np.random.default_rng(0)
    images, patches = generator.normal(size=(2, BATCH, 8, 8, 3))
    labels, others = np.arange(BATCH) % CLASSES, generator.integers(0, CLASSES, BATCH)
    batch = cmo.mix(
        jax.random.key(4),
        [
            objectives.Drawn((jnp.asarray(images),), jnp.asarray(labels)),
            objectives.Drawn((jnp.asarray(patches),), jnp.asarray(others)),
        ],
    )
    inside = (np.asarray(batch.images) == patches).all(axis=(0, 3))
    np.testing.assert_array_equal(batch.images, np.where(inside[..., None], patches, images))
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    assert inside.sum() == len(rows) * len(columns) > 0
    np.testing.assert_allclose(batch.lam, 1 - inside.mean())
    scores = generator.normal(size=(BATCH, CLASSES))
    value, _, _ = cmo.loss(lambda images: jnp.asarray(scores), batch, jnp.ones(CLASSES), (), None)
    logits, lam = torch.tensor(scores), float(batch.lam)
    expected = lam * balanced(logits, torch.tensor(labels))
    expected += (1 - lam) * balanced(logits, torch.tensor(others))
    np.testing.assert_allclose(value, expected.item(), **CLOSE)
    counts = jnp.array([900, 60, 30, 10])
    drawn_labels = jnp.repeat(jnp.arange(CLASSES), counts, total_repeat_length=1000)
    order = jax.jit(mixed.orders[0])(jax.random.key(0), drawn_labels, 0)
    # Weight 1 / n_c: each class a quarter of the draws, standard deviation 0.014.
    shares = np.bincount(np.asarray(drawn_labels[order]), minlength=CLASSES) / 1000
    np.testing.assert_allclose(shares, 0.25, atol=0.06)


def test_cmo_leaves_a_batch_as_it_is_with_the_other_probability():
    from ltjax.objectives.classify import mixing

    mixed = mixing("cmo", COUNTS, alpha=1.0, probability=0.0)
    images = jnp.ones((2, 4, 4, 1))
    labels = jnp.array([0, 1])
    batch = mixed.mix(
        jax.random.key(0),
        [objectives.Drawn((images,), labels), objectives.Drawn((0 * images,), labels)],
    )
    np.testing.assert_array_equal(batch.images, images)
    assert float(batch.lam) == 1.0


def test_influence_balanced_steps_end_in_the_same_parameters():
    """Five steps of SGD with momentum, BatchNorm in between: the weight of each image is learned
    through.
    """
    objective = objectives.OBJECTIVES["influence_balanced"].make(given(), alpha=100.0, epsilon=1e-3)
    variables = double(Small().init(jax.random.key(1), jnp.zeros((2, 2, 2, 3))))
    weights = COUNTS**-1.0 / np.mean(COUNTS**-1.0)
    theirs = Torch(variables["params"])
    leaves = jax.tree.leaves(theirs.tensors, is_leaf=torch.is_tensor)
    descent = torch.optim.SGD(leaves, lr=0.02, momentum=0.9)
    optimizer = optax.sgd(0.02, momentum=0.9)
    params, state = variables["params"], optimizer.init(variables["params"])

    @jax.jit
    def step(params, state, images, labels):
        def whole(params):
            def forward(images, **options):
                stated = variables | {"params": params}
                return Small().apply(
                    stated, images, train=True, mutable=["batch_stats"], **options
                )[0]

            batch = objectives.Batch(images, labels)
            return objective.loss(forward, batch, weights, (), jax.random.key(0))[0]

        updates, after = optimizer.update(jax.grad(whole)(params), state)
        return optax.apply_updates(params, updates), after

    for seed in range(5):
        (images,), labels = drawn(seed, 1)
        params, state = step(params, state, images, labels)
        features = theirs.features(images)
        losses_of = reference_methods.influence_balanced(
            theirs.linear(features, "linear"),
            torch.tensor(labels),
            features,
            alpha=100.0,
            epsilon=1e-3,
            class_weights=torch.tensor(weights),
        )
        descent.zero_grad()
        losses_of.mean().backward()
        descent.step()
    assert_close(params, jax.tree.map(lambda leaf: leaf.detach().numpy(), theirs.tensors))
    moved = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), params, variables["params"])
    assert max(jax.tree.leaves(moved)) > 0.01
