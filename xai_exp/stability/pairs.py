"""What pairs of networks say: intervals, which choices matter, whether heatmaps follow networks."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from xai_exp.statistics import Array, Interval

_FEW = 4  # values of a number, up to which each is a group of its own


def pair_interval(
    table: Array, pairs: Array, groups: Array, resamples: int = 999, seed: int = 0
) -> Interval:
    """The mean similarity over pairs and images, and its interval.

    A bootstrap at both levels: groups of models (architectures; single models if the pairs lie
    within one group) and images are drawn again, a pair counting as often as both of its ends and a
    model never beside its own copy; percentiles 2.5 and 97.5.

    Args:
        table: (models, models, images), NaN is missing.
        pairs: (models, models) which pairs count.
        groups: (models) the architecture of each.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Mean, interval (NaN with fewer than three units), and the number of pairs.
    """
    upper = np.triu(pairs | pairs.T, 1)
    one, other = np.nonzero(upper)
    values = table[one, other]
    known = ~np.isnan(values)
    if not known.any():
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    names = groups if len(set(groups[one]) | set(groups[other])) > 1 else np.arange(len(groups))
    units, place = np.unique(names, return_inverse=True)
    mean, count = float(values[known].mean()), int(known.any(1).sum())
    if len(units) < 3:
        return Interval(mean, float("nan"), float("nan"), count)
    draw = np.random.default_rng(seed)
    filled, within = np.where(known, values, 0), place[one] == place[other]
    drawn = []
    for _ in range(resamples):
        times = np.bincount(draw.integers(0, len(units), len(units)), minlength=len(units))
        weight = np.where(within, times[place[one]], times[place[one]] * times[place[other]])
        images = np.bincount(
            draw.integers(0, values.shape[1], values.shape[1]), minlength=values.shape[1]
        )
        total = weight @ known @ images
        if total > 0:
            drawn.append(weight @ filled @ images / total)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(mean, float(low), float(high), count)


def explained_variance(
    distances: Array,
    choices: pd.DataFrame,
    groups: Array | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> pd.DataFrame:
    r"""The share of the squared distances between models that each choice explains by itself.

    $R^2 = tr(H G) / tr(G)$ with Gower's centred matrix G of the squared distances and the hat
    matrix H of the choice (McArdle and Anderson 2001, eq. 2-4; for one classification that is
    PERMANOVA, Anderson 2001), tested by permuting the models: whole groups where a choice is the
    same within each, since seeds of one architecture are no independent trials of its choices. A
    number of more than four values enters as a line, anything else as groups. Choices that go
    together share what they explain.

    Args:
        distances: (models, models), symmetric, 0 on the diagonal.
        choices: a row a model, a column a choice.
        groups: (models) the architecture of each; None: each model is one of its own.
        permutations: of the test.
        seed: of the permutations.

    Returns:
        choice, share, expected (of a choice without effect), p; the largest share first. Choices
        that do not vary are left out.
    """
    count = len(distances)
    centre = np.eye(count) - 1 / count
    gower = -0.5 * centre @ np.square(distances) @ centre
    total = float(np.trace(gower))
    draw = np.random.default_rng(seed)
    rows = []
    for name in choices:
        design = _design(choices[name])
        freedom = int(np.linalg.matrix_rank(design)) - 1
        if freedom < 1 or freedom >= count - 1 or total <= 0:
            continue
        hat = design @ np.linalg.pinv(design)
        share = float((hat * gower).sum()) / total
        beaten = 0
        for _ in range(permutations):
            other = design[_shuffled(design, groups, draw)]
            mixed = float((other @ np.linalg.pinv(other) * gower).sum()) / total
            beaten += mixed >= share - 1e-12
        p = (1 + beaten) / (1 + permutations)
        rows.append({"choice": name, "share": share, "expected": freedom / (count - 1), "p": p})
    table = pd.DataFrame(rows, columns=["choice", "share", "expected", "p"])
    return table.sort_values("share", ascending=False, ignore_index=True)


class Tracking(NamedTuple):
    """Heatmap distance against the distance of exact part values, over pairs and images.

    Attributes:
        intercept: the heatmaps' distance that is left where two networks use the parts alike:
            the explainer is unstable. With its interval.
        slope: how far heatmaps follow the networks. With its interval.
        correlation: Pearson's, over pairs and images.
        due: the share of the mean distance that goes with the networks' own difference,
            slope * mean(x) / mean(y).
        n: pairs times images.
    """

    intercept: Interval
    slope: Interval
    correlation: float
    due: float
    n: int


def tracking(
    maps: Array, worth: Array, pairs: Array, resamples: int = 999, seed: int = 0
) -> Tracking:
    """Has the network changed, or is the explainer unstable? Least squares over pairs and images.

    y = intercept + slope * x, with y the distance of two models' heatmaps of an image and x the
    distance of their exact part values. If y followed x alone, the intercept would be 0. Intervals
    are percentiles of a bootstrap over models and images, as in `pair_interval`.

    Args:
        maps: (models, models, images) distances of heatmaps.
        worth: (models, models, images) distances of exact values.
        pairs: (models, models) which pairs count.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    one, other = np.nonzero(np.triu(pairs | pairs.T, 1))
    x, y = worth[one, other], maps[one, other]
    known = ~(np.isnan(x) | np.isnan(y))
    missing = Interval(float("nan"), float("nan"), float("nan"), 0)
    if known.sum() < 3 or np.ptp(x[known]) < 1e-12:
        return Tracking(missing, missing, float("nan"), float("nan"), int(known.sum()))
    x, y = np.where(known, x, 0), np.where(known, y, 0)
    moments = np.stack([known.astype(float), x, y, x * x, x * y, y * y])
    draw, count, images = np.random.default_rng(seed), len(maps), maps.shape[2]
    drawn = []
    for _ in range(resamples):
        times = np.bincount(draw.integers(0, count, count), minlength=count)
        often = np.bincount(draw.integers(0, images, images), minlength=images)
        sums = (moments @ often) @ (times[one] * times[other])
        if sums[0] > 0 and sums[3] * sums[0] - sums[1] ** 2 > 1e-12:
            drawn.append(_line(sums))
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0) if drawn else np.full((2, 2), np.nan)
    sums = moments.sum((1, 2))
    intercept, slope = _line(sums)
    n = int(known.sum())
    correlation = (sums[0] * sums[4] - sums[1] * sums[2]) / np.sqrt(
        (sums[0] * sums[3] - sums[1] ** 2) * max(sums[0] * sums[5] - sums[2] ** 2, 1e-300)
    )
    due = slope * sums[1] / sums[2] if sums[2] else float("nan")
    return Tracking(
        Interval(intercept, float(low[0]), float(high[0]), n),
        Interval(slope, float(low[1]), float(high[1]), n),
        float(correlation),
        float(due),
        n,
    )


