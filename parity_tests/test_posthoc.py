"""Classifiers after training against PyTorch, float64: formulas to 1e-12 relative, a head's
parameters after two epochs of SGD to 1e-9 (rounding, carried on through 12 steps).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ltjax import losses, posthoc

N, D, C, BATCH, EPOCHS = 96, 12, 5, 16, 2
COUNTS = np.array([50, 24, 12, 7, 3])


def data():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(C), COUNTS)
    features = np.abs(generator.normal(size=(N, D)) + generator.normal(size=(C, D))[labels])
    kernel, bias = generator.normal(0, 0.3, (D, C)), generator.normal(0, 0.3, C)
    order = generator.integers(0, N, (EPOCHS, N // BATCH, BATCH))
    return features, labels, kernel, bias, order


class Reference(nn.Module):
    """Each method's layer, as its authors write it, over a linear or a cosine classifier."""

    def __init__(self, name, kernel, bias, length):
        super().__init__()
        self.name, self.length = name, length
        self.weight = nn.Parameter(torch.tensor(kernel.T.copy()))
        self.bias = nn.Parameter(torch.tensor(bias))
        ones, zeros = torch.ones(C, dtype=torch.float64), torch.zeros(C, dtype=torch.float64)
        if name in ("lws", "label_aware_smoothing", "marc"):
            self.omega = nn.Parameter(ones.clone())
        if name == "marc":
            self.beta = nn.Parameter(zeros.clone())
            scaled = F.normalize(self.weight, dim=1) * length if length else self.weight
            self.norms = scaled.detach().norm(dim=1)
        if name == "disalign":
            self.scale, self.shift = nn.Parameter(ones.clone()), nn.Parameter(zeros.clone())
            self.direction = nn.Parameter(torch.full((D,), 0.1, dtype=torch.float64))
            self.offset = nn.Parameter(torch.zeros([], dtype=torch.float64))

    def forward(self, x):
        if self.length:
            z = self.length * F.normalize(x, dim=1) @ F.normalize(self.weight, dim=1).T
        else:
            z = F.linear(x, self.weight, self.bias)
        if self.name == "disalign":
            s = torch.sigmoid(x @ self.direction + self.offset)[:, None]
            return (1 + s * self.scale) * z + s * self.shift
        if self.name == "marc":
            return self.omega * z + self.beta * self.norms
        return self.omega * z if hasattr(self, "omega") else z


def reference_loss(name, logits, labels, epoch, epochs):
    counts = torch.tensor(COUNTS, dtype=torch.float64)
    prior = counts / counts.sum()
    if name == "balanced_softmax":
        return F.cross_entropy(logits + prior.log(), labels)
    if name == "label_aware_smoothing":
        share = (counts - counts.min()) / (counts.max() - counts.min())
        eps = (0.3 * torch.sin(torch.pi / 2 * share))[labels]
        log_probs = F.log_softmax(logits, dim=1)
        own = log_probs.gather(1, labels[:, None])[:, 0]
        return (-(1 - eps) * own - eps * log_probs.mean(dim=1)).mean()
    if name in ("disalign", "marc"):
        weights = prior ** (-1.2 if name == "disalign" else -1.0)
        return F.cross_entropy(logits, labels, weight=weights)
    if name == "ldam":
        margins = 0.5 * (counts / counts.min()) ** -0.25
        margins = margins[labels][:, None] * F.one_hot(labels, C)
        weights = None
        if epoch >= int(0.8 * epochs):
            weights = (1 - 0.9999) / (1 - 0.9999**counts)
        return F.cross_entropy(logits - 30.0 * margins, labels, weight=weights)
    return F.cross_entropy(logits, labels)


FIELDS = {"kernel": "weight"}


NORMALIZED = ("crt", "lws", "label_aware_smoothing", "disalign", "marc")  # other new heads: as crt


