import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltjax import losses

COUNTS = np.array([500, 120, 30, 7])
NAMES = sorted(losses.LOSSES)


def bound(name, counts=COUNTS, **options):
    """The loss as (logits, labels) -> losses."""
    loss = losses.LOSSES[name]
    if "class_counts" in inspect.signature(loss).parameters:
        options["class_counts"] = counts
    return partial(loss, **options)


def example(shape=(6,), scale=3.0, seed=0):
    generator = np.random.default_rng(seed)
    return jnp.asarray(generator.normal(0, scale, (*shape, 4))), jnp.asarray(
        generator.integers(0, 4, shape)
    )


def test_ldam_equals_cross_entropy_of_scaled_logits_when_margin_is_zero():
    logits, labels = example()
    with_margin = losses.ldam(logits, labels, class_counts=COUNTS, max_margin=0.0, scale=7.0)
    np.testing.assert_allclose(with_margin, losses.cross_entropy(7.0 * logits, labels), rtol=1e-6)


def test_ldam_margin_of_the_rarest_class_is_the_largest_and_equals_max_margin():
    margins = losses.ldam_margins(COUNTS, 0.5)
    assert margins[-1] == 0.5
    assert np.all(np.diff(margins) > 0)


def test_focal_equals_cross_entropy_when_gamma_is_zero():
    logits, labels = example()
    np.testing.assert_allclose(
        losses.focal(logits, labels, gamma=0.0), losses.cross_entropy(logits, labels), rtol=1e-6
    )


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_vector_scaling_without_gamma_is_logit_adjusted(offset):
    logits, labels = example()
    logits = logits + offset
    scaled = losses.vector_scaling(logits, labels, class_counts=COUNTS, gamma=0.0, tau=1.3)
    np.testing.assert_allclose(
        scaled, losses.logit_adjusted(logits, labels, class_counts=COUNTS, tau=1.3), rtol=1e-6
    )


def test_vector_scaling_shrinks_tail_logits():
    logits = jnp.eye(4) * 2.0
    loss = losses.vector_scaling(logits, jnp.arange(4), class_counts=COUNTS, gamma=0.5, tau=0.0)
    assert np.all(np.diff(loss) > 0)


def test_balanced_softmax_is_logit_adjusted_with_tau_one():
    logits, labels = example()
    np.testing.assert_allclose(
        losses.balanced_softmax(logits, labels, class_counts=COUNTS),
        losses.logit_adjusted(logits, labels, class_counts=COUNTS, tau=1.0),
        rtol=1e-5,
    )


@pytest.mark.parametrize("name", ["vector_scaling", "balanced_softmax", "logit_adjusted"])
def test_equal_counts_give_cross_entropy(name):
    logits, labels = example((20,))
    np.testing.assert_allclose(
        bound(name, np.full(4, 10))(logits, labels),
        losses.cross_entropy(logits, labels),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("soft", [False, True])
def test_value_and_gradient_are_finite_for_huge_logits(name, soft):
    """Up to the 1e36 that the module states; every class the highest in turn."""
    rows = jnp.concatenate([jnp.array([[s, 0.0, -s, 1.0]] * 4) for s in (1e4, -1e4, 1e36, -1e36)])
    labels = jnp.tile(jnp.arange(4), 4)
    labels = jax.nn.one_hot(labels, 4) * 0.9 + 0.025 if soft else labels
    value, gradient = jax.vmap(jax.value_and_grad(bound(name)))(rows, labels)
    assert np.all(np.isfinite(value))
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("classes", [1000, 8142])
@pytest.mark.parametrize("soft", [False, True])
def test_focal_and_soft_ldam_keep_their_digits_where_the_top_class_is_improbable(classes, soft):
    """Near-uniform logits in float32 against float64: log(1 - p) of p near 0 has no digits
    of log p.
    """
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 0.01, (8, classes)).astype(np.float32)
    labels = generator.dirichlet(np.ones(classes), 8) if soft else np.argmax(logits, axis=1)
    counts = np.arange(classes, 0, -1)

    def values():
        yield losses.focal(jnp.asarray(logits, float), labels, gamma=2.0)
        yield losses.ldam(jnp.asarray(logits, float), np.asarray(labels), class_counts=counts)

    ours = list(values())
    with jax.enable_x64(True):
        for mine, expected in zip(ours, values(), strict=True):
            assert (mine.dtype, expected.dtype) == (np.float32, np.float64)
            np.testing.assert_allclose(mine, expected, rtol=1e-6)  # some roundings of 6e-8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
