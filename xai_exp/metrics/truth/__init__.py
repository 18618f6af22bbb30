"""How far a heatmap is from what the parts are exactly worth to the network.

Conventions: worth and shown relevance are compared as signed shares among the parts, what lies
outside of them being a share of its own (`xai_exp.truth.shares` is the one definition). Only
`part_shapley`'s first form, kept for old numbers, takes magnitudes and the rest as one more part.
"""

from xai_exp.metrics.truth.measures import (
    HumanStrategy,
    ObjectCoverage,
    PartOrder,
    PartShapley,
    PartSkill,
    ShortcutRecall,
    StrategyUse,
)

__all__ = [
    "HumanStrategy",
    "ObjectCoverage",
    "PartOrder",
    "PartShapley",
    "PartSkill",
    "ShortcutRecall",
    "StrategyUse",
]
