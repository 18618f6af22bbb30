"""Whether the heatmap foretells what happens to the value when pixels are changed.

Conventions: pixels or regions go in the order of relevance, ties by the image's own key; curves
start with the whole image.
"""

from xai_exp.metrics.faithfulness.correlation import (
    FaithfulnessCorrelation,
    FaithfulnessEstimate,
    SensitivityN,
)
from xai_exp.metrics.faithfulness.curves import ABPC, Deletion, Insertion, Selectivity
from xai_exp.metrics.faithfulness.infidelity import Infidelity
from xai_exp.metrics.faithfulness.monotonicity import MonotonicityArya, MonotonicityNguyen
from xai_exp.metrics.faithfulness.removal import PixelFlipping, RegionPerturbation
from xai_exp.metrics.faithfulness.road import ROAD
from xai_exp.metrics.faithfulness.shading import AverageDrop, AverageGain, AverageIncrease
from xai_exp.metrics.faithfulness.sufficiency import Sufficiency
from xai_exp.metrics.faithfulness.superpixels import IROF, SymmetricRelevanceGain

__all__ = [
    "ABPC",
    "IROF",
    "ROAD",
    "AverageDrop",
    "AverageGain",
    "AverageIncrease",
    "Deletion",
    "FaithfulnessCorrelation",
    "FaithfulnessEstimate",
    "Infidelity",
    "Insertion",
    "MonotonicityArya",
    "MonotonicityNguyen",
    "PixelFlipping",
    "RegionPerturbation",
    "Selectivity",
    "SensitivityN",
    "Sufficiency",
    "SymmetricRelevanceGain",
]
