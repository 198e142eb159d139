"""System C, decoupled, with the focal loss in the second stage.

Source: as configs/decoupled.py; Lin et al., ICCV 2017, arXiv:1708.02002, with gamma 1.
Published: no figure. Ours: docs/results/README.md (last epoch).
Run: python launch.py --config=configs/decoupled_focal.py --config.init_from=WEIGHTS (see
  configs/efficientnet.py)
"""

from configs import decoupled


def get_config():
    config = decoupled.get_config()
    config.name = "decoupled_focal"
    config.stage.classifier.loss.name = "focal"
    config.stage.classifier.reweighting.name = "none"
    config.published.cifar10 = None
    return config
