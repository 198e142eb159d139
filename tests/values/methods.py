"""Objectives: of each its batch, loss, gradient and memory, on a small network."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ltjax import losses, objectives
from ltjax.objectives import proco
from ltjax.objectives.classify import mixing
from tests.values.formulas import COUNTS, KEY, UNIT

GENERATOR = np.random.default_rng(13)
IMAGES = jnp.asarray(GENERATOR.normal(size=(12, 4, 4, 1)), jnp.float32)
LABELS = jnp.asarray(np.repeat(np.arange(4), (5, 4, 2, 1)))
PARAMS = {
    "features": jnp.asarray(GENERATOR.normal(size=(16, 5)), jnp.float32) / 4,
    "logits": jnp.asarray(GENERATOR.normal(size=(5, 4)), jnp.float32),
}
OPTIONS = {
    "classify": {},
    "influence_balanced": {"alpha": 30.0, "epsilon": 0.1},
    "balpoe": {"taus": (0.2, 1.0, 1.7)},
    "sade": {"tau": 1.4},
    "bcl": {
        "classification": 0.7,
        "contrast": 1.9,
        "temperature": 0.3,
        "width": 9,
        "dimensions": 6,
    },
    "proco": {"contrast": 1.9, "temperature": 0.4, "width": 9, "dimensions": 5},
    "glmc": {"similarity": 2.2, "exponent": 0.8, "q": 0.6, "dimensions": 7},
    "rotation": {},
    "reslt": {"beta": 0.7, "medium_from": 1, "tail_from": 3, "label_smoothing": 0.2},
}
MIXING = {"alpha": 0.6, "kappa": 2.0, "tau": 0.7, "probability": 0.8}


def network(params, images, features=False, branches=False, projections=False, both=False):
    """What the options of a network's call ask for, each another function of the same features."""
    hidden = jnp.tanh(images.reshape(len(images), -1) @ params["features"])
    scores = hidden @ params["logits"]
    if features:
        return scores, hidden
    if branches:
        return jnp.stack([scores, 0.5 * scores**2, -scores])
    unit = hidden / jnp.linalg.norm(hidden, axis=1, keepdims=True)
    if projections:
        prototypes = params["logits"].T
        return scores, unit, prototypes / jnp.linalg.norm(prototypes, axis=1, keepdims=True)
    if both:
        return scores, 0.7 * scores, hidden, unit
    return scores


def view(shift, key, images):
    return images + shift + 0.1 * jax.random.normal(key, images.shape)


def run(name, mixed="none", focus=None, lam=None):
    """One step of an objective on two orders of the same images."""
    given = objectives.Given(
        partial(losses.balanced_softmax, class_counts=COUNTS),
        *(COUNTS, mixing(mixed, COUNTS, **MIXING), partial(view, 0.1), partial(view, 0.4)),
    )
    made = objectives.OBJECTIVES[name].make(given, **OPTIONS[name])
    orders = [jnp.arange(12), *(jax.jit(order)(KEY, LABELS, 2) for order in made.orders)]
    drawn = []
    for at, order in enumerate(orders):
        key = jax.random.fold_in(KEY, at)
        views = [one(jax.random.fold_in(key, k), IMAGES[order]) for k, one in enumerate(made.views)]
        drawn.append(objectives.Drawn((IMAGES[order], *views), LABELS[order]))
    if made.mix is None:
        (images, *views), labels = drawn[0]
        batch = objectives.Batch(images, labels, views=tuple(views))
    else:
        batch = made.mix(KEY, drawn)
    batch = batch._replace(progress=jnp.asarray(0.3), focus=focus)
    if lam is not None:
        batch = batch._replace(partners=LABELS[::-1], lam=lam)
    if made.targets is not None:
        images, labels = made.targets(batch.images, batch.labels)
        batch = batch._replace(images=images, labels=labels)
    memory = None if made.memory is None else made.memory(KEY)
    if made.turn is not None:
        memory = made.turn(memory, jax.random.key(1))
    weights = jnp.asarray([0.3, 0.6, 1.1, 2.0])

    def loss(params):
        value, logits, after = made.loss(partial(network, params), batch, weights, memory, KEY)
        return value, (logits, after)

    (value, (logits, after)), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(PARAMS)
    heads = made.heads and f"{made.heads.func.__name__} {made.heads.keywords}"
    return [batch, value, slope, logits, memory, after, str(heads)]


CASES = {
    **{f"objectives.{name}": partial(run, name) for name in OPTIONS if name != "glmc"},
    "objectives.glmc": partial(run, "glmc"),
    **{
        f"objectives.{name}, {mixed}": partial(run, name, mixed)
        for name, mixed in (
            *(("classify", one) for one in ("mixup", "cutmix", "remix", "cmo")),
            *((name, "cmo") for name in ("balpoe", "sade", "bcl", "proco", "reslt")),
        )
    },
    **{
        f"objectives.{name}, focus": partial(run, name, focus=jnp.asarray([0.0, 0.3, 0.9, 2.0]))
        for name in ("classify", "influence_balanced", "balpoe")
    },
    **{
        f"objectives.{name}, shares": partial(run, name, lam=jnp.linspace(0.1, 0.9, 12))
        for name in ("classify", "balpoe")
    },
    "objectives.proco's formulas": jax.jit(
        lambda: [
            proco.updated(
                proco.Estimate(0.5 * UNIT[:4], jnp.arange(4.0)),
                UNIT,
                jnp.asarray([0, 0, 3, 1, 5, -1]),
            ),
            proco.contrast_logits(UNIT, 0.7 * UNIT[:4], 0.2),
            proco.contrast_logits(UNIT, UNIT[:4], 0.1),
            jax.jacobian(lambda f: proco.contrast_logits(f, 0.7 * UNIT[:4], 0.2))(UNIT),
            [
                proco.bessel_ratio(order, jnp.asarray([0.0, 0.3, 5.0, 80.0]))
                for order in (0.0, 1.5, 63.0)
            ],
        ]
    ),
}