def test_narrow_label_types_are_class_ids_like_any_other(name, dtype):
    """300 classes, more than int8 and uint8 hold."""
    logits = np.random.default_rng(0).normal(size=(4, 300)).astype(np.float32)
    labels = np.array([0, 5, 90, 127])
    loss = jax.jit(bound(name, np.arange(300, 0, -1)))
    np.testing.assert_array_equal(loss(logits, labels.astype(dtype)), loss(logits, labels))
    if np.iinfo(dtype).min < 0:
        assert np.isnan(loss(logits, np.array([-1, -5, -44, -128], dtype))).all()


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_keeps_its_gradient_where_the_probability_rounds_to_one(gamma):
    logits = jnp.array([20.0, 0.0])
    gradient = jax.grad(lambda z: losses.focal(z, jnp.array(0), gamma=gamma))(logits)
    q = np.exp(-20.0)  # 1 - p; the loss is q^gamma * q, its derivative -(gamma + 1) q^(gamma + 1)
    np.testing.assert_allclose(gradient[0], -(gamma + 1) * q ** (gamma + 1), rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("label", "told"), [(4, "label 4 is outside 0..3"), (-1, "label -1 is outside 0..3")]
)
def test_a_label_outside_the_classes_is_refused_and_is_nan_under_jit(name, label, told):
    logits, _ = example((1,))
    with pytest.raises(ValueError, match=told.replace(".", r"\.")):
        bound(name)(logits, jnp.array([label]))
    assert np.isnan(jax.jit(bound(name))(logits, jnp.array([label]))[0])


@pytest.mark.parametrize("name", NAMES)
def test_labels_that_do_not_fit_the_logits_are_refused(name):
    logits, _ = example()
    with pytest.raises(ValueError, match=r"labels are int32\[5\] for logits \[6, 4\]"):
        bound(name)(logits, jnp.zeros(5, int))


@pytest.mark.parametrize(
    "name",
    [
        "ldam",
        "vector_scaling",
        "balanced_softmax",
        "logit_adjusted",
        "label_aware_smoothing",
    ],
)
@pytest.mark.parametrize(
    ("counts", "told"),
    [([5, 3, 0, 1], r"holds 0 \(class 2\)"), ([5, 3, 1], r"shape \[3\]; expected \[4\]")],
)
def test_bad_class_counts_are_refused(name, counts, told):
    logits, labels = example()
    with pytest.raises(ValueError, match=told):
        bound(name, np.array(counts))(logits, labels)


def test_label_smoothing_one_ignores_the_label():
    logits, labels = example()
    smooth = losses.cross_entropy(logits, labels, label_smoothing=1.0)
    np.testing.assert_allclose(smooth, -jnp.mean(jax.nn.log_softmax(logits), axis=-1), rtol=1e-5)
    with pytest.raises(ValueError, match=r"label_smoothing is 1\.5"):
        losses.cross_entropy(logits, labels, label_smoothing=1.5)


def test_weighted_mean_ignores_classes_of_weight_zero():
    values, labels = jnp.array([1.0, 2.0, 3.0]), jnp.array([0, 1, 1])
    assert losses.weighted_mean(values, labels) == 2.0
    assert losses.weighted_mean(values, labels, jnp.array([0.0, 1.0])) == 2.5
    with pytest.raises(ValueError, match="expected class ids"):
        losses.weighted_mean(values, labels[:2], jnp.array([3.0, 1.0]))


@pytest.mark.parametrize("label", [-1, 2])
def test_weighted_mean_of_a_label_outside_the_classes_is_nan(label):
    labels = np.array([0, label, 1], np.int8)
    assert np.isnan(losses.weighted_mean(np.ones(3), labels, np.array([1.0, 2.0])))


def test_mixup_loss_is_linear_in_lam():
    a, b = jnp.array([1.0, 2.0]), jnp.array([3.0, 6.0])
    np.testing.assert_allclose(losses.mixup(a, b, 0.25), [2.5, 5.0])


def test_probabilities_are_of_the_logits_type():
    with jax.enable_x64(True):
        logits, soft = jnp.zeros((2, 3), jnp.float32), jnp.full((2, 3), 1 / 3)
        assert soft.dtype == float
        assert losses.cross_entropy(logits, soft).dtype == jnp.float32


def test_a_weighted_mean_is_of_its_losses_type():
    values, soft = jnp.ones(2, jnp.bfloat16), jnp.full((2, 3), 1 / 3, jnp.float32)
    assert losses.weighted_mean(values, soft, jnp.arange(1.0, 4.0)).dtype == jnp.bfloat16


