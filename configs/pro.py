"""System A, "pro": cross-entropy with label smoothing, mixup and a class-balanced sampler.

Source: the four training modes of CIFAR-10 with one majority class (see configs/expert.py).
Published: no figure. Ours: docs/results/README.md (last epoch).
Run: python launch.py --config=configs/pro.py
"""

from configs import expert


def get_config():
    config = expert.majority_config()
    config.name = "pro"
    config.sampler.name = "class_balanced"
    config.mixing.name = "mixup"
    config.loss.cross_entropy.label_smoothing = 0.1
    return config
