"""The methods of `--mode=posthoc`: what each makes of cached features, on two parts of the training
images.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ltjax import metrics, posthoc, sampling
from ltjax.experiment.experiment import Experiment
from ltjax.posthoc import HEADS, Classifier
from ltjax.training.features import Features

PROBE = "cross_entropy"
"""The head that stands in for a network's own classifier where it has none for these classes."""


class Method(NamedTuple):
    """A method's candidates, the default first.

    Attributes:
      name: in the config.
      title, source: for tables.
      parameters: of each candidate.
      distances: of each from the default.
      held_out: candidate -> logits of the held-out images, by a classifier that never saw them.
      test: candidate -> logits of the test images, by a classifier of all training images.
    """

    name: str
    title: str
    source: str
    parameters: Sequence[Mapping[str, float]]
    distances: Sequence[float]
    held_out: Callable[[int], np.ndarray]
    test: Callable[[int], np.ndarray]


class Part(NamedTuple):
    """Training images that classifiers are made of: indices, labels [N], class counts [C], and the
    classifier that the calibrating methods start from.
    """

    members: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    own: Classifier


class Maker:
    """Makes the methods' classifiers from cached features."""

    def __init__(
        self,
        experiment: Experiment,
        features: Features,
        labels: np.ndarray,
        mask: np.ndarray,
        say: Callable[[str], None],
    ) -> None:
        """labels, mask: of the training features, and which are held out. say: receives a line a
        group of heads.
        """
        self._config, self._say = experiment.config, say
        self._options = experiment.config.posthoc
        passes, count, dim = features.train.shape
        self._passes, self._count = passes, count
        self._train = jnp.asarray(features.train.reshape(passes * count, dim))
        self._labels = jnp.asarray(np.tile(labels, passes))
        self._held_labels = labels[mask]
        self._once = features.train[0]
        self._held, self._test = (jnp.asarray(x) for x in (features.train[0][mask], features.test))
        self._train_together = jax.jit(jax.vmap(posthoc.train, (0, 0, None, None, None, None)))
        self._logits = jax.jit(posthoc.logits)
        self._uncalibrated = jax.jit(posthoc.uncalibrated)

    def probe(self, fit: Part, whole: Part) -> tuple[Part, Part]:
        """The parts with a new head trained by cross-entropy, of chosen rate and length, as their
        own classifier.
        """
        (method,), trained = self._heads([PROBE], fit, whole)
        count = range(len(method.parameters))
        scores = [balanced(method.held_out(k), self._held_labels) for k in count]
        chosen = posthoc.choose(scores, method.distances)
        return fit._replace(own=trained[0][PROBE][chosen]), whole._replace(
            own=trained[1][PROBE][chosen]
        )

    def methods(self, fit: Part, whole: Part, foreign: bool) -> list[Method]:
        """In the config's order."""
        wanted = tuple(self._options.methods)
        heads = [name for name in wanted if name in HEADS and not (foreign and name == PROBE)]
        made = {method.name: method for method in self._heads(heads, fit, whole)[0]}
        if foreign:
            made[PROBE] = self._own(fit, whole)._replace(
                name=PROBE, title=HEADS[PROBE].title, source=HEADS[PROBE].source
            )
        taus = sorted({1.0, *self._options.taus}, key=lambda tau: (abs(tau - 1.0), tau))
        for name in wanted:
            if name == "own" and not foreign:
                made[name] = self._own(fit, whole)
            elif name == "logit_adjusted":
                made[name] = self._logit_adjusted(fit, whole, taus)
            elif name == "tau_normalized":
                made[name] = self._tau_normalized(fit, whole, taus)
            elif name.startswith("ncm_"):
                made[name] = self._nearest(fit, whole, name)
        if foreign and "own" in wanted:
            wanted = (PROBE, *(name for name in wanted if name not in ("own", PROBE)))
        return [made[name] for name in wanted if name in made]

    def _own(self, fit: Part, whole: Part) -> Method:
        held, test = (
            np.asarray(self._logits(part.own, x))
            for part, x in ((fit, self._held), (whole, self._test))
        )
        return Method("own", "the network's own", "", [{}], [0.0], lambda k: held, lambda k: test)

    def _logit_adjusted(self, fit: Part, whole: Part, taus: Sequence[float]) -> Method:
        plain = self._own(fit, whole)

        def adjusted(logits: np.ndarray, part: Part, k: int) -> np.ndarray:
            return np.asarray(metrics.adjust_logits(logits, part.counts, taus[k]))

        return Method(
            "logit_adjusted",
            "logit adjustment",
            "Menon et al., ICLR 2021",
            [{"tau": tau} for tau in taus],
            [abs(tau - 1.0) for tau in taus],
            lambda k: adjusted(plain.held_out(0), fit, k),
            lambda k: adjusted(plain.test(0), whole, k),
        )

    def _tau_normalized(self, fit: Part, whole: Part, taus: Sequence[float]) -> Method:
        def normalized(part: Part, features: jax.Array, k: int) -> np.ndarray:
            kernel = posthoc.tau_normalized(part.own.weights, taus[k])
            unit = bool(part.own.length > 0)
            norms = jnp.linalg.norm(features, axis=1, keepdims=True) if unit else 1.0
            return np.asarray(features @ kernel / jnp.where(norms == 0, 1.0, norms))

        return Method(
            "tau_normalized",
            "tau-normalisation",
            "Kang et al., ICLR 2020",
            [{"tau": tau} for tau in taus],
            [abs(tau - 1.0) for tau in taus],
            lambda k: normalized(fit, self._held, k),
            lambda k: normalized(whole, self._test, k),
        )

    def _nearest(self, fit: Part, whole: Part, name: str) -> Method:
        kind = name.removeprefix("ncm_")
        held, test = (
            np.asarray(
                posthoc.nearest_class_mean(
                    self._once[part.members],
                    part.labels,
                    x,
                    num_classes=len(part.counts),
                    kind=kind,
                )
            )
            for part, x in ((fit, self._held), (whole, self._test))
        )
        return Method(
            name,
            "nearest class mean, " + kind.replace("_", " ").replace("l2", "L2"),
            "Kang et al., ICLR 2020",
            [{}],
            [0.0],
            lambda k: held,
            lambda k: test,
        )

    def _heads(
        self, names: Sequence[str], fit: Part, whole: Part
    ) -> tuple[list[Method], tuple[dict, dict]]:
        """The methods of trained heads, and their classifiers on each part."""
        trained = self._trained(names, fit), self._trained(names, whole)
        made = []
        for name in names:
            grid = self._grid(name)
            made.append(
                Method(
                    name,
                    HEADS[name].title,
                    HEADS[name].source,
                    [{"learning_rate": rate, "epochs": epochs} for rate, epochs, _ in grid],
                    [distance for _, _, distance in grid],
                    partial(self._scores, trained[0][name], self._held),
                    partial(self._scores, trained[1][name], self._test),
                )
            )
        return made, trained

    def _scores(self, classifiers: Sequence[Classifier], features: jax.Array, k: int) -> np.ndarray:
        return np.asarray(self._logits(classifiers[k], features))

    def _grid(self, name: str) -> list[tuple[float, int, float]]:
        """Learning rate, epochs and distance from the default of each candidate,
        the default first.
        """
        head = HEADS[name]
        base = head.learning_rate * self._batch_size / 128
        pairs = {(1.0, head.epochs): 0.0}
        for factor in self._options.learning_rates:
            for epochs in self._options.epochs:
                pairs[factor, epochs] = abs(np.log(factor)) + abs(np.log(epochs / head.epochs))
        return [
            (float(f"{factor * base:.6g}"), epochs, distance)
            for (factor, epochs), distance in sorted(pairs.items(), key=lambda item: item[1])
        ]

    @property
    def _batch_size(self) -> int:
        wanted = self._options.batch_size or self._config.training.batch_size
        return min(wanted, self._count)

    def _trained(self, names: Sequence[str], part: Part) -> dict[str, list[Classifier]]:
        """Name -> a classifier for each candidate; those of one order and shape train together."""
        found: dict[str, list[Classifier]] = {}
        groups: dict[tuple[str, bool], list[str]] = {}
        for name in names:
            head = HEADS[name]
            groups.setdefault((head.sampler, "kernel" in head.trains), []).append(name)
        for (sampler, kernels), members in groups.items():
            began = time.monotonic()
            starts, hows, owners = self._stacked(members, part)
            order = self._order(sampler, part, hows.rates.shape[1])
            scores = None if kernels else self._uncalibrated(part.own, self._train)
            trained = self._train_together(starts, hows, self._train, self._labels, order, scores)
            trained = jax.device_get(trained)
            for k, name in enumerate(owners):
                found.setdefault(name, []).append(jax.tree.map(lambda leaf, k=k: leaf[k], trained))
            self._say(
                f"{', '.join(members)}: {len(owners)} heads on {len(part.members)} images,"
                f" {time.monotonic() - began:.1f} s"
            )
        return found

    def _stacked(
        self, names: Sequence[str], part: Part
    ) -> tuple[Classifier, posthoc.Training, list[str]]:
        options, starts, hows, owners = self._options, [], [], []
        total = max(epochs for name in HEADS for _, epochs, _ in self._grid(name))
        for name in names:
            head = HEADS[name]
            begin = posthoc.start(head, part.own, jax.random.key(self._config.seed))
            for rate, epochs, _ in self._grid(name):
                how = posthoc.training(
                    head,
                    part.counts,
                    learning_rate=rate,
                    epochs=epochs,
                    total_epochs=total,
                    cosine=bool(part.own.length > 0),
                    weight_decay=options.weight_decay,
                    smoothing=tuple(options.smoothing),
                    kernel_rate=options.kernel_rate,
                )
                starts.append(begin)
                hows.append(how)
                owners.append(name)
        stack = partial(jax.tree.map, lambda *leaves: jnp.stack(leaves))
        return stack(*starts), stack(*hows), owners

    def _order(self, sampler: str, part: Part, epochs: int) -> jax.Array:
        """Indices of every batch, [E, steps, B]. As many steps on the fit part as on all images, so
        that a rate chosen there is one for here; each epoch takes the next augmented pass.
        """
        batch = self._batch_size
        steps = max(1, self._count // batch)
        needed = epochs * steps * batch
        key = jax.random.fold_in(jax.random.key(self._config.seed), 1)
        labels = jnp.asarray(part.labels)
        if sampler == "shuffled":
            keys = jax.random.split(key, -(-needed // len(labels)))
            drawn = jax.vmap(lambda key: sampling.shuffled(key, labels))(keys).reshape(-1)[:needed]
        else:
            drawn = sampling.SAMPLERS[sampler](
                key, labels, num_classes=len(part.counts), num_samples=needed
            )
        order = part.members[np.asarray(drawn)].reshape(epochs, steps, batch)
        shift = self._count * (np.arange(epochs) % self._passes)
        return jnp.asarray((order + shift[:, None, None]).astype(np.int32))


def balanced(logits: np.ndarray, labels: np.ndarray) -> float:
    """Balanced accuracy of the highest logits."""
    return metrics.balanced_accuracy(confusion(logits, labels))


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts of (true, predicted) pairs, [C, C]."""
    size = logits.shape[1]
    cells = np.asarray(labels, np.int64) * size + logits.argmax(axis=1)
    return np.bincount(cells, minlength=size * size).reshape(size, size)
