"""The public functions give what they gave when they were checked: values and gradients at options
that are not the defaults, and what is refused at the edges, as recorded in values/*.json.

Whether these are right is for the parity tests to say; here no change goes unseen.

    python -m tests.test_values

records them anew; what changed for users belongs into CHANGELOG.md.
"""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.values import arrays, edges, formulas, methods

FOLDER = Path(__file__).with_name("values")
MODULES = {"formulas": formulas, "arrays": arrays, "methods": methods}
CASES = {name: case for module in MODULES.values() for name, case in module.CASES.items()}


def recorded(value):
    """Of each array its type, shape, how many are not finite, mean, deviation and a fixed
    projection; a text as it is.
    """
    found = []
    for leaf in jax.tree.leaves(value):
        if isinstance(leaf, str):
            found.append(leaf)
            continue
        kind = str(getattr(leaf, "dtype", type(leaf).__name__))
        values = np.asarray(leaf, np.float64)
        finite = np.where(np.isfinite(values), values, 0.0)
        weights = np.random.default_rng(1).normal(size=values.shape)
        each = (finite.mean(), finite.std(), float(np.sum(weights * finite)) / values.size**0.5)
        unknown = values.size - int(np.isfinite(values).sum())
        found.append([kind, list(values.shape), unknown, [float(f"{one:.7g}") for one in each]])
    return found


@pytest.fixture(scope="module")
def expected():
    return {
        name: value
        for module in MODULES
        for name, value in json.loads((FOLDER / f"{module}.json").read_text()).items()
    }


@pytest.mark.parametrize("name", CASES)
def test_values_are_the_recorded_ones(name, expected):
    ours, theirs = recorded(CASES[name]()), expected[name]
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        if isinstance(other, str):
            assert one == other
            continue
        assert one[:3] == other[:3]
        # Float32 in another order of sums; a uint8 pixel may round to its neighbour.
        spread = 2e-4 * max(abs(value) for value in other[3]) + 1e-6
        np.testing.assert_allclose(one[3], other[3], rtol=0, atol=spread)


@pytest.mark.parametrize("name", edges.CASES)
def test_what_is_taken_and_what_is_refused(name):
    theirs, ours = json.loads((FOLDER / "edges.json").read_text())[name], edges.said(name)
    if isinstance(theirs, str) or isinstance(ours, str):
        assert ours == theirs
    else:
        numbers = [[float(number) for number in one] for one in (ours, theirs)]
        np.testing.assert_allclose(*numbers, rtol=1e-4, atol=1e-6)


def record():
    for name, module in MODULES.items():
        lines = [f"{json.dumps(k)}: {json.dumps(recorded(c()))}" for k, c in module.CASES.items()]
        (FOLDER / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    lines = [f"{json.dumps(name)}: {json.dumps(edges.said(name))}" for name in edges.CASES]
    (FOLDER / "edges.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    record()
