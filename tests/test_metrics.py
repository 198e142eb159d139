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
    weighted = sklearn_metrics.precision_recall_fscore_support(
        LABELS, PREDICTIONS, average="weighted"
    )
    np.testing.assert_allclose(metrics.weighted_precision_recall_f1(CONFUSION), weighted[:3])
    np.testing.assert_allclose(metrics.weighted_f1(CONFUSION), weighted[2])


def test_a_class_never_predicted_has_precision_zero_without_a_warning():
    precision, recall, f1 = metrics.precision_recall_f1([[2, 0], [3, 0]])
    assert (precision[1], recall[1], f1[1]) == (0, 0, 0)


def test_negative_labels_are_not_counted():
    confusion = metrics.confusion_matrix(np.array([0, -1, 1]), np.array([0, -1, 0]), 2)
    np.testing.assert_array_equal(confusion, [[1, 0], [1, 0]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16])
def test_confusion_of_narrow_types_does_not_overflow(dtype):
    """Cells of 100 classes go to 9,999, those of 300 beyond int16."""
    labels = np.array([0, 99, 99, 120], dtype)
    expected = np.zeros((300, 300), int)
    for label, prediction in zip(labels, labels[::-1], strict=True):
        expected[label, prediction] += 1
    for count in (metrics.confusion_matrix, jax.jit(metrics.confusion_matrix, static_argnums=2)):
        confusion = count(labels, labels[::-1], 300)
        np.testing.assert_array_equal(confusion, expected)
        assert confusion.dtype == np.int32


@pytest.mark.parametrize(
    ("label", "prediction"), [(1, -1), (1, 3), (3, 1)], ids=["below", "beyond", "label beyond"]
)
def test_what_lies_outside_the_classes_is_refused_and_under_jit_counted_nowhere(label, prediction):
    pair = np.array([2, label]), np.array([2, prediction])
    told = f"example 1 has label {label} and prediction {prediction}; expected 0..2"
    with pytest.raises(ValueError, match=told.replace(".", r"\.")):
        metrics.confusion_matrix(*pair, 3)
    confusion = jax.jit(metrics.confusion_matrix, static_argnums=2)(*pair, 3)
    np.testing.assert_array_equal(confusion, np.diag([0, 0, 1]))


def test_a_class_without_examples_has_no_part_in_means_over_classes():
    """Recalls 0.8, unknown and 0.5; an empty matrix has no mean,
    and scores of 0 like its accuracy.
    """
    confusion = [[8, 2, 0], [0, 0, 0], [5, 0, 5]]
    assert metrics.balanced_accuracy(confusion) == pytest.approx(0.65)
    # Precisions 8/13 and 1 of what was predicted as classes 0 and 2 (that of class 1 is 0).
    precision, recall, _ = metrics.macro_precision_recall_f1(confusion)
    assert (precision, recall) == pytest.approx(((8 / 13 + 1) / 2, 0.65))
    groups = {"many": np.array([0, 1]), "medium": np.array([1]), "few": np.array([1, 2])}
    by_group = metrics.group_accuracy(confusion, groups)
    assert by_group["many"] == pytest.approx(0.8)
    assert np.isnan(by_group["medium"])
    assert by_group["few"] == pytest.approx(0.5)
    empty = np.zeros((3, 3), int)
    assert np.isnan(metrics.balanced_accuracy(empty))
    assert metrics.accuracy(empty) == 0
    assert metrics.weighted_f1(empty) == 0
    assert metrics.weighted_precision_recall_f1(empty) == (0, 0, 0)
    assert metrics.weighted_precision_recall_f1(np.diag([1, 0])) == (1, 1, 1), "of one example"


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
    for boundaries in ((0, 3), (3, 3), (3, 10)):
        with pytest.raises(ValueError, match=r"two ascending class indices in 1\.\.9"):
            metrics.groups_by_index(10, boundaries)
    assert metrics.groups_by_index(3, (1, 2))["few"].tolist() == [2]


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


