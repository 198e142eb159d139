"""Balanced contrastive learning: balanced softmax with AutoAugment and Cutout, and contrast of two
more views.

Source: Zhu et al., CVPR 2022, arXiv:2207.09052; the authors published no program for CIFAR, their
settings are from the paper.
Published, %: CIFAR-10-LT 84.31, CIFAR-100-LT 51.84 (a re-run by others with a fixed seed). Ours:
not run yet.
Run: python launch.py --config=configs/bcl.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "bcl"
    config.objective.name = "bcl"
    config.loss.name = "balanced_softmax"
    config.augment.policy = "cifar10"
    config.augment.cutout = None  # half the side
    for name, defaults in config.by_dataset.items():
        with defaults.unlocked():
            hole = 4 if name == "digits" else 16
            defaults.augment = {**defaults.get("augment", {}), "cutout": hole}
    config.augment.cutout_first = True
    config.training.batch_size = 256
    config.training.drop_last = True
    config.optimizer.weight_decay = 5e-4
    config.learning_rate.base = 0.15
    config.learning_rate.factors = (0.1, 0.01)
    config.published.cifar10 = 84.31
    config.published.cifar100 = 51.84
    return config
