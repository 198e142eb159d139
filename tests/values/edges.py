"""Calls just inside and just outside of what is allowed: what comes out, or the message."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ltjax import (
    augment,
    hessian,
    imbalance,
    losses,
    metrics,
    optim,
    posthoc,
    reweighting,
    sampling,
)
from ltjax.objectives import proco
from tests.values.formulas import BRANCHES, COUNTS, FEATURES, KEY, LABELS, LOGITS, MASKS, SOFT

IMAGES = jnp.zeros((2, 6, 6, 3), jnp.uint8)
COUNTED = {"class_counts": COUNTS}
TWO = posthoc.Classifier.of(np.eye(2))


def matvec(vector):
    return jnp.asarray([1.0, 2.0, 4.0])[: vector.size] * vector


def top(*arguments, **options):
    """Without the vectors, whose signs are LAPACK's choice."""
    return hessian.top_eigenvalues(*arguments, **options).values


def of_data(**options):
    options = {"batch_size": 2, "examples": jnp.ones((3, 2)), "params": jnp.ones(2)} | options
    return hessian.DatasetOperator(lambda w, x: x @ w, **options).traceable


def head(**options):
    options = {"learning_rate": 0.1, "epochs": 2} | options
    return posthoc.training(posthoc.HEADS["crt"], **({"class_counts": [2, 1]} | options))


