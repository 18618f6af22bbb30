"""Methods in order: mean ranks, and how far two orders agree."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import scipy

from xai_exp.statistics.intervals import Interval
from xai_exp.statistics.layout import Array

_FEWEST = 3  # things, of which an order says anything


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
    ranks = scipy.stats.rankdata(-table, axis=1)
    critical = float(_quantile(level, methods) * np.sqrt(methods * (methods + 1) / (6 * blocks)))
    return Ranking(ranks.mean(0), _friedman_p(ranks), critical, blocks)


@cache
def _quantile(level: float, methods: int) -> float:
    """Nemenyi's, which SciPy integrates numerically: a tenth of a second each time."""
    return float(scipy.stats.studentized_range.ppf(1 - level, methods, np.inf) / np.sqrt(2))


def _friedman_p(ranks: Array) -> float:
    """Friedman's test, corrected for ties; two methods are allowed as well."""
    blocks, methods = ranks.shape
    between = ((ranks.mean(0) - (methods + 1) / 2) ** 2).sum() * blocks
    within = ((ranks - (methods + 1) / 2) ** 2).sum() / (blocks * (methods - 1))
    return float(scipy.stats.chi2.sf(between / within, methods - 1)) if within > 0 else float("nan")


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
    ranks = scipy.stats.rankdata(table, axis=1)
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
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

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
        scipy.stats.rankdata(np.where(both, values, np.nan), axis=1, nan_policy="omit")
        for values in (first, second)
    )
    count = both.sum(1, keepdims=True)
    one, other = (np.where(both, ranks - (count + 1) / 2, 0) for ranks in (one, other))
    spread = np.sqrt((one**2).sum(1) * (other**2).sum(1))
    known = (spread > 0) & (count[:, 0] >= _FEWEST)
    return np.where(known, (one * other).sum(1) / np.where(known, spread, 1), np.nan)
