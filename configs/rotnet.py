"""System A, "rotnet": predict the rotation of each image first, then fine-tune on the classes with
a class-balanced sampler.

Source: the four training modes of CIFAR-10 with one majority class (see configs/expert.py); the
  pretext task is Gidaris et al., ICLR 2018, arXiv:1803.07728. The source leaves lengths and rates
  open: here half of the 200 epochs each, the second at a tenth of the rate.
Published: no figure. Ours: docs/results/README.md (last epoch).
Run: python launch.py --config=configs/rotnet.py
"""

from configs import expert


def get_config():
    config = expert.majority_config()
    config.name = "rotnet"
    config.stages = ("rotation", "classes")
    config.stage.rotation = {
        "epochs": 100,
        "target": "rotation",
        "learning_rate": {"milestones": (60, 80), "factors": (0.1, 0.01)},
    }
    config.stage.classes = {
        "epochs": 100,
        "target": "class",
        "sampler": {"name": "class_balanced"},
        "parameters": {"reset": "linear"},
        "learning_rate": {
            "base": 0.01,
            "warmup_epochs": 0,
            "milestones": (60, 80),
            "factors": (0.1, 0.01),
        },
    }
    return config
