"""Influence-balanced loss (IB): 100 plain epochs, then each image weighed by the inverse of its
influence on the classifier and of its class's count, at a hundredth of the rate.

Source: Park et al., ICCV 2021, arXiv:2110.02444; the authors' program, whose alpha is 1000 and must
  be chosen anew for another network, so that the loss stays near cross-entropy's.
Published, %: CIFAR-10-LT about 78.3, CIFAR-100-LT about 42.1 (the paper's, not read again). Ours:
  not run yet.
Run: python launch.py --config=configs/ib.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "ib"
    config.learning_rate.milestones = (100, 160, 180)
    config.learning_rate.factors = (0.01, 0.0001, 0.000001)
    config.stages = ("plain", "balanced")
    config.stage.plain = {"epochs": 100}
    config.stage.balanced = {
        "epochs": 100,
        "loss": {"name": "influence_balanced"},
        "reweighting": {"name": "inverse_frequency"},
    }
    config.published.cifar10 = 78.3
    config.published.cifar100 = 42.1
    return config
