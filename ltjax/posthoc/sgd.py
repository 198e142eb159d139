"""Training of a head on features that stay as they are."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from ltjax import losses
from ltjax.posthoc.heads import Training
from ltjax.posthoc.scores import Classifier, calibrated, norms_of, uncalibrated

MOMENTUM = 0.9


def train(
    classifier: Classifier,
    how: Training,
    features: jax.Array,
    labels: jax.Array,
    order: jax.Array,
    scores: jax.Array | None = None,
) -> Classifier:
    """Trains a head by SGD with momentum 0.9 on features that stay as they are.

    Args:
      classifier: to start from.
      how: of `training`.
      features: [N, D].
      labels: class ids [N].
      order: indices of the features in each batch, int [E, steps, B].
      scores: `uncalibrated` ones of the features, [N, C], where kernel and bias stay as they are:
        no step then computes them.

    Returns:
      The trained classifier. Several train together: `jax.vmap(train, (0, 0, None, None, None))`.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np
      >>> from ltjax import posthoc, sampling
      >>> labels = np.repeat([0, 1, 2], [100, 20, 5])
      >>> features = np.eye(3)[labels] + np.random.default_rng(0).normal(0, 0.3, (125, 3))
      >>> head = posthoc.HEADS["crt"]
      >>> own = posthoc.Classifier.of(np.zeros((3, 3)), np.zeros(3))
      >>> how = posthoc.training(head, np.bincount(labels), learning_rate=0.1, epochs=5)
      >>> draws = [sampling.class_balanced(jax.random.key(k), labels) for k in range(5)]
      >>> order = jnp.stack(draws)[:, :120].reshape(5, 4, 30)  # epochs, steps, images
      >>> begun = posthoc.start(head, own, jax.random.key(9))
      >>> new = posthoc.train(begun, how, jnp.asarray(features), jnp.asarray(labels), order)
      >>> right = posthoc.logits(new, features).argmax(axis=1) == labels
      >>> print(right[labels == 2].mean() > 0.5)
      True
    """
    names = [field.name for field in dataclasses.fields(Classifier) if field.name != "length"]
    if scores is not None:
        names = [name for name in names if name not in ("kernel", "bias")]
    norms = norms_of(classifier)
    how = jax.tree.map(lambda each: jnp.asarray(each, classifier.bias.dtype), how)

    def loss(moving, weights, batch):
        now = dataclasses.replace(classifier, **moving)
        taken = features[batch]
        if scores is None:
            given = uncalibrated(now, taken)
            outputs = calibrated(now, given, taken, norms_of(now))
        else:
            outputs = calibrated(now, scores[batch], taken, norms)
        return batch_loss(how, weights, outputs, labels[batch])

    def step(carry, inputs):
        moving, velocity = carry
        batch, rate, weights = inputs
        gradients = jax.grad(loss)(moving, weights, batch)
        for name in names:
            decayed = gradients[name] + how.weight_decay * moving[name]
            velocity[name] = MOMENTUM * velocity[name] + decayed
            moving[name] -= rate * getattr(how.factors, name) * velocity[name]
        return (moving, velocity), None

    steps = order.shape[1]
    inputs = (
        order.reshape(-1, order.shape[-1]),
        jnp.repeat(how.rates, steps),
        jnp.repeat(how.class_weights, steps, axis=0),
    )
    moving = {name: getattr(classifier, name) for name in names}
    nothing = jax.tree.map(jnp.zeros_like, moving)
    moving = jax.lax.scan(step, (moving, nothing), inputs)[0][0]
    return dataclasses.replace(classifier, **moving)


def batch_loss(
    how: Training, class_weights: jax.Array, scores: jax.Array, labels: jax.Array
) -> jax.Array:
    """A batch's loss: the weighted mean of cross-entropy with smoothed labels, of scores [B, C]
    with what is added to them and the margins taken off.
    """
    own = jax.nn.one_hot(labels, scores.shape[-1], dtype=scores.dtype)
    log_probs = jax.nn.log_softmax(scores + how.added - how.margins * own)
    eps = how.smoothing[labels]
    each = -(1 - eps) * jnp.sum(own * log_probs, axis=-1) - eps * jnp.mean(log_probs, axis=-1)
    return losses.weighted_mean(each, labels, class_weights)
