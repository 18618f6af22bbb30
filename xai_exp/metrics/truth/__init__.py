"""How far a heatmap is from what the parts are exactly worth to the network.

Conventions: worth and shown relevance are compared as shares that sum to one in absolute value, the
rest of the image being a part of its own.
"""

from xai_exp.metrics.truth.measures import (
    HumanStrategy,
    ObjectCoverage,
    PartOrder,
    PartShapley,
    ShortcutRecall,
    StrategyUse,
)

__all__ = [
    "HumanStrategy",
    "ObjectCoverage",
    "PartOrder",
    "PartShapley",
    "ShortcutRecall",
    "StrategyUse",
]
