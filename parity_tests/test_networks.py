"""ResNet-18, ResLT and EfficientNet against PyTorch in float64: logits in both modes, every
gradient, every BatchNorm statistic.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ltjax import augment, losses, models
from ltjax.models import efficientnet
from ltjax.models.efficientnet import Block, MBConv
from ltjax.models.torch_weights import naming
from parity_tests import pretrained, reference

pytestmark = pytest.mark.usefixtures("quickly_compiled")
LABELS = np.array([0, 3, 9, 5, 2, 7])
STARTS = (0, 2, 4)
MASKS = np.arange(10)[None] >= np.array(STARTS)[:, None]


def images(size, count=6):
    return np.random.default_rng(0).normal(size=(count, size, size, 3))


def nchw(x):
    return torch.tensor(np.asarray(x).transpose(0, 3, 1, 2))


def relative(ours, theirs):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    return np.linalg.norm(ours - theirs) / max(np.linalg.norm(theirs), 1e-30)


def settled(network, seed=0):
    """Running statistics and scales away from their start, so that a mix-up of two layers shows."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    return network.double()


@partial(jax.jit, static_argnums=0)
def evaluated(model, variables, x):
    """Compiled once for networks of several namings."""
    return model.apply(variables, x)


def same_logits(name, network, model, x):
    """In evaluation mode; and the weights come back as they were."""
    variables = models.from_torch(name, network.state_dict())
    with torch.no_grad():
        expected = network.eval()(nchw(x))
    expected = sum(expected) if isinstance(expected, tuple) else expected
    assert relative(evaluated(model, variables, jnp.asarray(x)), expected.numpy()) < 1e-11
    back = models.to_torch(name, variables, naming(name, network.state_dict()))
    for key, value in network.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(back[key], value.numpy())


def same_step(name, network, model, x, theirs_loss, ours_loss, tolerance=1e-9, **options):
    """Training loss, gradients and statistics of the two; `options` go to the Flax module's
    call.
    """
    variables = models.from_torch(name, network.state_dict())
    value = theirs_loss(network.train()(nchw(x)))
    value.backward()

    def loss(params):
        outputs, updated = model.apply(
            {**variables, "params": params},
            jnp.asarray(x),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
            **options,
        )
        return ours_loss(outputs), updated["batch_stats"]

    (ours, stats), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
    assert relative(ours, value.item()) < 1e-11
    after = models.to_torch(
        name, {"params": grads, "batch_stats": stats}, naming(name, network.state_dict())
    )
    named = {key: parameter.grad.numpy() for key, parameter in network.named_parameters()}
    assert len(named) == len(jax.tree.leaves(grads))
    # A bias that a batch norm takes away again has a gradient of rounding alone: compared with the
    # size of all gradients.
    least = 1e-6 * np.sqrt(sum(np.sum(np.square(grad)) for grad in named.values()))
    for key, grad in named.items():
        # Batch statistics of few images amplify rounding; a difference of formulas is 1e-3 and up.
        assert np.linalg.norm(after[key] - grad) < tolerance * max(np.linalg.norm(grad), least), key
    for key, buffer in network.named_buffers():
        if not key.endswith("num_batches_tracked"):
            assert relative(after[key], buffer.numpy()) < 1e-10, key


def cross_entropy_pair():
    return (
        lambda logits: torch.nn.functional.cross_entropy(logits, torch.tensor(LABELS)),
        lambda logits: jnp.mean(losses.cross_entropy(logits, LABELS)),
    )


def test_resnet18():
    torch.manual_seed(0)
    network = settled(reference.ResNet18(normalized=True))
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_173_962 - 10
    options = {"classifier": "normalized", "param_dtype": jnp.float64}
    model = models.create("resnet18_cifar", 10, **options)
    same_logits("resnet18_cifar", network, model, images(8, 2))
    network = settled(reference.ResNet18(width=8))
    model = models.create("resnet18_cifar", 10, width=8, param_dtype=jnp.float64)
    same_step("resnet18_cifar", network, model, images(16), *cross_entropy_pair())


