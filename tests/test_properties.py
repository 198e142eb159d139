"""What holds whatever the numbers: invariances, scale laws, jit, vmap and dtypes. Drawn by
hypothesis, in float64 where a law is exact.
"""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ltjax import hessian, losses, metrics, posthoc, reweighting, sampling

BATCH, CLASSES, WIDTH = 3, 4, 5
NAMES = sorted(losses.LOSSES)
WITH_COUNTS = [
    name for name in NAMES if "class_counts" in inspect.signature(losses.LOSSES[name]).parameters
]
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def numbers(*shape, size=30.0):
    """In steps of 1 / 64, so that none is nearly 0."""
    steps = int(64 * size)
    return arrays(np.int64, shape, elements=st.integers(-steps, steps)).map(lambda x: x / 64)


LOGITS = numbers(BATCH, CLASSES)
LABELS = arrays(np.int32, BATCH, elements=st.integers(0, CLASSES - 1))
COUNTS = arrays(np.int64, CLASSES, elements=st.integers(1, 10_000))
ORDERS = st.permutations(range(CLASSES)).map(np.array)
MATRICES = numbers(WIDTH, WIDTH, size=4.0).map(lambda a: a + a.T)


@pytest.fixture(autouse=True, scope="module")
def float64():
    with jax.enable_x64(True):
        yield


def loss_of(name, logits, labels, counts):
    own = {"class_counts": counts} if name in WITH_COUNTS else {}
    return losses.LOSSES[name](logits, labels, **own)


COMPILED = {name: jax.jit(partial(loss_of, name)) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@given(LOGITS, LABELS, COUNTS)
def test_a_loss_is_the_same_under_jit_under_vmap_and_in_any_leading_shape(
    name, logits, labels, counts
):
    flat = loss_of(name, logits, labels, counts)
    assert flat.shape == (BATCH,)
    np.testing.assert_allclose(COMPILED[name](logits, labels, counts), flat, **CLOSE)
    np.testing.assert_allclose(loss_of(name, logits[None], labels[None], counts)[0], flat, **CLOSE)
    mapped = jax.vmap(partial(loss_of, name), (0, 0, None))(logits, labels, counts)
    np.testing.assert_allclose(mapped, flat, **CLOSE)
    assert loss_of(name, logits[0], labels[0], counts).shape == ()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "vector_scaling"])