# Function -> calls: positional arguments and options.
CALLS = {
    losses.cross_entropy: [
        ((LOGITS, LABELS), {"label_smoothing": value}) for value in (-0.01, 0.0, 1.0, 1.01)
    ]
    + [
        ((LOGITS, LABELS[:5]), {}),
        ((LOGITS, SOFT[:, :3]), {}),
        ((LOGITS, np.array([0, 1, 2, 3, 4, 0])), {}),
        ((LOGITS, np.array([0, 1, 2, 3, -1, 0])), {}),
        ((LOGITS.astype(int), LABELS), {}),
        ((LOGITS[0, 0], LABELS[0]), {}),
        ((LOGITS[:, :1], 0 * LABELS), {}),
        ((LOGITS, SOFT * 2), {}),
        ((LOGITS, -SOFT), {}),
    ],
    losses.focal: [((LOGITS, LABELS), {"gamma": value}) for value in (-0.1, 0.0)]
    + [((LOGITS[:, :1], 0 * LABELS), {})],
    losses.ldam: [
        ((LOGITS, LABELS), {"class_counts": value})
        for value in (COUNTS[:3], [0, 1, 1, 1], [1, 1, 1, 1], np.ones((2, 2)))
    ],
    losses.vector_scaling: [((LOGITS, LABELS), {"class_counts": [3, 2, 1, 0.5]})],
    losses.weighted_mean: [
        ((LOGITS[:, 0], LABELS, np.ones(4)), {}),
        ((LOGITS[:, 0], LABELS[:5], np.ones(4)), {}),
        ((LOGITS[:, 0], SOFT[:, :3], np.ones(4)), {}),
        ((LOGITS[:, 0], SOFT[:5], np.ones(4)), {}),
        ((LOGITS[:, 0], LABELS.astype(float), np.ones(4)), {}),
    ],
    losses.reslt: [
        ((BRANCHES, LABELS), {"branch_masks": MASKS, "beta": value})
        for value in (-0.01, 0.0, 1.0, 1.01)
    ]
    + [
        ((BRANCHES[:2], LABELS), {"branch_masks": MASKS, "beta": 0.5}),
        ((BRANCHES, LABELS[:5]), {"branch_masks": MASKS, "beta": 0.5}),
        ((BRANCHES, SOFT), {"branch_masks": MASKS, "beta": 0.5}),
        ((BRANCHES[0], LABELS), {"branch_masks": MASKS, "beta": 0.5}),
        ((BRANCHES, LABELS), {"branch_masks": MASKS[:, :3], "beta": 0.5}),
        ((BRANCHES, LABELS), {"branch_masks": MASKS[:2], "beta": 0.5}),
    ],
    losses.sade: [((BRANCHES[:2], LABELS), COUNTED), ((BRANCHES, LABELS[:4]), COUNTED)],
    losses.balanced_experts: [
        ((BRANCHES, LABELS), COUNTED | {"taus": value}) for value in ((0, 1), (0, 1, 2), (0,) * 4)
    ],
    losses.influence_balanced: [
        ((LOGITS, LABELS), {"features": FEATURES} | value)
        for value in (
            *({"alpha": one} for one in (0.0, 1e-3)),
            *({"epsilon": one} for one in (0.0, 1e-3)),
            {"features": FEATURES[:5]},
            {"features": FEATURES[0]},
            {"class_weights": np.ones(3)},
        )
    ],
    losses.label_aware_smoothing: [
        ((LOGITS, LABELS), COUNTED | {"head": a, "tail": b})
        for a, b in ((-0.1, 0.0), (0.0, 0.0), (1.0, 1.0), (1.1, 0.0), (0.5, 1.1), (0.1, -0.1))
    ],
    losses.balanced_contrastive: [
        ((FEATURES.reshape(3, 2, 5), LABELS[:3]), {"prototypes": FEATURES[:4]} | value)
        for value in (
            *({"temperature": one} for one in (0.0, 0.1)),
            {"prototypes": FEATURES[:4, :4]},
            {"prototypes": FEATURES[0]},
        )
    ]
    + [
        ((FEATURES, LABELS), {"prototypes": FEATURES[:4]}),
        ((FEATURES.reshape(3, 2, 5), LABELS), {"prototypes": FEATURES[:4]}),
    ],
    reweighting.effective_number: [((COUNTS,), {"beta": value}) for value in (-0.1, 0.0, 0.9, 1.0)],
    reweighting.inverse_frequency: [
        ((value,), {}) for value in ([1, 0], [1, 1], [[1]], [], [1, float("nan")], [1, -2])
    ],
    reweighting.uniform: [((value,), {}) for value in ([1, 0], [[1]], 3)],
    imbalance.exponential: [
        (value, {})
        for value in ((1, 9, 0.5), (2, 9, 0.5), (3, 9, 0.0), (3, 9, 1.0), (3, 9, 1.1), (3, 5, 0.01))
    ],
    imbalance.step: [
        (value, {}) for value in ((1, 9, 0.5), (2, 9, 0.5), (3, 9, 0.0), (3, 9, 1.1), (3, 5, 0.1))
    ],
    imbalance.single_majority: [
        (value, {})
        for value in (
            (3, -1, 9, 1),
            (3, 0, 9, 1),
            (3, 2, 9, 1),
            (3, 3, 9, 1),
            (3, 0, 9, 0),
            (3, 0, 0, 9),
            (3, 0, 9, 1.5),
        )
    ],
    imbalance.full: [((value, 2), {}) for value in ([0, 0, 1], [0, 0], [0, 1, 2])],
    imbalance.subset: [
        (([0, 0, 1], value), {})
        for value in (
            *([2, 1], [3, 1], [2], [0, 1], [[2, 1]], []),
            *([2.0, 1.0], [1, 0.5], [1, float("nan")], [1, float("inf")]),
        )
    ]
    + [(([0, 0, 2], [2, 1]), {}), (([0, 0, -1], [2, 1]), {}), (([], [1]), {})],
    sampling.class_probabilities: [((value, 0.5), {}) for value in ([1, 0], [[1, 2]], [3])],
    metrics.confusion_matrix: [
        (value, {"num_classes": 2})
        for value in (([0, 1], [1, 1]), ([2], [0]), ([0], [2]), ([0], [-1]), ([-1], [5]))
    ],
    metrics.groups_by_index: [
        ((4, value), {}) for value in ((0, 2), (1, 2), (2, 2), (1, 3), (1, 4), (1, 2, 3), (3, 1))
    ],
    metrics.top_k_correct: [((LOGITS, LABELS, k), {}) for k in (0, 1, 4, 5)],
    metrics.adjust_logits: [
        ((LOGITS, value), {})
        for value in (COUNTS, COUNTS[:3], [1, 1, 1, 0], [1, 1, 1, float("nan")])
    ],
    metrics.balanced_accuracy: [((np.zeros((2, 2)),), {})],
    metrics.macro_precision_recall_f1: [((np.zeros((2, 2)),), {})],
    optim.piecewise: [
        (value, {})
        for value in (
            ((1, 2), (3,)),
            ((1,), (3,)),
            ((1, 2, 3), (5, 4)),
            ((1, 2, 3), (4, 4)),
            ((1,), ()),
        )
    ],
    optim.focal_weights: [
        (value, {})
        for value in (
            (COUNTS, -0.1, 1),
            (COUNTS, 0, 0),
            (COUNTS, 1, -0.1),
            ([1, 0], 1, 1),
            ([], 1, 1),
        )
    ],
    optim.tail_weights: [((COUNTS, 20, value), {}) for value in (-1.0, 0.0, 0.1)]
    + [(([[1, 2]], 20), {})],
    optim.sam: [((optax.sgd(0.1), value), {}) for value in (-0.1, 0.0)],
    augment.gaussian_blur: [
        ((IMAGES, jnp.ones(2)), {"size": value}) for value in (-1, 0, 1, 2, 11, 13)
    ],
    augment.random_boxes: [
        ((KEY, 2, 6, 6), value)
        for value in (
            *(
                {"scale": one}
                for one in ((0.0, 1.0), (0.5, 0.5), (0.6, 0.5), (0.5, 1.1), (0.5, 1.0))
            ),
            *({"ratio": one} for one in ((0.0, 1.0), (1.0, 1.0), (1.0, 0.9))),
        )
    ],
    augment.rotations: [((IMAGES[:, :5],), {}), ((IMAGES,), {})],
    augment.auto_augment: [((value, 6, 6), {}) for value in ("cifar10", "cifer10")],
    augment.rand_augment: [
        ((6, 6), value)
        for value in (
            *({"magnitude": one} for one in (-1, 0, 30, 31)),
            *({"num_ops": one} for one in (0, 1)),
        )
    ],
    top: [
        ((matvec, jnp.ones(3), KEY), {"k": k, "num_steps": n})
        for k, n in ((0, 5), (1, 5), (3, 5), (4, 5), (2, 1))
    ],
    hessian.lanczos: [
        ((matvec, value, n), {})
        for value, n in (
            *((jnp.ones(3), one) for one in (0, 1, 9)),
            *((one, 2) for one in (jnp.zeros(3), jnp.asarray([1.0, np.inf]), jnp.ones(2, complex))),
        )
    ]
    + [((lambda v: np.nan * v, jnp.ones(3), 2), {})],
    hessian.trace_hutchpp: [((matvec, jnp.ones(3), KEY, value), {}) for value in (5, 6)],
    of_data: [
        ((), value)
        for value in (
            {},
            {"examples": jnp.ones((0, 2))},
            {"examples": (jnp.ones((3, 2)), jnp.ones(2))},
            {"params": jnp.asarray([1.0, np.nan])},
            *(
                {"weights": one}
                for one in ([1, 1], [0, 0, 0], [1, -1, 1], [1, 0, 0], [np.inf, 1, 1])
            ),
            *({"scan": one} for one in (True, False)),
        )
    ],
    posthoc.held_out: [(([0, 0, 1], value), {}) for value in (0.0, 0.01, 0.99, 1.0)],
    posthoc.shifted_prior: [(([3, 1], value), {}) for value in (0.9, 1.0, float("nan"))],
    posthoc.tau_normalized: [((np.ones(3),), {}), ((np.ones((2, 3)),), {})],
    posthoc.scaled: [((LOGITS, np.ones(n)), {}) for n in (3, 4)],
    posthoc.marc: [
        ((LOGITS, np.ones((2, n))), {"omega": np.ones(4), "beta": np.ones(m)})
        for n, m in ((4, 4), (3, 4), (4, 3))
    ],
    posthoc.nearest_class_mean: [
        ((FEATURES, LABELS, FEATURES), {"num_classes": n}) for n in (3, 4, 5)
    ]
    + [
        ((FEATURES, LABELS, FEATURES), {"num_classes": 4, "kind": "centred"}),
        ((FEATURES, LABELS[:5], FEATURES), {"num_classes": 4}),
        ((FEATURES, LABELS, FEATURES[:, :4]), {"num_classes": 4}),
        ((FEATURES[0], LABELS, FEATURES), {"num_classes": 4}),
    ],
    head: [
        ((), value)
        for value in (
            *({"total_epochs": one} for one in (1, 2, 3)),
            {"class_counts": [2, 0]},
        )
    ],
    proco.contrast_logits: [
        ((FEATURES, FEATURES[:4]), {"temperature": value}) for value in (0.0, 0.5)
    ]
    + [((FEATURES[:, :n], FEATURES[:4, :m]), {}) for n, m in ((1, 1), (2, 2), (3, 2))]
    + [((FEATURES[0], FEATURES[:4]), {}), ((FEATURES, FEATURES[0]), {})],
}
CASES = {
    f"{function.__module__.split('.')[1]}.{function.__name__} {k}": (function, *call)
    for function, calls in CALLS.items()
    for k, call in enumerate(calls)
}


def said(name):
    """The message, or the first numbers of what came out (a text where one is not finite)."""
    function, arguments, options = CASES[name]
    try:
        value = function(*arguments, **options)
    except (ValueError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    leaves = [leaf for leaf in jax.tree.leaves(value) if not callable(leaf)]
    numbers = np.concatenate([[], *(np.ravel(np.asarray(leaf, float))[:6] for leaf in leaves)])
    return [float(f"{number:.6g}") if np.isfinite(number) else str(number) for number in numbers]
