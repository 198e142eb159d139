"""Balanced softmax.

Source: Ren et al., NeurIPS 2020, arXiv:2007.10740. Figures: Zhang et al., AAAI 2021, "Bag of tricks
  for long-tailed visual recognition" (the gallery of BagofTricks-LT); CIFAR f = 0.01.
Published accuracy, %: CIFAR-10-LT 77.54, CIFAR-100-LT 42.99. Ours: docs/results/README.md (last
  epoch, with seeds).
Run: python launch.py --config=configs/balanced_softmax.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "balanced_softmax"
    config.loss.name = "balanced_softmax"
    config.published.cifar10 = 77.54
    config.published.cifar100 = 42.99
    return config
