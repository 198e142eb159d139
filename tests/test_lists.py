"""Arrays may be given as nested lists of numbers, which say the same."""

import jax
import numpy as np
import pytest

from ltjax import imbalance, losses, metrics, posthoc, reweighting, sampling
from tests.values import formulas as f

LOGITS, FEATURES, BRANCHES, WEIGHTS = map(np.asarray, (f.LOGITS, f.FEATURES, f.BRANCHES, f.WEIGHTS))
COUNTS, LABELS, CONFUSION = f.COUNTS, f.LABELS, f.CONFUSION
KERNEL, BIAS, DIRECTION = FEATURES[:5, :4], LOGITS[0], FEATURES[5]
OF_COUNTS = {"class_counts": COUNTS}
CALLS = {
    losses.cross_entropy: [(LOGITS, LABELS), (LOGITS, np.asarray(f.SOFT))],
    losses.focal: [(LOGITS, LABELS)],
    losses.ldam: [(LOGITS, LABELS, OF_COUNTS)],
    losses.ldam_margins: [(COUNTS,)],
    losses.vector_scaling: [(LOGITS, LABELS, OF_COUNTS)],
    losses.balanced_softmax: [(LOGITS, LABELS, OF_COUNTS)],
    losses.logit_adjusted: [(LOGITS, LABELS, OF_COUNTS)],
    losses.label_aware_smoothing: [(LOGITS, LABELS, OF_COUNTS)],
    losses.balanced_experts: [(BRANCHES, LABELS, OF_COUNTS)],
    losses.sade: [(BRANCHES, LABELS, OF_COUNTS)],
    losses.reslt: [(BRANCHES, LABELS, {"branch_masks": f.MASKS, "beta": 0.7})],
    losses.influence_balanced: [
        (LOGITS, LABELS, {"features": FEATURES, "class_weights": WEIGHTS}),
    ],
    losses.balanced_contrastive: [
        (FEATURES.reshape(3, 2, 5), LABELS[:3], {"prototypes": FEATURES[:4]}),
    ],
    losses.glmc: [
        (
            *(one.reshape(2, 3, -1) for one in (LOGITS, LOGITS[::-1], FEATURES, FEATURES[::-1])),
            *(LABELS[:3], LABELS[3:]),
            {"lam": lam, "class_weights": WEIGHTS, "progress": np.float32(0.6)},
        )
        for lam in (np.float32(0.3), np.asarray(f.MIXED[:3]))
    ],
    losses.mixup: [(LOGITS[:, 0], LOGITS[:, 1], np.asarray(f.MIXED))],
    losses.weighted_mean: [(LOGITS[:, 0], LABELS, WEIGHTS), (LOGITS[:, 0], LABELS)],
    metrics.accuracy: [(CONFUSION,)],
    metrics.adjust_logits: [(LOGITS, COUNTS)],
    metrics.auroc: [(LOGITS, LABELS)],
    metrics.balanced_accuracy: [(CONFUSION,)],
    metrics.calibration_error: [(f.SURE, np.array([0, 1, 1, 1, 0, 1]))],
    metrics.classwise_calibration_error: [(f.SURE, np.array([0, 1, 1, 1, 0, 1]))],
    metrics.confusion_matrix: [(LABELS, LABELS[::-1], {"num_classes": 4})],
    metrics.group_accuracy: [(CONFUSION, {"groups": {"all": np.arange(4), "one": np.array([1])}})],
    metrics.groups_by_threshold: [(COUNTS,)],
    metrics.macro_precision_recall_f1: [(CONFUSION,)],
    metrics.negative_log_likelihood: [(LOGITS, LABELS)],
    metrics.per_class_accuracy: [(CONFUSION,)],
    metrics.precision_recall_f1: [(CONFUSION,)],
    metrics.reliability: [(f.SURE, np.array([0, 1, 1, 1, 0, 1]))],
    metrics.top_k_correct: [(LOGITS, LABELS, {"k": 2})],
    metrics.weighted_f1: [(CONFUSION,)],
    metrics.weighted_precision_recall_f1: [(CONFUSION,)],
    posthoc.disalign: [
        (
            *(LOGITS, FEATURES),
            {"scale": WEIGHTS, "bias": BIAS, "direction": DIRECTION, "offset": np.float32(0.3)},
        )
    ],
    posthoc.held_out: [(f.ORDER,)],
    posthoc.logits: [(posthoc.Classifier.of(KERNEL, BIAS), FEATURES)],
    posthoc.marc: [(LOGITS, KERNEL, {"omega": WEIGHTS, "beta": BIAS})],
    posthoc.nearest_class_mean: [
        (FEATURES, np.array([0, 1, 1, 0, 1, 2]), FEATURES[::-1], {"num_classes": 3}),
    ],
    posthoc.scaled: [(LOGITS, WEIGHTS)],
    posthoc.shifted_accuracy: [(np.linspace(0.2, 0.9, 4), COUNTS, {"factor": 5.0})],
    posthoc.shifted_prior: [(COUNTS, {"factor": 5.0})],
    posthoc.tau_normalized: [(KERNEL,)],
    posthoc.temperature: [(LOGITS, LABELS)],
    posthoc.Classifier.of: [(KERNEL, BIAS)],
    reweighting.deferred: [(WEIGHTS, {"epoch": 3, "start_epoch": 3})],
    reweighting.effective_number: [(COUNTS,)],
    reweighting.inverse_frequency: [(COUNTS,)],
    reweighting.uniform: [(COUNTS,)],
    imbalance.full: [(f.ORDER, {"num_classes": 4})],
    imbalance.subset: [(f.ORDER, np.array([4, 5, 2, 1]))],
    sampling.class_balanced: [(f.KEY, f.ORDER)],
    sampling.class_probabilities: [(COUNTS, {"q": 0.5})],
    sampling.power: [(f.KEY, f.ORDER)],
    sampling.progressive: [(f.KEY, f.ORDER, {"progress": 0.5})],
    sampling.reversed: [(f.KEY, f.ORDER)],
    sampling.shuffled: [(f.KEY, f.ORDER)],
    sampling.square_root: [(f.KEY, f.ORDER)],
}


@pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__qualname__)
def test_lists_are_taken_as_arrays_are(function):
    for given in CALLS[function]:
        *arrays, options = given if isinstance(given[-1], dict) else (*given, {})
        lists, named = jax.tree.map(
            lambda x: x.tolist() if isinstance(x, np.ndarray | np.generic) else x,
            (arrays, options),
        )
        ours, expected = function(*lists, **named), function(*arrays, **options)
        jax.tree.map(np.testing.assert_array_equal, ours, expected)
        for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
            assert np.asarray(one).dtype == np.asarray(other).dtype
