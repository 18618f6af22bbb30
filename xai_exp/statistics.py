"""Statistics of scores: what a mean is worth, and what a difference.

Scores are paired: every explainer is scored on the same images and the same models. Images are the
units of one model's scores; where several models explain the same images, both are drawn from a
population, and an interval has to allow for both (`crossed_interval`).

Missing scores are NaN and never counted as zero.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

Array = NDArray[Any]

_RESAMPLES = 9999
_CELLS = 2**24
_FEWEST = 3  # things, of which an order says anything


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


class Ranking(NamedTuple):
    """Mean ranks of methods and what differences between them mean.

    Attributes:
        ranks: (methods) mean rank over blocks, 1 is the best.
        p: of Friedman's test that all are equal.
        critical: the difference of mean ranks from which on two methods differ at the 5 % level.
        n: blocks.
    """

    ranks: Array
    p: float
    critical: float
    n: int


def independent_blocks(scores: Any) -> Array:  # noqa: ANN401
    """Blocks for `friedman` that share neither model nor image: a block a model.

    Images of one model are no independent blocks: they share its weights. Nor are models' means
    over the same images: they share these. So the images are dealt out, image i to model i mod M,
    and a block is a model's mean over its own images. Simulated where models and images both have
    likes and dislikes of their own, Friedman's test on these blocks rejects a true null 5 % of the
    time; on single images, nearly always.

    Args:
        scores: (models, images, methods); an image counts for a model if all methods have a score.

    Returns:
        (models, methods); models without such an image are left out.

    >>> independent_blocks([[[1, 2], [3, 4], [5, 6]], [[0, 0], [7, 8], [0, 0]]]).tolist()
    [[3.0, 4.0], [7.0, 8.0]]
    """
    table = np.asarray(scores, dtype=np.float64)
    models, images = table.shape[:2]
    own = np.arange(images)[None, :] % models == np.arange(models)[:, None]
    own &= ~np.isnan(table).any(2)
    own, table = own[own.any(1)], table[own.any(1)]
    return np.array([mine[chosen].mean(0) for mine, chosen in zip(table, own, strict=True)])


def friedman(scores: Any, level: float = 0.05) -> Ranking:  # noqa: ANN401
    r"""Rank methods in every block and compare the mean ranks.

    Blocks have to be independent of one another: see `independent_blocks`.

    Friedman's test (1937) with ties; Nemenyi's critical difference
    $q_\alpha \sqrt{k (k + 1) / (6 N)}$ (Demsar 2006, section 3.2.2). Blocks in which a method has
    no score are left out.

    Args:
        scores: (blocks, methods), more is better.
        level: of the critical difference.

    >>> friedman([[3, 2, 1], [3, 1, 2], [3, 2, 1]]).ranks.round(2).tolist()
    [1.0, 2.33, 2.67]
    """
    table = np.asarray(scores, dtype=np.float64)
    table = table[~np.isnan(table).any(1)]
    blocks, methods = table.shape
    if blocks < 2 or methods < 2:
        return Ranking(np.full(methods, np.nan), float("nan"), float("nan"), blocks)
    ranks = stats.rankdata(-table, axis=1)
    quantile = stats.studentized_range.ppf(1 - level, methods, np.inf) / np.sqrt(2)
    critical = float(quantile * np.sqrt(methods * (methods + 1) / (6 * blocks)))
    return Ranking(ranks.mean(0), _friedman_p(ranks), critical, blocks)


def _friedman_p(ranks: Array) -> float:
    """Friedman's test, corrected for ties; two methods are allowed as well."""
    blocks, methods = ranks.shape
    between = ((ranks.mean(0) - (methods + 1) / 2) ** 2).sum() * blocks
    within = ((ranks - (methods + 1) / 2) ** 2).sum() / (blocks * (methods - 1))
    return float(stats.chi2.sf(between / within, methods - 1)) if within > 0 else float("nan")


def kendall_w(scores: Any, resamples: int = 2000, seed: int = 0) -> Interval:  # noqa: ANN401
    """How far judges put the same things in the same order: Kendall's W (1939), 0..1.

    1: all in the same order; 0: no common order. Corrected for ties. The interval is the percentile
    interval of a bootstrap over judges; W is never below 0, so that of unrelated judges lies above.

    Args:
        scores: (judges, things); judges with a missing score are left out.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    >>> kendall_w([[1, 2, 3], [4, 5, 6]]).mean
    1.0
    """
    table = np.asarray(scores, dtype=np.float64)
    table = table[~np.isnan(table).any(1)]
    judges = len(table)
    if judges < 2:
        return Interval(float("nan"), float("nan"), float("nan"), judges)
    ranks = stats.rankdata(table, axis=1)
    drawn = np.random.default_rng(seed).integers(0, judges, (resamples, judges))
    samples = _concordance(ranks[drawn])
    low, high = np.nanpercentile(samples, [2.5, 97.5])
    return Interval(float(_concordance(ranks[None])[0]), float(low), float(high), judges)


def _concordance(ranks: Array) -> Array:
    """W of each sample in (samples, judges, things)."""
    middle = (ranks.shape[2] + 1) / 2
    together = ((ranks.mean(1) - middle) ** 2).sum(1)
    alone = ((ranks - middle) ** 2).sum((1, 2)) / ranks.shape[1]
    return np.divide(together, alone, out=np.full(len(ranks), np.nan), where=alone > 0)


def agreement(scores: Any) -> tuple[Array, list[int]]:  # noqa: ANN401
    """Which measures put explainers in the same order: (measure, measure) and a clustered order.

    The entry of two measures is the mean over blocks (images) of Spearman's correlation between
    their scores over explainers; NaN where no block has three explainers with both. The order comes
    from average linkage on 1 - correlation, so that those that agree stand side by side.

    Args:
        scores: (measures, blocks, explainers), oriented so that more is better.

    >>> table, order = agreement([[[1, 2, 3.0]], [[2, 4, 5.0]], [[3, 2, 1.0]]])
    >>> table.round(2).tolist(), order[0]  # the third stands apart
    ([[1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]], 2)
    """
    table = np.asarray(scores, dtype=np.float64)
    count = len(table)
    found = np.full((count, count), np.nan)
    for one in range(count):
        for other in range(one, count):
            rhos = rank_correlation(table[one], table[other])
            value = float(np.nanmean(rhos)) if (~np.isnan(rhos)).any() else float("nan")
            found[one, other] = found[other, one] = value
    distance = 1 - np.nan_to_num(found)
    np.fill_diagonal(distance, 0)
    if count < 3:
        return found, list(range(count))
    linked = hierarchy.linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return found, [int(i) for i in hierarchy.leaves_list(linked)]


def rank_correlation(first: Array, second: Array) -> Array:
    """Spearman's correlation of each row, over columns that both rows have; NaN if undefined.

    At least three columns are asked for; fewer have no order to speak of.

    >>> rank_correlation(np.array([[1.0, 2, 9]]), np.array([[3.0, 5, 4]])).tolist()
    [0.5]
    """
    both = ~(np.isnan(first) | np.isnan(second))
    one, other = (
        stats.rankdata(np.where(both, values, np.nan), axis=1, nan_policy="omit")
        for values in (first, second)
    )
    count = both.sum(1, keepdims=True)
    one, other = (np.where(both, ranks - (count + 1) / 2, 0) for ranks in (one, other))
    spread = np.sqrt((one**2).sum(1) * (other**2).sum(1))
    known = (spread > 0) & (count[:, 0] >= _FEWEST)
    return np.where(known, (one * other).sum(1) / np.where(known, spread, 1), np.nan)
