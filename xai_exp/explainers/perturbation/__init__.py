"""Methods that take parts of the image away and look at the value: windows, masks, games.

Conventions: `removal` makes the perturbed copies and asks the network; players are segments of the
image that go together; what stands in for them is an imputer.
"""

from xai_exp.explainers.perturbation.lime import LIME
from xai_exp.explainers.perturbation.masks import ExtremalPerturbation, MeaningfulPerturbation
from xai_exp.explainers.perturbation.owen import Owen
from xai_exp.explainers.perturbation.owen_parts import OwenParts
from xai_exp.explainers.perturbation.partition import PartitionSHAP
from xai_exp.explainers.perturbation.sensitivity import HSIC, SobolIndices
from xai_exp.explainers.perturbation.shapley import KernelSHAP, ShapleySampling
from xai_exp.explainers.perturbation.windows import RISE, Occlusion

__all__ = [
    "HSIC",
    "LIME",
    "RISE",
    "ExtremalPerturbation",
    "KernelSHAP",
    "MeaningfulPerturbation",
    "Occlusion",
    "Owen",
    "OwenParts",
    "PartitionSHAP",
    "ShapleySampling",
    "SobolIndices",
]
