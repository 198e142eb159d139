"""BalPoE: three experts that learn the training, a balanced and a reversed class distribution, with
mixup; the mean of their logits predicts.

Source: Aimar et al., CVPR 2023, arXiv:2206.05260; the authors' program for CIFAR. Their classifiers
are taken as linear here.
Published, %: not re-read. Ours: not run yet.
Run: python launch.py --config=configs/balpoe.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "balpoe"
    config.model.name = "experts_resnet32"
    config.objective.name = "balpoe"
    config.mixing.name = "mixup"
    config.mixing.alpha = None
    for name, defaults in config.by_dataset.items():
        with defaults.unlocked():
            defaults.mixing = {"alpha": 0.4 if name == "cifar100" else 0.8}
    config.optimizer.weight_decay = 5e-4
    config.optimizer.nesterov = True
    config.learning_rate.factors = (0.1, 0.01)
    return config
