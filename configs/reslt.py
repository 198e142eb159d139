"""ResLT on CIFAR-LT, f = 0.01, by the authors' program: a BatchNorm a branch, beta 0.998
(CIFAR-100: 0.995).

Source: Cui et al., TPAMI 2022, arXiv:2101.10633, and the authors' CIFAR program.
Published (the paper), %: CIFAR-10-LT 80.44. Ours: docs/results/README.md (last epoch, with seeds).
Run: python launch.py --config=configs/reslt.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "reslt"
    config.model.name = "reslt_resnet32"
    config.loss.name = "reslt"
    config.optimizer.nesterov = True
    config.optimizer.weight_decay = 5e-4
    config.learning_rate.warmup_start = 1 / 3
    config.learning_rate.factors = (0.1, 0.01)
    config.training.drop_last = True
    config.published.cifar10 = 80.44
    return config