@pytest.mark.parametrize("grouped", [False, True])
def test_reslt_network_and_loss(grouped):
    """Gradients with a trunk of three blocks: ResNet-32's own are compared in test_resnet."""
    torch.manual_seed(0)
    options = {"head": "grouped" if grouped else "batch_norm", "param_dtype": jnp.float64}
    network = settled(reference.ResLT(5, 10, grouped=grouped))
    assert grouped or sum(parameter.numel() for parameter in network.parameters()) == 464_538
    same_logits(
        "reslt_resnet32", network, models.create("reslt_resnet32", 10, **options), images(8, 2)
    )
    same_step(
        "reslt_resnet8",
        settled(reference.ResLT(1, 10, grouped=grouped)),
        models.create("reslt_resnet8", 10, **options),
        images(16),
        lambda branches: reference.reslt(branches, torch.tensor(LABELS), starts=STARTS, beta=0.9),
        lambda branches: losses.reslt(branches, LABELS, branch_masks=MASKS, beta=0.9),
        branches=True,
    )


@pytest.mark.parametrize("beta", [0.0, 0.72, 0.95, 1.0])
@pytest.mark.parametrize(
    "labels", [LABELS, np.zeros(6, int), np.full(6, 9)], ids=["mixed", "head only", "tail only"]
)
def test_reslt_loss_value_and_gradient(beta, labels):
    logits = np.random.default_rng(1).normal(size=(3, 6, 10))
    z = torch.tensor(logits, requires_grad=True)
    theirs = reference.reslt(tuple(z), torch.tensor(labels), starts=STARTS, beta=beta)
    theirs.backward()
    value, grad = jax.value_and_grad(
        lambda x: losses.reslt(x, labels, branch_masks=MASKS, beta=beta)
    )(jnp.asarray(logits))
    np.testing.assert_allclose(value, theirs.item(), rtol=1e-12)
    np.testing.assert_allclose(grad, z.grad.numpy(), rtol=1e-10, atol=1e-15)


SHALLOW = 0.3
"""Of the depth: each of the seven stages once, and one block twice, with its shortcut. Networks of
full depth are compared in evaluation mode, below."""


def torchvision_efficientnet():
    torchvision = pretrained.import_torchvision()
    stages, last = torchvision.models.efficientnet._efficientnet_conf(
        "efficientnet_b0", width_mult=1.0, depth_mult=SHALLOW
    )
    return torchvision.models.EfficientNet(
        stages, 0.0, stochastic_depth_prob=0.0, num_classes=10, last_channel=last
    )


def lite0():
    package = pytest.importorskip("efficientnet_lite_pytorch")
    network = package.EfficientNet.from_name(
        "efficientnet-lite0",
        depth_coefficient=SHALLOW,
        drop_connect_rate=0.0,
        num_classes=10,
    )
    network._dropout.p = 0.0
    return network


@pytest.mark.parametrize(
    ("name", "make", "options"),
    [
        ("efficientnet_b0", torchvision_efficientnet, {"numerics": "torch"}),
        ("efficientnet_lite0", lite0, {}),
    ],
    ids=["b0", "lite0"],
)
def test_efficientnet_in_training(name, make, options, monkeypatch):
    full = efficientnet.VARIANTS[name]
    monkeypatch.setitem(efficientnet.VARIANTS, name, full._replace(depth=SHALLOW))
    torch.manual_seed(0)
    network = settled(make())
    assert len(efficientnet.blocks(name)) == 8
    model = models.create(
        name, 10, param_dtype=jnp.float64, stochastic_depth=0.0, dropout=0.0, **options
    )
    same_step(name, network, model, images(32), *cross_entropy_pair(), tolerance=1e-8)