def test_top_k_ties_count_for_the_label_and_nan_never_does():
    """A diverged network is never right; beside a finite logit a NaN counts as higher."""
    ties = np.array([[1.0, 1.0, 1.0, 0.0]])
    for label in range(3):
        assert metrics.top_k_correct(ties, np.array([label]), 1).all()
    assert not metrics.top_k_correct(ties, np.array([3]), 3).any()
    for k in (1, 4):
        assert not metrics.top_k_correct(np.full((2, 4), np.nan), np.array([0, 3]), k).any()
    one = np.array([[np.nan, 2.0, 1.0, 0.0]])
    assert metrics.top_k_correct(one, np.array([1], np.int8), 2).all()
    assert not metrics.top_k_correct(one, np.array([1]), 1).any()
    assert not metrics.top_k_correct(ties, np.array([4]), 4).any()  # a label beyond the classes
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k is {k}; expected 1 to 4"):
            metrics.top_k_correct(ties, np.array([0]), k)


def test_adjusted_logits_undo_the_prior():
    counts = np.array([900, 90, 10])
    np.testing.assert_allclose(
        metrics.adjust_logits(np.log(counts), counts), np.full(3, np.log(1000)), rtol=1e-5
    )
    np.testing.assert_allclose(
        metrics.adjust_logits(np.zeros((2, 3)), counts, tau=0.5),
        np.tile(-0.5 * np.log(counts / 1000), (2, 1)),
        rtol=1e-6,
    )
    with pytest.raises(ValueError, match=r"class_counts holds 0 \(class 1\); expected at least 1"):
        metrics.adjust_logits(np.zeros(3), [5, 0, 2])
    with pytest.raises(ValueError, match=r"class_counts has shape \[2\]; expected \[3\]"):
        metrics.adjust_logits(np.zeros((4, 3)), [5, 2])


def test_calibration_error_of_a_known_case():
    """Confidence 0.8 and right half of the time: off by 0.3. Always sure and right: 0."""
    probabilities = np.tile([0.8, 0.2], (10, 1))
    assert metrics.calibration_error(probabilities, np.arange(10) % 2) == pytest.approx(0.3)
    assert metrics.calibration_error(np.eye(2), np.arange(2)) == 0


@pytest.mark.parametrize("num_bins", [4, 15])
def test_calibration_error_is_its_definition(num_bins):
    """Equation 3 over the bins ((b - 1) / M, b / M], also with confidences on their edges; gaps of
    both signs.
    """
    generator = np.random.default_rng(3)
    confidence = np.concatenate([generator.uniform(0.5, 1, 200), [0.5, 0.75, 1.0] * 9])
    labels = (generator.random(227) > 0.7).astype(int)
    expected = 0.0
    for bin in range(1, num_bins + 1):
        inside = (confidence > (bin - 1) / num_bins) & (confidence <= bin / num_bins)
        if inside.any():
            expected += inside.mean() * abs(
                np.mean(labels[inside] == 0) - confidence[inside].mean()
            )
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    ours = metrics.calibration_error(probabilities, labels, num_bins)
    assert ours == pytest.approx(expected, rel=1e-12)


def test_errors_of_both_signs_add_up_in_every_class():
    """Class 0 is too sure at 0.9 and not sure enough at 0.6, by 0.4 each: 0.4, and not 0."""
    probabilities = np.repeat([[0.9, 0.1], [0.6, 0.4]], 10, axis=0)
    labels = np.concatenate([np.repeat([0, 1], 5), np.zeros(10, int)])
    assert metrics.classwise_calibration_error(probabilities, labels) == pytest.approx(0.4)


def test_a_confidence_above_1_by_rounding_is_in_the_last_bin():
    """Beside one of 0.95 that is right: |(0.95 + 1) / 2 - 1 / 2|; in bins apart it were 0.525."""
    probabilities = np.array([[0.95, 0.05], [1 + 1e-9, 0.0]])
    assert metrics.calibration_error(probabilities, [0, 1], 10) == pytest.approx(0.475)
