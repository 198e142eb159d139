"""Every field of a config, once, with what it means. Not a recipe of its own: a recipe starts from
it and states what differs.

None means: taken from `by_dataset` for the data set in use. So `--config.data.name=cifar100`
switches a recipe to its CIFAR-100 values, and a value given on the command line always wins. Epochs
count from 0. Milestones are stated for `training.published_epochs`; with another `training.epochs`
they scale along, so a short run keeps the recipe's shape.

A run is one stage, or several: `stages` names them in order and `stage.NAME` says what changes in
each: its `epochs` (in published ones), and any field of the sections marked "stage" below. What a
stage does not state is as in the rest of the config. A schedule that a stage states (learning_rate,
sam, sampler) counts its epochs and milestones from the stage's start; the others run on. For
instance a classifier trained anew on frozen features:

    config.stages = ("features", "classifier")
    config.stage.features = {"epochs": 200}
    config.stage.classifier = {
        "epochs": 10,
        "sampler": {"name": "class_balanced"},
        "parameters": {"trainable": "linear", "reset": "linear", "frozen_statistics": True},
    }
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "base"  # of the recipe; names the default workdir and the report
    config.seed = 0  # of the initial weights, the order and the augmentation
    # several to train together, each in a work directory of its own, seedK, under the given
    # one; () is the one above
    config.seeds = ()
    # Weights to start from or evaluate: a file of PyTorch-named ones (.pth, .npz, .safetensors),
    # the work directory of another run, package:NAME (a .pth inside an installed Python package),
    # or hub:OWNER/NAME (model.safetensors of the Hugging Face hub).
    config.init_from = ""
    # parameters not taken from it: a regular expression, e.g. linear; "" takes all
    config.init_except = ""

    # The work directory of a run that is the same as this one for some epochs: this one begins
    # with its newest checkpoint of those epochs (keep one by its checkpoint.at) and trains the
    # rest, to the bit as if from the start. With `seeds`, the folder that holds its seedK.
    config.fork = ""

    config.stages = ()  # names of the stages, in order; () is one stage
    config.stage = ConfigDict()  # NAME -> what changes in it
    # (stage) what is learned: class, rotation (by 0, 90, 180, 270 degrees; four copies of
    # each image)
    config.target = "class"

    config.objective = ConfigDict()  # (stage)
    # What the network is asked; a key of ltjax.objectives.OBJECTIVES, its options under its name.
    # A target other than "class", or the reslt loss, takes its place.
    config.objective.name = "classify"  # classify, balpoe, sade, bcl, proco, glmc
    config.objective.balpoe = ConfigDict({"taus": (0.0, 1.0, 2.0)})  # of the prior, an expert
    config.objective.sade = ConfigDict({"tau": 2.0})  # of the reversed prior
    # Weights of the classifier's loss and of the contrast; temperature; the projections' layers.
    config.objective.bcl = ConfigDict({"classification": 2.0, "contrast": 0.6, "temperature": 0.1})
    config.objective.bcl.width = 512  # of the projection's hidden layer
    config.objective.bcl.dimensions = 128  # of the projections
    # Weight of the contrast beside the classifier's loss; temperature; the projections' layers.
    config.objective.proco = ConfigDict({"contrast": 1.0, "temperature": 0.1})
    config.objective.proco.width = 512  # of the projection's hidden layer
    config.objective.proco.dimensions = 128  # of the projections
    # Weight of the views' agreement; class weights n_c ** -exponent; the second images are drawn
    # with weight n_c ** -q; the projections' width.
    config.objective.glmc = ConfigDict({"similarity": 4.0, "exponent": 1.2, "q": 0.0})
    config.objective.glmc.dimensions = 128  # of the projections

    # (stage) regular expressions match from the start of names such as linear/kernel,
    # layer3_0/bn1/scale
    config.parameters = ConfigDict()
    config.parameters.trainable = ""  # those that train; "" is all
    # those that start anew when the stage that states it begins; "" is none
    config.parameters.reset = ""
    # BatchNorm in evaluation mode, its running statistics unchanged (and no dropout)
    config.parameters.frozen_statistics = False

    config.data = ConfigDict()
    # cifar10, cifar100, digits, npz (in memory); csv, folder, image_list, tfds:NAME (photographs,
    # decoded while training)
    config.data.name = "cifar10"
    # where to look first, the photographs' folder, the .npz or .csv file, or the folder that holds
    # train.csv and test.csv; "" is $LTJAX_DATA_DIR
    config.data.dir = ""
    # a text file with a class's name a line, or names with commas between, in the order of the
    # classes' ids; "" is the data's own
    config.data.class_names = ""
    config.data.download = True  # allowed as the last resort
    config.data.profile = placeholder(str)  # exponential, step, single_majority, counts, full
    config.data.factor = 0.01  # n_min / n_max (exponential, step)
    config.data.max_count = 0  # images of the fullest class; 0 is all it has
    # Images of each class (profile "counts"), in the order of the source: CIFAR's labels, a list's,
    # a folder's names in the alphabet.
    config.data.counts = ()
    config.data.majority_class = 3  # in that order (profile "single_majority")
    config.data.majority_count = placeholder(int)  # images that class keeps
    config.data.minority_count = placeholder(int)  # images each other class keeps
    # which images are kept; apart from `seed`, so that all seeds share a subset
    config.data.subset_seed = 0
    # normalisation a channel, of pixels in [0, 1]; () measures it on the training images
    # (in memory)
    config.data.mean = placeholder(tuple)
    config.data.std = placeholder(tuple)  # of each channel, above 0
    # (in memory) 3 repeats grey images, for weights of photographs; 0 is their own
    config.data.channels = 0
    # (image_list) files with a line an image: path under data.dir, label
    config.data.train_list = ""
    config.data.test_list = ""  # the same for the test images
    config.data.val_list = ""  # the same for validation images; "" is none
    # (csv) which column tells what; "" for one that is not to be used
    config.data.columns = ConfigDict({"path": "path", "label": "label"})
    # train, val or test; test_fraction chooses where there is no such column (none is expected in
    # train.csv, test.csv and val.csv)
    config.data.columns.split = "split"
    # patient, camera, site: stays together where images are held out
    config.data.columns.group = "group"
    config.data.root = ""  # (csv) folder of the relative paths; "" is the file's, or data.dir
    # of each class (folder without train/ and val/, csv without splits), chosen by subset_seed
    config.data.test_fraction = 0.1
    # share of each class's training images that is held out (at least one of three; whole groups
    # where these are told) and chooses the best epoch instead of the test set; 0 is none, or the
    # data's own val split
    config.data.validation = 0.0
    config.data.train_split = "train"  # (tfds)
    config.data.test_split = "test"  # what is evaluated
    # (photographs) side of the training crop and of evaluation's centre crop
    config.data.image_size = 224
    config.data.shorter_side = 256  # (photographs) before that centre crop
    # (photographs) share of the area in the random resized crop
    config.data.crop_scale = (0.08, 1.0)
    # (photographs) a damaged file: error, or skip (count it, another of the batch in its
    # stead)
    config.data.unreadable = "error"
    config.data.workers = (
        -1
    )  # (photographs) processes that decode; 0 is threads of this one, -1 chooses by the cores
    # pixels that images are resized to on the device, after augmentation; 0 is their own
    config.data.resolution = 0
    config.data.groups = placeholder(tuple)  # first medium and first few class; () groups by counts
    # few below the first, many above the second, medium between (groups = ())
    config.data.group_thresholds = (20, 100)

    config.augment = ConfigDict()  # (stage) in this order
    # share of the area of a crop that is enlarged to the image, such as (0.08, 1.0); () is off
    config.augment.resized_crop = ()
    config.augment.padding = placeholder(int)  # zero-pad, then random crop; 0 is off
    config.augment.flip = placeholder(float)  # probability of a horizontal flip; 0 is off
    # of brightness, contrast, saturation and, where given, hue, such as (0.4, 0.4, 0.4, 0.1); () is
    # off
    config.augment.jitter = ()
    config.augment.jitter_probability = 1.0  # of an image to be jittered
    config.augment.grey = 0.0  # probability that an image loses its colour
    config.augment.blur = 0.0  # probability of a Gaussian blur, sigma 0.1 to 2 pixels
    config.augment.policy = "none"  # none, cifar10, cifar100, imagenet (AutoAugment), rand_augment
    config.augment.num_ops = 2  # operations an image (rand_augment)
    config.augment.magnitude = 9  # 0..30 (rand_augment)
    config.augment.cutout = 0  # side in pixels of a square set to the mean colour; 0 is off
    config.augment.cutout_first = False  # before normalisation: the square is black

    config.mixing = ConfigDict()  # (stage) of images with partners
    # none, mixup, cutmix, remix, cmo (patches of images drawn with weight 1 / n_c)
    config.mixing.name = "none"
    config.mixing.alpha = 1.0  # of Beta(alpha, alpha)
    config.mixing.kappa = 3.0  # (remix)
    config.mixing.tau = 0.5  # (remix)
    config.mixing.probability = 0.5  # of a batch to be mixed (cmo)

    config.model = ConfigDict()
    # For 32x32 images: resnet20, resnet32, resnet44, resnet56, resnet110, resnet18_cifar,
    # resnet34_cifar, reslt_resnet20, reslt_resnet32; resnet8 and reslt_resnet8 for trying things
    # out. For photographs: resnet10, 18, 34, 50, 101, 152, resnext50, resnext101, reslt_resnet10,
    # 50, 101, reslt_resnext50, reslt_resnext101, efficientnet_b0 to b7, efficientnet_lite0.
    config.model.name = "resnet32"
    # linear, normalized (cosines; what LDAM expects), scaled (linear, with a learned scale a class)
    config.model.classifier = "linear"
    # channels of the first stage; 0 is the network's own (resnet32: 16, resnet18_cifar: 64)
    config.model.width = 0
    # of the computation: float32, bfloat16; parameters and statistics stay float32
    config.model.dtype = "float32"
    # (resnets for photographs) the last BatchNorm of each block starts at 0
    config.model.zero_init = False
    # (experts_) how many; later stages of 1.5 and 3 times the width
    config.model.experts = ConfigDict({"number": 3, "reduced": False})
    config.model.reslt = ConfigDict(
        {"head": "batch_norm"}
    )  # batch_norm (the authors' CIFAR program), grouped (the paper)
    config.model.efficientnet = ConfigDict()
    # tensorflow (efficientnet-pytorch), torch (torchvision, timm)
    config.model.efficientnet.numerics = "tensorflow"
    config.model.efficientnet.stochastic_depth = 0.2  # drop probability of the last block
    config.model.efficientnet.dropout = 0.2  # before the classifier

    config.loss = ConfigDict()  # (stage)
    # a key of ltjax.losses.LOSSES; its options stand under its name
    config.loss.name = "cross_entropy"
    # label_smoothing in [0, 1): share spread evenly over all classes
    config.loss.cross_entropy = ConfigDict({"label_smoothing": 0.0})
    config.loss.focal = ConfigDict({"gamma": 1.0})  # gamma of (1 - p)^gamma
    # max_margin: of the rarest class; scale of the cosines
    config.loss.ldam = ConfigDict({"max_margin": 0.5, "scale": 30.0})
    # gamma of (n_max / n_c)^gamma that divides the logits; tau of the prior added to them
    config.loss.vector_scaling = ConfigDict(
        {"gamma": placeholder(float), "tau": placeholder(float)}
    )
    config.loss.balanced_softmax = ConfigDict()
    config.loss.logit_adjusted = ConfigDict({"tau": 1.0})  # tau of the prior added to the logits
    # Smoothing of the fullest and of the rarest class.
    config.loss.label_aware_smoothing = ConfigDict({"head": 0.3, "tail": 0.0})
    # Of the class weights' loss; alpha keeps it near cross-entropy's size.
    config.loss.influence_balanced = ConfigDict({"alpha": 1000.0, "epsilon": 1e-3})
    # Of the reslt_ networks: weight of the branches' part, first class of the medium and of the
    # tail branch.
    config.loss.reslt = ConfigDict({"beta": placeholder(float), "label_smoothing": 0.0})
    config.loss.reslt.medium_from = placeholder(int)  # first class that the medium branch learns
    config.loss.reslt.tail_from = placeholder(int)  # first class that the tail branch learns

    config.reweighting = ConfigDict()  # (stage)
    config.reweighting.name = "none"  # none, inverse_frequency, effective_number
    config.reweighting.beta = 0.9999  # (effective_number)

    config.sampler = ConfigDict()  # (stage)
    # shuffled, class_balanced, square_root, power, progressive, reversed
    config.sampler.name = "shuffled"
    config.sampler.q = 0.5  # class probability proportional to n_c^q (power)

    # (stage) its momentum starts anew where it, the target or the parameters that train are others
    # than in the stage before, or layers start anew
    config.optimizer = ConfigDict()
    config.optimizer.name = "sgd"  # sgd, adam, adamw
    config.optimizer.momentum = 0.9  # (sgd)
    config.optimizer.nesterov = False  # (sgd)
    config.optimizer.weight_decay = 2e-4  # of every parameter, BatchNorm and biases too
    # Share of the learning rate for the classifier's weights and bias (linear/kernel, linear/bias).
    config.optimizer.classifier_rate = 1.0

    config.learning_rate = ConfigDict()  # (stage)
    config.learning_rate.schedule = "warmup_piecewise"  # warmup_piecewise, cosine, constant
    config.learning_rate.base = 0.1
    config.learning_rate.warmup_epochs = 5  # base * (epoch + 1) / warmup_epochs in these
    config.learning_rate.warmup_start = 0.0  # share of base that the warm-up rises from
    config.learning_rate.milestones = (160, 180)  # first epoch of each factor (warmup_piecewise)
    config.learning_rate.factors = (0.01, 0.0001)  # of base, from each milestone on

    config.sam = ConfigDict()  # (stage)
    config.sam.enabled = False
    config.sam.adaptive = False  # ASAM
    # constant (rho), piecewise (rho_steps), linear (rho_min to rho)
    config.sam.schedule = "constant"
    config.sam.rho = placeholder(float)  # radius
    config.sam.rho_min = 0.05  # first epoch's (linear)
    config.sam.rho_steps = (0.05, 0.1, 0.5, 0.6)  # (piecewise)
    config.sam.milestones = (5, 160, 180)  # first epoch of the second and further steps (piecewise)
    # passes that update BatchNorm's running statistics: both (as published), first
    config.sam.batch_stats = "both"
    # which part of the loss is perturbed: all, focal (Focal-SAM: each class's share below), tail
    # (ImbSAM: the rare classes); the rest is taken where it is
    config.sam.focus = "all"
    # (focal) share lam * (1 - n_c / N)^gamma of a class's loss
    config.sam.focal = ConfigDict({"gamma": 3.0, "lam": 0.5})
    # (tail) classes of fewer images than the threshold, at scale times their loss
    config.sam.tail = ConfigDict({"threshold": 20, "scale": 2.0})

    config.training = ConfigDict()
    config.training.epochs = placeholder(int)  # None is published_epochs
    # what the milestones are stated for; with stages, their sum
    config.training.published_epochs = 200
    # epochs of the last stage without a better balanced accuracy on the validation images, after
    # which the run ends; 0 is never; several seeds then train one after the other
    config.training.patience = 0
    config.training.batch_size = 128  # global, over all devices
    # parts that a batch is computed in, one after the other, to fit the memory; BatchNorm
    # sees a part; a short last batch passes in fewer parts, none larger
    config.training.accumulate = 1
    # the last short batch of an epoch is trained on, as published
    config.training.drop_last = False
    # steps in one compiled call; 0 whole epochs, -1 chooses: 0, but on a CPU as many as take five
    # seconds, at most 8
    config.training.steps_per_call = -1
    # steps that stand one after the other in a call's loop: larger programs, fewer turns; not on a
    # CPU
    config.training.unroll = 1
    config.training.vmap_seeds = (
        -1
    )  # of config.seeds: 1 all in one program, 0 one after the other, -1 chooses: 1, but 0 on a CPU
    # a CPU's cores as that many devices; 0 chooses: one a core, at most 8, but a single one for
    # the wide ResNets (resnet10 to 152, resnext, resnet18_cifar, ...), which train faster so
    config.training.cpu_devices = 0

    config.evaluation = ConfigDict()
    config.evaluation.every = 1  # epochs; the last is always evaluated
    config.evaluation.batch_size = 1000  # images of one evaluation step
    # at the end and in --mode=evaluate: misclassified.csv, and the worst as misclassified.png
    config.evaluation.misclassified = True

    config.checkpoint = ConfigDict()
    # epochs; besides, once `minutes` have passed (within epochs too), at the end and when stopped
    config.checkpoint.every = 10
    config.checkpoint.minutes = 5.0  # at most between two checkpoints
    config.checkpoint.keep = 2  # newest kept; of seeds together at least two
    # numbers of finished epochs, such as (160,), that are saved and kept besides
    config.checkpoint.at = ()
    # keep the best evaluated epoch too; by test accuracy, so for the record only
    config.checkpoint.best = True

    config.logging = ConfigDict()
    config.logging.tensorboard = True  # events in WORKDIR/tensorboard
    config.logging.wandb = False  # needs the wandb package
    config.logging.wandb_project = "ltjax"  # the project there

    config.hessian = ConfigDict()  # of --mode=hessian
    config.hessian.images = "train"  # train, test; without augmentation
    # cross_entropy (of the logits as they are), run (the run's own, with its last class
    # weights)
    config.hessian.loss = "cross_entropy"
    config.hessian.classes = ()  # class ids; () is all
    config.hessian.whole = True  # all images together too
    config.hessian.max_images = 0  # of a class, a seeded choice; 0 is all
    # images in one product's memory; 0 chooses: 64 on a CPU, 512 elsewhere
    config.hessian.batch_size = 0
    # memory for what does not change between a class's products (a quarter less time for
    # those kept)
    config.hessian.keep_gib = 1.0
    config.hessian.num_steps = 100  # Lanczos steps
    config.hessian.num_probes = 1  # of the density
    config.hessian.trace_probes = 100  # at most
    config.hessian.tolerance = 1e-3  # relative; ends the trace's probes

    config.posthoc = ConfigDict()  # of --mode=posthoc: classifiers after training
    # In the table's order; a trained head is a key of ltjax.posthoc.HEADS.
    config.posthoc.methods = (
        *("own", "logit_adjusted", "tau_normalized", "ncm_plain", "ncm_l2", "ncm_centered_l2"),
        *("crt", "lws", "label_aware_smoothing", "disalign", "marc", "balanced_softmax", "ldam"),
    )
    # Share of each class's training images that everything is chosen by.
    config.posthoc.held_out = 0.2
    config.posthoc.taus = tuple(round(0.1 * k, 1) for k in range(21))  # to choose from, besides 1
    # To choose from, besides 1: factors of each head's own learning rate.
    config.posthoc.learning_rates = (0.1, 1.0, 10.0)
    config.posthoc.epochs = (5, 10, 20)  # to choose from, besides each head's own
    config.posthoc.batch_size = 0  # of the heads; 0 is training.batch_size
    config.posthoc.weight_decay = 5e-4  # of the heads
    # Smoothing of the largest and of the smallest class (label_aware_smoothing).
    config.posthoc.smoothing = (0.3, 0.0)
    # The kernel's learning rate as a factor of its scale's (label_aware_smoothing).
    config.posthoc.kernel_rate = 0.5
    # Cropped and flipped copies of the training images, whose features the heads train on too.
    config.posthoc.augmented_passes = 0
    config.posthoc.shifts = (50.0, 25.0, 10.0, 5.0, 2.0)  # factors of the long-tailed test priors
    config.posthoc.bins = 15  # of the calibration errors

    config.published = (
        ConfigDict()
    )  # the source's figure in %, its best epoch where it says so; shown beside ours
    config.published.cifar10 = placeholder(float)
    config.published.cifar100 = placeholder(float)
    config.published.image_list = placeholder(float)
    config.published.factor = 0.01  # n_min / n_max that they are for (profile "exponential")

    # Where a field above is None, the value of the data set in use.
    cifar = {
        "data": {
            "mean": (0.4914, 0.4822, 0.4465),
            "std": (0.2023, 0.1994, 0.2010),
            "profile": "exponential",
        },
        "augment": {"padding": 4, "flip": 0.5},
    }
    config.by_dataset = ConfigDict()
    config.by_dataset.cifar10 = ConfigDict(cifar)
    config.by_dataset.cifar10.data.groups = (3, 6)
    config.by_dataset.cifar100 = ConfigDict(cifar)
    config.by_dataset.cifar100.data.groups = (36, 71)
    config.by_dataset.digits = ConfigDict(
        {
            "data": {
                "mean": (0.3053,),
                "std": (0.3760,),
                "profile": "exponential",
                "groups": (3, 6),
            },
            "augment": {"padding": 1, "flip": 0.0},
        }
    )
    photographs = {
        "data": {
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "profile": "full",
            "groups": (),
        },
        "augment": {"padding": 0, "flip": 0.5},
    }
    # Cross-entropy's radius (a recipe with another loss states its own), and the vector-scaling
    # loss's (gamma, tau).
    for name, rho, gamma, tau in (
        ("cifar10", 0.1, 0.2, 1.2),
        ("cifar100", 0.2, 0.3, 1.0),
        ("digits", 0.05, 0.3, 1.0),
    ):
        config.by_dataset[name].sam = ConfigDict({"rho": rho})
        config.by_dataset[name].loss = ConfigDict({"vector_scaling": {"gamma": gamma, "tau": tau}})
    for name, majority, minority in (
        ("cifar10", 5000, 150),
        ("cifar100", 500, 15),
        ("digits", 120, 12),
    ):
        config.by_dataset[name].data.update(majority_count=majority, minority_count=minority)
    for name, beta, medium, tail in (
        ("cifar10", 0.998, 2, 4),
        ("cifar100", 0.995, 35, 70),
        ("digits", 0.9, 2, 4),
    ):
        config.by_dataset[name].loss.reslt = ConfigDict(
            {"beta": beta, "medium_from": medium, "tail_from": tail}
        )
    # Of photographs nothing is known in advance: what depends on their classes has values that are
    # refused if used.
    for name in ("image_list", "folder", "csv", "tfds", "npz"):
        config.by_dataset[name] = ConfigDict(photographs)
        config.by_dataset[name].data.update(majority_count=0, minority_count=0)
        config.by_dataset[name].sam = ConfigDict({"rho": 0.05})
        config.by_dataset[name].loss = ConfigDict({"vector_scaling": {"gamma": 0.3, "tau": 1.0}})
        config.by_dataset[name].loss.reslt = ConfigDict(
            {"beta": 0.9, "medium_from": -1, "tail_from": -1}
        )
    config.by_dataset.npz.data.update(mean=(), std=())
    config.by_dataset.npz.augment.padding = 4
    config.lock()  # a recipe that sets a mistyped field is refused, with the nearest right one
    config.stage.unlock()  # a recipe names its own stages; resolving checks what they state
    return config


def defer_reweighting(
    config: ConfigDict, name: str = "effective_number", *, after: int = 160, then: int = 40
) -> None:
    """DRW: plain epochs (160 of 200), then with class weights. Cao et al., NeurIPS 2019, algorithm
    1.
    """
    config.stages = ("plain", "reweighted")
    config.stage.plain = {"epochs": after}
    config.stage.reweighted = {"epochs": then, "reweighting": {"name": name}}