@pytest.mark.parametrize(
    ("name", "make", "options"),
    [
        (
            "efficientnet_b0",
            lambda: pretrained.import_timm().create_model("efficientnet_b0"),
            {"numerics": "torch"},
        ),
        (
            "efficientnet_b0",
            lambda: pretrained.import_timm().create_model("tf_efficientnet_b0"),
            {},
        ),
        (
            "efficientnet_lite0",
            lambda: pretrained.import_timm().create_model("tf_efficientnet_lite0"),
            {},
        ),
        (
            "efficientnet_b0",
            lambda: pretrained.import_torchvision().models.efficientnet_b0(),
            {"numerics": "torch"},
        ),
        ("efficientnet_b0", lambda: pretrained.efficientnet_pytorch(size=32), {}),
    ],
    ids=["timm", "timm tf", "timm lite0", "torchvision", "efficientnet-pytorch"],
)
def test_state_dicts_of_every_naming_give_the_same_logits_and_go_back(name, make, options):
    torch.manual_seed(0)
    network = settled(make()).eval()
    model = models.create(name, 1000, param_dtype=jnp.float64, **options)
    same_logits(name, network, model, images(32, 2))


def test_every_efficientnet_has_torchvisions_blocks_and_the_largest_its_parameters():
    """Kernel, stride, expansion and channels of each block; all parameters, of 1,000 classes."""
    torchvision = pretrained.import_torchvision()
    for name in [key for key in models.MODELS if key.startswith("efficientnet_b")]:
        with torch.device("meta"):
            network = getattr(torchvision.models, name)()
        found = [
            (at.expand, at.kernel, at.stride, at.in_channels, at.out_channels)
            for at in efficientnet.blocks(name)
        ]
        assert found == [
            shape_of(module) for module in network.modules() if hasattr(module, "stochastic_depth")
        ], name
    model = models.create(name, 1000)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    assert count == sum(parameter.numel() for parameter in network.parameters())
    assert count == 66_347_960  # B7, the last


def shape_of(block):
    """Of torchvision's MBConv."""
    depthwise = next(
        part for part in block.modules() if isinstance(part, torch.nn.Conv2d) and part.groups > 1
    )
    convolutions = [part for part in block.block.modules() if isinstance(part, torch.nn.Conv2d)]
    first, last = convolutions[0], convolutions[-1]
    channels = first.in_channels if first.groups == 1 else depthwise.in_channels
    expand = depthwise.in_channels // channels
    return expand, depthwise.kernel_size[0], depthwise.stride[0], channels, last.out_channels


def test_stochastic_depth_drops_whole_examples_and_keeps_their_mean():
    """A block left out with probability p for an example counts 1 / (1 - p) where it is kept."""
    block = Block(1, 1, 1, 3, 1, 4, 4)
    module = MBConv(
        block, 0.3, lambda x: x, False, True, {"epsilon": 1e-3, "momentum": 0.01}, None, jnp.float64
    )
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2000, 2, 2, 4)))
    variables = module.init(
        {"params": jax.random.key(0), "dropout": jax.random.key(1)}, x, train=False
    )
    out, _ = module.apply(
        variables, x, train=True, rngs={"dropout": jax.random.key(2)}, mutable=["batch_stats"]
    )
    plain = MBConv(
        block, 0.0, lambda x: x, False, True, {"epsilon": 1e-3, "momentum": 0.01}, None, jnp.float64
    )
    full, _ = plain.apply(variables, x, train=True, mutable=["batch_stats"])
    residual, whole = np.asarray(out - x), np.asarray(full - x)
    dropped = ~residual.any(axis=(1, 2, 3))
    assert abs(dropped.mean() - 0.3) < 4 * np.sqrt(0.21 / 2000)
    np.testing.assert_allclose(residual[~dropped], whole[~dropped] / 0.7, rtol=1e-9)


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_b3"])
def test_stochastic_depth_and_dropout_rates_are_torchvisions(name):
    """Of every block in turn, and before the classifier."""
    torchvision = pretrained.import_torchvision()
    with torch.device("meta"):
        network = getattr(torchvision.models, name)(stochastic_depth_prob=0.2)
    depth = torchvision.ops.StochasticDepth
    expected = [module.p for module in network.modules() if isinstance(module, depth)]
    ours, dropout = [], []

    def note(following, arguments, options, context):
        if context.method_name == "__call__":
            if isinstance(context.module, MBConv):
                ours.append(context.module.drop)
            if isinstance(context.module, nn.Dropout):
                dropout.append(context.module.rate)
        return following(*arguments, **options)

    model = models.create(name, 10)
    with nn.intercept_methods(note):
        jax.eval_shape(
            lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
        )
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    assert dropout == [network.classifier[0].p]


