"""Logit-adjusted loss, tau = 1.

Source: Menon et al., ICLR 2021, arXiv:2007.07314.
Published: no figure under this schedule at hand. Ours: docs/results/README.md (last epoch, with
  seeds).
Run: python launch.py --config=configs/logit_adjusted.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "logit_adjusted"
    config.loss.name = "logit_adjusted"
    return config
