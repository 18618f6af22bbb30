"""Means of scores and the intervals that they are known to."""

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[Any]
_RESAMPLES = 9999
_CELLS = 2**24


class Interval(NamedTuple):
    """A mean, the interval that it is known to, and the number of scores behind it."""

    mean: float
    low: float
    high: float
    n: int


def mean_interval(scores: Any, confidence: float = 0.95, seed: int = 0) -> Interval:  # noqa: ANN401
    """The mean of the scores that exist and its bootstrap interval (BCa, Efron 1987).

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
    r"""The mean over models and images, both of which were drawn, and its interval.

    Model m's score on image i is taken as $\mu + a_m + b_i + e_{mi}$ with independent terms. From
    the mean squares of the two-way layout (M models, N images),

        var(mean) = (MS_models + MS_images - MS_rest) / (M N),

    with Satterthwaite's degrees of freedom for Student's t (Searle, Casella and McCulloch 1992,
    sections 4.3 and 4.6). Simulated 95 % intervals over 48 images hold the true mean 94 to 96 % of
    the time from five models on, 92.7 % at worst with three and 87.8 % with two. Images
    without a score from any model are left out; single missing cells are filled by the additive fit
    (Yates 1933), each at the cost of a degree of freedom. One model alone: `mean_interval`.

    Args:
        scores: (models, images) scores; NaN is missing.
        confidence: the share of such intervals that should cover the true mean, in 0..1.

    Returns:
        The mean, the interval (NaN if nothing varies), and the number of scores.

    >>> crossed_interval([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]).mean
    2.5
    """
    table = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    known = ~np.isnan(table)
    table = table[known.any(1)][:, known.any(0)]
    if 1 in table.shape or table.size == 0:
        return mean_interval(table.ravel(), confidence)
    missing = int(np.isnan(table).sum())
    count = table.size - missing
    table = _filled(table)
    models, images = table.shape
    mean = float(table.mean())
    rows, columns = table.mean(1) - mean, table.mean(0) - mean
    rest = table - mean - rows[:, None] - columns
    freedom = np.array(
        [models - 1, images - 1, max(1, (models - 1) * (images - 1) - missing)], dtype=float
    )
    squares = np.array([images * (rows**2).sum(), models * (columns**2).sum(), (rest**2).sum()])
    parts = squares / freedom / table.size
    variance = parts[0] + parts[1] - parts[2]
    if variance <= parts[2]:  # neither models nor images differ beyond chance
        variance, freedom, parts = parts[2], freedom[2:], parts[2:]
    if variance <= 0:
        return Interval(mean, float("nan"), float("nan"), count)
    degrees = variance**2 / (parts**2 / freedom).sum()
    reach = stats.t.ppf((1 + confidence) / 2, degrees) * np.sqrt(variance)
    return Interval(mean, float(mean - reach), float(mean + reach), count)


def _filled(table: Array, rounds: int = 100) -> Array:
    """Missing cells by row mean + column mean - mean, until they no longer move."""
    gaps = np.isnan(table)
    if not gaps.any():
        return table
    full = np.where(gaps, np.nanmean(table), table)
    for _ in range(rounds):
        fit = full.mean(1, keepdims=True) + full.mean(0) - full.mean()
        moved = float(np.abs(fit - full)[gaps].max())
        full = np.where(gaps, fit, table)
        if moved < 1e-12 * max(1.0, float(np.abs(fit).max())):
            break
    return full
