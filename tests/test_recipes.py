"""Each recipe's own losses, weights, samplers, mixing, stages and optimiser through the real step, on the digits with small networks."""

import jax
import numpy as np
import pytest

from ltjax.training import experiment, settings
from ltjax.training.programs import Programs
from ltjax.training.step import split_parameters
from tests.test_configs import NAMES, load


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_trains_every_stage_and_moves_every_parameter_that_it_should(name):
    config = load(name)
    config.data.name = "digits"
    config.data.factor = 0.1
    config.data.resolution = 0
    config.model.name = "reslt_resnet8" if config.model.name.startswith("reslt_") else "resnet8"
    config.model.width = 6
    config.training.epochs = max(1, len(config.stages))
    config.training.batch_size, config.training.cpu_devices, config.training.drop_last = 128, 1, True
    built = experiment.build(settings.resolve(config))
    programs = Programs(built)
    state, stage = built.create_state(), built.stage_at(0)
    for epoch in range(config.training.epochs):
        if built.stage_at(epoch) != stage:
            state, stage = built.enter(state, stage, built.stage_at(epoch)), built.stage_at(epoch)
        before = jax.device_get(state.params)
        state, _ = programs.advance(state, 0, built.settings(epoch), stage)
        assert np.isfinite(state.running.loss)
        assert int(state.running.first_bad_step) == -1
        trainable = built.stages[stage].config.parameters.trainable
        old, new = (jax.tree.leaves(split_parameters(params, trainable)[0]) for params in (before, state.params))
        assert all(not np.array_equal(a, b) for a, b in zip(old, new, strict=True))
        state = programs.next_epoch(state)
    assert stage == len(built.stages) - 1
