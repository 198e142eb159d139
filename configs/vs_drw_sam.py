"""Vector-scaling (VS) loss with deferred re-weighting and SAM.

Source: Rangwani et al., NeurIPS 2022, "Escaping saddle points for effective generalization on
  class-imbalanced data".
Published: no figure at hand, and no SAM radius: cross-entropy + DRW's is used. Ours:
  docs/results/README.md.
Run: python launch.py --config=configs/vs_drw_sam.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "vs_drw_sam"
    config.loss.name = "vector_scaling"
    base.defer_reweighting(config)
    config.sam.enabled = True
    config.by_dataset.cifar10.sam.rho = 0.5
    config.by_dataset.cifar100.sam.rho = 0.8
    return config
