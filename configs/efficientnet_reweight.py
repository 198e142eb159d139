"""System C, reweight: each image sampled with a probability proportional to 1 / (images of its
class).

Source: as configs/efficientnet.py; every class is then equally likely.
Published, %: CIFAR-10-LT 85.82 (weighted F1 85.84). Ours: docs/results/README.md (last epoch).
Run: python launch.py --config=configs/efficientnet_reweight.py --config.init_from=WEIGHTS (see
  configs/efficientnet.py)
"""

from configs import efficientnet


def get_config():
    config = efficientnet.get_config()
    config.name = "efficientnet_reweight"
    config.sampler.name = "class_balanced"
    config.published.cifar10 = 85.82
    return config
