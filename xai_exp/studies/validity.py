"""Grading the metrics: does a metric put explainers in the order of exact truth?

A metric's score needs no truth, so it can be had on any data; here it is graded on data where the
truth is known. Its validity is Spearman's rank correlation between its scores and those of the
metric that is taken as true (such as part_skill), both turned so that more is better, over the same
explainers: 1 if it puts them in the true order, 0 if it is unrelated, -1 if it misleads.

Two questions are told apart: within an image (which explanation of THIS image is better: the mean
over images of the correlation in each) and over explainers' means (which method is better on the
whole: the correlation of their means over images). Beside them stands what damage of known dose
costs (`xai_exp.truth.doses`): minus the rank correlation of score and dose.

Explanations of several values of a class, from several references, or held against the truth at
several grains, are levels of their own: correlations are had within each, and a network's is their
mean. A validity that is not on the same side of 0 in every level hangs on that choice.

The units are networks. Intervals allow for networks and for the images that they share:
docs/coverage.md holds how often they cover. A validity that hangs on one explainer of the pool is
no property of the metric, so every explainer is left out once.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from xai_exp.statistics import Array, Interval, paired, rank_correlation
from xai_exp.statistics.nested import shared_interval
from xai_exp.verdicts.audit import doses_of

KINDS = ("within", "means")
_ENDS = ("", "_low", "_high")
_SAMPLES = 200  # of images, for the correlation of means


class Beside(NamedTuple):
    """A metric beside the truth: (networks, images, explainers) each, NaN where either lacks.

    `weights` is what each image counts in means of the truth: (networks, images).
    """

    mine: Array
    true: Array
    explainers: Sequence[str]
    weights: Array

    def without(self, place: int) -> "Beside":
        """The same without one explainer."""
        keep = np.arange(len(self.explainers)) != place
        names = [name for name, kept in zip(self.explainers, keep, strict=True) if kept]
        return Beside(self.mine[..., keep], self.true[..., keep], names, self.weights)

    def rhos(self) -> Array:
        """(networks, images) the correlation within each image."""
        rows = [table.reshape(-1, table.shape[2]) for table in (self.mine, self.true)]
        return rank_correlation(*rows).reshape(self.mine.shape[:2])


Levels = Mapping[str, Beside]
"""A metric beside the truth, by what was asked: all have the same networks and images."""


def validity(
    scores: pd.DataFrame,
    higher_is_better: Mapping[str, bool],
    *,
    truth: str = "part_shapley",
    grains: Sequence[str] = (),
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Every metric's validity against the metric `truth`, with intervals over networks and images.

    An image counts if metric and truth are defined for at least three explainers and not all equal.
    Explainers are taken as given; `within_least` and `within_most` are the ends of what is left
    when each is left out once, and `stands` says whether the interval stays on one side of 0 in
    each of these, and in each level.

    Args:
        scores: rows with model, explainer, image, metric and score (NaN: undefined), and optional
            value and reference, whose levels are told apart; maps of known dose (`true_map`,
            `bleeding_25` ...) count for the doses alone.
        higher_is_better: the direction of every metric.
        truth: the metric that is taken as true.
        grains: metrics that are the truth at other grains, each a level of its own.
        confidence: the share of such intervals that should cover the true value, in 0..1.
        seed: of the images that are drawn for the correlation of means.

    Returns:
        A row a metric, the most valid (within an image) first: metric, within, within_low,
        within_high, within_least, within_most, leans_on (the explainer without which it changes
        most), levels, hangs_on (the levels in which it is not on its side of 0), stands, means,
        means_low, means_high, doses, doses_low, doses_high, images (that count), models,
        explainers.

    Raises:
        ValueError: when there are two scores of the same.
    """
    damaged = doses_of(set(scores["explainer"]))
    dosed = {name for kind in damaged.values() for name in kind}
    pool = pd.DataFrame(scores[~scores["explainer"].isin(list(dosed))])
    parts = _parted(pool)
    tables = {name: _wide(mine, ["metric", "explainer"]) for name, mine in parts.items()}
    every = pd.MultiIndex.from_product([sorted(set(pool[name])) for name in ("model", "image")])
    truths, rows = (truth, *grains), []
    heavy = {
        (name, grain): _weights(mine, grain) for name, mine in parts.items() for grain in truths
    }
    for metric in [str(one) for one in dict.fromkeys(pool["metric"]) if one not in truths]:
        levels = {
            ", ".join([*name, *([grain] if grains else [])]): _beside(
                _oriented(table, metric, higher_is_better),
                _oriented(table, grain, higher_is_better),
                heavy[name, grain],
                every,
            )
            for name, table in tables.items()
            for grain in truths
        }
        costs = _doses(scores, metric, damaged, higher_is_better[metric])
        rows.append(
            {"metric": metric}
            | _within(levels, confidence)
            | _ends("means", correlation_of_means(levels, confidence, seed))
            | _ends("doses", _over(costs, confidence))
            | _counts(levels)
        )
    table = pd.DataFrame(rows, columns=_COLUMNS)
    return table.sort_values("within", ascending=False, ignore_index=True)


