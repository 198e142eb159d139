"""Places-LT from ImageNet weights, ResNet-152: features by instance-balanced sampling, then a
classifier trained anew on balanced classes.

Source: Kang et al., ICLR 2020, arXiv:1910.09217: decoupled training (cRT, 10 epochs for the
  classifier) from ImageNet weights. Epochs of the first stage, batch size, learning rates and
  weight decay are ours.
Published: no figure that was checked against the paper.
Ours: not run (no copy of the photographs at hand); every part of it is run on small photographs in
  CI.
Run: python launch.py --config=configs/places_lt.py --config.data.dir=PLACES
  --config.init_from=resnet152.pth (torchvision's names)
  with Places_LT_train.txt and Places_LT_test.txt in PLACES, a line an image: relative/path.jpg
    label
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "places_lt"
    config.training.batch_size = 256
    config.init_except = "linear"  # ImageNet's 1,000 classes; Places has 365

    config.data.name = "image_list"
    config.data.train_list = "Places_LT_train.txt"
    config.data.test_list = "Places_LT_test.txt"
    config.augment.jitter = (0.4, 0.4, 0.4)
    config.model.name = "resnet152"
    config.optimizer.weight_decay = 5e-4
    config.learning_rate.schedule = "cosine"
    config.learning_rate.base = 0.01
    config.learning_rate.warmup_epochs = 0

    config.stages = ("features", "classifier")
    # Stating the schedule makes it the stage's: to 0 within its own 30 epochs.
    config.stage.features = {"epochs": 30, "learning_rate": {"schedule": "cosine"}}
    config.stage.classifier = {
        "epochs": 10,
        "sampler": {"name": "class_balanced"},
        "parameters": {"trainable": "linear", "reset": "linear", "frozen_statistics": True},
        "learning_rate": {"base": 0.1},
    }
    return config
