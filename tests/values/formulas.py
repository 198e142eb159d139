"""Losses, class weights and counts, orders, metrics, schedules, optimisers, SAM."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ltjax import imbalance, losses, metrics, optim, reweighting, sampling

GENERATOR = np.random.default_rng(11)
COUNTS = np.array([300, 40, 7, 2])
LABELS = np.array([0, 3, 1, 2, 0, 1])
LOGITS = jnp.asarray(GENERATOR.normal(0, 2, (6, 4)), jnp.float32)
SOFT = jnp.asarray(GENERATOR.dirichlet(np.ones(4), 6), jnp.float32)
FEATURES = jnp.asarray(GENERATOR.normal(size=(6, 5)), jnp.float32)
BRANCHES = jnp.asarray(GENERATOR.normal(size=(3, 6, 4)), jnp.float32)
MIXED = jnp.linspace(0.1, 0.9, 6)
MASKS = np.array([[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1]])
UNIT = FEATURES / jnp.linalg.norm(FEATURES, axis=1, keepdims=True)
WEIGHTS = jnp.asarray([0.2, 0.5, 1.3, 2.0])
CONFUSION = np.array([[50, 3, 0, 1], [7, 20, 2, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
PROBABILITIES = np.asarray(jax.nn.softmax(LOGITS))
SURE = np.array([[1.0, 0.0], [0.5, 0.5], [0.2, 0.8], [0.0, 1.0], [0.55, 0.45], [0.9, 0.1]])
KEY = jax.random.key(5)
ORDER = np.repeat(np.arange(4), (9, 5, 3, 1))


def with_slope(loss, *at):
    """Value and gradient by every argument in `at`, weighted so that no symmetry hides a change."""

    def whole(*at):
        value = loss(*at)
        return jnp.sum(value * jnp.linspace(0.5, 1.5, value.size).reshape(value.shape)), value

    (_, value), slopes = jax.jit(jax.value_and_grad(whole, tuple(range(len(at))), has_aux=True))(
        *at
    )
    return value, slopes


def steps(optimizer, count=3, **extra):
    """A few steps on a bowl, from a point off its axes."""
    curvature = {"a": jnp.asarray([1.0, 4.0]), "b": jnp.asarray([[0.5]])}
    params = {"a": jnp.asarray([1.0, -0.7]), "b": jnp.asarray([[2.0]])}

    def slope(params):
        return jax.tree.map(lambda c, w: c * w + 0.1 * w**3, curvature, params)

    state, trail = optimizer.init(params), []
    for _ in range(count):
        given = extra | ({"grad_fn": slope} if hasattr(state, "base") else {})
        updates, state = optimizer.update(slope(params), state, params, **given)
        params = optax.apply_updates(params, updates)
        trail.append(params)
    return trail


def schedule(made):
    return np.asarray([made(epoch) for epoch in range(12)])


def of_logits(loss, **options):
    """Of class ids and of probabilities."""
    return lambda: [
        with_slope(lambda z, labels=labels: loss(z, labels, **options), LOGITS)
        for labels in (LABELS, SOFT)
    ]


IDS_ONLY = {
    "reslt": lambda: with_slope(
        lambda z: losses.reslt(z, LABELS, branch_masks=MASKS, beta=0.7, label_smoothing=0.15),
        BRANCHES,
    ),
    "sade": lambda: with_slope(
        lambda z: losses.sade(z, LABELS, class_counts=COUNTS[::-1], tau=1.7), BRANCHES
    ),
    "balanced_experts": lambda: with_slope(
        lambda z: losses.balanced_experts(z, LABELS, class_counts=COUNTS, taus=(0.3, 1.1, 1.9)),
        BRANCHES,
    ),
    "influence_balanced": lambda: with_slope(
        lambda z, h: losses.influence_balanced(
            z, LABELS, features=h, alpha=50.0, epsilon=0.2, class_weights=WEIGHTS
        ),
        *(LOGITS, FEATURES),
    ),
    "balanced_contrastive": lambda: with_slope(
        lambda h, p: losses.balanced_contrastive(
            h.reshape(3, 2, 5), LABELS[:3], prototypes=p, temperature=0.3
        ),
        *(UNIT, UNIT[:4]),
    ),
    "glmc": lambda: [
        with_slope(
            lambda *z, lam=lam: losses.glmc(
                *(one.reshape(2, 3, -1) for one in z),
                *(LABELS[:3], LABELS[3:]),
                lam=lam,
                class_weights=WEIGHTS,
                progress=0.6,
                similarity=2.5,
            ),
            *(LOGITS, LOGITS[::-1], FEATURES, FEATURES[::-1]),
        )
        for lam in (jnp.asarray(0.3), MIXED[:3])
    ],
    "glmc, features of length 0 and nearly 0": lambda: [
        losses.glmc(
            *(LOGITS.reshape(2, 3, 4), LOGITS.reshape(2, 3, 4)),
            *(size * FEATURES.reshape(2, 3, 5), FEATURES[::-1].reshape(2, 3, 5)),
            *(LABELS[:3], LABELS[3:]),
            lam=jnp.asarray(0.3),
            class_weights=WEIGHTS,
            progress=0.6,
        )
        for size in (0.0, 1e-9)
    ],
    "mixup": lambda: losses.mixup(LOGITS[:, 0], LOGITS[:, 1], MIXED),
    "weighted_mean": lambda: [
        losses.weighted_mean(LOGITS[:, 0], labels, weights)
        for labels in (LABELS, SOFT)
        for weights in (None, WEIGHTS)
    ],
    "ldam_margins": lambda: losses.ldam_margins(COUNTS, max_margin=0.7),
}
LOSSES = {
    "cross_entropy": of_logits(losses.cross_entropy, label_smoothing=0.2),
    "focal": of_logits(losses.focal, gamma=1.5),
    "ldam": of_logits(losses.ldam, class_counts=COUNTS, max_margin=0.3, scale=7.0),
    "vector_scaling": of_logits(losses.vector_scaling, class_counts=COUNTS, gamma=0.2, tau=1.2),
    "balanced_softmax": of_logits(losses.balanced_softmax, class_counts=COUNTS),
    "logit_adjusted": of_logits(losses.logit_adjusted, class_counts=COUNTS, tau=0.8),
    "label_aware_smoothing": lambda: with_slope(
        lambda z: losses.label_aware_smoothing(z, LABELS, class_counts=COUNTS, head=0.4, tail=0.1),
        LOGITS,
    ),
    **IDS_ONLY,
}
OF_MANY = {
    "cross_entropy": {"label_smoothing": 0.2},
    "focal": {"gamma": 1.5},
    "ldam": {"class_counts": COUNTS, "scale": 7.0},
    "vector_scaling": {"class_counts": COUNTS},
    "balanced_softmax": {"class_counts": COUNTS},
    "logit_adjusted": {"class_counts": COUNTS},
    "label_aware_smoothing": {"class_counts": COUNTS},
    "balanced_experts": {"class_counts": COUNTS},
    "sade": {"class_counts": COUNTS},
    "influence_balanced": {"alpha": 50.0},
}


def in_shape(name, shape, dtype=jnp.float32, labels=LABELS):
    """Under jit, of logits with any axes before the classes, and of probabilities."""
    loss, options = getattr(losses, name), dict(OF_MANY[name])
    size = int(np.prod(shape))
    logits = LOGITS[:size].reshape(*shape, 4)
    if name in ("balanced_experts", "sade"):
        logits = BRANCHES[:, :size].reshape(3, *shape, 4)
    if name == "influence_balanced":
        options["features"] = FEATURES[:size].reshape(*shape, 5).astype(dtype)
        options["class_weights"] = WEIGHTS
    ids = jnp.asarray(labels[:size]).reshape(shape)
    both = (ids, SOFT[:size].reshape(*shape, 4).astype(dtype))
    return jax.jit(lambda z, targets: [loss(z, target, **options) for target in targets])(
        *(logits.astype(dtype), both)
    )


SAMPLERS = {
    name: partial(
        lambda sampler: [
            sampler(KEY, ORDER, num_samples=40),
            jax.jit(lambda labels: sampler(KEY, labels, num_classes=6))(ORDER),
        ],
        getattr(sampling, name),
    )
    for name in ("class_balanced", "reversed", "square_root")
}
CASES = {
    **{f"losses.{name}": case for name, case in LOSSES.items()},
    **{
        f"losses.{name}, other shapes": partial(
            lambda name: [
                in_shape(name, (2, 3)),
                in_shape(name, ()),
                in_shape(name, (6,), jnp.bfloat16),
                in_shape(name, (6,), labels=np.array([0, -1, 4, 3, 1, 2])),
            ],
            name,
        )
        for name in OF_MANY
    },
    "losses.means, other shapes": lambda: [
        losses.weighted_mean(LOGITS[:, :1], LABELS[:, None], WEIGHTS),
        losses.weighted_mean(BRANCHES[0, :, :2], jnp.stack([SOFT, SOFT[::-1]], axis=1), WEIGHTS),
        jax.jit(losses.weighted_mean)(LOGITS[:, 0], jnp.asarray([0, -1, 4, 3, 1, 2]), WEIGHTS),
        losses.reslt(BRANCHES.astype(jnp.bfloat16), LABELS, branch_masks=0 * MASKS, beta=0.7),
        jax.jit(partial(losses.reslt, branch_masks=MASKS, beta=0.7))(BRANCHES, LABELS + 3),
        losses.mixup(1.0, 2.0, 0.25),
    ],
    "reweighting": lambda: [
        reweighting.inverse_frequency(COUNTS),
        reweighting.effective_number(COUNTS, beta=0.99),
        reweighting.effective_number(COUNTS, beta=0.0),
        reweighting.uniform(COUNTS),
        [reweighting.deferred(WEIGHTS, epoch, 3) for epoch in (0, 2, 3, 4)],
    ],
    "imbalance": lambda: [
        imbalance.exponential(7, 500, 0.02),
        imbalance.exponential(2, 9, 1.0),
        imbalance.step(7, 500, 0.02),
        imbalance.step(2, 50, 0.1),
        imbalance.single_majority(4, 3, 90, 8),
        imbalance.full(ORDER, 4),
        imbalance.subset(ORDER, [4, 5, 2, 1], seed=3),
    ],
    **{f"sampling.{name}": case for name, case in SAMPLERS.items()},
    "sampling.others": lambda: [
        sampling.shuffled(KEY, ORDER),
        [sampling.progressive(KEY, ORDER, at, num_samples=50) for at in (0.0, 0.4, 1.0)],
        [sampling.class_probabilities(COUNTS, q) for q in (-1.0, 0.0, 0.5, 1.0)],
    ],
    "metrics.confusion": lambda: [
        metrics.confusion_matrix(np.uint8([0, 1, 1, 3]), np.int8([0, 1, 2, 3]), 4),
        jax.jit(partial(metrics.confusion_matrix, num_classes=3))(
            np.array([-1, 0, 2, 3, 1]), np.array([0, 3, 2, 0, -1])
        ),
        metrics.accuracy(CONFUSION),
        metrics.accuracy(np.zeros((2, 2))),
        metrics.per_class_accuracy(CONFUSION),
        metrics.balanced_accuracy(CONFUSION),
        metrics.precision_recall_f1(CONFUSION),
        metrics.weighted_f1(CONFUSION),
        metrics.weighted_precision_recall_f1(CONFUSION),
        metrics.macro_precision_recall_f1(CONFUSION),
        metrics.weighted_f1(np.zeros((2, 2))),
    ],
    "metrics.groups": lambda: [
        metrics.groups_by_index(4, (1, 3)),
        metrics.groups_by_threshold([101, 100, 20, 19]),
        metrics.groups_by_threshold([9, 8, 5, 3, 2], few=3, many=8),
        metrics.group_accuracy(CONFUSION, metrics.groups_by_index(4, (1, 2))),
    ],
    "metrics.scores": lambda: [
        metrics.auroc(np.round(LOGITS), LABELS),
        metrics.auroc(np.tile(np.round(LOGITS), (3, 1)), np.roll(np.tile(LABELS, 3), 2)),
        [metrics.top_k_correct(jnp.round(LOGITS), LABELS, k) for k in (1, 2, 4)],
        metrics.top_k_correct(jnp.asarray([[1.0, np.nan], [np.nan, 0.0]]), np.int8([0, 0]), 1),
        metrics.top_k_correct(jnp.zeros((2, 3)), np.array([-1, 3]), 3),
        metrics.top_k_correct(BRANCHES, jnp.stack([LABELS] * 3), 2),
        metrics.top_k_correct(LOGITS[0], 1, 2),
        metrics.adjust_logits(BRANCHES, COUNTS),
        metrics.adjust_logits(LOGITS, COUNTS, tau=0.6),
        metrics.negative_log_likelihood(100 * LOGITS, LABELS),
    ],
    "metrics.calibration": lambda: [
        metrics.calibration_error(PROBABILITIES, LABELS, num_bins=7),
        metrics.calibration_error(SURE, np.array([0, 1, 1, 1, 0, 1]), num_bins=10),
        metrics.reliability(SURE, np.array([0, 1, 1, 1, 0, 1]), num_bins=10),
        metrics.classwise_calibration_error(PROBABILITIES, LABELS, num_bins=7),
        metrics.classwise_calibration_error(SURE, np.array([0, 1, 1, 1, 0, 1]), num_bins=10),
    ],
    "optim.schedules": lambda: [
        schedule(optim.constant(0.3)),
        schedule(optim.piecewise((0.1, 0.5, 0.2), (3, 9))),
        schedule(optim.warmup_piecewise(0.4, 4, (0.1, 0.01), (6, 10))),
        schedule(optim.warmup_piecewise(0.4, 4, (0.1,), (6,), warmup_start=0.25)),
        schedule(optim.linear(0.2, 1.0, 9)),
        schedule(optim.linear(0.2, 1.0, 1)),
        schedule(optim.cosine(0.5, 8)),
        schedule(optim.cosine(0.5, 10, warmup_epochs=3)),
    ],
    "optim.optimizers": lambda: (
        [
            steps(optim.sgd(0.1, momentum=0.8, nesterov=nesterov, weight_decay=0.05))
            for nesterov in (False, True)
        ]
        + [
            steps(optim.OPTIMIZERS[name](0.1, weight_decay=0.3))
            for name in ("sgd", "adam", "adamw")
        ]
    ),
    "optim.sam": lambda: [
        *(steps(optim.sam(optim.sgd(0.1), 0.2, adaptive=adaptive)) for adaptive in (False, True)),
        steps(optim.sam(optax.sgd(0.1), lambda count: 0.1 * (count + 1))),
        steps(optim.sam(optax.sgd(0.1), 0.3, mask={"a": True, "b": False})),
        steps(
            optim.sam(optax.sgd(0.1), 0.3),
            plain_grads={"a": jnp.asarray([0.3, 0.1]), "b": jnp.asarray([[-0.2]])},
        ),
        optim.ascend({"w": UNIT[0]}, {"w": FEATURES[1]}, 0.5, adaptive=True),
        optim.ascend({"w": UNIT[0]}, {"w": jnp.zeros(5)}, 0.5),
    ],
    "optim.focus": lambda: [
        optim.focal_weights(COUNTS, 1.5, 0.7),
        optim.focal_weights(COUNTS, 0.0, 1.0),
        optim.tail_weights(COUNTS, 40),
        optim.tail_weights(COUNTS, 41, scale=2.5),
    ],
}
