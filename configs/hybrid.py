"""System A, "hybrid": LDAM with s = 10 on a normalised classifier, with mixup throughout.

Source: the four training modes of CIFAR-10 with one majority class (see configs/expert.py); mixup
  is Zhang et al., ICLR 2018.
Published: no figure. Ours: docs/results/README.md (last epoch).
Run: python launch.py --config=configs/hybrid.py
"""

from configs import expert


def get_config():
    config = expert.majority_config()
    config.name = "hybrid"
    config.model.classifier = "normalized"
    config.loss.name = "ldam"
    config.loss.ldam.scale = 10.0
    config.mixing.name = "mixup"
    return config
