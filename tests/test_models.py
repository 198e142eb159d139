import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltjax import models
from ltjax.models import convolution


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def shapes(name, num_classes=10, **options):
    model = models.create(name, num_classes, **options)
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))


@pytest.mark.parametrize(
    ("name", "num_classes", "classifier", "published"),
    [
        ("resnet32", 10, "linear", 464_154),
        ("resnet32", 10, "normalized", 464_144),
        ("resnet32", 100, "linear", 470_004),
        ("resnet32", 100, "normalized", 469_904),
        ("resnet20", 10, "linear", 269_722),
        ("resnet44", 10, "linear", 658_586),
        ("resnet56", 10, "linear", 853_018),
        ("resnet110", 10, "linear", 1_727_962),
        ("resnet50", 1000, "linear", 25_557_032),
    ],
)
def test_parameter_counts_are_the_published_ones(name, num_classes, classifier, published):
    assert count(shapes(name, num_classes, classifier=classifier)["params"]) == published


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize(("size", "convolutions"), [((6, 5), 3 + 2), ((9, 8), 3 * 24)])
def test_kernel_gradients_of_groups_of_images_are_the_whole_batchs(
    monkeypatch, devices, size, convolutions
):
    """Value, input and kernel gradient, of a batch that is cut into groups and of one that is not,
    also sharded; and forward mode. Small maps: three groups for the kernel's gradient alone.
    """
    monkeypatch.setattr(convolution, "CACHED_PATCHES", 1)
    mesh = jax.make_mesh(
        (devices,),
        ("data",),
        axis_types=(jax.sharding.AxisType.Auto,),
        devices=jax.devices()[:devices],
    )
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    with jax.enable_x64(True):
        generator = np.random.default_rng(0)
        images = jax.device_put(generator.normal(size=(96, *size, 3)), place)
        kernel = generator.normal(size=(3, 3, 3, 4))
        weights = generator.normal(size=(96, *((n + 1) // 2 for n in size), 4))
        options = {
            "window_strides": (2, 2),
            "padding": ((1, 1), (1, 1)),
            "dimension_numbers": ("NHWC", "HWIO", "NHWC"),
        }

        def program(function):
            return jax.jit(
                jax.value_and_grad(
                    lambda x, k: jnp.sum(weights * function(x, k, **options)), (0, 1)
                )
            )

        grouped, whole = (
            program(convolution.conv_general_dilated),
            program(jax.lax.conv_general_dilated),
        )
        lowered = grouped.lower(images, kernel)
        assert lowered.as_text().count("stablehlo.convolution") == convolutions
        # What makes the convolution's input is not fused into each group: the groups are made by
        # a call that XLA keeps.
        assert "to_apply=%_interleaved" in lowered.compile().as_text()
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12),
            grouped(images, kernel),
            whole(images, kernel),
        )
        along = (jnp.cos(images), jnp.sin(kernel))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12),
            *(jax.jvp(made, (images, kernel), along) for made in (grouped, whole)),
        )


