"""Whether people who judge the same things say the same."""

from typing import Any

import numpy as np

from xai_exp.statistics.intervals import Interval
from xai_exp.statistics.layout import Array


def krippendorff_alpha(values: Any, resamples: int = 2000, seed: int = 0) -> Interval:  # noqa: ANN401
    r"""Krippendorff's alpha for nominal values: 1 - observed / expected disagreement; at most 1.

    1: all raters agree on every unit; 0: they agree as often as values dealt out at random would;
    below 0: less often. Higher is better. Any number of raters, units that some did not judge
    (Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, section C). The interval is the
    percentile interval of a bootstrap over units; NaN where no unit has two values, or all values
    are the same.

    Args:
        values: (raters, units) numbers that name what was said; NaN is missing.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        alpha, its interval, and the number of units that at least two raters judged.

    >>> krippendorff_alpha([[0, 1, 0, 1], [0, 1, 0, 1]]).mean
    1.0
    """
    table = np.atleast_2d(np.asarray(values, dtype=np.float64))
    named = np.unique(table[~np.isnan(table)])
    counts = (table[..., None] == named).sum(0).astype(float)
    counts = counts[counts.sum(1) >= 2]
    units = len(counts)
    if units == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    judged = counts.sum(1)
    agreed = (counts * (counts - 1)).sum(1) / (judged - 1)
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), resamples)
    samples = _alpha(drawn.astype(float), agreed, counts)
    mean = float(_alpha(np.ones((1, units)), agreed, counts)[0])
    known = samples[~np.isnan(samples)]
    if np.isnan(mean) or units < 2:
        return Interval(mean, float("nan"), float("nan"), units)
    low, high = np.percentile(known, [2.5, 97.5])
    return Interval(mean, float(low), float(high), units)


def _alpha(drawn: Array, agreed: Array, counts: Array) -> Array:
    """Alpha of each sample of (samples, units): how often each unit is drawn."""
    named = drawn @ counts
    total = named.sum(1)
    same = (named * (named - 1)).sum(1) / (total * (total - 1))
    left = 1 - same
    missed = 1 - drawn @ agreed / total
    return 1 - np.divide(missed, left, out=np.full(len(drawn), np.nan), where=left > 0)
