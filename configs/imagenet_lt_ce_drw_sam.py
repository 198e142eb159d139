"""Cross-entropy with deferred re-weighting and SAM on ImageNet-LT, ResNet-50, 90 epochs.

Source: Rangwani et al., NeurIPS 2022, "Escaping saddle points for effective generalization on
  class-imbalanced data", the authors' program.
Published, %: 47.1. Ours: not run (no copy of ImageNet at hand); every part of it is run on small
  photographs in CI.
Time: docs/photographs.md counts steps and hours.
Run: python launch.py --config=configs/imagenet_lt_ce_drw_sam.py --config.data.dir=IMAGENET (the
  folder that holds train/ and val/)
  with ImageNet_LT_train.txt and ImageNet_LT_test.txt beside them, a line an image:
    relative/path.jpg label
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "imagenet_lt_ce_drw_sam"
    config.training.published_epochs = 90
    config.training.batch_size = 256

    config.data.name = "image_list"
    config.data.train_list = "ImageNet_LT_train.txt"
    config.data.test_list = "ImageNet_LT_test.txt"
    # the authors' slices; () groups by the thresholds instead (385, 479 and 136 classes)
    config.data.groups = (
        390,
        835,
    )
    config.augment.jitter = (0.4, 0.4, 0.4)

    config.model.name = "resnet50"
    config.learning_rate.schedule = "cosine"
    config.learning_rate.base = 0.2
    config.learning_rate.warmup_epochs = 0

    base.defer_reweighting(config, after=60, then=30)
    config.sam.enabled = True
    config.sam.schedule = "piecewise"
    config.sam.rho_steps = (0.05, 0.1, 0.5, 0.5)
    config.sam.milestones = (5, 60, 75)
    config.published.image_list = 47.1
    return config
