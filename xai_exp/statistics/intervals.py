"""Means of scores and the intervals that they are known to."""

import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from xai_exp.statistics.layout import known, there

_RESAMPLES = 9999
_CELLS = 2**24
_FEW = 20  # scores, below which the bootstrap's intervals are too narrow


class Interval(NamedTuple):
    """A mean, the interval that it is known to, and the number of scores behind it."""

    mean: float
    low: float
    high: float
    n: int


def mean_interval(scores: Any, confidence: float = 0.95, seed: int = 0) -> Interval:  # noqa: ANN401
    """The mean of the scores that exist and its bootstrap interval (BCa, Efron 1987).

    Fewer than 20 scores get Student's t instead: resampled, so few vary less than they should.
    Missing scores (NaN) are left out and not counted in `n`. The interval says how far the mean
    would move with other images of the same kind; model and explainer are taken as given. It is
    (NaN, NaN) where the sample says nothing about its spread: fewer than two scores, or all equal
    (64 hits of 64 do not prove that all images are hits).

    Args:
        scores: numbers, as a tensor on the CPU, an array or a sequence.
        confidence: the share of such intervals that should cover the true mean, in 0..1.
        seed: of the resampling; the same seed gives the same interval.

    >>> mean_interval([1.0, float("nan"), 3.0, 2.0]).mean
    2.0
    >>> mean_interval([1.0, 1.0])
    Interval(mean=1.0, low=nan, high=nan, n=2)
    """
    values = np.asarray(scores, dtype=np.float64)
    values = values[~np.isnan(values)]
    mean = float(values.mean()) if len(values) else float("nan")
    if len(values) < 2 or np.ptp(values) == 0:
        return Interval(mean, float("nan"), float("nan"), len(values))
    if len(values) < _FEW:
        error = values.std(ddof=1) / np.sqrt(len(values))
        reach = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1) * error)
        return Interval(mean, mean - reach, mean + reach, len(values))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (values,),
            np.mean,
            confidence_level=confidence,
            n_resamples=_RESAMPLES,
            batch=max(1, _CELLS // len(values)),
            method="BCa",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), len(values))


def crossed_interval(scores: Any, confidence: float = 0.95) -> Interval:  # noqa: ANN401
    """The mean over networks and images, both of which were drawn, and its interval.

    By the two-way layout of `xai_exp.statistics.layout`. Images without a score from any network
    are left out; single missing cells are filled by the additive fit, each at the cost of a degree
    of freedom. One network alone, or one image: `mean_interval` of the others.

    Args:
        scores: (networks, images) scores; NaN is missing.
        confidence: the share of such intervals that should cover the true mean, in 0..1.

    Returns:
        The mean, the interval (NaN if nothing varies), and the number of scores.

    >>> crossed_interval([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]).mean
    2.5
    """
    table = there(np.atleast_2d(np.asarray(scores, dtype=np.float64)))
    if 1 in table.shape or table.size == 0:
        return mean_interval(table.ravel(), confidence)
    found = known(table)
    reach = found.reach(1 - confidence)
    return Interval(found.mean, found.mean - reach, found.mean + reach, found.n)
