"""Learning rate, re-weighting and SAM radius of the recipe in each of its 200 epochs against the
authors' rules.
"""

import numpy as np
import pytest

from configs import ldam_drw_sam
from ltjax import optim, reweighting
from ltjax.experiment import schedules, settings
from ltjax.experiment.stages import stages_of
from parity_tests import reference

COUNTS = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
CONFIG = settings.resolve(ldam_drw_sam.get_config())


def test_learning_rate_of_all_200_epochs():
    schedule = schedules.learning_rate_schedule(CONFIG)
    ours = [schedule(epoch) for epoch in range(200)]
    np.testing.assert_allclose(
        ours, [reference.learning_rate(epoch) for epoch in range(200)], rtol=1e-15
    )
    np.testing.assert_allclose(
        [ours[0], ours[4], ours[5], ours[159], ours[160], ours[180]],
        [0.02, 0.1, 0.1, 0.1, 1e-3, 1e-5],
        rtol=1e-15,
    )


def test_class_weights_of_all_200_epochs():
    """Deferred re-weighting as two stages, and as the function."""
    stages = stages_of(CONFIG)
    assert [(stage.first, stage.epochs, stage.config.reweighting.name) for stage in stages] == [
        (0, 160, "none"),
        (160, 40, "effective_number"),
    ]
    for epoch in range(200):
        expected = reference.effective_number(COUNTS, reference.drw_beta(epoch))
        config = stages[epoch >= stages[1].first].config.reweighting
        staged = (
            reweighting.effective_number(COUNTS, config.beta)
            if config.name != "none"
            else np.ones(10)
        )
        np.testing.assert_allclose(staged, expected, rtol=1e-11)
        deferred = reweighting.deferred(reweighting.effective_number(COUNTS), epoch, 160)
        np.testing.assert_allclose(deferred, expected, rtol=1e-11)


def test_reslt_warmup_and_drops():
    schedule = optim.warmup_piecewise(0.1, 5, (0.1, 0.01), (160, 180), 1 / 3)
    ours = [schedule(epoch) for epoch in range(200)]
    np.testing.assert_allclose(
        ours, [reference.reslt_learning_rate(epoch) for epoch in range(200)], rtol=1e-14
    )


def test_piecewise_rho_of_all_200_epochs():
    config = ldam_drw_sam.get_config()
    config.sam.schedule = "piecewise"
    schedule = schedules.rho_schedule(settings.resolve(config))
    assert [schedule(epoch) for epoch in range(200)] == [
        reference.rho_steps(epoch) for epoch in range(200)
    ]


@pytest.mark.parametrize("base", [0.1, 0.2])
def test_cosine_of_all_90_epochs(base):
    schedule = optim.cosine(base, 90)
    ours = [schedule(epoch) for epoch in range(90)]
    np.testing.assert_allclose(
        ours, [reference.cosine_rate(epoch, base, 90) for epoch in range(90)], rtol=1e-15
    )
