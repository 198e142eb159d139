"""SAM of a part of the loss: where it must be SAM or plain descent, in parts,
and what is refused.
"""

import jax
import numpy as np
import pytest

from tests.test_accumulate import built_with, stepped

FOCAL = {"sam.focus": "focal", "sam.focal.gamma": 2.0, "sam.focal.lam": 0.5}
FROZEN = {"parameters.frozen_statistics": True}


def assert_same(a, b):
    """float32 sums in another order, through both passes."""
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=2e-6), a.params, b.params
    )


def test_all_of_the_loss_in_focus_is_sam_and_none_of_it_is_plain_descent(digits_config):
    sam = stepped(digits_config, 1)
    everything = stepped(digits_config, 1, **FOCAL | {"sam.focal.gamma": 0.0, "sam.focal.lam": 1.0})
    assert_same(everything, sam)
    np.testing.assert_allclose(everything.running.loss, sam.running.loss, rtol=1e-5)
    nothing = stepped(digits_config, 1, **FOCAL | {"sam.focal.lam": 0.0})
    assert_same(nothing, stepped(digits_config, 1, **{"sam.enabled": False}))


def test_parts_of_a_batch_are_the_whole_batch(digits_config):
    changes = FOCAL | FROZEN | {"mixing.name": "remix"}
    assert_same(stepped(digits_config, 4, **changes), stepped(digits_config, 1, **changes))


def test_several_devices_give_the_same(digits_config):
    changes = {"sam.focus": "tail", "sam.tail.threshold": 40}
    one = stepped(digits_config, 1, **changes)
    assert_same(stepped(digits_config, 1, **changes, **{"training.cpu_devices": 4}), one)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"sam.focus": "focal", "sam.enabled": False},
            r"config\.sam\.focus is 'focal', and sam\.enabled is False; expected 'all'",
        ),
        (
            {"sam.focus": "tail", "loss.name": "reslt", "model.name": "reslt_resnet8"},
            r"config\.sam\.focus is 'tail', and .*the reslt loss is no sum over classes",
        ),
        ({"sam.focus": "tails"}, r"config\.sam\.focus is 'tails'; did you mean 'tail'"),
        (
            {"sam.focus": "tail", "sam.tail.threshold": 1},
            r"config\.sam\.tail\.threshold is 1, and the rarest class has .* nothing would be",
        ),
    ],
)
def test_what_cannot_be_is_refused(digits_config, changes, told):
    if changes.get("loss.name"):
        digits_config.model.classifier = "linear"
        digits_config.stages = ()
    with pytest.raises(ValueError, match=told):
        built_with(digits_config, 1, **changes)
