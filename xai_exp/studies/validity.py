"""Grading the metrics: does a metric put explainers in the order of exact truth?

A metric's score needs no truth, so it can be had on any data; here it is graded on data where the
truth is known. Its validity is Spearman's rank correlation between its scores and those of the
metric that is taken as true (such as part_skill), both turned so that more is better, over the same
explainers: 1 if it puts them in the true order, 0 if it is unrelated, -1 if it misleads.

Two questions are told apart: within an image (which explanation of THIS image is better: the mean
over images of the correlation in each) and over explainers' means (which method is better on the
whole: the correlation of their means over images). Beside them stands what damage of known dose
costs (`xai_exp.truth.doses`): minus the rank correlation of score and dose.

The units are networks. Intervals allow for networks and for the images that they share:
docs/coverage.md holds how often they cover. A validity that hangs on one explainer of the pool is
no property of the metric, so every explainer is left out once.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from xai_exp.statistics import Array, Interval, paired, rank_correlation
from xai_exp.statistics.nested import shared_interval
from xai_exp.verdicts.audit import doses_of

KINDS = ("within", "means")
_ENDS = ("", "_low", "_high")
_SAMPLES = 200  # of images, for the correlation of means


class Beside(NamedTuple):
    """A metric beside the truth: (networks, images, explainers) each, NaN where either lacks."""

    mine: Array
    true: Array
    explainers: Sequence[str]

    def without(self, place: int) -> "Beside":
        """The same without one explainer."""
        keep = np.arange(len(self.explainers)) != place
        names = [name for name, kept in zip(self.explainers, keep, strict=True) if kept]
        return Beside(self.mine[..., keep], self.true[..., keep], names)

    def rhos(self) -> Array:
        """(networks, images) the correlation within each image."""
        rows = [table.reshape(-1, table.shape[2]) for table in (self.mine, self.true)]
        return rank_correlation(*rows).reshape(self.mine.shape[:2])


def validity(
    scores: pd.DataFrame,
    higher_is_better: Mapping[str, bool],
    *,
    truth: str = "part_shapley",
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Every metric's validity against the metric `truth`, with intervals over networks and images.

    An image counts if metric and truth are defined for at least three explainers and not all equal.
    Explainers are taken as given; `within_least` and `within_most` are the ends of what is left
    when each is left out once, and `stands` says whether the interval stays on one side of 0 in
    each.

    Args:
        scores: rows with model, explainer, image, metric and score (NaN: undefined); maps of known
            dose (`true_map`, `bleeding_25` ...) count for the doses alone.
        higher_is_better: the direction of every metric.
        truth: the metric that is taken as true.
        confidence: the share of such intervals that should cover the true value, in 0..1.
        seed: of the images that are drawn for the correlation of means.

    Returns:
        A row a metric, the most valid (within an image) first: metric, within, within_low,
        within_high, within_least, within_most, leans_on (the explainer without which it changes
        most), stands, means, means_low, means_high, doses, doses_low, doses_high, images (that
        count), models, explainers.
    """
    damaged = doses_of(set(scores["explainer"]))
    dosed = {name for kind in damaged.values() for name in kind}
    pool = pd.DataFrame(scores[~scores["explainer"].isin(list(dosed))])
    tables = pool.pivot_table(
        index=["model", "image"], columns=["metric", "explainer"], values="score", dropna=False
    )
    true = _oriented(tables, truth, higher_is_better)
    rows = []
    for metric in tables.columns.get_level_values(0).unique():
        if metric == truth:
            continue
        mine = _oriented(tables, metric, higher_is_better).reindex(columns=true.columns)
        beside = _beside(mine, true)
        costs = _doses(scores, str(metric), damaged, higher_is_better[metric])
        rows.append(
            {"metric": metric}
            | _within(beside, confidence)
            | _ends("means", correlation_of_means(beside, confidence, seed))
            | _ends("doses", _over(costs, confidence))
            | _counts(beside)
        )
    table = pd.DataFrame(rows, columns=_COLUMNS)
    return table.sort_values("within", ascending=False, ignore_index=True)


