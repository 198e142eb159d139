import jax
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from ltjax import metrics

GENERATOR = np.random.default_rng(0)
LABELS = GENERATOR.integers(0, 5, 300)
PREDICTIONS = np.where(
    GENERATOR.random(300) < 0.6, LABELS, GENERATOR.integers(0, 4, 300)
)  # class 4 only where right
CONFUSION = np.asarray(metrics.confusion_matrix(LABELS, PREDICTIONS, 5))


def test_confusion_and_accuracies_equal_scikit_learns():
    np.testing.assert_array_equal(CONFUSION, sklearn_metrics.confusion_matrix(LABELS, PREDICTIONS))
    assert metrics.accuracy(CONFUSION) == sklearn_metrics.accuracy_score(LABELS, PREDICTIONS)
    np.testing.assert_allclose(
        metrics.balanced_accuracy(CONFUSION),
        sklearn_metrics.balanced_accuracy_score(LABELS, PREDICTIONS),
    )


def test_precision_recall_f1_equal_scikit_learns():
    expected = sklearn_metrics.precision_recall_fscore_support(LABELS, PREDICTIONS)
    for ours, theirs in zip(metrics.precision_recall_f1(CONFUSION), expected, strict=False):
        np.testing.assert_allclose(ours, theirs)
    np.testing.assert_allclose(
        metrics.weighted_f1(CONFUSION),
        sklearn_metrics.f1_score(LABELS, PREDICTIONS, average="weighted"),
    )


def test_a_class_never_predicted_has_precision_zero_without_a_warning():
    precision, recall, f1 = metrics.precision_recall_f1([[2, 0], [3, 0]])
    assert (precision[1], recall[1], f1[1]) == (0, 0, 0)


def test_negative_labels_are_not_counted():
    confusion = metrics.confusion_matrix(np.array([0, -1, 1]), np.array([0, 0, 0]), 2)
    np.testing.assert_array_equal(confusion, [[1, 0], [1, 0]])


def test_groups_by_index_and_threshold():
    groups = metrics.groups_by_index(10, (3, 6))
    assert {name: len(classes) for name, classes in groups.items()} == {
        "many": 3,
        "medium": 3,
        "few": 4,
    }
    by_count = metrics.groups_by_threshold([101, 100, 20, 19])
    assert {name: classes.tolist() for name, classes in by_count.items()} == {
        "many": [0],
        "medium": [1, 2],
        "few": [3],
    }
    with pytest.raises(ValueError, match=r"group boundaries are \(6, 3\)"):
        metrics.groups_by_index(10, (6, 3))


def test_group_accuracy_is_the_mean_recall_and_nan_without_classes():
    accuracy = metrics.group_accuracy(
        [[8, 2], [5, 5]], {"many": np.array([0, 1]), "few": np.array([], int)}
    )
    assert accuracy["many"] == pytest.approx(0.65)
    assert np.isnan(accuracy["few"])


def test_group_accuracy_skips_classes_without_examples():
    confusion = [[3, 1, 0], [0, 0, 0], [0, 0, 0]]
    groups = {"many": np.array([0, 1]), "few": np.array([2])}
    accuracy = metrics.group_accuracy(confusion, groups)
    assert accuracy["many"] == 0.75
    assert np.isnan(accuracy["few"])


def test_top_k_equals_scikit_learns_and_grows_with_k():
    scores = GENERATOR.normal(size=(300, 5))
    for k in (1, 2, 3):
        ours = np.mean(jax.jit(metrics.top_k_correct, static_argnums=2)(scores, LABELS, k))
        np.testing.assert_allclose(
            ours, sklearn_metrics.top_k_accuracy_score(LABELS, scores, k=k), rtol=1e-6
        )
    assert np.all(metrics.top_k_correct(scores, LABELS, 5))
    assert not metrics.top_k_correct(scores, -LABELS - 1, 5).any()


def test_adjusted_logits_undo_the_prior():
    counts = np.array([900, 90, 10])
    np.testing.assert_allclose(
        metrics.adjust_logits(np.log(counts), counts), np.full(3, np.log(1000)), rtol=1e-5
    )


def test_calibration_error_of_a_known_case():
    """Confidence 0.8 and right half of the time: off by 0.3. Always sure and right: 0."""
    probabilities = np.tile([0.8, 0.2], (10, 1))
    assert metrics.calibration_error(probabilities, np.arange(10) % 2) == pytest.approx(0.3)
    assert metrics.calibration_error(np.eye(2), np.arange(2)) == 0