@given(LOGITS, LABELS, COUNTS, st.floats(-1e3, 1e3))
def test_adding_a_constant_to_all_logits_changes_no_loss(name, logits, labels, counts, constant):
    moved = COMPILED[name](logits + constant, labels, counts)
    np.testing.assert_allclose(moved, COMPILED[name](logits, labels, counts), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
@given(LOGITS, LABELS, COUNTS, ORDERS)
def test_the_classes_names_mean_nothing_to_a_loss(name, logits, labels, counts, order):
    renamed = COMPILED[name](logits[:, order], np.argsort(order)[labels], counts[order])
    np.testing.assert_allclose(renamed, COMPILED[name](logits, labels, counts), **CLOSE)


@pytest.mark.parametrize("name", WITH_COUNTS)
@given(LOGITS, LABELS, COUNTS, st.integers(2, 50))
def test_a_loss_sees_the_ratios_of_the_counts_alone(name, logits, labels, counts, factor):
    larger = COMPILED[name](logits, labels, factor * counts)
    np.testing.assert_allclose(larger, COMPILED[name](logits, labels, counts), **CLOSE)


@pytest.mark.parametrize("name", NAMES)
@given(LOGITS, arrays(np.float64, (BATCH, CLASSES), elements=st.floats(0.0, 1.0)), COUNTS)
def test_a_loss_of_probabilities_is_its_mean_over_the_classes(name, logits, shares, counts):
    """Class ids are the corners."""
    sums = shares.sum(axis=1, keepdims=True)
    shares = np.where(sums > 0, shares / np.where(sums > 0, sums, 1.0), np.eye(CLASSES)[0])
    each = [COMPILED[name](logits, np.full(BATCH, c), counts) for c in range(CLASSES)]
    mean = np.sum(shares * np.stack(each, axis=1), axis=1)
    np.testing.assert_allclose(COMPILED[name](logits, shares, counts), mean, **CLOSE)


@pytest.mark.parametrize("name", NAMES)
@given(LOGITS, LABELS, COUNTS)
def test_narrow_logits_are_computed_in_float32_and_wide_ones_stay(name, logits, labels, counts):
    assert COMPILED[name](logits, labels, counts).dtype == np.float64
    rounded = jnp.asarray(logits, jnp.bfloat16)
    ours = COMPILED[name](rounded, labels, counts)
    assert ours.dtype == np.float32
    wide = COMPILED[name](rounded.astype(np.float32), labels, counts)
    np.testing.assert_allclose(ours, wide, rtol=1e-6, atol=1e-7)


@given(LOGITS, LABELS, COUNTS, st.floats(0.01, 1.0), st.floats(0.1, 40.0))
def test_ldam_of_a_scale_is_ldam_of_scaled_cosines_and_margins(
    logits, labels, counts, margin, scale
):
    ldam = partial(losses.ldam, labels=labels, class_counts=counts)
    expected = ldam(scale * logits, max_margin=scale * margin, scale=1.0)
    np.testing.assert_allclose(ldam(logits, max_margin=margin, scale=scale), expected, **CLOSE)


@given(numbers(BATCH), LABELS, numbers(CLASSES).map(lambda x: np.abs(x) + 0.1), st.floats(0.1, 9.0))
def test_a_weighted_mean_is_linear_in_the_losses_and_blind_to_the_weights_scale(
    values, labels, weights, factor
):
    mean = losses.weighted_mean(values, labels, weights)
    expected = np.average(values, weights=weights[labels])
    np.testing.assert_allclose(mean, expected, **CLOSE)
    np.testing.assert_allclose(
        losses.weighted_mean(values, labels, factor * weights), mean, **CLOSE
    )
    moved = losses.weighted_mean(factor * values + 1.0, labels, weights)
    np.testing.assert_allclose(moved, factor * mean + 1.0, **CLOSE)
    soft = losses.weighted_mean(values, np.eye(CLASSES)[labels], weights)
    np.testing.assert_allclose(soft, mean, **CLOSE)
    assert losses.weighted_mean(values.astype(np.float32), labels, weights).dtype == np.float32


@pytest.mark.parametrize("name", sorted(reweighting.WEIGHTS))
@given(COUNTS, ORDERS)
def test_class_weights_sum_to_the_classes_and_fall_with_the_count(name, counts, order):
    weights = reweighting.WEIGHTS[name](counts)
    np.testing.assert_allclose(weights.sum(), CLASSES, **CLOSE)
    assert np.all(np.diff(np.asarray(weights)[np.argsort(counts)]) <= 1e-12)
    np.testing.assert_allclose(reweighting.WEIGHTS[name](counts[order]), weights[order], **CLOSE)
    np.testing.assert_allclose(jax.jit(reweighting.WEIGHTS[name])(counts), weights, **CLOSE)
    with jax.enable_x64(False):
        narrow = reweighting.WEIGHTS[name](counts)
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, weights, rtol=1e-5)


@given(COUNTS, st.integers(2, 50))
def test_inverse_frequencies_see_ratios_alone_and_are_the_limit_of_effective_numbers(
    counts, factor
):
    inverse = reweighting.inverse_frequency(counts)
    np.testing.assert_allclose(reweighting.inverse_frequency(factor * counts), inverse, **CLOSE)
    near = reweighting.effective_number(counts, 1 - 1e-12)
    np.testing.assert_allclose(near, inverse, rtol=1e-6)


PAIRS = arrays(np.int32, (2, 20), elements=st.integers(0, CLASSES - 1))


confusion_matrix = partial(metrics.confusion_matrix, num_classes=CLASSES)
compiled_confusion_matrix = jax.jit(confusion_matrix)


@given(PAIRS, ORDERS, st.sampled_from([np.uint8, np.int8, np.int64]))
def test_a_confusion_matrix_adds_up_and_follows_the_classes_names(pairs, order, dtype):
    count = confusion_matrix
    labels, predictions = pairs.astype(dtype)
    whole = np.asarray(count(labels, predictions))
    parts = np.asarray(count(labels[:7], predictions[:7])) + count(labels[7:], predictions[7:])
    np.testing.assert_array_equal(parts, whole)
    np.testing.assert_array_equal(compiled_confusion_matrix(labels, predictions), whole)
    renamed = np.asarray(count(*np.argsort(order)[pairs]))
    np.testing.assert_array_equal(renamed, whole[np.ix_(order, order)])
    for score in (
        *(metrics.accuracy, metrics.balanced_accuracy, metrics.weighted_f1),
        *(metrics.weighted_precision_recall_f1, metrics.macro_precision_recall_f1),
    ):
        np.testing.assert_allclose(score(renamed), score(whole), **CLOSE)
        np.testing.assert_allclose(score(3 * whole), score(whole), **CLOSE)


