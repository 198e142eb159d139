"""Image operations, Hessian products, classifiers on features."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ltjax import augment, hessian, posthoc
from ltjax.augment import operations
from tests.values.formulas import BRANCHES, COUNTS, FEATURES, KEY, LABELS, LOGITS

GENERATOR = np.random.default_rng(12)
IMAGES = jnp.asarray(GENERATOR.integers(0, 256, (6, 7, 7, 3)), jnp.uint8)
FLAT = jnp.asarray(np.repeat(np.arange(90, 96), 7 * 7 * 3).reshape(6, 7, 7, 3), jnp.uint8)
FLOATS = jnp.asarray(IMAGES, jnp.float32)
AT = jnp.asarray([[0, 0], [6, 6], [3, 2], [2, 5], [1, 0], [5, 5]])
BOXES = jnp.asarray(
    [[0, 0, 7, 7], [1, 2, 3, 4], [5, 5, 2, 2], [0, 6, 7, 1], [3, 3, 1, 1], [2, 0, 4, 6]]
)
TURNS = jnp.asarray([0, 1, 2, 3, 1, 2])
EACH = jnp.asarray([0.0, 0.5, 1.0, 1.4, 1.9, 0.1])
SOME = jnp.asarray([True, False, True, False, False, True])
MATRIX = np.diag([-3.0, -0.5, 0.0, 0.2, 0.4, 1.0, 2.0, 9.0])
TURN = np.linalg.qr(GENERATOR.normal(size=(8, 8)))[0]
MATRIX = jnp.asarray(TURN @ MATRIX @ TURN.T, jnp.float32)
LOW = MATRIX @ jnp.diag(jnp.asarray([1.0, 1, 1, 0, 0, 0, 0, 0])) @ MATRIX.T
START = jnp.zeros(8)
ROWS = jnp.asarray(GENERATOR.normal(size=(7, 8)), jnp.float32)


def product(vector):
    return MATRIX @ vector


def curve(weights, rows):
    return jnp.log1p(jnp.exp(rows @ weights)) + 0.1 * jnp.sum(weights**4)


def of_data(**options):
    """A data set's operator, by its products with two vectors and its loss."""
    made = hessian.DatasetOperator(curve, 0.1 * jnp.arange(8.0), ROWS, **options)
    return [made(jnp.arange(8.0)), made(jnp.ones(8)), made.loss]


def outputs(weights):
    return jnp.tanh(ROWS @ weights)


@jax.jit
def others():
    """As one program: eagerly each of their many operations would be one."""
    three = jnp.stack([EACH, 2 - EACH, EACH], axis=1)
    four = jnp.stack([EACH, EACH, 2 - EACH, 0.3 * EACH - 0.2], axis=1)
    return [
        augment.resized_crop(IMAGES, BOXES),
        augment.resized_crop(FLOATS, BOXES),
        augment.gaussian_blur(IMAGES, 0.3 + EACH, size=7),
        augment.grey(IMAGES, SOME),
        augment.color_jitter(IMAGES, three, TURNS),
        augment.color_jitter(IMAGES, four, 5 * TURNS + 3),
        augment.rectangle(KEY, FLOATS, jnp.float32(0.6)),
        augment.paste(KEY, FLOATS, FLOATS[::-1], 0.8, probability=0.9),
        augment.random_gaussian_blur(KEY, IMAGES, probability=0.7, sigma=(0.5, 3.0), size=3),
        augment.random_boxes(KEY, 50, 9, 12, scale=(0.5, 0.9), ratio=(0.4, 3.0)),
        augment.random_boxes(KEY, 5, 30, 4, scale=(0.9, 1.0), ratio=(2.0, 3.0)),
        tuple(
            augment.remix(KEY, FLOATS, jnp.asarray(LABELS), COUNTS, alpha=0.7, kappa=2.0, tau=0.6)
        ),
    ]


def policy(made):
    """The table of an augmentation policy, and what it does."""
    return [made.probability, made.kind, made.value, made.coefficients, made(KEY, IMAGES)]


