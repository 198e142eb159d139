"""Cross-entropy with deferred re-weighting and SAM on iNaturalist 2018, ResNet-50, 90 epochs.

Source: Rangwani et al., NeurIPS 2022, "Escaping saddle points for effective generalization on
  class-imbalanced data", the authors' program.
Published, %: 65.3. Ours: not run (no copy of the photographs at hand); every part of it is run on
  small photographs in CI.
Time: docs/photographs.md counts steps and hours.
Run: python launch.py --config=configs/inat18_ce_drw_sam.py --config.data.dir=INAT (the folder that
  holds train_val2018/)
  with iNaturalist18_train.txt and iNaturalist18_val.txt beside it, a line an image:
    relative/path.jpg label
"""

from configs import imagenet_lt_ce_drw_sam


def get_config():
    config = imagenet_lt_ce_drw_sam.get_config()
    config.name = "inat18_ce_drw_sam"
    config.data.train_list = "iNaturalist18_train.txt"
    config.data.test_list = "iNaturalist18_val.txt"
    config.data.mean = (0.466, 0.471, 0.380)
    config.data.std = (0.195, 0.194, 0.192)
    config.data.groups = (842, 4543)
    config.learning_rate.base = 0.1
    config.sam.rho_steps = (0.05, 0.1, 0.1, 0.2)
    config.published.image_list = 65.3
    return config