CONVOLUTIONS = {
    "3x3 on 2x2": ((2, 2, 32, 40), 3, 1, ((1, 1), (1, 1)), 1, 0),
    "strided 3x3 on 4x3": ((4, 3, 32, 32), 3, 2, ((1, 1), (1, 1)), 1, 0),
    "3x3 on 1x1": ((1, 1, 40, 32), 3, 1, "SAME", 1, 0),
    "5x5 on 3x5": ((3, 5, 32, 32), 5, 2, ((2, 2), (2, 2)), 1, 0),
    "small and narrow": ((2, 2, 8, 8), 3, 1, "SAME", 1, 1),
    "1x1, strided": ((7, 6, 6, 5), 1, 2, "VALID", 1, 0),
    "1x1, padded": ((4, 4, 6, 5), 1, 1, ((1, 1), (0, 0)), 1, 1),
    "depthwise, strided, same": ((7, 6, 6, 6), 3, 2, "SAME", 6, 0),
    "depthwise, larger than the map": ((3, 3, 6, 6), 5, 1, "SAME", 6, 0),
    "two of each channel": ((6, 5, 6, 12), 3, 1, "SAME", 6, 1),
    "groups of channels": ((2, 2, 6, 12), 3, 1, "SAME", 3, 1),
    "1x1 in groups": ((2, 2, 6, 12), 1, 1, "SAME", 3, 1),
    "anything else": ((6, 5, 4, 4), 3, 1, ((1, 0), (2, 1)), 1, 1),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_on_a_cpu_are_laxs(name):
    """Value, both gradients, and the derivative of both along a direction
    (forward over reverse).
    """
    (height, width, inputs, outputs), size, stride, padding, groups, by_lax = CONVOLUTIONS[name]
    options = {
        "window_strides": (stride, stride),
        "padding": padding,
        "dimension_numbers": ("NHWC", "HWIO", "NHWC"),
        "feature_group_count": groups,
    }
    generator = np.random.default_rng(0)
    with jax.enable_x64(True):
        at, along = (
            (
                generator.normal(size=(3, height, width, inputs)),
                generator.normal(size=(size, size, inputs // groups, outputs)),
            )
            for _ in range(2)
        )

        def everything(function):
            def loss(images, kernel):
                out = function(images, kernel, **options)
                return jnp.sum(jnp.sin(out)), out

            return jax.jit(
                lambda: jax.jvp(jax.value_and_grad(loss, (0, 1), has_aux=True), at, along)
            )

        mine = everything(convolution.conv_general_dilated)
        assert ("stablehlo.convolution" in mine.lower().as_text()) == by_lax
        # Rounding of sums of up to 25 x 40 products.
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10),
            mine(),
            everything(jax.lax.conv_general_dilated)(),
        )


def test_convolutions_keep_bfloat16s_sums_in_float32():
    generator = np.random.default_rng(0)
    images = jnp.asarray(generator.normal(size=(2, 4, 4, 32)), jnp.bfloat16)
    for kernel, groups in (((3, 3, 32, 32), 1), ((5, 5, 1, 32), 32), ((1, 1, 32, 8), 1)):
        kernel = jnp.asarray(generator.normal(size=kernel), jnp.bfloat16)
        options = {
            "window_strides": (1, 1),
            "padding": "SAME",
            "dimension_numbers": ("NHWC", "HWIO", "NHWC"),
            "feature_group_count": groups,
        }
        ours = jax.jit(partial(convolution.conv_general_dilated, **options))(images, kernel)
        exact = jax.lax.conv_general_dilated(
            images.astype(jnp.float32), kernel.astype(jnp.float32), **options
        )
        assert ours.dtype == jnp.bfloat16
        # One rounding to 8 bits, of a sum: half a unit in the last place, 2^-8 of the value.
        np.testing.assert_allclose(ours.astype(jnp.float32), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("name", ["resnet10", "efficientnet_lite0"])
def test_accelerators_and_exported_programs_have_laxs_convolutions(monkeypatch, name):
    """An exported program of any batch may run anywhere."""
    model = models.create(name, 10)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3))))

    def convolutions(batch):
        images = jax.ShapeDtypeStruct((batch, 64, 64, 3), jnp.float32)
        traced = jax.jit(lambda v, x: model.apply(v, x)).trace(variables, images)
        return traced.lower(lowering_platforms=("cuda",)).as_text().count("stablehlo.convolution")

    kernels = sum(leaf.ndim == 4 for leaf in jax.tree.leaves(variables["params"]))
    assert convolutions(2) < kernels
    assert convolutions(jax.export.symbolic_shape("b")[0]) == kernels
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert convolutions(2) == kernels


