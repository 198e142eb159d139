"""The public functions give what they gave when they were checked: values and gradients at options
that are not the defaults, what a key draws, and what is refused at the edges, as recorded in
values/*.json.

Whether these are right is for the parity tests to say; here no change goes unseen.

    python -m tests.test_values                   all anew
    python -m tests.test_values formulas edges    these

What changed for users belongs into CHANGELOG.md.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.values import arrays, draws, edges, formulas, methods

FOLDER = Path(__file__).with_name("values")
MODULES = {"formulas": formulas, "arrays": arrays, "methods": methods, "draws": draws}
CASES = {name: case for module in MODULES.values() for name, case in module.CASES.items()}
RECORDED = {
    name: value
    for file in FOLDER.glob("*.json")
    for name, value in json.loads(file.read_text(encoding="utf-8")).items()
}


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


@pytest.mark.parametrize("name", CASES)
def test_values_are_the_recorded_ones(name):
    ours, theirs = recorded(CASES[name]()), RECORDED[name]
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        if isinstance(other, str):
            assert one == other
            continue
        assert one[:3] == other[:3]
        (kind, shape, _, numbers), (*_, ours_) = other, one
        spread = 2e-4 * max(map(abs, numbers)) + 1e-6  # float32 in another order of sums
        if kind == "uint8":  # a pixel or two may round to its neighbour
            spread += 8 / np.prod(shape) ** 0.5
        np.testing.assert_allclose(ours_, numbers, rtol=0, atol=spread)


@pytest.mark.parametrize(
    "name",
    [
        *("augment.others", "draws.color jitter", "draws.grey", "draws.blur", "draws.mixing remix"),
        *("draws.mixup", "draws.cutmix", "posthoc.trained crt", "posthoc.trained disalign"),
    ],
)
def test_float32_stays_where_numbers_are_64_bits_wide(name):
    with jax.enable_x64(True):
        ours = [one.dtype.name for one in jax.tree.leaves(jax.eval_shape(CASES[name]))]
    assert "float32" in ours
    assert "float64" not in ours


@pytest.mark.parametrize("name", edges.CASES)
def test_what_is_taken_and_what_is_refused(name):
    theirs, ours = RECORDED[name], edges.said(name)
    if isinstance(theirs, str) or isinstance(ours, str):
        assert ours == theirs
    else:
        numbers = [[float(number) for number in one] for one in (ours, theirs)]
        np.testing.assert_allclose(*numbers, rtol=1e-4, atol=1e-6)


def record(module, of_case):
    lines = [f"{json.dumps(name)}: {json.dumps(of_case(name))}" for name in module.CASES]
    file = FOLDER / f"{module.__name__.rpartition('.')[2]}.json"
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_disable_most_optimizations", True)  # as under pytest
    chosen = sys.argv[1:] or [*MODULES, "edges"]
    for name in chosen:
        if name == "edges":
            record(edges, edges.said)
        else:
            record(MODULES[name], lambda case: recorded(CASES[case]()))
