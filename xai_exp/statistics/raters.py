"""Whether people who judge the same things say the same."""

from typing import Any

import numpy as np
from scipy import special

from xai_exp.statistics.intervals import Interval
from xai_exp.statistics.layout import Array
from xai_exp.statistics.preferences import FEWEST


def krippendorff_alpha(values: Any, resamples: int = 2000, seed: int = 0) -> Interval:  # noqa: ANN401
    r"""Krippendorff's alpha for nominal values: 1 - observed / expected disagreement; at most 1.

    1: all raters agree on every unit; 0: they agree as often as values dealt out at random would;
    below 0: less often. Higher is better. Any number of raters, units that some did not judge
    (Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, section C). The interval is the
    wider one, to either side, of two: the percentile interval of a bootstrap over units, and, from
    three raters on, Student's t of a jackknife over raters; NaN where no unit has two values, or
    all values are the same.

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
    said = (table[..., None] == named).astype(float)
    counts, agreed = _units(said.sum(0))
    units = len(counts)
    if units == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), resamples)
    samples = _alpha(drawn.astype(float), agreed, counts)
    mean = float(_alpha(np.ones((1, units)), agreed, counts)[0])
    known = samples[~np.isnan(samples)]
    if np.isnan(mean) or units < 2:
        return Interval(mean, float("nan"), float("nan"), units)
    low, high = np.percentile(known, [2.5, 97.5])
    reach = _by_rater(said)
    return Interval(mean, min(float(low), mean - reach), max(float(high), mean + reach), units)


def _units(counts: Array) -> tuple[Array, Array]:
    """How often each value was said of each unit with two or more, and how far raters agree."""
    known = counts[counts.sum(1) >= 2]
    return known, (known * (known - 1)).sum(1) / (known.sum(1) - 1)


def _by_rater(said: Array) -> float:
    """How far alpha would move with other raters, at 95 %; 0 where that can't be told."""
    every, count = said.sum(0), len(said)
    left = [_units(every - one) for one in said] if count >= FEWEST else []
    if not left or any(not len(counts) for counts, _ in left):
        return 0.0
    found = np.array(
        [_alpha(np.ones((1, len(counts))), agreed, counts)[0] for counts, agreed in left]
    )
    if np.isnan(found).any():
        return 0.0
    error = np.sqrt((count - 1) * found.var())
    return float(special.stdtrit(count - 1, 0.975) * error)


def _alpha(drawn: Array, agreed: Array, counts: Array) -> Array:
    """Alpha of each sample of (samples, units): how often each unit is drawn."""
    named = drawn @ counts
    total = named.sum(1)
    same = (named * (named - 1)).sum(1) / (total * (total - 1))
    left = 1 - same
    missed = 1 - drawn @ agreed / total
    return 1 - np.divide(missed, left, out=np.full(len(drawn), np.nan), where=left > 0)