_COLUMNS = [
    "metric",
    *(f"within{end}" for end in (*_ENDS, "_least", "_most")),
    "leans_on",
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


def _beside(mine: pd.DataFrame, true: pd.DataFrame) -> Beside:
    both = mine.notna() & true.notna()
    models, images = (mine.index.unique(level) for level in (0, 1))
    every = pd.MultiIndex.from_product([models, images])
    shape = (len(models), len(images), -1)
    mine_, true_ = (
        one.where(both).reindex(every).to_numpy(float).reshape(shape) for one in (mine, true)
    )
    return Beside(mine_, true_, [str(name) for name in true.columns])


def _within(beside: Beside, confidence: float) -> dict[str, object]:
    """The mean correlation within an image, and what is left without each explainer."""
    whole = correlation_within(beside, confidence)
    names = beside.explainers
    fewer = [
        correlation_within(beside.without(place), confidence)
        for place in range(len(names) if len(names) > 3 else 0)
    ]
    moved = [abs(one.mean - whole.mean) for one in fewer]
    known = [one.mean for one in fewer if not np.isnan(one.mean)] or [float("nan")]
    sides = {_side(one) for one in (whole, *fewer)}
    return {
        **_ends("within", whole),
        "within_least": min(known),
        "within_most": max(known),
        "leans_on": names[int(np.nanargmax(moved))] if len(known) > 1 else "",
        "stands": bool(fewer) and sides in ({1}, {-1}),
    }


def correlation_within(beside: Beside, confidence: float = 0.95) -> Interval:
    """The mean correlation within an image, over networks and images."""
    return _over(beside.rhos(), confidence)


def _over(table: Array, confidence: float) -> Interval:
    """The mean over networks and images; a point where all agree."""
    found = paired(table, np.zeros_like(table), confidence)
    return Interval(found.difference, found.low, found.high, found.n)


def _side(found: Interval) -> int:
    """1: above 0, -1: below, 0: neither."""
    return int(found.low > 0) - int(found.high < 0)


def correlation_of_means(
    beside: Beside, confidence: float = 0.95, seed: int = 0, samples: int = _SAMPLES
) -> Interval:
    """The correlation of explainers' means, over networks, by images that are drawn again."""
    counted = ~np.isnan(beside.rhos())
    mine, true = (np.where(counted[..., None], one, np.nan) for one in (beside.mine, beside.true))
    rng = np.random.default_rng(seed)
    images = mine.shape[1]
    weights = rng.multinomial(images, np.full(images, 1 / images), samples)
    weights = np.concatenate([np.ones((1, images)), weights])
    found = [
        rank_correlation(*(_weighted(weights, values) for values in pair))
        for pair in zip(mine, true, strict=True)
    ]
    table = np.array(found).reshape(len(mine), -1)
    return shared_interval(table[:, 0], table[:, 1:], confidence)


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
    mine = scores[scores["metric"] == metric]
    wide = mine.pivot_table(
        index=["model", "image"], columns="explainer", values="score", dropna=False
    )
    costs = []
    for doses in damaged.values():
        values = wide.reindex(columns=list(doses)).to_numpy(float) * (1 if higher else -1)
        given = np.broadcast_to(np.array(list(doses.values())), values.shape)
        costs.append(-rank_correlation(values, given))
    if not costs:
        return np.full((1, 1), np.nan)
    known = ~np.isnan(costs)
    total = np.where(known, costs, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)
    table = pd.Series(total, index=wide.index).unstack("image")
    return table.to_numpy(float)


def _ends(name: str, found: Interval) -> dict[str, object]:
    return {f"{name}{end}": value for end, value in zip(_ENDS, found[:3], strict=True)}


def _counts(beside: Beside) -> dict[str, object]:
    known = ~np.isnan(beside.rhos())
    return {
        "images": int(known.sum()),
        "models": int(known.any(1).sum()),
        "explainers": len(beside.explainers),
    }
