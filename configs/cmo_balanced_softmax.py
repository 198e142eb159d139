"""CMO with balanced softmax.

Source: Park et al., CVPR 2022, arXiv:2112.00412; the authors' program.
Published best epoch, %: CIFAR-100-LT 46.6 (45.6 to 46.5 in a re-run of three seeds). Ours: not run
yet.
Run: python launch.py --config=configs/cmo_balanced_softmax.py --config.data.name=cifar100
"""

from configs import cmo


def get_config():
    config = cmo.get_config()
    config.name = "cmo_balanced_softmax"
    config.loss.name = "balanced_softmax"
    config.published.cifar100 = 46.6
    return config