MASKS = np.arange(6)[None] >= np.array([0, 2, 4])[:, None]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_reslt_sums_its_branches_in_float32(dtype):
    """Also where the sum is beyond float16's 65504."""
    logits = jnp.asarray(np.random.default_rng(0).normal(0, 1.5e4, (3, 16, 6)), dtype)
    labels = np.arange(16) % 6
    ours, wide = (
        losses.reslt(z, labels, branch_masks=MASKS, beta=0.3)
        for z in (logits, logits.astype(jnp.float32))
    )
    assert ours.dtype == jnp.float32
    np.testing.assert_array_equal(ours, wide)


def test_reslt_without_branch_part_is_cross_entropy_of_the_sum():
    logits, labels = np.random.default_rng(0).normal(size=(3, 8, 6)), np.arange(8) % 6
    expected = jnp.mean(losses.cross_entropy(logits.sum(axis=0), labels))
    np.testing.assert_allclose(
        losses.reslt(logits, labels, branch_masks=MASKS, beta=0.0), expected, rtol=1e-6
    )


def test_reslt_head_examples_teach_the_head_branch_alone():
    logits, labels = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 6))), np.zeros(8, int)
    grads = jax.grad(lambda z: losses.reslt(z, labels, branch_masks=MASKS, beta=1.0))(logits)
    assert grads[0].any()
    assert not grads[1:].any()


def test_reslt_label_smoothing_reaches_both_parts():
    logits, labels = np.random.default_rng(0).normal(size=(3, 8, 6)), np.arange(8) % 6
    everywhere = np.ones((3, 6), bool)
    smooth = losses.cross_entropy(logits, np.tile(labels, (3, 1)), label_smoothing=0.1).mean()
    fused = losses.cross_entropy(logits.sum(axis=0), labels, label_smoothing=0.1).mean()
    ours = losses.reslt(logits, labels, branch_masks=everywhere, beta=0.7, label_smoothing=0.1)
    np.testing.assert_allclose(ours, 0.7 * smooth + 0.3 * fused, rtol=1e-6)


def test_reslt_batch_of_one_masked_example_has_its_loss_as_branch_part():
    masks = np.zeros((3, 4))
    masks[1, 2] = 1.0
    labels = np.array([0, 2, 3])
    logits = np.random.default_rng(0).normal(size=(3, 3, 4)).astype(np.float32)
    ours = losses.reslt(logits, labels, branch_masks=masks, beta=1.0)
    np.testing.assert_allclose(ours, losses.cross_entropy(logits[1, 1], labels[1]), rtol=1e-6)


def test_reslt_batch_without_any_masked_example_has_no_branch_part():
    logits = np.random.default_rng(0).normal(size=(3, 8, 6))
    value = losses.reslt(logits, np.zeros(8, int), branch_masks=np.zeros((3, 6), bool), beta=0.9)
    np.testing.assert_allclose(
        value, 0.1 * losses.cross_entropy(logits.sum(axis=0), np.zeros(8, int)).mean(), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"branch_logits": np.zeros((2, 8, 6))},
            r"branch_logits are \[2, 8, 6\].*expected \[3, B, C\]",
        ),
        ({"labels": np.zeros(7, int)}, "expected .3, B, C. and class ids .B."),
        ({"labels": np.zeros(8)}, "labels float"),
        ({"labels": np.full(8, 6)}, "label 6 is outside 0..5"),
        ({"branch_masks": np.ones((3, 5))}, r"branch_masks are \[3, 5\]; expected \[3, 6\]"),
        ({"beta": 1.5}, "beta is 1.5"),
    ],
)
def test_reslt_refuses_what_does_not_fit(change, told):
    arguments = {
        "branch_logits": np.zeros((3, 8, 6)),
        "labels": np.zeros(8, int),
        "branch_masks": MASKS,
        "beta": 0.9,
    } | change
    with pytest.raises(ValueError, match=told):
        losses.reslt(arguments.pop("branch_logits"), arguments.pop("labels"), **arguments)


def test_reslt_of_a_label_below_0_is_nan_in_a_batch_of_fewer_images_than_classes():
    """Under jit, where labels aren't checked: not another class's loss."""
    branches, masks = jnp.zeros((3, 2, 4)), np.ones((3, 4))
    for beta in (0.0, 1.0):
        of = jax.jit(partial(losses.reslt, branch_masks=masks, beta=beta))
        assert jnp.isnan(of(branches, jnp.asarray([0, -1])))
        assert jnp.isfinite(of(branches, jnp.asarray([0, 1])))
