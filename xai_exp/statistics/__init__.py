"""Statistics of scores: what a mean is worth, and what a difference.

Scores are paired: every explainer is scored on the same images and the same models. Images are the
units of one model's scores; where several models explain the same images, both are drawn from a
population, and an interval has to allow for both (`crossed_interval`).

Missing scores are NaN and never counted as zero.
"""

from xai_exp.statistics.differences import (
    Paired,
    holm,
    one_sample,
    paired,
)
from xai_exp.statistics.intervals import (
    Array,
    Interval,
    crossed_interval,
    mean_interval,
)
from xai_exp.statistics.ranks import (
    Ranking,
    agreement,
    friedman,
    independent_blocks,
    kendall_w,
    rank_correlation,
)

__all__ = [
    "Array",
    "Interval",
    "Paired",
    "Ranking",
    "agreement",
    "crossed_interval",
    "friedman",
    "holm",
    "independent_blocks",
    "kendall_w",
    "mean_interval",
    "one_sample",
    "paired",
    "rank_correlation",
]
