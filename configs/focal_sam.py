"""Focal-SAM: logit adjustment, of whose loss a share of each class, larger the rarer it is, is
taken after SAM's perturbation, which that share alone decides.

Source: Li et al., ICML 2025, arXiv:2505.01660; the authors' commands. On CIFAR-100-LT the share is
  nearly the same for all classes (0.69 to 0.80), on CIFAR-10-LT it is not (0.11 to 0.49).
Published, %: CIFAR-10-LT 77.2, CIFAR-100-LT 44.0, as an index of papers lists them; which loss they
  are of is not said there. Ours: not run yet.
Run: python launch.py --config=configs/focal_sam.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "focal_sam"
    config.loss.name = "logit_adjusted"
    config.training.batch_size = 64
    config.learning_rate.schedule = "cosine"
    config.learning_rate.warmup_epochs = 0
    config.sam.enabled = True
    config.sam.focus = "focal"
    config.sam.focal = {"gamma": None, "lam": None}
    config.optimizer.weight_decay = None
    for name, defaults in config.by_dataset.items():
        many = name == "cifar100"
        with defaults.unlocked():
            defaults.sam.update(
                rho=0.3 if many else 0.2,
                focal={"gamma": 3.2, "lam": 0.8} if many else {"gamma": 3.0, "lam": 0.5},
            )
            defaults.optimizer = {"weight_decay": 1e-3 if many else 2e-4}
    config.published.cifar10 = 77.2
    config.published.cifar100 = 44.0
    return config
