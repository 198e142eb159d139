"""Vector-scaling (VS) loss with deferred re-weighting.

Source: Kini et al., NeurIPS 2021, arXiv:2103.01550; schedule of Rangwani et al., NeurIPS 2022.
Published: no figure at hand. Ours: docs/results/README.md (last epoch, with seeds).
Run: python launch.py --config=configs/vs_drw.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "vs_drw"
    config.loss.name = "vector_scaling"
    base.defer_reweighting(config)
    return config
