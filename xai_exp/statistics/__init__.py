"""Statistics of scores: what a mean is worth, and what a difference.

Scores are paired: every explainer is scored on the same images and the same networks. Images are
the units of one network's scores; where several networks explain the same images, both are drawn
from a population, and an interval has to allow for both (`crossed_interval`). Differences that are
judged together have intervals that hold together (`simultaneous`).

Missing scores are NaN and never counted as zero.
"""

from xai_exp.statistics.differences import Paired, paired
from xai_exp.statistics.intervals import (
    Interval,
    crossed_interval,
    mean_interval,
)
from xai_exp.statistics.layout import Array, Known, known
from xai_exp.statistics.ranks import (
    Ranking,
    agreement,
    friedman,
    independent_blocks,
    kendall_w,
    rank_correlation,
)
from xai_exp.statistics.together import Held, simultaneous
from xai_exp.statistics.weights import evened

__all__ = [
    "Array",
    "Held",
    "Interval",
    "Known",
    "Paired",
    "Ranking",
    "agreement",
    "crossed_interval",
    "evened",
    "friedman",
    "independent_blocks",
    "kendall_w",
    "known",
    "mean_interval",
    "paired",
    "rank_correlation",
    "simultaneous",
]
