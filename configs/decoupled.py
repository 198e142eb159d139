"""System C, decoupled: 20 epochs of the whole network, then 10 of the classifier alone under
modified (inverse-frequency) cross-entropy.

Source: as configs/efficientnet.py; decoupling is Kang et al., ICLR 2020, arXiv:1910.09217. In the
  second stage the backbone and its BatchNorm statistics stay as they are; the classifier goes on
  from the first stage (parameters.reset = "linear" starts it anew: cRT).
Published, %: CIFAR-10-LT 93.78 (weighted F1 93.77). Ours: docs/results/README.md (last epoch).
Run: python launch.py --config=configs/decoupled.py --config.init_from=WEIGHTS (see
  configs/efficientnet.py)
"""

from configs import efficientnet


def get_config():
    config = efficientnet.get_config()
    config.name = "decoupled"
    config.stages = ("features", "classifier")
    config.stage.features = {"epochs": 20}
    config.stage.classifier = {
        "epochs": 10,
        "parameters": {"trainable": "linear", "frozen_statistics": True},
        "loss": {"name": "cross_entropy"},
        "reweighting": {"name": "inverse_frequency"},
    }
    config.published.cifar10 = 93.78
    return config
