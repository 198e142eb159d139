"""SADE: three experts for the training, a balanced and a reversed class distribution, without its
aggregation at test time; the mean of their logits predicts.

Source: Zhang et al., NeurIPS 2022, arXiv:2107.09249; the authors' program for CIFAR-100, whose
later stages are narrower. Their classifiers are taken as linear here. For CIFAR-10 the authors
advise the unreduced width and a rate of 0.05.
Published best epoch, %: CIFAR-100-LT 49.8. Ours: not run yet.
Run: python launch.py --config=configs/sade.py --config.data.name=cifar100
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "sade"
    config.model.name = "experts_resnet32"
    config.model.experts.reduced = True
    config.objective.name = "sade"
    config.optimizer.weight_decay = 5e-4
    config.optimizer.nesterov = True
    config.learning_rate.factors = (0.1, 0.01)
    config.published.cifar100 = 49.8
    return config
