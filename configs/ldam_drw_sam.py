"""LDAM with deferred re-weighting and SAM on CIFAR-LT with ResNet-32: the main recipe.

Source: Rangwani et al., NeurIPS 2022, "Escaping saddle points for effective generalization on
  class-imbalanced data".
  Figures from the authors' README.
Published best epoch, %: CIFAR-10-LT 81.9, CIFAR-100-LT 45.4. Ours: docs/results/README.md (last
  epoch, with seeds).
Run: python launch.py --config=configs/ldam_drw_sam.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "ldam_drw_sam"
    config.model.classifier = "normalized"
    config.loss.name = "ldam"
    base.defer_reweighting(config)
    config.sam.enabled = True
    config.by_dataset.cifar10.sam.rho = 0.8
    config.by_dataset.cifar100.sam.rho = 0.8
    config.published.cifar10 = 81.9
    config.published.cifar100 = 45.4
    return config
