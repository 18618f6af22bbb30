"""Grading the metrics: does a metric put explainers in the order of exact truth?

A metric's score needs no truth, so it can be had on any data; here it is graded on data where the
truth is known. Its validity is Spearman's rank correlation between its scores and minus the
distance of the heatmap's part shares from the exact ones (part_shapley), both over the same
explainers: 1 if it puts them in the true order, 0 if it is unrelated, -1 if it misleads.

Two questions are told apart: within an image (which explanation of THIS image is better: the mean
over images of the correlation in each) and over explainers' means (which method is better on the
whole: the correlation of their means over images).
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from xai_exp.statistics import rank_correlation


def validity(
    scores: pd.DataFrame,
    higher_is_better: Mapping[str, bool],
    *,
    truth: str = "part_shapley",
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Every metric's validity against the metric `truth`, with intervals.

    Intervals are percentiles of a bootstrap of both levels: models are drawn with replacement, then
    the images of each (explainers are taken as given); with one model they say nothing of models.
    An image counts if metric and truth are defined for at least three explainers and not all equal.

    Args:
        scores: rows with model, explainer, image, metric and score (NaN: undefined).
        higher_is_better: the direction of every metric.
        truth: the metric that is taken as true.
        resamples: of the bootstrap.
        confidence: the share of such intervals that should cover the true value, in 0..1.
        seed: of the resampling.

    Returns:
        A row a metric, the most valid (within an image) first: metric, within, within_low,
        within_high, means, means_low, means_high, images (that count), models, explainers.
    """
    tables = scores.pivot_table(
        index=["model", "image"], columns=["metric", "explainer"], values="score", dropna=False
    )
    true = _oriented(tables, truth, higher_is_better)
    rng = np.random.default_rng(seed)
    rows = []
    for metric in tables.columns.get_level_values(0).unique():
        if metric == truth:
            continue
        mine = _oriented(tables, metric, higher_is_better).reindex(columns=true.columns)
        drawn = _Draw(mine, true, resamples, rng)
        tail = 100 * (1 - confidence) / 2
        row = {"metric": metric, "images": drawn.images, "models": len(drawn.models)}
        for name, (value, samples) in {"within": drawn.within(), "means": drawn.means()}.items():
            low, high = _bounds(samples, tail)
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        rows.append(row | {"explainers": len(true.columns)})
    order = ["metric"]
    order += [f"{name}{part}" for name in ("within", "means") for part in ("", "_low", "_high")]
    table = pd.DataFrame(rows, columns=[*order, "images", "models", "explainers"])
    return table.sort_values("within", ascending=False, ignore_index=True)


def _oriented(
    tables: pd.DataFrame, metric: str, higher_is_better: Mapping[str, bool]
) -> pd.DataFrame:
    """A metric's scores, images by explainers, so that more is better."""
    return pd.DataFrame(tables[metric]) * (1 if higher_is_better[metric] else -1)


class _Draw:
    """One metric beside the truth, and resamples of models and images."""

    def __init__(
        self, mine: pd.DataFrame, true: pd.DataFrame, resamples: int, rng: np.random.Generator
    ) -> None:
        both = mine.notna() & true.notna()
        pairs = [
            (mine.where(both).loc[model].to_numpy(), true.where(both).loc[model].to_numpy())
            for model in mine.index.unique(0)
        ]
        kept = [(*pair, rank_correlation(*pair)) for pair in pairs]
        # An image on which there is no order for this metric is none of its images.
        self.models = [
            tuple(values[~np.isnan(rho)] for values in (first, second, rho))
            for first, second, rho in kept
            if not np.isnan(rho).all()
        ]
        self.images = sum(len(rho) for _, _, rho in self.models)
        count = max(1, len(self.models))
        self.times = rng.multinomial(count, np.full(count, 1 / count), resamples)
        self.weights = [
            rng.multinomial(len(rho), np.full(len(rho), 1 / len(rho)), resamples)
            for _, _, rho in self.models
        ]

    def within(self) -> tuple[float, np.ndarray]:
        """The mean correlation within an image, and its resamples."""
        values = [float(rho.mean()) for _, _, rho in self.models]
        samples = [
            weights @ rho / len(rho)
            for weights, (_, _, rho) in zip(self.weights, self.models, strict=True)
        ]
        return self._over_models(values, samples)

    def means(self) -> tuple[float, np.ndarray]:
        """The correlation of explainers' means, and its resamples."""
        values, samples = [], []
        for weights, (first, second, rho) in zip(self.weights, self.models, strict=True):
            all_once = np.ones((1, len(rho)))
            drawn = [_means(w, first, second) for w in (all_once, weights)]
            value, sample = (rank_correlation(*pair) for pair in drawn)
            values.append(float(value[0]))
            samples.append(sample)
        return self._over_models(values, samples)

    def _over_models(
        self, values: list[float], samples: list[np.ndarray]
    ) -> tuple[float, np.ndarray]:
        if not values:
            return float("nan"), np.empty(0)
        together = np.stack(samples, 1)
        known = ~np.isnan(together)
        weight = self.times * known
        total = weight.sum(1)
        drawn = (weight * np.where(known, together, 0)).sum(1) / np.where(total, total, 1)
        # A metric without spread over explainers' means (all hits) has no order.
        kept = [value for value in values if not np.isnan(value)]
        return (float(np.mean(kept)) if kept else float("nan")), drawn[total > 0]


def _means(weights: np.ndarray, *tables: np.ndarray) -> list[np.ndarray]:
    """Explainers' weighted means over the images in which they have a score."""
    found = []
    for values in tables:
        known = ~np.isnan(values)
        total = weights @ known
        sums = weights @ np.where(known, values, 0)
        found.append(np.where(total > 0, sums / np.where(total > 0, total, 1), np.nan))
    return found


def _bounds(samples: np.ndarray, tail: float) -> tuple[float, float]:
    """The percentiles, NaN where the resamples do not differ."""
    if len(samples) == 0 or np.ptp(samples) == 0:
        return float("nan"), float("nan")
    low, high = np.percentile(samples, [tail, 100 - tail])
    return float(low), float(high)
