"""Each recipe's own losses, weights, samplers, mixing, stages and optimiser through the real step,
on the digits with small networks.
"""

from functools import partial

import jax
import numpy as np
import pytest

from ltjax.experiment import experiment, settings
from ltjax.experiment.parameters import split_parameters
from ltjax.models import MODELS
from ltjax.training.programs import create
from tests.photographs import write_list_set
from tests.test_configs import NAMES, PHOTOGRAPHS, load

# Their program is another recipe's, with another number in it.
SISTERS = (
    *("reslt_f002", "reslt_f010", "reslt_b_f002", "reslt_b_f010", "proco_400", "glmc_wide"),
    *("ce_sam", "ce_drw_sam", "inat18_ce_drw_sam", "inat18_ldam_drw_sam"),
    *("imagenet_lt_ce_drw_sam", "decoupled_class_balanced"),
)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    write_list_set(folder)
    return folder


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SISTERS])
def test_every_recipe_trains_every_stage_and_moves_every_parameter_that_it_should(
    name, request, monkeypatch
):
    for network in (
        "resnet8",
        "experts_resnet8",
    ):  # a stem and its head compile in a third of the time
        monkeypatch.setitem(MODELS, network, partial(MODELS[network].func, blocks=0))
    config = load(name)
    if name in PHOTOGRAPHS:
        pytest.importorskip("grain")
        config.data.name, config.init_from = "image_list", ""  # no weights for so small a network
        config.data.dir = str(request.getfixturevalue("photographs"))
        config.data.train_list, config.data.test_list = "train.txt", "test.txt"
        config.data.groups, config.data.image_size, config.data.shorter_side = (), 32, 36
    else:
        config.data.name = "digits"
    config.data.factor = 0.1
    config.data.resolution = 0
    family, _, _ = config.model.name.rpartition("_")
    config.model.name = f"{family}_resnet8" if family in ("reslt", "experts") else "resnet8"
    config.model.width = 6
    config.training.epochs = max(1, len(config.stages))
    config.training.batch_size, config.training.cpu_devices, config.training.drop_last = (
        40 if name in PHOTOGRAPHS else 128,
        1,
        True,
    )
    built = experiment.build(settings.resolve(config))
    programs = create(built)
    state, stage = built.create_state(), built.stage_at(0)
    for epoch in range(config.training.epochs):
        if built.stage_at(epoch) != stage:
            state, stage = built.enter(state, stage, built.stage_at(epoch)), built.stage_at(epoch)
        before = jax.device_get(state.params)
        state, _ = programs.advance(state, 0, built.settings(epoch), stage)
        assert np.isfinite(state.running.loss)
        assert int(state.running.first_bad_step) == -1
        trainable = built.stages[stage].config.parameters.trainable
        old, new = (
            jax.tree.leaves(split_parameters(params, trainable)[0])
            for params in (before, state.params)
        )
        assert all(not np.array_equal(a, b) for a, b in zip(old, new, strict=True))
        state = programs.next_epoch(state)
    assert stage == len(built.stages) - 1
