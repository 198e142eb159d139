import numpy as np
import pytest

from ltjax import imbalance


@pytest.mark.parametrize(
    ("num_classes", "max_count", "factor", "total"),
    [
        (10, 5000, 0.01, 12406),
        (10, 5000, 0.02, 13996),
        (10, 5000, 0.1, 20431),
        (100, 500, 0.01, 10847),
        (100, 500, 0.02, 12608),
        (100, 500, 0.1, 19573),
    ],
)
def test_exponential_gives_the_published_totals(num_classes, max_count, factor, total):
    counts = imbalance.exponential(num_classes, max_count, factor)
    assert counts.sum() == total
    assert counts[0] == max_count
    assert np.all(np.diff(counts) <= 0)


def test_exponential_gives_the_published_counts_of_cifar10_lt():
    np.testing.assert_array_equal(
        imbalance.exponential(10, 5000, 0.01), [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    )


def test_step_halves_the_classes():
    np.testing.assert_array_equal(imbalance.step(5, 100, 0.1), [100, 100, 10, 10, 10])


def test_single_majority_gives_system_a():
    counts = imbalance.single_majority(10, 3, 5000, 150)
    assert counts[3] == 5000
    assert counts.sum() == 6350
    np.testing.assert_array_equal(imbalance.single_majority(3, 0, 9, 1), [9, 1, 1])
    np.testing.assert_array_equal(imbalance.full([1, 0, 1], 2), [1, 2])


def test_subset_is_the_authors_choice():
    """Their program: np.random.seed(0), then for each class np.where, np.random.shuffle, the first
    n.
    """
    labels = np.random.default_rng(1).integers(0, 4, 400)
    counts = [50, 20, 10, 3]
    np.random.seed(0)
    expected = []
    for label, count in enumerate(counts):
        indices = np.where(labels == label)[0]
        np.random.shuffle(indices)
        expected.append(indices[:count])
    np.testing.assert_array_equal(imbalance.subset(labels, counts, 0), np.concatenate(expected))


def test_subset_keeps_the_asked_number_of_different_images_and_depends_on_the_seed():
    labels = np.repeat(np.arange(3), 50)
    chosen = imbalance.subset(labels, [40, 20, 1], 5)
    assert len(set(chosen.tolist())) == 61
    np.testing.assert_array_equal(np.bincount(labels[chosen]), [40, 20, 1])
    assert not np.array_equal(chosen, imbalance.subset(labels, [40, 20, 1], 6))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: imbalance.exponential(10, 50, 0.001), "would have 0 images"),
        (lambda: imbalance.exponential(10, 50, 1.5), "imbalance factor is 1.5"),
        (lambda: imbalance.exponential(10, 50, 0.0), "imbalance factor is 0.0"),
        (lambda: imbalance.exponential(1, 50, 0.5), "num_classes is 1"),
        (lambda: imbalance.single_majority(10, 10, 50, 5), "majority_class is 10; expected 0..9"),
        (lambda: imbalance.single_majority(10, -1, 50, 5), "majority_class is -1; expected 0..9"),
        (lambda: imbalance.single_majority(10, 1, 50, 0), "class 0 would have 0 images"),
        (lambda: imbalance.full([0, 2], 3), "class 1 would have 0 images"),
        (lambda: imbalance.full([0, 1], 3), "class 2 would have 0 images"),
        (lambda: imbalance.step(1, 50, 0.5), "num_classes is 1; expected at least 2"),
        (
            lambda: imbalance.subset([0, 0, 1], [2, 2]),
            "class 1: 2 images asked for, but the data set has 1",
        ),
        (lambda: imbalance.subset([0, 5], [1, 1]), "labels span 0..5; expected 0..1"),
        (lambda: imbalance.subset([0, 1], [1, 0]), "class 1 would have 0 images"),
    ],
)
def test_impossible_profiles_are_refused(call, told):
    with pytest.raises(ValueError, match=told.replace(".", r"\.")):
        call()


def test_a_subset_of_one_class():
    assert len(imbalance.subset(np.zeros(3, int), [2])) == 2


def test_two_classes_are_enough():
    assert imbalance.exponential(2, 100, 0.1).tolist() == [100, 10]
    assert imbalance.step(2, 100, 0.1).tolist() == [100, 10]
