"""Cross-entropy with class-balanced sampling.

Source: Kang et al., ICLR 2020, arXiv:1910.09217. Figures: Zhang et al., AAAI 2021, "Bag of tricks
  for long-tailed visual recognition" (the gallery of BagofTricks-LT); CIFAR f = 0.01.
Published accuracy, %: CIFAR-10-LT 72.45, CIFAR-100-LT 35.24. Ours: docs/results/README.md (last
  epoch, with seeds).
Run: python launch.py --config=configs/resample.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "resample"
    config.sampler.name = "class_balanced"
    config.published.cifar10 = 72.45
    config.published.cifar100 = 35.24
    return config
