"""Two methods on the same images of the same networks."""

from typing import Any, NamedTuple

import numpy as np

from xai_exp.statistics.intervals import crossed_interval
from xai_exp.statistics.layout import Array, known

_FEWEST = 3  # equal differences, from which on they are taken for the difference


class Paired(NamedTuple):
    """Whether one method's scores are above another's on the same images.

    Attributes:
        difference: mean of first - second.
        low: lower end of its interval.
        high: upper end.
        effect: matched-pairs rank-biserial correlation over images, -1..1: how far the differences
            of one sign outweigh (Kerby 2014).
        p: two-sided, of no difference, with networks as units and images nested.
        n: images.
    """

    difference: float
    low: float
    high: float
    effect: float
    p: float
    n: int


def paired(first: Any, second: Any, confidence: float = 0.95) -> Paired:  # noqa: ANN401
    """Compare two methods on the same images, for one network or several.

    The interval is `crossed_interval`'s of the differences (one network: of its images, and says
    nothing of other networks), p that of the same standard error. Where three differences or more
    are all equal, they are the difference: the interval is that point and p is 0, or 1 at 0. Fewer
    than that say nothing of their spread: NaN.

    Args:
        first: (images) or (networks, images) scores.
        second: scores of the same images.
        confidence: of the interval.

    >>> paired(np.ones((3, 48)), np.zeros((3, 48)))[:3]
    (1.0, 1.0, 1.0)
    """
    differences = np.atleast_2d(np.asarray(first, float) - np.asarray(second, float))
    found, spread = crossed_interval(differences, confidence), known(differences)
    if point(differences):
        low = high = spread.mean
        return Paired(low, low, high, effect(differences), float(low == 0), spread.images)
    ends = (found.low, found.high)
    return Paired(found.mean, *ends, effect(differences), spread.p(), spread.images)


def point(differences: Array) -> bool:
    """Whether there are enough differences, and all are equal."""
    values = differences[~np.isnan(differences)]
    return len(values) >= _FEWEST and bool(np.ptp(values) == 0)


def average_ranks(values: Array) -> Array:
    """The rank of each of some numbers, from 1; equal ones share theirs.

    To import SciPy's takes longer than all else that a finished job needs of statistics.

    >>> average_ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[places]


def effect(differences: Array) -> float:
    """The rank-biserial correlation of each image's mean difference; NaN where all are 0."""
    images = differences[:, ~np.isnan(differences).all(0)]
    if not images.size:
        return float("nan")
    means = np.nanmean(images, 0)
    ranks = average_ranks(np.abs(means))
    total = ranks[means != 0].sum()
    return float((ranks * np.sign(means)).sum() / total) if total > 0 else float("nan")