@pytest.mark.parametrize("batch", [8, 64], ids=["whole", "in groups"])
def test_inside_a_loop_convolutions_have_the_layouts_that_a_cpu_is_fast_in(batch):
    """XLA turns others into these outside of loops alone; inside, they take a plain loop of one
    thread. A Hessian product too, which is the tangent of a gradient.
    """
    images = jnp.ones((batch, 32, 32, 16))
    kernels = [jnp.ones((3, 3, 16, 16)), jnp.ones((3, 3, 16, 8))]

    def loss(kernels):
        x = jax.nn.relu(convolution.conv_general_dilated(images, kernels[0], (1, 1), "SAME"))
        return jnp.mean(convolution.conv_general_dilated(x, kernels[1], (2, 2), "SAME") ** 2)

    def product(at):
        return jax.jvp(jax.grad(loss), (at,), (at,))[1]

    for step in (jax.grad(loss), product):
        looped = jax.jit(
            lambda kernels, step=step: jax.lax.fori_loop(0, 3, lambda _, at: step(at), kernels)
        )
        text = looped.lower(kernels).compile().as_text()
        layouts = re.findall(r"convolution\(.*dim_labels=(\S+?)[,\s]", text)
        assert len(layouts) >= 5
        assert set(layouts) == {"b01f_01io->b01f"}


@pytest.fixture(scope="module")
def small():
    model = models.create("resnet8", 10, classifier="normalized", width=4)
    return model, model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


def test_normalized_classifier_gives_cosines_from_unit_columns(small):
    model, variables = small
    kernel = variables["params"]["linear"]["kernel"]
    np.testing.assert_allclose(jnp.linalg.norm(kernel, axis=0), 1.0, rtol=1e-6)
    logits = model.apply(variables, jax.random.normal(jax.random.key(1), (5, 8, 8, 3)))
    assert np.all(np.abs(logits) <= 1 + 1e-6)


def test_initial_weights_are_he_normal():
    model = models.create("resnet20", 10)
    params = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    kernel = params["layer3_2"]["conv2"][
        "kernel"
    ]  # 36,864 values: the sample deviation is within 2 % (5 standard errors)
    np.testing.assert_allclose(jnp.std(kernel), np.sqrt(2 / (64 * 9)), rtol=0.02)
    assert np.all(np.abs(params["linear"]["bias"]) <= 64**-0.5)
    assert jnp.std(params["linear"]["bias"]) > 0


def test_training_mode_moves_statistics_and_evaluation_mode_does_not(small):
    model, variables = small
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    _, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
    moved = jax.tree.map(
        lambda a, b: not np.array_equal(a, b), variables["batch_stats"], updated["batch_stats"]
    )
    assert all(jax.tree.leaves(moved))
    alone = model.apply(variables, images[:1])
    np.testing.assert_allclose(model.apply(variables, images)[:1], alone, rtol=1e-4, atol=1e-6)


def test_bfloat16_keeps_parameters_and_statistics_in_float32_and_stays_near(small):
    _, variables = small
    model = models.create("resnet8", 10, classifier="normalized", width=4, dtype="bfloat16")
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    logits, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
    assert logits.dtype == jnp.float32
    assert {
        leaf.dtype for leaf in jax.tree.leaves((updated, shapes("resnet8", dtype="bfloat16")))
    } == {jnp.dtype(jnp.float32)}
    exact = small[0].apply(variables, images, train=True, mutable=["batch_stats"])[0]
    np.testing.assert_allclose(logits, exact, atol=0.05)  # 8 bits of mantissa through 8 layers
    assert not np.array_equal(logits, exact)


@pytest.mark.parametrize(
    "name", ["resnet8", "resnet10", "resnet18_cifar", "reslt_resnet8", "efficientnet_lite0"]
)
def test_bfloat16_networks_pool_and_classify_in_float32(name):
    """What reaches the classifier, and what leaves the network."""
    seen = []

    def note(following, arguments, options, context):
        if context.module.name == "linear" and context.method_name == "__call__":
            seen.append(arguments[0].dtype)
        return following(*arguments, **options)

    model = models.create(name, 10, dtype="bfloat16")
    with nn.intercept_methods(note):
        out = jax.eval_shape(
            lambda: model.init_with_output(jax.random.key(0), jnp.zeros((2, 32, 32, 3)))[0]
        )
    assert out.dtype == jnp.float32
    assert set(seen) == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(
    ("arguments", "options", "told"),
    [
        (("resnet23", 10), {}, "unknown model 'resnet23'; did you mean 'resnet34'?"),
        (("resnet32", 0), {}, "num_classes is 0"),
        (("resnet32", 10), {"depth": 3}, "model 'resnet32': .*depth"),
    ],
)
def test_bad_models_are_refused(arguments, options, told):
    with pytest.raises(ValueError, match=told.replace("?", r"\?")):
        models.create(*arguments, **options)


