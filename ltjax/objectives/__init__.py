"""What the network is asked, a file a method; a config names one of `OBJECTIVES`."""

from ltjax.objectives.bcl import bcl
from ltjax.objectives.classify import classify
from ltjax.objectives.experts import balpoe, sade
from ltjax.objectives.glmc import glmc
from ltjax.objectives.influence import influence
from ltjax.objectives.objective import Batch, Drawn, Given, Method, Mixing, Objective, Order, View
from ltjax.objectives.probabilistic import proco as _proco
from ltjax.objectives.reslt import reslt
from ltjax.objectives.rotation import ROTATIONS, rotation

__all__ = [
    "OBJECTIVES",
    "Batch",
    "Drawn",
    "Given",
    "Method",
    "Mixing",
    "Objective",
    "Order",
    "View",
]

OBJECTIVES: dict[str, Method] = {
    "classify": Method(classify, by_class=True),
    "influence_balanced": Method(
        influence, named_by="loss", in_parts=False, by_class=True, mixings=("none",)
    ),
    "balpoe": Method(balpoe, network="experts_", by_class=True),
    "sade": Method(sade, network="experts_", by_class=True),
    "bcl": Method(bcl, in_parts=False),
    "proco": Method(_proco, in_parts=False),
    "glmc": Method(glmc, in_parts=False, class_weights=False, mixings=("none",), scheduled=True),
    "rotation": Method(
        rotation,
        named_by="target",
        outputs=ROTATIONS,
        by_class=True,
        mixings=("none", "mixup", "cutmix", "remix"),
    ),
    "reslt": Method(
        reslt,
        named_by="loss",
        network="reslt_",
        in_parts=False,
        class_weights=False,
        mixings=("none", "mixup", "cutmix", "cmo"),
    ),
}
"""Name in a config -> method."""