def against_accuracy(table: Array, accuracy: Array, pairs: Array) -> tuple[Array, float, float]:
    """Each model's mean similarity to the others, its rank correlation with accuracy, and p.

    The test permutes models (999 times; at least four are asked for).

    Args:
        table: (models, models, images).
        accuracy: (models).
        pairs: (models, models) which pairs count.
    """
    chosen = np.where((pairs | pairs.T)[..., None], table, np.nan)
    known = ~np.isnan(chosen)
    total = known.sum((1, 2))
    sums = np.where(known, chosen, 0).sum((1, 2))
    mean = np.divide(sums, total, out=np.full(len(table), np.nan), where=total > 0)
    there = ~np.isnan(mean)
    x, y = mean[there], np.asarray(accuracy, float)[there]
    if there.sum() < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return mean, float("nan"), float("nan")
    x, y = stats.rankdata(x), stats.rankdata(y)
    rho = float(np.corrcoef(x, y)[0, 1])
    draw = np.random.default_rng(0)
    beaten = sum(
        abs(np.corrcoef(x, draw.permutation(y))[0, 1]) >= abs(rho) - 1e-12 for _ in range(999)
    )
    return mean, rho, float((1 + beaten) / 1000)


def kinds(groups: Array) -> Mapping[str, Array]:
    """Which pairs of models are of which kind: same architecture (other seed), or other one."""
    same = groups[:, None] == groups[None]
    off = ~np.eye(len(groups), dtype=bool)
    return {"other architecture": ~same, "other seed": same & off}


def _line(sums: Array) -> tuple[float, float]:
    """Intercept and slope from (n, x, y, xx, xy, yy)."""
    n, x, y, xx, xy, _ = sums
    slope = (n * xy - x * y) / (n * xx - x * x)
    return float((y - slope * x) / n), float(slope)


def _shuffled(design: Array, groups: Array | None, draw: np.random.Generator) -> Array:
    """Whose choice each model gets: another group's, if choices are the same within groups."""
    units = np.arange(len(design)) if groups is None else np.asarray(groups)
    _, first, place = np.unique(units, return_index=True, return_inverse=True)
    if not np.array_equal(design[first[place]], design):
        return draw.permutation(len(design))
    return first[draw.permutation(len(first))][place]


def _design(values: Any) -> Array:  # noqa: ANN401
    """The choice's columns, a series, beside a constant."""
    one = np.ones((len(values), 1))
    number: Any = pd.to_numeric(values, errors="coerce")
    if number.notna().all() and number.nunique() > _FEW:
        return np.hstack([one, number.to_numpy(float)[:, None]])
    return np.hstack([one, pd.get_dummies(values.astype(str)).to_numpy(float)])
