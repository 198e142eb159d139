"""Cross-entropy with SAM.

Source: Rangwani et al., NeurIPS 2022, "Escaping saddle points for effective generalization on
  class-imbalanced data".
Published: no figure for this cell. Ours: docs/results/README.md (last epoch, with seeds).
Run: python launch.py --config=configs/ce_sam.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "ce_sam"
    config.sam.enabled = True
    config.by_dataset.cifar10.sam.rho = 0.1
    config.by_dataset.cifar100.sam.rho = 0.2
    return config
