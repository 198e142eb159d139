"""ltjax: long-tailed image classification in JAX and Flax.

A model of your own images:

  ltjax.fit(recipe, train=(images, labels), workdir=...)   train
  ltjax.load(workdir)                                      a finished run: predict, evaluate
  ltjax.inspect(folder, CSV, npz or data set)              a first look, before anything is trained

Import the part you need; each module stands alone:

  ltjax.losses        per-example losses: LDAM, vector scaling, balanced softmax, focal, ...
  ltjax.reweighting   class weights and deferred re-weighting (DRW)
  ltjax.imbalance     long-tailed class-count profiles and seeded subsets
  ltjax.sampling      epoch orders from a PRNG key
  ltjax.augment       batched augmentation on the device
  ltjax.models        Flax Linen networks, PyTorch weights in and out
  ltjax.optim         SAM around any optax optimiser; schedules by epoch
  ltjax.metrics       per-class, many/medium/few, balanced accuracy, F1, calibration
  ltjax.training      the trainer behind launch.py
"""

from importlib import import_module

__version__ = "0.2.0"

_LAZY = {"Trained": "trained", "fit": "fitting", "inspect": "inspection", "load": "loading"}


def __getattr__(name: str):
    """Loads what is needed when it is first used: `import ltjax` itself stays light."""
    if name not in _LAZY:
        raise AttributeError(f"module 'ltjax' has no attribute {name!r}")
    return getattr(import_module(f"ltjax.{_LAZY[name]}"), name)
