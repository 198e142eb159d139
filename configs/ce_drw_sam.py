"""Cross-entropy with deferred re-weighting and SAM.

Source: Rangwani et al., NeurIPS 2022, "Escaping saddle points for effective generalization on
  class-imbalanced data".
  Figures from the authors' README.
Published best epoch, %: CIFAR-10-LT 80.6, CIFAR-100-LT 44.6. Ours: docs/results/README.md (last
  epoch, with seeds).
Run: python launch.py --config=configs/ce_drw_sam.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "ce_drw_sam"
    base.defer_reweighting(config)
    config.sam.enabled = True
    config.by_dataset.cifar10.sam.rho = 0.5
    config.by_dataset.cifar100.sam.rho = 0.8
    config.published.cifar10 = 80.6
    config.published.cifar100 = 44.6
    return config
