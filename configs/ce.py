"""Cross-entropy on CIFAR-LT with ResNet-32: the baseline.

Source: Rangwani et al., NeurIPS 2022, "Escaping saddle points for effective generalization on
  class-imbalanced data".
  Figures known to about 0.5.
Published best epoch, %: CIFAR-10-LT 71.7, CIFAR-100-LT 38.5. Ours: docs/results/README.md (last
  epoch, with seeds).
Run: python launch.py --config=configs/ce.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "ce"
    config.published.cifar10 = 71.7
    config.published.cifar100 = 38.5
    return config