def _parted(scores: pd.DataFrame) -> dict[tuple[str, ...], pd.DataFrame]:
    """The scores of each value and reference; the names are of what varies."""
    varied = [
        name for name in ("value", "reference") if name in scores and len(set(scores[name])) > 1
    ]
    if not varied:
        return {(): scores}
    return {
        tuple(str(one) for one in level if one is not None): pd.DataFrame(rows)
        for level, rows in scores.groupby(varied, sort=True)
        if isinstance(level, tuple)
    }


def _wide(scores: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Images by what is scored.

    Raises:
        ValueError: when there are two scores of the same, of which one would be lost.
    """
    index = ["model", "image"]
    if scores.duplicated([*index, "metric", "explainer"]).any():
        raise ValueError("got two scores of the same image, explainer and metric")
    return scores.pivot_table(index=index, columns=columns, values="score", dropna=False)


_COLUMNS = [
    "metric",
    *(f"within{end}" for end in (*_ENDS, "_least", "_most")),
    "leans_on",
    "levels",
    "hangs_on",
    "stands",
    *(f"{name}{end}" for name in ("means", "doses") for end in _ENDS),
    "images",
    "models",
    "explainers",
]


def _oriented(
    tables: pd.DataFrame, metric: str, higher_is_better: Mapping[str, bool]
) -> pd.DataFrame:
    """A metric's scores, images by explainers, so that more is better."""
    return pd.DataFrame(tables[metric]) * (1 if higher_is_better[metric] else -1)


def _weights(scores: pd.DataFrame, metric: str) -> pd.Series:
    """What each image counts in a metric's means."""
    mine = pd.DataFrame(scores[scores["metric"] == metric])
    if "weight" not in mine:
        mine = mine.assign(weight=1.0)
    found: Any = mine.groupby(["model", "image"])["weight"].max()
    return found


def _beside(
    mine: pd.DataFrame, true: pd.DataFrame, heavy: pd.Series, every: pd.MultiIndex
) -> Beside:
    mine = mine.reindex(columns=true.columns)
    both = mine.notna() & true.notna()
    shape = (*(len(one) for one in every.levels), -1)
    mine_, true_ = (
        one.where(both).reindex(every).to_numpy(float).reshape(shape) for one in (mine, true)
    )
    weights = heavy.reindex(every).fillna(1.0).to_numpy(float).reshape(shape[:2])
    return Beside(mine_, true_, [str(name) for name in true.columns], weights)


def _within(levels: Levels, confidence: float) -> dict[str, object]:
    """The mean correlation within an image, and what is left without each explainer."""
    whole = correlation_within(levels, confidence)
    names = next(iter(levels.values())).explainers
    fewer = [
        correlation_within({key: one.without(place) for key, one in levels.items()}, confidence)
        for place in range(len(names) if len(names) > 3 else 0)
    ]
    moved = [abs(one.mean - whole.mean) for one in fewer]
    known = [one.mean for one in fewer if not np.isnan(one.mean)] or [float("nan")]
    sides = {_side(one) for one in (whole, *fewer)}
    others = [
        key
        for key, one in levels.items()
        if _side(correlation_within({key: one}, confidence)) != _side(whole)
    ]
    return {
        **_ends("within", whole),
        "within_least": min(known),
        "within_most": max(known),
        "leans_on": names[int(np.nanargmax(moved))] if len(known) > 1 else "",
        "levels": len(levels),
        "hangs_on": "; ".join(others),
        "stands": bool(fewer) and sides in ({1}, {-1}) and not others,
    }


def correlation_within(levels: Levels, confidence: float = 0.95) -> Interval:
    """The mean correlation within an image, over networks and images; the mean over levels."""
    return _over(_rhos(levels), confidence)


def _rhos(levels: Levels) -> Array:
    return _mean([one.rhos() for one in levels.values()])


def _mean(tables: Sequence[Array]) -> Array:
    """The mean over tables of what is known; NaN where nothing is."""
    values = np.array(tables)
    known = ~np.isnan(values)
    counts = known.sum(0)
    return np.where(known, values, 0).sum(0) / np.where(counts > 0, counts, np.nan)


def _over(table: Array, confidence: float) -> Interval:
    """The mean over networks and images; a point where all agree."""
    found = paired(table, np.zeros_like(table), confidence)
    return Interval(found.difference, found.low, found.high, found.n)


def _side(found: Interval) -> int:
    """1: above 0, -1: below, 0: neither."""
    return int(found.low > 0) - int(found.high < 0)


def correlation_of_means(
    levels: Levels, confidence: float = 0.95, seed: int = 0, samples: int = _SAMPLES
) -> Interval:
    """The correlation of explainers' means, over networks, by images that are drawn again."""
    images = next(iter(levels.values())).mine.shape[1]
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(images, np.full(images, 1 / images), samples)
    weights = np.concatenate([np.ones((1, images)), weights])
    table = _mean([_of_means(one, weights) for one in levels.values()])
    return shared_interval(table[:, 0], table[:, 1:], confidence)


def _of_means(beside: Beside, weights: Array) -> Array:
    """(networks, draws) the correlation of explainers' means over the images of each draw."""
    counted = ~np.isnan(beside.rhos())
    mine, true = (np.where(counted[..., None], one, np.nan) for one in (beside.mine, beside.true))
    found = [
        rank_correlation(_weighted(weights, one), _weighted(weights * heavy, other))
        for one, other, heavy in zip(mine, true, beside.weights, strict=True)
    ]
    return np.array(found).reshape(len(mine), -1)


def _weighted(weights: Array, values: Array) -> Array:
    """Explainers' weighted means over the images in which they have a score."""
    cells = ~np.isnan(values)
    total = weights @ cells
    sums = weights @ np.where(cells, values, 0)
    return np.where(total > 0, sums / np.where(total > 0, total, 1), np.nan)


def _doses(
    scores: pd.DataFrame, metric: str, damaged: Mapping[str, Mapping[str, float]], higher: bool
) -> Array:
    """(networks, images) minus the rank correlation of score and dose, the mean over kinds."""
    if not damaged:
        return np.full((1, 1), np.nan)
    mine = pd.DataFrame(scores[scores["metric"] == metric])
    tables = [
        _costs(_wide(rows, ["explainer"]), damaged, higher) for rows in _parted(mine).values()
    ]
    cells: Any = [place for one in tables for place in one.index]
    every = pd.MultiIndex.from_tuples(sorted(set(cells)), names=["model", "image"])
    return _mean([one.reindex(every).unstack("image").to_numpy(float) for one in tables])


def _costs(
    wide: pd.DataFrame, damaged: Mapping[str, Mapping[str, float]], higher: bool
) -> pd.Series:
    found = []
    for doses in damaged.values():
        values = wide.reindex(columns=list(doses)).to_numpy(float) * (1 if higher else -1)
        given = np.broadcast_to(np.array(list(doses.values())), values.shape)
        found.append(-rank_correlation(values, given))
    return pd.Series(_mean(found), index=wide.index)


def _ends(name: str, found: Interval) -> dict[str, object]:
    return {f"{name}{end}": value for end, value in zip(_ENDS, found[:3], strict=True)}


def _counts(levels: Levels) -> dict[str, object]:
    known = ~np.isnan(_rhos(levels))
    return {
        "images": int(known.sum()),
        "models": int(known.any(1).sum()),
        "explainers": len(next(iter(levels.values())).explainers),
    }
