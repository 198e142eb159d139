"""Focal loss, gamma = 1, no class weights.

Source: Lin et al., ICCV 2017, arXiv:1708.02002; gamma as in the LDAM-DRW authors' program.
Published: no figure at hand. Ours: docs/results/README.md (last epoch, with seeds).
Run: python launch.py --config=configs/focal.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "focal"
    config.loss.name = "focal"
    return config
