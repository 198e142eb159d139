"""GLMC on the plain ResNet-32: a mixup and a CutMix view of two batches, a plain classifier that
gives way to a re-weighted one, and agreement of the views.

Source: Du et al., CVPR 2023, arXiv:2305.08661; the authors' program, whose ResNet-32 is four times
as wide (configs/glmc_wide.py). The weight of the agreement is 4; their README says 1 for CIFAR-10.
Published: no figure of this network. Ours: not run yet.
Run: python launch.py --config=configs/glmc.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "glmc"
    config.objective.name = "glmc"
    config.training.batch_size = 64
    config.optimizer.weight_decay = 5e-3
    config.learning_rate.schedule = "cosine"
    config.learning_rate.base = 0.01
    config.learning_rate.warmup_epochs = 0
    return config
