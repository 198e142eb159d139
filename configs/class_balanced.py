"""Class-balanced cross-entropy: effective-number weights from the first epoch.

Source: Cui et al., CVPR 2019, arXiv:1901.05555. Figures: Zhang et al., AAAI 2021, "Bag of tricks
  for long-tailed visual recognition" (the gallery of BagofTricks-LT); CIFAR f = 0.01.
Published accuracy, %: CIFAR-10-LT 70.48, CIFAR-100-LT 38.97. Ours: docs/results/README.md (last
  epoch, with seeds).
Run: python launch.py --config=configs/class_balanced.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "class_balanced"
    config.reweighting.name = "effective_number"
    config.published.cifar10 = 70.48
    config.published.cifar100 = 38.97
    return config