OPERATIONS = {
    "auto_contrast": lambda: [operations.auto_contrast(one) for one in (IMAGES, FLAT, IMAGES // 9)],
    "equalize": lambda: [operations.equalize(one) for one in (IMAGES, FLAT, IMAGES // 9)],
    "equalize, larger": lambda: operations.equalize(
        jnp.asarray(GENERATOR.binomial(40, 0.4, (2, 40, 40, 1)), jnp.uint8)
    ),
    "invert": lambda: operations.invert(IMAGES),
    "solarize": lambda: operations.solarize(IMAGES, 127 * EACH),
    "posterize": lambda: operations.posterize(IMAGES, jnp.asarray([1, 2, 3, 5, 7, 8])),
    "sharpness, tiny": lambda: [
        operations.sharpness(IMAGES[:, :2], EACH),
        operations.sharpness(IMAGES[:, :3, :3], EACH),
        operations.sharpness(IMAGES, jnp.asarray(1.7)),
    ],
    **{
        name: partial(
            lambda op: [op(IMAGES, EACH), op(IMAGES[..., :1], EACH)], getattr(operations, name)
        )
        for name in ("brightness", "contrast", "color", "sharpness")
    },
    "affine": lambda: [
        operations.affine(IMAGES, jnp.tile(operations.fixed_point(matrix), (6, 1)), fill=9)
        for matrix in (operations.rotation(33.0, 7, 7), (1, 0.3, 1.2, -0.1, 1, -2.6))
    ],
}
POSTHOC = {
    name: partial(
        lambda name: posthoc.training(
            posthoc.HEADS[name],
            COUNTS,
            learning_rate=0.2,
            epochs=5,
            total_epochs=7,
            cosine=True,
            weight_decay=0.01,
            smoothing=(0.4, 0.1),
            kernel_rate=0.3,
        ),
        name,
    )
    for name in posthoc.HEADS
}


def trained(name):
    """A head after a few steps, with and without scores computed before."""
    head = posthoc.HEADS[name]
    own = posthoc.Classifier.of(FEATURES[:5, :4], FEATURES[5, :4])
    how = posthoc.training(head, COUNTS, learning_rate=0.1, epochs=3, weight_decay=0.02)
    begun = posthoc.start(head, own, KEY)
    order = jnp.arange(18).reshape(3, 2, 3) % 6
    found = [begun, posthoc.train(begun, how, FEATURES, jnp.asarray(LABELS), order)]
    if not {"kernel", "bias"} & set(head.trains):
        scores = posthoc.uncalibrated(begun, FEATURES)
        found.append(posthoc.train(begun, how, FEATURES, jnp.asarray(LABELS), order, scores))
    return [*found, posthoc.logits(found[1], FEATURES)]


CASES = {
    **{f"augment.operations.{name}": case for name, case in OPERATIONS.items()},
    "augment.basic": lambda: [
        augment.crop(IMAGES, AT % 5, 2),
        augment.flip(IMAGES, SOME),
        augment.cutout(IMAGES, AT, 3, fill=7),
        augment.cutout(FLOATS, AT, 4),
        augment.rotate90(IMAGES, TURNS),
        augment.rotations(IMAGES),
        augment.resize(FLOATS, 10),
        augment.resize(FLOATS[:, :, :5], 4),
        augment.normalize(IMAGES, (0.1, 0.2, 0.3), (0.5, 0.6, 0.9)),
    ],
    "augment.others": others,
    "augment.policies": lambda: [
        *(policy(augment.auto_augment(name, 7, 7, fill=3)) for name in ("cifar10", "imagenet")),
        *(
            policy(augment.rand_augment(7, 7, num_ops=n, magnitude=m, fill=3))
            for n, m in ((1, 30), (3, 8))
        ),
    ],
    "hessian.products": lambda: [
        hessian.hvp(lambda w: jnp.sum(curve(w, ROWS)), 0.1 * jnp.arange(8.0), ROWS[0]),
        hessian.gauss_newton_product(
            outputs, lambda z: jnp.sum(jnp.exp(z) * jnp.arange(7.0)), 0.1 * jnp.arange(8.0), ROWS[1]
        ),
    ],
    "hessian.data": lambda: [
        of_data(batch_size=3),
        of_data(batch_size=3, keep_bytes=10**6, weights=np.arange(7.0)),
        of_data(batch_size=100, scan=True, weights=np.arange(7.0)),
        of_data(batch_size=4, scan=True),
    ],
    "hessian.lanczos": lambda: [
        hessian.lanczos(product, jnp.arange(8.0), 4),
        hessian.lanczos(product, jnp.arange(8.0), 4, compiled=True),
        hessian.lanczos(lambda v: 2 * v, jnp.arange(5.0), 3, key=KEY),
    ],
    "hessian.ends": lambda: [
        (found.values, found.residuals < 1e-3, found.steps)
        for ends in (hessian.top_eigenvalues, hessian.bottom_eigenvalues)
        for found in (
            ends(product, START, KEY, k=2, num_steps=20, tolerance=0.0),
            ends(product, START, KEY, k=1, num_steps=6, tolerance=0.5),
        )
    ],
    "hessian.density": lambda: [
        hessian.spectral_density(product, START, KEY, 4, 2),
        hessian.spectral_density(product, START, KEY, 4, 2, together=True),
        tuple(hessian.spectrum_of(product, START, KEY, 4, 3)),
        hessian.grid(np.array([[0.0, 2.0]]), 7, 0.5),
        hessian.density(np.array([[0.0, 2.0], [1.0, 3.0]]), np.full((2, 2), 0.5), np.arange(4.0)),
        hessian.density(np.array([0.0, 2.0]), np.array([0.3, 0.7]), np.arange(4.0), variance=0.5),
        [hessian.moments(np.array([[0.0, 2.0]]), np.array([[0.3, 0.7]]), k) for k in range(3)],
    ],
    "hessian.traces": lambda: [
        hessian.trace(product, START, KEY, 6),
        hessian.trace(product, START, KEY, 60, tolerance=0.05),
        hessian.trace_hutchpp(product, START, KEY, 9),
        hessian.trace_hutchpp(lambda v: LOW @ v, START, KEY, 12).value,
        hessian.trace_hutchpp(jnp.zeros_like, START, KEY, 6),
    ],
    **{f"posthoc.training {name}": case for name, case in POSTHOC.items()},
    **{f"posthoc.trained {name}": partial(trained, name) for name in posthoc.HEADS},
    "posthoc.classifiers": lambda: [
        posthoc.tau_normalized(FEATURES[:5, :4], 0.6),
        posthoc.tau_normalized(np.array([[3.0, 0.0], [4.0, 0.0]]), 0.5),
        posthoc.scaled(LOGITS, [1.0, 2.0, 3.0, 0.5]),
        posthoc.scaled(BRANCHES, [1.0, 2.0, 3.0, 0.5]),
        posthoc.marc(BRANCHES, FEATURES[:5, :4], omega=FEATURES[0, :4], beta=FEATURES[1, :4]),
        *(
            posthoc.disalign(
                *(scores, features),
                scale=FEATURES[0, :4],
                bias=FEATURES[1, :4],
                direction=FEATURES[2],
                offset=0.3,
            )
            for scores, features in ((LOGITS, FEATURES), (BRANCHES, jnp.stack([FEATURES] * 3)))
        ),
        posthoc.marc(LOGITS, FEATURES[:5, :4], omega=FEATURES[0, :4], beta=FEATURES[1, :4]),
        [
            posthoc.nearest_class_mean(
                FEATURES, LABELS, 2 * FEATURES[::-1], num_classes=4, kind=kind
            )
            for kind in posthoc.NCM_KINDS
        ],
        posthoc.logits(
            posthoc.Classifier.of(FEATURES[:5, :4], length=9.0), FEATURES.at[0].set(0.0)
        ),
    ],
    "posthoc.selection": lambda: [
        posthoc.held_out(np.repeat(np.arange(4), (12, 5, 2, 1)), share=0.3, seed=4),
        [posthoc.choose([0.1, 0.7, 0.7], one) for one in ([0, 2, 1], [1, 0, 2])],
        posthoc.temperature(LOGITS, LABELS),
        posthoc.temperature(5 * jnp.eye(4), np.arange(4)),
        posthoc.temperature(-5 * jnp.eye(4), np.arange(4)),
        posthoc.shifted_prior([5, 90, 30], 12.0),
        posthoc.shifted_prior([5, 90, 30], 12.0, backward=True),
        posthoc.shifted_prior([5], 12.0),
        [
            posthoc.shifted_accuracy([0.2, np.nan, 0.9], [5, 90, 30], 12.0, backward=backward)
            for backward in (False, True)
        ],
    ],
}
