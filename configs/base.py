"""Every field of a config, once, with what it means. Not a recipe of its own: a recipe starts from it and states what differs.

None means: taken from `by_dataset` for the data set in use. So `--config.data.name=cifar100` switches a recipe to its CIFAR-100
values, and a value given on the command line always wins. Epochs count from 0. Milestones are stated for `training.published_epochs`;
with another `training.epochs` they scale along, so a short run keeps the recipe's shape.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "base"  # of the recipe; names the default workdir and the report
    config.seed = 0  # of the initial weights, the order and the augmentation
    config.init_from = ""  # PyTorch-named weights to start from or evaluate: FILE.pth, .npz or .safetensors

    config.data = ConfigDict()
    config.data.name = "cifar10"  # cifar10, cifar100, digits
    config.data.dir = ""  # where to look first; "" is $LTJAX_DATA_DIR
    config.data.download = True  # allowed as the last resort
    config.data.profile = "exponential"  # exponential, step, single_majority, counts, full
    config.data.factor = 0.01  # n_min / n_max (exponential, step)
    config.data.max_count = 0  # images of the fullest class; 0 is all it has
    config.data.counts = ()  # images of each class (profile "counts")
    config.data.majority_class = 3  # (profile "single_majority")
    config.data.majority_count = 5000
    config.data.minority_count = 150
    config.data.subset_seed = 0  # which images are kept; apart from `seed`, so that all seeds share a subset
    config.data.mean = placeholder(tuple)  # normalisation a channel, of pixels in [0, 1]
    config.data.std = placeholder(tuple)
    config.data.groups = placeholder(tuple)  # first medium and first few class; () groups by counts: > 100, 20..100, < 20

    config.augment = ConfigDict()
    config.augment.padding = placeholder(int)  # zero-pad, then random crop; 0 is off
    config.augment.flip = placeholder(float)  # probability of a horizontal flip; 0 is off
    config.augment.mixup_alpha = 0.0  # of Beta(alpha, alpha); 0 is off

    config.model = ConfigDict()
    config.model.name = "resnet32"  # resnet20, resnet32, resnet44, resnet56, resnet110; resnet8 for trying things out
    config.model.classifier = "linear"  # linear, normalized (cosines; what LDAM expects)
    config.model.width = 16  # channels of the first stage
    config.model.dtype = "float32"  # of the computation: float32, bfloat16; parameters and statistics stay float32

    config.loss = ConfigDict()
    config.loss.name = "cross_entropy"  # a key of ltjax.losses.LOSSES; its options stand under its name
    config.loss.cross_entropy = ConfigDict({"label_smoothing": 0.0})
    config.loss.focal = ConfigDict({"gamma": 1.0})
    config.loss.ldam = ConfigDict({"max_margin": 0.5, "scale": 30.0})
    config.loss.vector_scaling = ConfigDict({"gamma": placeholder(float), "tau": placeholder(float)})
    config.loss.balanced_softmax = ConfigDict()
    config.loss.logit_adjusted = ConfigDict({"tau": 1.0})

    config.reweighting = ConfigDict()
    config.reweighting.name = "none"  # none, inverse_frequency, effective_number
    config.reweighting.beta = 0.9999  # (effective_number)
    config.reweighting.start_epoch = 0  # weights are 1 before it; 160 of 200 is DRW

    config.sampler = ConfigDict()
    config.sampler.name = "shuffled"  # shuffled, class_balanced, square_root, power, progressive, reversed
    config.sampler.q = 0.5  # class probability proportional to n_c^q (power)
    config.sampler.start_epoch = 0  # shuffled before it: deferred re-sampling

    config.optimizer = ConfigDict()
    config.optimizer.name = "sgd"  # sgd, adamw
    config.optimizer.momentum = 0.9  # (sgd)
    config.optimizer.nesterov = False  # (sgd)
    config.optimizer.weight_decay = 2e-4  # of every parameter, BatchNorm and biases too

    config.learning_rate = ConfigDict()
    config.learning_rate.schedule = "warmup_piecewise"  # warmup_piecewise, cosine, constant
    config.learning_rate.base = 0.1
    config.learning_rate.warmup_epochs = 5  # base * (epoch + 1) / warmup_epochs in these
    config.learning_rate.milestones = (160, 180)  # first epoch of each factor (warmup_piecewise)
    config.learning_rate.factors = (0.01, 0.0001)  # of base, from each milestone on

    config.sam = ConfigDict()
    config.sam.enabled = False
    config.sam.adaptive = False  # ASAM
    config.sam.schedule = "constant"  # constant (rho), piecewise (rho_steps), linear (rho_min to rho)
    config.sam.rho = placeholder(float)  # radius
    config.sam.rho_min = 0.05  # first epoch's (linear)
    config.sam.rho_steps = (0.05, 0.1, 0.5, 0.6)  # (piecewise)
    config.sam.milestones = (5, 160, 180)  # first epoch of the second and further steps (piecewise)
    config.sam.batch_stats = "both"  # passes that update BatchNorm's running statistics: both (as published), first

    config.training = ConfigDict()
    config.training.epochs = 200
    config.training.published_epochs = 200  # what the milestones are stated for
    config.training.batch_size = 128  # global, over all devices
    config.training.drop_last = False  # the last short batch of an epoch is trained on, as published
    config.training.steps_per_call = -1  # steps in one compiled call; 0 whole epochs, -1 chooses: 0, but 1 on a CPU
    config.training.cpu_devices = 0  # a CPU's cores as that many devices; 0 chooses (at most 8, one a core)

    config.evaluation = ConfigDict()
    config.evaluation.every = 1  # epochs; the last is always evaluated
    config.evaluation.batch_size = 1000

    config.checkpoint = ConfigDict()
    config.checkpoint.every = 10  # epochs; besides, once `minutes` have passed, at the end and when stopped
    config.checkpoint.minutes = 5.0
    config.checkpoint.keep = 2  # newest kept
    config.checkpoint.best = True  # keep the best evaluated epoch too; by test accuracy, so for the record only

    config.logging = ConfigDict()
    config.logging.tensorboard = True
    config.logging.wandb = False  # needs the wandb package
    config.logging.wandb_project = "ltjax"

    config.published = ConfigDict()  # the source's figure in %, its best epoch where it says so; shown beside ours
    config.published.cifar10 = placeholder(float)
    config.published.cifar100 = placeholder(float)

    # Where a field above is None, the value of the data set in use.
    cifar = {
        "data": {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)},
        "augment": {"padding": 4, "flip": 0.5},
    }
    config.by_dataset = ConfigDict()
    config.by_dataset.cifar10 = ConfigDict(cifar)
    config.by_dataset.cifar10.data.groups = (3, 6)
    config.by_dataset.cifar100 = ConfigDict(cifar)
    config.by_dataset.cifar100.data.groups = (36, 71)
    config.by_dataset.digits = ConfigDict(
        {
            "data": {"mean": (0.3053,), "std": (0.3760,), "groups": (3, 6)},
            "augment": {"padding": 1, "flip": 0.0},
        }
    )
    # Cross-entropy's radius (a recipe with another loss states its own), and the vector-scaling loss's (gamma, tau).
    for name, rho, gamma, tau in (("cifar10", 0.1, 0.2, 1.2), ("cifar100", 0.2, 0.3, 1.0), ("digits", 0.05, 0.3, 1.0)):
        config.by_dataset[name].sam = ConfigDict({"rho": rho})
        config.by_dataset[name].loss = ConfigDict({"vector_scaling": {"gamma": gamma, "tau": tau}})
    config.lock()  # a recipe that sets a mistyped field is refused, with the nearest right one
    return config
