"""ResNet for CIFAR against PyTorch in float64: outputs in both modes, every gradient, BatchNorm
statistics, weights both ways.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ltjax import losses, models
from ltjax.models.layers import BatchNorm, NormalizedLinear
from parity_tests import reference

COUNTS = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
BLOCKS = {"resnet8": 1, "resnet20": 3, "resnet32": 5}


def pair(name, normalized, num_classes=10, seed=0):
    """The torch network with running statistics off their start, and its variables in ltjax."""
    torch.manual_seed(seed)
    network = reference.ResNet(BLOCKS[name], num_classes, normalized=normalized).double()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.2, 0.2)
    return network, models.from_torch(name, network.state_dict())


def images(batch=6, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, 32, 32, 3))


def nchw(x):
    return torch.tensor(x.transpose(0, 3, 1, 2))


def relative(ours, theirs):
    return np.linalg.norm(np.asarray(ours) - np.asarray(theirs)) / max(
        np.linalg.norm(theirs), 1e-300
    )


@pytest.mark.parametrize("normalized", [False, True])
def test_evaluation_mode(normalized):
    network, variables = pair("resnet32", normalized)
    x = images()
    with torch.no_grad():
        expected = network.eval()(nchw(x)).numpy()
    model = models.create("resnet32", 10, classifier="normalized" if normalized else "linear")
    assert relative(model.apply(variables, jnp.asarray(x)), expected) < 1e-12


@pytest.mark.parametrize("normalized", [False, True])
def test_training_mode_every_gradient_and_statistic(normalized):
    network, variables = pair("resnet32", normalized)
    x, labels = images(), np.array([0, 3, 9, 9, 1, 5])
    logits = network.train()(nchw(x))
    weights = torch.tensor(reference.effective_number(COUNTS))
    loss = reference.weighted_mean(
        reference.ldam(logits, torch.tensor(labels), class_counts=COUNTS),
        torch.tensor(labels),
        weights,
    )
    loss.backward()
    model = models.create("resnet32", 10, classifier="normalized" if normalized else "linear")

    def ours(params):
        out, updated = model.apply(
            {**variables, "params": params}, jnp.asarray(x), train=True, mutable=["batch_stats"]
        )
        per_example = losses.ldam(out, labels, class_counts=COUNTS)
        return losses.weighted_mean(per_example, labels, weights.numpy()), (
            out,
            updated["batch_stats"],
        )

    (value, (out, stats)), grads = jax.jit(jax.value_and_grad(ours, has_aux=True))(
        variables["params"]
    )
    assert relative(out, logits.detach().numpy()) < 1e-10
    assert relative(value, loss.item()) < 1e-10
    after = models.to_torch("resnet32", {"params": grads, "batch_stats": stats})
    # 31 BatchNorms in training mode amplify rounding; 1e-9 is far from any difference of formulas
    # (1e-3 and up).
    named = dict(network.named_parameters())
    assert len(named) == len(jax.tree.leaves(grads))
    for name, parameter in named.items():
        assert relative(after[name], parameter.grad.numpy()) < 1e-9, name
    for name, buffer in network.named_buffers():
        if not name.endswith("num_batches_tracked"):
            assert relative(after[name], buffer.numpy()) < 1e-10, name


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("name", BLOCKS)
def test_weights_survive_the_way_there_and_back(name, normalized):
    network, variables = pair(
        name, normalized, num_classes=64
    )  # 64 classes: the classifier is square, its orientation matters
    back = models.to_torch(name, variables)
    for key, value in network.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(back[key], value.numpy())
    with torch.no_grad():
        expected = network.eval()(nchw(images(2))).numpy()
    model = models.create(name, 64, classifier="normalized" if normalized else "linear")
    assert relative(model.apply(variables, jnp.asarray(images(2))), expected) < 1e-12


@pytest.mark.parametrize("size", [2, 3, 64])
def test_batch_norm_layer(size):
    x = np.random.default_rng(0).normal(2.0, 3.0, (size, 5, 5, 7))
    theirs = torch.nn.BatchNorm2d(7).double()
    layer = BatchNorm(param_dtype=jnp.float64)
    variables = layer.init(jax.random.key(0), jnp.asarray(x), train=False)
    for _ in range(3):
        expected = theirs(nchw(x)).detach().numpy().transpose(0, 2, 3, 1)
        ours, updated = layer.apply(variables, jnp.asarray(x), train=True, mutable=["batch_stats"])
        variables = {**variables, **updated}
        assert relative(ours, expected) < 1e-12
    np.testing.assert_allclose(
        variables["batch_stats"]["mean"], theirs.running_mean.numpy(), rtol=1e-12
    )
    np.testing.assert_allclose(
        variables["batch_stats"]["var"], theirs.running_var.numpy(), rtol=1e-12
    )
    expected = theirs.eval()(nchw(x)).detach().numpy().transpose(0, 2, 3, 1)
    assert relative(layer.apply(variables, jnp.asarray(x), train=False), expected) < 1e-12


@pytest.mark.parametrize("mean", [0.0, 1e3, 1e4])
def test_batch_norm_in_float32_keeps_its_digits_beside_a_large_mean(mean):
    """Against torch's layer in float64; the input itself is rounded to 6e-8 of its mean."""
    x = (np.random.default_rng(0).normal(size=(16, 4, 4, 3)) + mean).astype(np.float32)
    weights = np.random.default_rng(1).normal(size=x.shape)
    theirs, z = torch.nn.BatchNorm2d(3).double(), nchw(x).double().requires_grad_()
    expected = theirs(z)
    (expected * nchw(weights)).sum().backward()
    layer = BatchNorm()
    variables = layer.init(jax.random.key(0), jnp.asarray(x), train=False)

    def loss(x):
        out, updated = layer.apply(variables, x, train=True, mutable=["batch_stats"])
        return jnp.sum(out * weights), (out, updated["batch_stats"])

    grad, (out, stats) = jax.grad(loss, has_aux=True)(jnp.asarray(x))
    assert out.dtype == np.float32
    noise = 1e-6 + 1e-7 * mean
    np.testing.assert_allclose(
        out, expected.detach().numpy().transpose(0, 2, 3, 1), atol=noise, rtol=1e-5
    )
    np.testing.assert_allclose(grad, z.grad.numpy().transpose(0, 2, 3, 1), atol=10 * noise)
    np.testing.assert_allclose(stats["var"], theirs.running_var.numpy(), rtol=1e-6)
    np.testing.assert_allclose(stats["mean"], theirs.running_mean.numpy(), rtol=1e-6, atol=1e-7)


