"""GLMC on a ResNet-32 of width 64 (7.4 M parameters), the network of the authors' program.

Source: as configs/glmc.py.
Published best epoch, %: CIFAR-10-LT 88.50, CIFAR-100-LT 57.97 (the authors' README, on a subset of
their own). Ours: not run yet.
Run: python launch.py --config=configs/glmc_wide.py
"""

from configs import glmc


def get_config():
    config = glmc.get_config()
    config.name = "glmc_wide"
    config.model.width = 64
    config.published.cifar10 = 88.5
    config.published.cifar100 = 57.97
    return config