def test_rotation_targets_are_torchs_turns():
    x = images(8)
    turned = np.asarray(augment.rotations(jnp.asarray(x)))
    for k in range(4):
        np.testing.assert_array_equal(
            turned[:, k].transpose(0, 3, 1, 2), torch.rot90(nchw(x), k, dims=(2, 3)).numpy()
        )


def test_mixup_loss_is_the_authors():
    """lam * criterion(pred, y_a) + (1 - lam) * criterion(pred, y_b) with smoothed labels, through
    the trainer's own loss.
    """
    logits, lam = np.random.default_rng(2).normal(size=(6, 10)), 0.3
    partner = np.array([3, 4, 5, 0, 1, 2])
    z = torch.tensor(logits, requires_grad=True)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    theirs = lam * criterion(z, torch.tensor(LABELS)) + (1 - lam) * criterion(
        z, torch.tensor(LABELS[partner])
    )
    theirs.backward()

    def ours(z):
        a, b = (
            losses.weighted_mean(losses.cross_entropy(z, y, label_smoothing=0.1), y, np.ones(10))
            for y in (LABELS, LABELS[partner])
        )
        return losses.mixup(a, b, lam)

    value, grad = jax.value_and_grad(ours)(jnp.asarray(logits))
    np.testing.assert_allclose(value, theirs.item(), rtol=1e-12)
    np.testing.assert_allclose(grad, z.grad.numpy(), rtol=1e-10, atol=1e-16)


@pytest.mark.parametrize("resolution", [64, 45])
def test_resize_is_torchs_bilinear(resolution):
    x = images(32, 2)
    expected = torch.nn.functional.interpolate(
        nchw(x), size=resolution, mode="bilinear", align_corners=False
    ).numpy()
    np.testing.assert_allclose(
        np.asarray(augment.resize(jnp.asarray(x), resolution)).transpose(0, 3, 1, 2),
        expected,
        atol=1e-12,
    )


@pytest.mark.parametrize("name", ["cifar10", "imagenet"])
def test_autoaugment_tables_are_torchvisions(name):
    """Sub-policies, probabilities, and each operation's magnitude, read from torchvision's own
    tables.
    """
    torchvision = pretrained.import_torchvision()
    transforms = torchvision.transforms
    theirs = transforms.AutoAugment(transforms.AutoAugmentPolicy(name))
    space = theirs._augmentation_space(10, (32, 32))
    policy = augment.auto_augment(name, 32, 32)
    from ltjax.augment import operations, policies

    for row, sub_policy in enumerate(theirs.policies):
        for slot, (operation, probability, magnitude) in enumerate(sub_policy):
            assert policy.probability[row, slot] == probability
            magnitudes, signed = space[operation]
            value = float(magnitudes[magnitude]) if magnitudes.ndim else 0.0
            kind = operations.KINDS[policy.kind[row, slot]]
            if kind == "affine":
                share = magnitude / 9
                expected = operations.fixed_point(policies._matrix(operation, share, 32, 32))
                np.testing.assert_array_equal(policy.coefficients[row, slot, 0], expected)
                limit = {"Rotate": 30.0, "ShearX": 0.3, "ShearY": 0.3}.get(
                    operation, 150 / 331 * 32
                )
                np.testing.assert_allclose(value, share * limit, rtol=1e-5)
            elif signed:
                np.testing.assert_allclose(
                    policy.value[row, slot], [1 + value, 1 - value], rtol=1e-6
                )
            elif kind in ("solarize", "posterize"):
                np.testing.assert_allclose(policy.value[row, slot], value, rtol=1e-6)
            assert kind.replace("_", "") == operation.lower() or kind == "affine"
