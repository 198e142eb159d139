"""Classifier re-training (cRT): the features of plain training, then a new classifier on
class-balanced batches with the rest frozen.

Source: Kang et al., ICLR 2020, arXiv:1910.09217, section 4. Figures: Zhang et al., AAAI 2021, "Bag
  of tricks for long-tailed visual recognition" (the gallery of BagofTricks-LT); CIFAR f = 0.01.
  Length and rate of the second stage are ours.
Published accuracy, %: CIFAR-10-LT 74.99, CIFAR-100-LT 40.26. Ours: docs/results/README.md (last
  epoch, with seeds).
Run: python launch.py --config=configs/crt.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "crt"
    config.stages = ("features", "classifier")
    config.stage.features = {"epochs": 200, "learning_rate": {"milestones": (160, 180)}}
    config.stage.classifier = {
        "epochs": 10,
        "sampler": {"name": "class_balanced"},
        "parameters": {"trainable": "linear", "reset": "linear", "frozen_statistics": True},
        "learning_rate": {"schedule": "cosine", "warmup_epochs": 0},
    }
    config.published.cifar10 = 74.99
    config.published.cifar100 = 40.26
    return config
