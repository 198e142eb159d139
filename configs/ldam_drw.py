"""LDAM with deferred re-weighting.

Source: Cao et al., NeurIPS 2019, arXiv:1906.07413; figures as in Rangwani et al., NeurIPS 2022, to
  about 0.5.
Published best epoch, %: CIFAR-10-LT 77.5, CIFAR-100-LT 42.7. Ours: docs/results/README.md (last
  epoch, with seeds).
Run: python launch.py --config=configs/ldam_drw.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "ldam_drw"
    config.model.classifier = "normalized"
    config.loss.name = "ldam"
    base.defer_reweighting(config)
    config.published.cifar10 = 77.5
    config.published.cifar100 = 42.7
    return config
