"""A network's Hessian: products, data sets batch by batch, devices, against dense matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from ltjax import hessian, losses, models


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def network():
    """A ResNet-8 of width 1 (342 parameters) with BatchNorm in evaluation mode on 23 random
    images, and its dense Hessian.
    """
    with jax.enable_x64(True):
        model = models.create("resnet8", 3, width=1, param_dtype=jnp.float64)
        images = jax.random.normal(jax.random.key(1), (23, 4, 4, 1), jnp.float64)
        labels = jnp.arange(23) % 3
        variables = model.init(jax.random.key(0), images)

        def losses_fn(params, batch):
            logits = model.apply({**variables, "params": params}, batch[0])
            return losses.cross_entropy(logits, batch[1])

        flat, unravel = ravel_pytree(variables["params"])
        dense = jax.jit(jax.hessian(lambda x: losses_fn(unravel(x), (images, labels)).mean()))(flat)
        return (
            model,
            variables,
            losses_fn,
            (np.asarray(images), np.asarray(labels)),
            np.asarray(dense),
        )


@pytest.mark.parametrize(
    ("batch_size", "scan", "kept"),
    [(23, True, 0), (8, True, 0), (8, False, 0), (1000, False, 0), (8, False, 3), (8, False, 2)],
)
def test_the_data_sets_operator_is_the_dense_hessian_whatever_the_batches(
    network, batch_size, scan, kept
):
    """23 images in batches of 8 leave a short one; memory for all or two of the three batches is
    the same operator.
    """
    _, variables, losses_fn, examples, dense = network
    keep_bytes = kept * _kept_bytes(losses_fn, variables["params"], examples, batch_size)
    operator = hessian.DatasetOperator(
        losses_fn, variables["params"], examples, batch_size, scan=scan, keep_bytes=keep_bytes
    )
    vector = np.random.default_rng(0).normal(size=len(dense))
    unravel = ravel_pytree(variables["params"])[1]
    product = ravel_pytree(operator(unravel(jnp.asarray(vector))))[0]
    np.testing.assert_allclose(
        product, dense @ vector, rtol=1e-9, atol=1e-9 * np.abs(dense @ vector).max()
    )
    assert operator.loss == pytest.approx(
        float(losses_fn(variables["params"], examples).mean()), rel=1e-12
    )


def _kept_bytes(losses_fn, params, examples, size):
    """What one batch keeps: all that the linear map v -> H v holds."""
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf[:size]), examples)
    kept = jax.eval_shape(
        lambda at: jax.linearize(jax.grad(lambda p: losses_fn(p, batch).sum()), at)[1], params
    )
    return int(1.2 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept)))


def test_products_of_kept_batches_skip_what_does_not_change(network):
    """A batch is read while its products are prepared, and not again."""
    _, variables, losses_fn, examples, _ = network
    traced = []

    def counted(params, batch):
        traced.append(len(batch[0]))
        return losses_fn(params, batch)

    operator = hessian.DatasetOperator(
        counted, variables["params"], examples, 8, scan=False, keep_bytes=2**30
    )
    traced.clear()
    operator(variables["params"])
    assert not traced, "the loss was traced anew for a product"


def test_a_full_run_on_a_network_finds_its_spectrum(network):
    _, variables, losses_fn, examples, dense = network
    assert 200 < len(dense) < 400
    operator = hessian.DatasetOperator(losses_fn, variables["params"], examples, 23, scan=True)
    expected = np.linalg.eigvalsh(dense)
    alphas, betas, _ = hessian.lanczos(
        operator, jax.tree.map(jnp.ones_like, variables["params"]), len(dense)
    )
    matrix = np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1)
    found = np.linalg.eigvalsh(matrix)
    np.testing.assert_allclose(found, expected, atol=1e-8 * np.abs(expected).max())
    top, bottom = (
        find(operator, variables["params"], jax.random.key(0), tolerance=1e-9, num_steps=200)
        for find in (hessian.top_eigenvalues, hessian.bottom_eigenvalues)
    )
    np.testing.assert_allclose(
        [top.values[0], bottom.values[0]], expected[[-1, 0]], atol=1e-7 * expected[-1]
    )
    estimate = hessian.trace(operator, variables["params"], jax.random.key(0), 60)
    assert abs(estimate.value - np.trace(dense)) < 4 * estimate.standard_error
    nodes, weights = hessian.spectral_density(
        operator, variables["params"], jax.random.key(0), 60, 8
    )
    # Kolmogorov-Smirnov distance of both densities widened by a hundredth of the range (most
    # eigenvalues lie at 0, where a quadrature rule has a single node); 8 probes of 300 entries
    # scatter by about 1 / sqrt(2,400).
    points = hessian.grid(expected, 4000, margin=0.1 * expected[-1])
    variance = (0.01 * (expected[-1] - expected[0])) ** 2
    ours, exact = (
        np.cumsum(hessian.density(values, shares, points, variance)) * (points[1] - points[0])
        for values, shares in (
            (nodes, weights),
            (expected, np.full(len(expected), 1 / len(expected))),
        )
    )
    assert np.abs(ours - exact).max() < 0.03


def test_gauss_newton_is_the_hessian_for_a_linear_network_and_psd_for_another(network):
    model, variables, _, (images, labels), dense = network

    def outputs(params):
        return model.apply({**variables, "params": params}, images)

    def loss_of_outputs(logits):
        return losses.cross_entropy(logits, labels).mean()

    flat, unravel = ravel_pytree(variables["params"])
    jacobian = jax.jit(jax.jacobian(lambda x: outputs(unravel(x)).ravel()))(flat)
    curvature = jax.hessian(lambda z: loss_of_outputs(z.reshape(23, 3)))(
        outputs(variables["params"]).ravel()
    )
    expected = jacobian.T @ curvature @ jacobian
    vector = jax.random.normal(jax.random.key(0), flat.shape, jnp.float64)
    product = ravel_pytree(
        hessian.gauss_newton_product(outputs, loss_of_outputs, variables["params"], unravel(vector))
    )[0]
    np.testing.assert_allclose(product, expected @ vector, rtol=1e-8, atol=1e-10)
    assert np.linalg.eigvalsh(expected)[0] > -1e-9
    assert np.linalg.eigvalsh(dense)[0] < -1e-3


@pytest.mark.parametrize(
    ("batch_size", "options"),
    [
        *((23, {}), (7, {"scan": True}), (7, {"scan": False})),
        *((16, {"scan": False, "devices": 8}), (32, {"scan": False, "devices": 8})),
    ],
    ids=["whole", "scan", "loop", "eight devices", "eight devices, more places than examples"],
)
@pytest.mark.parametrize("weights", [None, np.arange(23.0)], ids=["equal", "weighted"])
def test_weighted_operators_are_the_weighted_matrix_also_on_eight_devices(
    batch_size, options, weights
):
    """The loss (x . p)^2 / (2 s) has the Hessian x x^T / s; s is a one-dimensional float, by which
    a padded example must not divide as 0.
    """
    generator = np.random.default_rng(0)
    x, s = generator.normal(size=(23, 5)), generator.uniform(1, 2, 23)
    vector = generator.normal(size=5)
    shares = np.ones(23) if weights is None else weights
    expected = np.einsum("n,ni,nj->ij", shares / shares.sum() / s, x, x)
    options = dict(options)
    if devices := options.pop("devices", 0):
        mesh = jax.make_mesh((devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        options["sharding"] = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    operator = hessian.DatasetOperator(
        lambda p, batch: (batch[0] @ p) ** 2 / (2 * batch[1]),
        jnp.ones(5),
        (x, s),
        batch_size,
        weights=weights,
        **options,
    )
    there = jax.devices()[0]  # where the product stays, however many compute it
    product = operator(jax.device_put(jnp.asarray(vector), there))
    np.testing.assert_allclose(product, expected @ vector, rtol=1e-12)
    assert product.devices() == {there}
    assert operator.loss == pytest.approx(expected.sum() / 2, rel=1e-12)
