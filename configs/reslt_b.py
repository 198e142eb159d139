"""System B: ResLT with one grouped convolution as its head, AutoAugment, label smoothing and alpha
0.95 on CIFAR-10-LT, f = 0.01.

Source: system B, after Cui et al., TPAMI 2022, arXiv:2101.10633: last stage of 48 channels,
  branches over the reported groups (classes 3.. and 6..), pixels scaled to [0, 1] and no further.
  Its alpha is config.loss.reslt.beta.
Published, %: CIFAR-10-LT 75.3 (many 74.4, medium 65.9, few 83.1). Ours: docs/results/README.md
  (last epoch, with seeds).
Run: python launch.py --config=configs/reslt_b.py
"""

from configs import reslt


def get_config():
    config = reslt.get_config()
    config.name = "reslt_b"
    config.model.reslt.head = "grouped"
    config.augment.policy = "cifar10"
    config.loss.reslt.beta = 0.95
    config.loss.reslt.label_smoothing = 0.1
    for name, medium, tail in (("cifar10", 3, 6), ("cifar100", 36, 71), ("digits", 3, 6)):
        config.by_dataset[name].loss.reslt.update(medium_from=medium, tail_from=tail)
        channels = len(config.by_dataset[name].data.mean)
        config.by_dataset[name].data.update(mean=(0.0,) * channels, std=(1.0,) * channels)
    config.published.cifar10 = 75.3
    return config
