"""Samplers against their exact class probabilities, and every image of a class equally likely, by
chi-square.

Each test rejects a correct sampler with probability 1e-4 (ALPHA); the seed is fixed, so a pass
stays a pass.
"""

from functools import partial

import jax
import numpy as np
import pytest
from scipy import stats

from ltjax import sampling

ALPHA = 1e-4
DRAWS = 200_000
COUNTS = np.array([120, 40, 12, 5, 1])
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), COUNTS))


def probabilities(q):
    powers = COUNTS.astype(float) ** q
    return powers / powers.sum()


SAMPLERS = {
    "class_balanced": (sampling.class_balanced, probabilities(0)),
    "square_root": (sampling.square_root, probabilities(0.5)),
    "instance_balanced": (partial(sampling.power, q=1.0), probabilities(1)),
    "power 0.3": (partial(sampling.power, q=0.3), probabilities(0.3)),
    "reversed": (sampling.reversed, probabilities(-1)),
    "progressive 0.25": (
        partial(sampling.progressive, progress=0.25),
        0.75 * probabilities(1) + 0.25 * probabilities(0),
    ),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_images_are_drawn_with_their_exact_probabilities(name):
    sampler, by_class = SAMPLERS[name]
    drawn = np.asarray(sampler(jax.random.key(1), LABELS, num_samples=DRAWS))
    by_image = (by_class / COUNTS)[LABELS]
    assert (
        stats.chisquare(np.bincount(drawn, minlength=len(LABELS)), DRAWS * by_image).pvalue > ALPHA
    )
    assert stats.chisquare(np.bincount(LABELS[drawn], minlength=5), DRAWS * by_class).pvalue > ALPHA


def test_the_chi_square_test_would_see_a_slightly_wrong_sampler():
    drawn = np.asarray(sampling.power(jax.random.key(1), LABELS, q=0.52, num_samples=DRAWS))
    observed = np.bincount(LABELS[drawn], minlength=5)
    assert stats.chisquare(observed, DRAWS * probabilities(0.5)).pvalue < ALPHA


def test_neighbouring_draws_are_independent():
    """Pairs of successive classes against the product of their probabilities."""
    classes = LABELS[
        np.asarray(sampling.class_balanced(jax.random.key(2), LABELS, num_samples=DRAWS))
    ]
    pairs = np.bincount(classes[:-1:2] * 5 + classes[1::2], minlength=25)
    assert stats.chisquare(pairs).pvalue > ALPHA
