"""System C, decoupled, with balanced softmax in the second stage.

Source: as configs/decoupled.py; Ren et al., NeurIPS 2020, arXiv:2007.10740.
Published: no figure. Ours: docs/results/README.md (last epoch).
Run: python launch.py --config=configs/decoupled_balanced_softmax.py --config.init_from=WEIGHTS (see
  configs/efficientnet.py)
"""

from configs import decoupled


def get_config():
    config = decoupled.get_config()
    config.name = "decoupled_balanced_softmax"
    config.stage.classifier.loss.name = "balanced_softmax"
    config.stage.classifier.reweighting.name = "none"
    config.published.cifar10 = None
    return config
