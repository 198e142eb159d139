"""Cross-entropy with deferred re-weighting (DRW).

Source: Rangwani et al., NeurIPS 2022, "Escaping saddle points for effective generalization on
  class-imbalanced data".
  Figures known to about 0.5.
Published best epoch, %: CIFAR-10-LT 75.5, CIFAR-100-LT 41.0. Ours: docs/results/README.md (last
  epoch, with seeds).
Run: python launch.py --config=configs/ce_drw.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "ce_drw"
    base.defer_reweighting(config)
    config.published.cifar10 = 75.5
    config.published.cifar100 = 41.0
    return config
