"""System B on CIFAR-10-LT, f = 0.02.

Source: as configs/reslt_b.py.
Published, %: CIFAR-10-LT 80.1 (many 80.5, medium 70.1, few 87.4). Ours: docs/results/README.md
  (last epoch, with seeds).
Run: python launch.py --config=configs/reslt_b_f002.py
"""

from configs import reslt_b


def get_config():
    config = reslt_b.get_config()
    config.name = "reslt_b_f002"
    config.data.factor = config.published.factor = 0.02
    config.published.cifar10 = 80.1
    return config
