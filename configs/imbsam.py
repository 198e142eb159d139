"""ImbSAM: cross-entropy whose tail classes' part alone is taken after SAM's perturbation, which
that part alone decides.

Source: Zhou et al., ICCV 2023, arXiv:2308.07815; the authors' command: ResNet-34 with a small stem
  (21 million parameters, not ResNet-32), and their program's tail loss, twice the paper's. Their
  training set is the first images of each class, here as everywhere a seeded choice; their cosine
  schedule is one epoch ahead of this one. A class is of the tail below 20 images; CIFAR-10-LT has
  none such, and its threshold here, 250 (four classes), is ours.
Published best epoch, one seed, %: CIFAR-100-LT 51.1. Ours: not run yet.
Run: python launch.py --config=configs/imbsam.py --config.data.name=cifar100
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "imbsam"
    config.model.name = "resnet34_cifar"
    config.training.batch_size = 64
    config.optimizer.weight_decay = 1e-3
    config.learning_rate.schedule = "cosine"
    config.learning_rate.base = 0.01
    config.learning_rate.warmup_epochs = 0
    config.sam.enabled = True
    config.sam.rho = 0.05
    config.sam.focus = "tail"
    config.sam.tail.threshold = None
    for name, defaults in config.by_dataset.items():
        with defaults.unlocked():
            defaults.sam.tail = {"threshold": {"cifar10": 250, "digits": 40}.get(name, 20)}
    config.published.cifar100 = 51.1
    return config