@given(LOGITS, LABELS, ORDERS, st.integers(1, CLASSES))
def test_top_k_grows_with_k_and_sees_the_order_of_the_logits_alone(logits, labels, order, k):
    correct = np.asarray(metrics.top_k_correct(logits, labels, k))
    np.testing.assert_array_equal(
        correct, (logits > logits[range(BATCH), labels][:, None]).sum(axis=1) < k
    )
    mapped = jax.vmap(partial(metrics.top_k_correct, k=k))(2.0 * logits, labels)
    np.testing.assert_array_equal(mapped, correct)
    renamed = metrics.top_k_correct(logits[:, order], np.argsort(order)[labels], k)
    np.testing.assert_array_equal(renamed, correct)
    assert np.all(metrics.top_k_correct(logits, labels, min(k + 1, CLASSES)) >= correct)


@given(LOGITS, COUNTS, st.floats(-2.0, 2.0), st.integers(2, 50))
def test_adjusted_logits_are_linear_in_tau_and_see_ratios_of_the_counts(
    logits, counts, tau, factor
):
    adjusted = metrics.adjust_logits(logits, counts, tau)
    expected = logits - tau * (np.log(counts) - np.log(counts.sum()))
    np.testing.assert_allclose(adjusted, expected, **CLOSE)
    larger = jax.jit(metrics.adjust_logits)(logits, factor * counts, tau)
    np.testing.assert_allclose(larger, adjusted, **CLOSE)


@given(numbers(8, CLASSES, size=3.0), arrays(np.int32, 8, elements=st.integers(0, 3)), ORDERS)
def test_calibration_errors_are_shares_and_follow_the_classes_names(logits, labels, order):
    """No two equal probabilities: which of them is the highest is a matter of names."""
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    renamed, names = probabilities[::-1, order], np.argsort(order)[labels][::-1]
    if np.diff(np.sort(logits, axis=1)).min() == 0:
        return
    for error in (metrics.calibration_error, metrics.classwise_calibration_error):
        value = error(probabilities, labels, 5)
        assert 0.0 <= value <= 1.0
        assert error(renamed, names, 5) == pytest.approx(value, abs=1e-12)
    nll = metrics.negative_log_likelihood(logits, labels)
    assert metrics.negative_log_likelihood(logits + 700.0, labels) == pytest.approx(nll, abs=1e-9)
    assert nll == pytest.approx(float(jnp.mean(losses.cross_entropy(logits, labels))), abs=1e-9)


@given(COUNTS, ORDERS, st.floats(-1.5, 1.5), st.integers(2, 9))
def test_class_probabilities_are_powers_of_the_counts(counts, order, q, factor):
    found = sampling.class_probabilities(counts, q)
    expected = counts**q / (counts**q).sum()
    np.testing.assert_allclose(found, expected, **CLOSE)
    np.testing.assert_allclose(sampling.class_probabilities(factor * counts, q), found, **CLOSE)
    np.testing.assert_allclose(
        sampling.class_probabilities(counts[order], q), found[order], **CLOSE
    )
    emptied = np.where(np.arange(CLASSES) == 1, 0, counts)
    assert sampling.class_probabilities(emptied, q)[1] == 0.0


draw = partial(sampling.power, q=0.3, num_classes=CLASSES)
compiled_draw = jax.jit(draw)


@given(st.integers(0, 2**31 - 1), arrays(np.int32, 12, elements=st.integers(0, 3)))
def test_an_epoch_s_order_is_of_the_key_and_draws_a_class_as_its_images_lie(seed, labels):
    """The same classes are drawn however the images are ordered."""
    key = jax.random.key(seed)
    np.testing.assert_array_equal(np.sort(sampling.shuffled(key, labels)), np.arange(12))
    drawn = draw(key, labels)
    assert drawn.dtype == np.int32
    np.testing.assert_array_equal(compiled_draw(key, labels), drawn)
    by_class = np.sort(labels)
    np.testing.assert_array_equal(by_class[draw(key, by_class)], labels[drawn])


@given(numbers(WIDTH, CLASSES), st.floats(0.0, 1.0), st.floats(0.5, 8.0), ORDERS)
def test_tau_normalisation_scales_as_one_minus_tau(kernel, tau, factor, order):
    found = posthoc.tau_normalized(kernel, tau)
    scaled = posthoc.tau_normalized(factor * kernel, tau)
    np.testing.assert_allclose(scaled, factor ** (1 - tau) * found, **CLOSE)
    norms = np.linalg.norm(kernel, axis=0) ** (1 - tau)
    known = np.linalg.norm(kernel, axis=0) > 0
    np.testing.assert_allclose(np.linalg.norm(found, axis=0)[known], norms[known], rtol=1e-9)
    renamed = jax.jit(posthoc.tau_normalized)(kernel[:, order], tau)
    np.testing.assert_allclose(renamed, found[:, order], **CLOSE)


