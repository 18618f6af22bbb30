"""Whether relevance lies on the parts that are known: masks, boxes, overlaps, order.

Conventions: masks are coverages in 0..1; an image without a mask has no score.
"""

from xai_exp.metrics.localisation.focus import Focus
from xai_exp.metrics.localisation.masks import PointingGame, RelevanceMass, RelevanceRank
from xai_exp.metrics.localisation.overlap import AUC, AttributionLocalisation, TopKIntersection
from xai_exp.metrics.localisation.transport import EarthMover

__all__ = [
    "AUC",
    "AttributionLocalisation",
    "EarthMover",
    "Focus",
    "PointingGame",
    "RelevanceMass",
    "RelevanceRank",
    "TopKIntersection",
]