def test_batch_norm_of_bfloat16_takes_its_statistics_in_float32():
    x = jnp.asarray(np.random.default_rng(0).normal(2.0, 3.0, (64, 5)), jnp.bfloat16)
    layer = BatchNorm(dtype=jnp.bfloat16)
    variables = layer.init(jax.random.key(0), x, train=False)
    _, updated = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    wide = np.asarray(x, np.float64)
    stats = updated["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * wide.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * wide.var(axis=0, ddof=1), rtol=1e-5)


def test_normalized_linear_layer_also_at_zero_and_tiny_features():
    """Torch divides by the norm or by 1e-12, whichever is larger."""
    x = np.random.default_rng(0).normal(size=(5, 8))
    x[2] = 0.0
    x[3] *= 1e-14
    theirs = reference.NormedLinear(8, 4).double()
    z = torch.tensor(x, requires_grad=True)
    theirs(z)[[0, 1, 3, 4]].square().sum().backward()
    kernel = jnp.asarray(theirs.weight.detach().numpy())
    layer = NormalizedLinear(4, param_dtype=jnp.float64)

    def loss(x, kernel):
        return jnp.sum(
            jnp.square(layer.apply({"params": {"kernel": kernel}}, x))[jnp.array([0, 1, 3, 4])]
        )

    grad_x, grad_kernel = jax.grad(loss, argnums=(0, 1))(jnp.asarray(x), kernel)
    np.testing.assert_allclose(
        layer.apply({"params": {"kernel": kernel}}, jnp.asarray(x)),
        theirs(z).detach().numpy(),
        atol=1e-14,
    )
    np.testing.assert_allclose(grad_x, z.grad.numpy(), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(grad_kernel, theirs.weight.grad.numpy(), rtol=1e-10, atol=1e-13)
