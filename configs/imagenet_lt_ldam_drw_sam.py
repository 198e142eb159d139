"""LDAM with deferred re-weighting and SAM on ImageNet-LT, ResNet-50, 90 epochs.

Source: Rangwani et al., NeurIPS 2022, "Escaping saddle points for effective generalization on
  class-imbalanced data", the authors' program.
Published, %: 53.1. Ours: not run (no copy of ImageNet at hand); every part of it is run on small
  photographs in CI.
Time: docs/photographs.md counts steps and hours.
Run: python launch.py --config=configs/imagenet_lt_ldam_drw_sam.py --config.data.dir=IMAGENET (see
  imagenet_lt_ce_drw_sam.py)
"""

from configs import imagenet_lt_ce_drw_sam


def get_config():
    config = imagenet_lt_ce_drw_sam.get_config()
    config.name = "imagenet_lt_ldam_drw_sam"
    config.model.classifier = "normalized"
    config.loss.name = "ldam"
    config.loss.ldam.max_margin = 0.3
    config.published.image_list = 53.1
    return config
