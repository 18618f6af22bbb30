"""Whether heatmaps of neighbouring images are neighbours, and whether they move with the image.

Conventions: neighbours are drawn from the image's own key; the explainer is asked again.
"""

from xai_exp.metrics.robustness.continuity import (
    Consistency,
    Continuity,
    LocalLipschitz,
    Sensitivity,
)
from xai_exp.metrics.robustness.equivariance import Equivariance, SceneEquivariance
from xai_exp.metrics.robustness.invariance import InputInvariance
from xai_exp.metrics.robustness.relative_stability import RelativeStability

__all__ = [
    "Consistency",
    "Continuity",
    "Equivariance",
    "InputInvariance",
    "LocalLipschitz",
    "RelativeStability",
    "SceneEquivariance",
    "Sensitivity",
]