@given(LOGITS, numbers(BATCH, WIDTH, size=3.0), numbers(WIDTH + 1, CLASSES, size=3.0), ORDERS)
def test_calibrated_logits_follow_the_classes_names_and_mean_the_same_alone(
    logits, features, values, order
):
    kernel, scale, bias = values[:WIDTH], values[0], values[1]

    def disalign(logits, features, scale, bias):
        direction = {"direction": values[:, 0][:WIDTH], "offset": 0.3}
        return posthoc.disalign(logits, features, scale=scale, bias=bias, **direction)

    def marc(logits, kernel, scale, bias):
        return posthoc.marc(logits, kernel, omega=scale, beta=bias)

    whole = disalign(logits, features, scale, bias)
    renamed = disalign(logits[:, order], features, scale[order], bias[order])
    np.testing.assert_allclose(renamed, whole[:, order], **CLOSE)
    alone = jax.vmap(disalign, (0, 0, None, None))(logits, features, scale, bias)
    np.testing.assert_allclose(alone, whole, **CLOSE)
    share = 1 / (1 + np.exp(-(features @ values[:WIDTH, 0] + 0.3)))[:, None]
    np.testing.assert_allclose(whole, logits + share * (scale * logits + bias), **CLOSE)
    margins = marc(logits, kernel, scale, bias)
    norms = np.sqrt((kernel**2).sum(axis=0))
    np.testing.assert_allclose(margins, posthoc.scaled(logits, scale) + bias * norms, **CLOSE)
    renamed = marc(logits[:, order], kernel[:, order], scale[order], bias[order])
    np.testing.assert_allclose(renamed, margins[:, order], **CLOSE)


@pytest.mark.parametrize("kind", posthoc.NCM_KINDS)
@given(numbers(8, WIDTH, size=3.0), numbers(BATCH, WIDTH, size=3.0), MATRICES, ORDERS)
def test_the_nearest_class_mean_is_blind_to_turns_and_to_what_its_kind_removes(
    kind, features, query, matrix, order
):
    features = features + np.eye(8, WIDTH)  # no zeros, whose direction is rounding's
    labels = np.arange(8) % CLASSES
    ncm = partial(posthoc.nearest_class_mean, num_classes=CLASSES, kind=kind)
    scores = ncm(features, labels, query)
    if kind == "plain":
        means = np.stack([features[labels == c].mean(axis=0) for c in range(CLASSES)])
        expected = -((query[:, None] - means) ** 2).sum(axis=-1)
        np.testing.assert_allclose(scores, expected, **CLOSE)
        np.testing.assert_allclose(ncm(2 * features, labels, 2 * query), 4 * scores, **CLOSE)
    if kind != "l2":
        moved = ncm(features + 2.0, labels, query + 2.0)
        np.testing.assert_allclose(moved, scores, rtol=1e-6, atol=1e-6)
    if kind == "l2":
        np.testing.assert_allclose(ncm(2 * features, labels, 4 * query), scores, **CLOSE)
    turn = np.linalg.qr(matrix + 9 * np.eye(WIDTH))[0]
    turned = ncm(features @ turn, labels, query @ turn)
    np.testing.assert_allclose(turned, scores, rtol=1e-6, atol=1e-6)
    renamed = ncm(features, np.argsort(order)[labels], query)
    np.testing.assert_allclose(renamed, scores[:, order], **CLOSE)


@settings(max_examples=8)
@given(MATRICES, numbers(WIDTH, size=4.0), st.floats(-5.0, 5.0))
def test_lanczos_on_a_small_matrix_follows_its_shifts_and_signs(matrix, start, shift):
    start = start + np.arange(1.0, 1.0 + WIDTH)
    if np.linalg.norm(start) < 0.1:
        return

    def run(matrix):
        def matvec(vector):
            return jnp.asarray(matrix) @ vector

        matvec.traceable = False
        alphas, betas, basis = hessian.lanczos(matvec, jnp.asarray(start), WIDTH)
        tridiagonal = np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1)
        np.testing.assert_allclose(basis @ basis.T, np.eye(WIDTH), atol=1e-10)
        return np.linalg.eigvalsh(tridiagonal), np.asarray(alphas)

    expected = np.linalg.eigvalsh(matrix)
    (values, alphas), (moved, _), (negative, _) = map(
        run, (matrix, matrix + shift * np.eye(WIDTH), -matrix)
    )
    close = {"rtol": 0, "atol": 1e-7 * (10 + np.abs(matrix).max())}
    np.testing.assert_allclose(values, expected, **close)
    np.testing.assert_allclose(moved, expected + shift, **close)
    np.testing.assert_allclose(negative, -expected[::-1], **close)
    rayleigh = start @ matrix @ start / (start @ start)
    np.testing.assert_allclose(alphas[0], rayleigh, **close)
