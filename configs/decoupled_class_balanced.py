"""System C, decoupled, with class-balanced cross-entropy (effective number) in the second stage.

Source: as configs/decoupled.py; Cui et al., CVPR 2019, arXiv:1901.05555.
Published: no figure. Ours: docs/results/README.md (last epoch).
Run: python launch.py --config=configs/decoupled_class_balanced.py --config.init_from=WEIGHTS (see
  configs/efficientnet.py)
"""

from configs import decoupled


def get_config():
    config = decoupled.get_config()
    config.name = "decoupled_class_balanced"
    config.stage.classifier.loss.name = "cross_entropy"
    config.stage.classifier.reweighting.name = "effective_number"
    config.published.cifar10 = None
    return config
