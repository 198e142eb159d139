"""System A, "expert": LDAM with a normalised classifier, a class-balanced sampler, and DRW from
epoch 160.

Source: the four training modes of CIFAR-10 with one majority class (class 3 keeps 5,000 images,
  each other class 150), ResNet-18 with the stem for 32x32 images; LDAM and DRW are Cao et al.,
  NeurIPS 2019. Optimiser and schedule are the LDAM-DRW recipe's.
Published: no figure. Ours: docs/results/README.md (last epoch).
Run: python launch.py --config=configs/expert.py
"""

from configs import base


def get_config():
    config = majority_config()
    config.name = "expert"
    config.model.classifier = "normalized"
    config.loss.name = "ldam"
    config.sampler.name = "class_balanced"
    base.defer_reweighting(config)
    return config


def majority_config():
    """What the four modes share."""
    config = base.get_config()
    config.data.profile = "single_majority"
    config.data.groups = ()
    config.data.group_thresholds = (200, 1000)  # many: the majority class; few: the others
    config.model.name = "resnet18_cifar"
    return config
