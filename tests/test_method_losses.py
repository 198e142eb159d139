"""The losses of features, experts and views: where they must coincide with others, what they
refuse, and that they work under jit, vmap and in bfloat16.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltjax import losses

COUNTS = np.array([500, 120, 30, 7])
GENERATOR = np.random.default_rng(0)
LABELS = np.array([0, 1, 2, 3, 0, 0])
LOGITS = GENERATOR.normal(0, 2, (3, 6, 4))
FEATURES = np.maximum(GENERATOR.normal(size=(6, 5)), 0)


def unit(*shape):
    x = GENERATOR.normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


VIEWS, PROTOTYPES = unit(6, 2, 5), unit(4, 5)
GLMC = {"lam": 0.3, "class_weights": np.ones(4), "progress": 0.5}

CALLS = {
    "influence_balanced": (losses.influence_balanced, (LOGITS[0], LABELS), {"features": FEATURES}),
    "balanced_experts": (losses.balanced_experts, (LOGITS, LABELS), {"class_counts": COUNTS}),
    "sade": (losses.sade, (LOGITS, LABELS), {"class_counts": COUNTS}),
    "balanced_contrastive": (
        losses.balanced_contrastive,
        (VIEWS, LABELS),
        {"prototypes": PROTOTYPES},
    ),
    "glmc": (
        losses.glmc,
        (*(LOGITS[:2],) * 2, *(VIEWS.transpose(1, 0, 2),) * 2, LABELS, LABELS[::-1]),
        GLMC,
    ),
}


def rounded(arrays, dtype):
    return [
        jnp.asarray(a, dtype) if a.dtype.kind == "f" else jnp.asarray(a)
        for a in map(np.asarray, arrays)
    ]


@pytest.mark.parametrize("name", CALLS)
def test_bfloat16_is_computed_in_float32_and_vmap_and_jit_change_nothing(name):
    loss, arrays, options = CALLS[name]
    loss = jax.jit(partial(loss, **options))
    halves = rounded(arrays, jnp.bfloat16)
    wide = [x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x for x in halves]
    value = loss(*halves)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, loss(*wide), rtol=1e-6)
    many = jax.vmap(loss)(*[jnp.stack([x, x]) for x in wide])
    np.testing.assert_allclose(many, np.stack([value, value]), rtol=1e-5)


@pytest.mark.parametrize("name", CALLS)
def test_a_label_outside_the_classes_is_refused_and_is_nan_under_jit(name):
    loss, arrays, options = CALLS[name]
    for bad in (4, -1):
        wrong = [
            np.where(np.arange(6) == 2, bad, a) if np.issubdtype(a.dtype, np.integer) else a
            for a in arrays
        ]
        with pytest.raises(ValueError, match=rf"label {bad} is outside 0\.\.3"):
            loss(*wrong, **options)
        value = jax.jit(partial(loss, **options))(*wrong)
        assert np.isnan(value[2] if value.ndim else value)


def test_label_aware_smoothing_with_one_strength_is_plain_label_smoothing():
    even = losses.label_aware_smoothing(LOGITS[0], LABELS, class_counts=COUNTS, head=0.2, tail=0.2)
    plain = losses.cross_entropy(LOGITS[0], LABELS, label_smoothing=0.2)
    np.testing.assert_allclose(even, plain, rtol=1e-6)
    balanced = losses.label_aware_smoothing(LOGITS[0], LABELS, class_counts=[9] * 4, head=0.2)
    np.testing.assert_allclose(balanced, plain, rtol=1e-6)


def test_label_aware_smoothing_is_head_at_the_fullest_and_tail_at_the_rarest_class():
    smooth = losses.label_aware_smoothing(
        LOGITS[0, :4], np.arange(4), class_counts=COUNTS, head=0.3, tail=0.1
    )
    for label, strength in ((0, 0.3), (3, 0.1)):
        plain = losses.cross_entropy(LOGITS[0, label], label, label_smoothing=strength)
        np.testing.assert_allclose(smooth[label], plain, rtol=1e-6)


def test_influence_balanced_takes_probabilities_and_class_weights():
    options = {"features": FEATURES, "class_weights": np.array([0.5, 1.0, 2.0, 3.0])}
    ids = losses.influence_balanced(LOGITS[0], LABELS, **options)
    soft = losses.influence_balanced(LOGITS[0], jax.nn.one_hot(LABELS, 4), **options)
    np.testing.assert_allclose(soft, ids, rtol=1e-5)
    plain = losses.influence_balanced(LOGITS[0], LABELS, features=FEATURES)
    np.testing.assert_allclose(ids / plain, options["class_weights"][LABELS], rtol=1e-6)


def test_influence_balanced_without_influence_is_cross_entropy_times_alpha_over_epsilon():
    none = losses.influence_balanced(
        LOGITS[0], LABELS, features=np.zeros((6, 5)), alpha=2.0, epsilon=0.5
    )
    np.testing.assert_allclose(none, 4.0 * losses.cross_entropy(LOGITS[0], LABELS), rtol=1e-6)


def test_influence_balanced_is_finite_where_the_label_is_certain():
    logits = jnp.array([[1e4, 0.0, -1e4, 1.0], [200.0, 0.0, 0.0, 0.0]])
    features = jnp.ones((2, 5))

    def total(z):
        return jnp.sum(losses.influence_balanced(z, jnp.zeros(2, int), features=features))

    value, gradient = jax.jit(jax.value_and_grad(total))(logits)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_experts_with_tau_zero_and_equal_logits_are_cross_entropy():
    same = np.stack([LOGITS[0]] * 2)
    ours = losses.balanced_experts(same, LABELS, class_counts=COUNTS, taus=(0.0, 0.0))
    np.testing.assert_allclose(ours, losses.cross_entropy(LOGITS[0], LABELS), rtol=1e-6)


def test_balpoe_has_the_published_taus():
    three = np.stack([LOGITS[0]] * 3)
    ours = losses.balanced_experts(three, LABELS, class_counts=COUNTS)
    published = losses.balanced_experts(three, LABELS, class_counts=COUNTS, taus=(0.0, 1.0, 2.0))
    np.testing.assert_array_equal(ours, published)


def test_sade_on_balanced_counts_is_three_cross_entropies():
    ours = losses.sade(LOGITS, LABELS, class_counts=[9] * 4)
    plain = sum(losses.cross_entropy(logits, LABELS) for logits in LOGITS)
    np.testing.assert_allclose(ours, plain, rtol=1e-6)


def test_sades_third_expert_sees_the_counts_in_reverse():
    """Of counts 8, 4, 2, 1 at tau 2 the added log prior is that of 8 / 1, 4 / 4, 2 / 16, 1 / 64."""
    zeros = np.zeros((3, 4, 4))
    ours = losses.sade(zeros, np.arange(4), class_counts=[8, 4, 2, 1])
    shares = np.array([8 / 1, 4 / 4, 2 / 16, 1 / 64])
    expected = np.log(4) - np.log([8 / 15, 4 / 15, 2 / 15, 1 / 15]) - np.log(shares / shares.sum())
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 0, 0, 2], [3, 2, 1, 0]])
def test_balanced_contrast_weighs_every_class_the_same_whatever_its_members(labels):
    """Where all similarities are equal, an anchor cannot tell its class from C - 1 others."""
    same = np.ones((4, 2, 5)) / np.sqrt(5.0)
    loss = jax.jit(losses.balanced_contrastive)
    ours = loss(same, np.array(labels), prototypes=same[:, 0])
    np.testing.assert_allclose(ours, np.log(4), rtol=1e-6)


def test_glmc_moves_from_the_plain_to_the_balanced_classifier():
    loss, arrays, options = CALLS["glmc"]

    @jax.jit
    def gradients(progress, *arrays):
        at = partial(loss, **(options | {"progress": progress}))
        return jax.grad(at, (0, 1, 2, 3))(*arrays)

    gradient = gradients(0.0, *rounded(arrays, jnp.float32))
    assert np.abs(gradient[0]).max() > 0
    assert not gradient[1].any()
    gradient = gradients(1.0, *rounded(arrays, jnp.float32))
    assert not gradient[0].any()
    assert np.abs(gradient[1]).max() > 0
    assert not gradient[3].any()  # no gradient through the projections


def test_glmcs_views_count_by_their_weight():
    loss, arrays, options = CALLS["glmc"]
    none, half, whole = (
        loss(*rounded(arrays, jnp.float32), **options, similarity=weight)
        for weight in (0.0, 0.5, 1.0)
    )
    assert whole != none
    np.testing.assert_allclose(half, (none + whole) / 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda: losses.label_aware_smoothing(LOGITS[0], LABELS, class_counts=COUNTS, head=1.5),
            r"head is 1\.5; expected a smoothing in \[0, 1\]",
        ),
        (
            lambda: losses.influence_balanced(LOGITS[0], LABELS, features=FEATURES[:5]),
            r"features are \[5, 5\] for logits \[6, 4\]; expected \[6, D\]",
        ),
        (
            lambda: losses.influence_balanced(LOGITS[0], LABELS, features=FEATURES, alpha=0),
            "alpha is 0; expected a value above 0",
        ),
        (
            lambda: losses.influence_balanced(
                LOGITS[0], LABELS, features=FEATURES, class_weights=np.ones(3)
            ),
            r"class_weights are \[3\]; expected \[4\]",
        ),
        (
            lambda: losses.balanced_experts(LOGITS[:2], LABELS, class_counts=COUNTS),
            r"expert_logits are \[2, 6, 4\]; expected \[3, \.\.\., C\]",
        ),
        (
            lambda: losses.sade(LOGITS.astype(int), LABELS, class_counts=COUNTS),
            r"logits are int\d\d\[6, 4\]; expected floating point",
        ),
        (
            lambda: losses.sade(LOGITS, LABELS, class_counts=COUNTS[:3]),
            r"class_counts has shape \[3\]; expected \[4\]",
        ),
        (
            lambda: losses.balanced_contrastive(VIEWS[:, 0], LABELS, prototypes=PROTOTYPES),
            r"features are \[6, 5\].*expected \[B, V, D\], class ids \[B\], \[C, D\]",
        ),
        (
            lambda: losses.balanced_contrastive(
                VIEWS, LABELS, prototypes=PROTOTYPES, temperature=0.0
            ),
            r"temperature is 0\.0; expected a value above 0",
        ),
        (
            lambda: losses.glmc(LOGITS, *CALLS["glmc"][1][1:], **GLMC),
            r"logits are \[3, 6, 4\] and \[2, 6, 4\].*expected \[2, B, C\] twice",
        ),
        (
            lambda: losses.glmc(*CALLS["glmc"][1], **GLMC, similarity=-1.0),
            r"similarity is -1\.0; expected a weight >= 0",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, told):
    with pytest.raises(ValueError, match=told) as refusal:
        call()
    assert "\n" not in str(refusal.value)