@pytest.mark.parametrize(
    ("name", "cosine"),
    [(name, False) for name in posthoc.HEADS] + [(name, True) for name in NORMALIZED],
)
def test_a_head_trains_as_its_module_in_pytorch(name, cosine):
    features, labels, kernel, bias, order = data()
    head = posthoc.HEADS[name]
    own = posthoc.Classifier.of(kernel, None if cosine else bias, 30.0 if cosine else 0.0)
    begin = posthoc.start(head, own, jax.random.key(0))
    how = posthoc.training(
        head, COUNTS, learning_rate=0.1, epochs=EPOCHS, total_epochs=EPOCHS, cosine=cosine
    )
    frozen = "kernel" not in head.trains
    arrays = jnp.asarray(features), jnp.asarray(labels), jnp.asarray(order)
    scores = posthoc.uncalibrated(begin, arrays[0]) if frozen else None
    ours = jax.jit(posthoc.train)(begin, how, *arrays, scores)

    module = Reference(name, np.asarray(begin.kernel), np.asarray(begin.bias), float(begin.length))
    cosine = bool(begin.length > 0)
    trains = [
        (field, rate) for field, rate in head.trains.items() if not (cosine and field == "bias")
    ]
    named = {field: getattr(module, FIELDS.get(field, field)) for field, _ in trains}
    groups = [{"params": [named[field]], "factor": rate} for field, rate in trains]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=5e-4)
    for epoch in range(EPOCHS):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * group["factor"] * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        for batch in order[epoch]:
            x, y = torch.tensor(features[batch]), torch.tensor(labels[batch])
            optimizer.zero_grad()
            reference_loss(name, module(x), y, epoch, EPOCHS).backward()
            optimizer.step()
    for field in dataclasses.fields(posthoc.Classifier):
        if field.name in named:
            theirs = named[field.name].detach().numpy()
            theirs = theirs.T if field.name == "kernel" else theirs
            start = np.asarray(getattr(begin, field.name))
            assert np.abs(theirs - start).max() > 1e-4  # it did train
            np.testing.assert_allclose(getattr(ours, field.name), theirs, rtol=1e-9, atol=1e-9)
        else:
            np.testing.assert_array_equal(getattr(ours, field.name), getattr(begin, field.name))
    with torch.no_grad():
        theirs = module(torch.tensor(features)).numpy()
    np.testing.assert_allclose(posthoc.logits(ours, arrays[0]), theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("tau", [0.0, 0.7, 1.0, 2.0])
def test_tau_normalisation_is_pytorchs(tau):
    _, _, kernel, _, _ = data()
    weight = torch.tensor(kernel.T.copy())
    theirs = weight / weight.norm(dim=1, keepdim=True) ** tau
    np.testing.assert_allclose(posthoc.tau_normalized(kernel, tau), theirs.numpy().T, rtol=1e-12)


@pytest.mark.parametrize("kind", posthoc.NCM_KINDS)
def test_nearest_class_mean_is_pytorchs(kind):
    features, labels, _, _, _ = data()
    x, y = torch.tensor(features), torch.tensor(labels)
    query = torch.tensor(np.random.default_rng(1).normal(1, 1, (40, D)))
    ours = posthoc.nearest_class_mean(features, labels, query.numpy(), num_classes=C, kind=kind)
    if kind == "centered_l2":
        query, x = query - x.mean(0), x - x.mean(0)
    if kind != "plain":
        query, x = F.normalize(query, dim=1), F.normalize(x, dim=1)
    means = torch.stack([x[y == c].mean(0) for c in range(C)])
    # Theirs subtracts first; ours expands the square, which costs three digits of sixteen.
    np.testing.assert_allclose(ours, -(torch.cdist(query, means) ** 2).numpy(), rtol=1e-11)


def test_label_aware_smoothing_is_the_losses_own():
    """The heads' batch loss and `ltjax.losses` are written apart;
    in float64 they agree to rounding.
    """
    features, labels, kernel, bias, _ = data()
    how = posthoc.training(
        posthoc.HEADS["label_aware_smoothing"], COUNTS, learning_rate=0.1, epochs=1
    )
    scores = features @ kernel + bias
    from ltjax.posthoc.sgd import batch_loss

    ours = batch_loss(how, how.class_weights[0], jnp.asarray(scores), jnp.asarray(labels))
    theirs = losses.label_aware_smoothing(scores, labels, class_counts=COUNTS).mean()
    assert float(ours) == pytest.approx(float(theirs), rel=1e-12)
