"""Means of scores and the intervals that they are known to."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from xai_exp.statistics.layout import known, there

_RESAMPLES = 9999
_CELLS = 2**22  # of a table of resamples that are counted at once
_DRAWN = 2**17  # of these that are drawn at once, in a processor's cache
_MOST_KEPT = 2**14  # scores, up to which the counts of resamples are kept: 164 MB
_TIED = 1e-6  # standard deviations, within which a resampled mean is the mean itself
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
        reach = float(special.stdtrit(len(values) - 1, (1 + confidence) / 2) * error)
        return Interval(mean, mean - reach, mean + reach, len(values))
    spread = float(values.std())
    low, high = _bca((values - mean) / spread, confidence, seed)
    return Interval(mean, mean + spread * low, mean + spread * high, len(values))


def _bca(values: np.ndarray, confidence: float, seed: int) -> tuple[float, float]:
    """The interval of the mean of standardised values (Efron 1987, equations 2.3 and 7.3)."""
    means = _resampled(values, seed)
    ties = np.abs(means) < _TIED
    bias = special.ndtri(float(((means < 0) & ~ties).mean() + ties.mean() / 2))
    acceleration = float((values**3).sum() / (values**2).sum() ** 1.5) / 6
    tail = special.ndtri((1 - confidence) / 2)
    ends = [bias + (bias + z) / (1 - acceleration * (bias + z)) for z in (tail, -tail)]
    low, high = np.percentile(means, 100 * special.ndtr(np.array(ends)))
    return float(low), float(high)


def _resampled(values: np.ndarray, seed: int) -> np.ndarray:
    """The means of resamples: the same draws for all scores of as many images."""
    count, single = len(values), values.astype(np.float32)
    blocks = _kept(count, seed) if count <= _MOST_KEPT else _blocks(count, seed)
    return np.concatenate([block.astype(np.float32) @ single for block in blocks]) / count


@lru_cache(maxsize=2)
def _kept(count: int, seed: int) -> list[np.ndarray]:
    return list(_blocks(count, seed))


def _blocks(count: int, seed: int) -> Iterator[np.ndarray]:
    """(resamples, count) how often each of `count` images is drawn, some resamples at a time."""
    rng, rows = np.random.default_rng(seed), max(1, _CELLS // count)
    for start in range(0, _RESAMPLES, rows):
        block = np.empty((min(rows, _RESAMPLES - start), count), np.uint8)
        for place in range(0, len(block), few := max(1, _DRAWN // count)):
            part = block[place : place + few]
            cells = rng.integers(0, count, part.shape) + count * np.arange(len(part))[:, None]
            part[:] = np.bincount(cells.ravel(), minlength=part.size).reshape(part.shape)
        yield block


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
