"""Maps of one layer, weighted and enlarged to the image: the family of CAM.

Conventions: `feature_map` says which layer; a map is enlarged bilinearly between the centres of its
cells.
"""

from xai_exp.explainers.activation.fem import FEM
from xai_exp.explainers.activation.full_grad import FullGrad
from xai_exp.explainers.activation.maps import (
    EigenCAM,
    GradCAM,
    GradCAMPlusPlus,
    GuidedGradCAM,
    LayerCAM,
    ScoreCAM,
)

__all__ = [
    "FEM",
    "EigenCAM",
    "FullGrad",
    "GradCAM",
    "GradCAMPlusPlus",
    "GuidedGradCAM",
    "LayerCAM",
    "ScoreCAM",
]
