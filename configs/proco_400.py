"""ProCo for 400 epochs.

Source: as configs/proco.py.
Published last epoch, %: CIFAR-100-LT 54.15 (the authors' log, one run). Ours: not run yet.
Run: python launch.py --config=configs/proco_400.py --config.data.name=cifar100
"""

from configs import proco


def get_config():
    config = proco.get_config()
    config.name = "proco_400"
    config.training.published_epochs = 400
    config.learning_rate.warmup_epochs = 10
    config.learning_rate.milestones = (360, 380)
    config.published.cifar10 = None
    config.published.cifar100 = 54.15
    return config
