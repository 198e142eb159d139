"""ltjax: long-tailed image classification in JAX and Flax.

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

__version__ = "0.1.0"
