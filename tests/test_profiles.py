"""The embedded digits, and what the profiles of class counts keep of them."""

import numpy as np
import pytest

from ltjax import data


def test_digits_are_embedded_whole_and_split_by_class():
    dataset = data.load("digits")
    assert len(dataset.train_labels) + len(dataset.test_labels) == 1797
    np.testing.assert_array_equal(np.bincount(dataset.test_labels), np.full(10, 50))
    assert dataset.train_images.shape[1:] == (8, 8, 1)
    assert dataset.train_images.max() == 255
    everything = np.concatenate([dataset.train_images, dataset.test_images]).reshape(1797, -1)
    np.testing.assert_array_equal(
        np.bincount(np.concatenate([dataset.train_labels, dataset.test_labels])),
        [178, 182, 177, 183, 181, 182, 181, 179, 174, 180],
    )
    assert len(np.unique(everything, axis=0)) == 1797


@pytest.mark.parametrize(
    ("profile", "options", "expected"),
    [
        (
            "exponential",
            {"factor": 0.1, "max_count": 100},
            [100, 77, 59, 46, 35, 27, 21, 16, 12, 10],
        ),
        ("step", {"factor": 0.5, "max_count": 10}, [10] * 5 + [5] * 5),
        (
            "single_majority",
            {"majority_class": 3, "majority_count": 90, "minority_count": 7},
            [7] * 3 + [90] + [7] * 6,
        ),
        ("counts", {"counts": tuple(range(1, 11))}, list(range(1, 11))),
        ("full", {}, [128, 132, 127, 133, 131, 132, 131, 129, 124, 130]),
    ],
)
def test_profiles_keep_what_they_say(profile, options, expected):
    dataset = data.load("digits")
    counts = data.class_counts(dataset, profile, **options)
    np.testing.assert_array_equal(counts, expected)
    kept = data.long_tailed(dataset, counts, 0)
    np.testing.assert_array_equal(np.bincount(kept.train_labels), expected)
    assert kept.test_images is dataset.test_images


@pytest.mark.parametrize(
    ("profile", "options", "told"),
    [
        ("exponental", {}, "unknown profile 'exponental'; did you mean 'exponential'?"),
        ("counts", {"counts": (1, 2)}, "data.counts has 2 entries; expected 10"),
        ("counts", {"counts": (0, *range(1, 10))}, "data.counts keeps 0 images of class 0"),
        ("exponential", {"factor": 0.001}, "would have 0 images"),
    ],
)
def test_profiles_that_leave_nothing_are_refused(profile, options, told):
    with pytest.raises(ValueError, match=r"unknown|data|would") as caught:
        data.class_counts(data.load("digits"), profile, **options)
    assert told in str(caught.value)
