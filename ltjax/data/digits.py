"""The embedded data set: scikit-learn's 1,797 real handwritten digits, 8x8, so that everything runs
without a network.
"""

from __future__ import annotations

import numpy as np

from ltjax.data.dataset import Dataset

TEST_PER_CLASS = 50


def load_digits(folder: str = "", *, download: bool = False) -> Dataset:
    """Digits with 50 test images a class (the first 50 of a seeded shuffle) and the rest, 124 to
    133 a class, for training.

    Args:
      folder, download: ignored; the images come with scikit-learn.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (the test
    part, as scikit-learn ships it).
    """
    from sklearn.datasets import load_digits as sklearn_digits

    bunch = sklearn_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int32)
    order = np.random.RandomState(0).permutation(len(labels))
    rank = np.empty(len(labels), int)
    for digit in range(10):
        members = order[labels[order] == digit]
        rank[members] = np.arange(len(members))
    test = rank < TEST_PER_CLASS
    return Dataset(
        name="digits",
        train_images=images[~test],
        train_labels=labels[~test],
        test_images=images[test],
        test_labels=labels[test],
        class_names=tuple(str(digit) for digit in range(10)),
        source="scikit-learn's load_digits",
    )
