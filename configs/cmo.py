"""CMO: patches of images drawn with weight 1 / n_c on images drawn as they come, in half of the
batches, from the fifth epoch to the fourth from the end.

Source: Park et al., CVPR 2022, arXiv:2112.00412; the authors' program.
Published best epoch, %: CIFAR-100-LT 43.9 (41.7 to 42.4 in a re-run of three seeds). Ours: not run
yet.
Run: python launch.py --config=configs/cmo.py --config.data.name=cifar100
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "cmo"
    config.stages = ("plain", "mixed", "end")
    config.stage.plain = {"epochs": 4}
    config.stage.mixed = {"epochs": 193, "mixing": {"name": "cmo"}}
    config.stage.end = {"epochs": 3}
    config.published.cifar100 = 43.9
    return config
