"""Runs: trained, what they left, and work directories as a run leaves them without training one."""

from pathlib import Path

import jax
import numpy as np

from ltjax.experiment import experiment, settings
from ltjax.training import loop
from ltjax.training.record import Record
from ltjax.workdir.checkpoint import Checkpoints
from tests.photographs import write_list_set


def final_params(config, workdir):
    """Parameters of the newest checkpoint."""
    built = experiment.build(settings.resolve(config))
    return Checkpoints(workdir).restore(built.state_like).state.params


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def train(config, workdir):
    return loop.train(settings.resolve(config), workdir)


def same_rows(a, b):
    timing = ("seconds", "images_per_second", "peak_host_mib", "peak_device_mib")
    return [{k: v for k, v in row.items() if k not in timing} for row in a] == [
        {k: v for k, v in row.items() if k not in timing} for row in b
    ]


def save_run(config, folder: Path) -> Path:
    """The run's start, saved as a checkpoint of its last stage."""
    built = experiment.build(settings.resolve(config))
    record = Record(built, folder)
    record.save(built.create_state(), len(built.stages) - 1)
    record.close()
    return folder


def digits_config():
    """LDAM, DRW and SAM on a tiny network."""
    from configs import quickstart

    config = quickstart.get_config()
    config.model.name, config.model.width = "resnet8", 4
    config.training.batch_size, config.training.cpu_devices = 64, 1
    config.logging.tensorboard = False
    return config


def photographs_config(root: Path):
    """Cross-entropy and DRW on a list, written here, whose labels are not in order of count."""
    from configs import imagenet_lt_ce_drw_sam

    write_list_set(root)
    config = imagenet_lt_ce_drw_sam.get_config()
    config.data.update(
        dir=str(root), train_list="train.txt", test_list="test.txt", groups=(), image_size=32
    )
    config.data.shorter_side = 36
    config.model.name, config.model.width = "resnet8", 4
    config.training.batch_size, config.training.cpu_devices = 16, 1
    config.logging.tensorboard = False
    return config
