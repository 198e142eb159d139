"""LDAM with deferred re-weighting and SAM on iNaturalist 2018, ResNet-50, 90 epochs.

Source: Rangwani et al., NeurIPS 2022, "Escaping saddle points for effective generalization on
  class-imbalanced data", the authors' program.
Published, %: 70.1. Ours: not run (no copy of the photographs at hand); every part of it is run on
  small photographs in CI.
Time: docs/photographs.md counts steps and hours.
Run: python launch.py --config=configs/inat18_ldam_drw_sam.py --config.data.dir=INAT (see
  inat18_ce_drw_sam.py)
"""

from configs import inat18_ce_drw_sam


def get_config():
    config = inat18_ce_drw_sam.get_config()
    config.name = "inat18_ldam_drw_sam"
    config.model.classifier = "normalized"
    config.loss.name = "ldam"
    config.loss.ldam.max_margin = 0.3
    config.optimizer.weight_decay = 1e-4
    config.sam.rho_steps = (0.05, 0.1, 0.5, 0.5)
    config.published.image_list = 70.1
    return config
