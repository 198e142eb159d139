"""Focal loss, gamma = 1, no class weights.

Source: Lin et al., ICCV 2017, arXiv:1708.02002; gamma as in the LDAM-DRW authors' program.
  Figures: the gallery of BagofTricks-LT (Zhang et al., AAAI 2021), whose gamma is 2;
  CIFAR f = 0.01.
Published accuracy, %: CIFAR-10-LT 71.56, CIFAR-100-LT 37.22 (--config.loss.focal.gamma=2).
Ours: docs/results/README.md (last epoch, with seeds).
Run: python launch.py --config=configs/focal.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "focal"
    config.loss.name = "focal"
    config.published.cifar10 = 71.56
    config.published.cifar100 = 37.22
    return config
