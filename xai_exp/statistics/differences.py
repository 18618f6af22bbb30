"""Two methods on the same images, and many such tests at once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from xai_exp.statistics.intervals import Array, crossed_interval


class Paired(NamedTuple):
    """Whether one method's scores are above another's on the same images.

    Attributes:
        difference: mean of first - second.
        low: lower end of its interval.
        high: upper end.
        effect: matched-pairs rank-biserial correlation, -1..1: how far the differences of one sign
            outweigh (Kerby 2014).
        p: two-sided, Wilcoxon's signed rank test.
        n: pairs.
    """

    difference: float
    low: float
    high: float
    effect: float
    p: float
    n: int


def paired(first: Any, second: Any, confidence: float = 0.95) -> Paired:  # noqa: ANN401
    """Compare two methods on the same images, for one model or several.

    The interval is `crossed_interval`'s (one model: the bootstrap's) of the differences. The test
    is Wilcoxon's (1945) on each image's mean difference over models, with ties by Pratt's method;
    it takes the models as given.

    Args:
        first: (images) or (models, images) scores.
        second: scores of the same images.
        confidence: of the interval.

    >>> paired([3.0, 4.0, 6.0, 9.0, 9.5], [1.0, 3.0, 2.0, 1.0, 9.0]).effect
    1.0
    """
    differences = np.atleast_2d(np.asarray(first, float) - np.asarray(second, float))
    found = crossed_interval(differences, confidence)
    known = differences[:, ~np.isnan(differences).all(0)]
    images = np.nanmean(known, 0) if known.size else np.empty(0)
    ranks = stats.rankdata(np.abs(images))
    signed = (ranks * np.sign(images)).sum()
    total = ranks[images != 0].sum()
    p = float("nan")
    if len(images) and total > 0:
        tested: Any = stats.wilcoxon(images, zero_method="pratt", method=_method(images))
        p = float(tested.pvalue)
    effect = float(signed / total) if total > 0 else float("nan")
    return Paired(found.mean, found.low, found.high, effect, p, len(images))


def one_sample(differences: Array) -> Paired:
    """One sample of models against 0; the effect is the share above minus the share below."""
    mean, effect = float(differences.mean()), float(np.sign(differences).mean())
    if len(differences) < 3:
        nothing = float("nan")
        return Paired(mean, nothing, nothing, effect, nothing, len(differences))
    if np.ptp(differences) == 0:  # Student's t is infinite, or 0 / 0
        return Paired(mean, mean, mean, effect, float(mean == 0), len(differences))
    tested: Any = stats.ttest_1samp(differences, 0)
    low, high = tested.confidence_interval(0.95)
    return Paired(mean, float(low), float(high), effect, float(tested.pvalue), len(differences))


def _method(differences: Array) -> str:
    """The exact null distribution needs differences without ties and zeros."""
    sizes = np.abs(differences)
    plain = len(sizes) <= 50 and (sizes > 0).all() and len(np.unique(sizes)) == len(sizes)
    return "exact" if plain else "asymptotic"


def holm(p: Sequence[float] | Array) -> Array:
    """P values that hold together (Holm 1979): the family's error stays at the level of each.

    NaN stands for a test that could not be made and is not counted.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    adjusted = np.full(values.shape, np.nan)
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return adjusted