def test_a_scaled_classifier_starts_as_the_linear_one_and_scales_bias_and_all():
    images = jnp.ones((2, 8, 8, 3))
    plain, scaled = (
        models.create("resnet8", 10, classifier=kind, width=4) for kind in ("linear", "scaled")
    )
    variables = jax.jit(scaled.init)(jax.random.key(0), images)
    factor = variables["params"]["linear"].pop("factor")
    np.testing.assert_array_equal(factor, np.ones(10))
    logits = plain.apply(variables, images)
    variables["params"]["linear"]["factor"] = jnp.arange(10.0)
    np.testing.assert_allclose(
        scaled.apply(variables, images), logits * jnp.arange(10.0), rtol=1e-5, atol=1e-6
    )
    there_and_back = models.from_torch("resnet8", models.to_torch("resnet8", variables))
    jax.tree.map(np.testing.assert_array_equal, there_and_back, variables)


def test_a_bad_classifier_is_refused():
    with pytest.raises(
        ValueError, match="classifier is 'cosine'; expected 'linear', 'normalized' or 'scaled'"
    ):
        shapes("resnet8", classifier="cosine")


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        (
            "reslt_resnet8",
            {"head": "group"},
            "ResLT head is 'group'; expected 'batch_norm' or 'grouped'",
        ),
        ("reslt_resnet8", {"classifier": "normalized"}, "ResLT has a linear classifier"),
        (
            "efficientnet_b0",
            {"numerics": "tf"},
            "EfficientNet numerics is 'tf'; expected 'tensorflow' or 'torch'",
        ),
    ],
)
def test_bad_options_of_networks_are_refused(name, options, told):
    with pytest.raises(ValueError, match=told):
        shapes(name, **options)


def test_reslt_predicts_by_the_sum_of_its_branches():
    model = models.create("reslt_resnet8", 10, width=6)
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    variables = model.init(jax.random.key(0), images)
    branches = model.apply(variables, images, branches=True)
    assert branches.shape == (3, 4, 10)
    np.testing.assert_allclose(model.apply(variables, images), branches.sum(axis=0), rtol=1e-6)


@pytest.mark.parametrize("head", ["batch_norm", "grouped"])
@pytest.mark.parametrize("name", ["reslt_resnet10", "reslt_resnet50", "reslt_resnext50"])
def test_reslt_stands_on_networks_for_photographs_too(name, head):
    model = models.create(name, 7, head=head, width=16)
    images = jnp.zeros((2, 64, 64, 3))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images))
    assert jax.eval_shape(lambda v: model.apply(v, images), variables).shape == (2, 7)
    assert jax.eval_shape(lambda v: model.apply(v, images, branches=True), variables).shape == (
        3,
        2,
        7,
    )
    arrays = models.to_torch(
        name, jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), variables)
    )
    back = models.from_torch(name, arrays)
    assert jax.tree.map(lambda leaf: leaf.shape, back) == jax.tree.map(
        lambda leaf: leaf.shape, dict(variables)
    )
    if head == "grouped":
        assert variables["params"]["branches"]["kernel"].shape[-1] % 3 == 0


def test_grouped_reslt_keeps_its_last_stage_divisible_by_three():
    params = shapes("reslt_resnet8", head="grouped")["params"]
    assert params["layer3_0"]["conv2"]["kernel"].shape == (3, 3, 48, 48)
    assert params["branches"]["kernel"].shape == (1, 1, 16, 48)  # each branch sees a third
    assert params["linear"]["kernel"].shape == (16, 10)
