"""The tables of a stability report: heatmaps of the same images by different models, compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from xai_exp import stability
from xai_exp.stability.maps import Maps
from xai_exp.statistics import Array, kendall_w
from xai_exp.truth.shares import shares

VERSION = 5
SHOWN = "spearman"  # the likeness that is printed and drawn


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the comparison came to.

    Attributes:
        means: Explainer, measure, kind (other architecture, other seed, other images, random):
            mean, low, high, n.
        variance: Explainer, choice, share, expected, p; of 1 - spearman.
        accuracy: Explainer, rho and p of likeness to the others against accuracy.
        order: Metric, Kendall's W of the explainers' order over models, low, high, n.
        matrices: (models, models) mean Spearman correlation for each explainer.
        likeness: (models) mean Spearman correlation with other architectures (or all others).
        tracking: Explainer, distance (parts or pixels), intercept, slope, each with low and high,
            correlation, due, n: heatmaps' distance over the distance of exact part values.
    """

    means: pd.DataFrame
    variance: pd.DataFrame
    accuracy: pd.DataFrame
    order: pd.DataFrame
    matrices: Mapping[str, Array]
    likeness: Mapping[str, Array]
    tracking: pd.DataFrame

    def tables(self) -> dict[str, pd.DataFrame]:
        """Those that are recorded."""
        return {
            "similarity": self.means,
            "variance": self.variance,
            "accuracy": self.accuracy,
            "order": self.order,
            "tracking": self.tracking,
        }


def compared(maps: Maps, seed: int = 0) -> Found:
    """Every comparison of the report."""
    groups = maps.models["architecture"].to_numpy()
    kinds = stability.kinds(groups)
    means, variance, accuracy = [], [], []
    matrices, likeness, matrices_of = {}, {}, {}
    for name, heat in maps.heatmaps.items():
        found = stability.similarities(heat, heat, maps.parts)
        means += _means(name, found, kinds, groups)
        means += _chance(name, heat, maps.parts, groups, seed)
        matrices[name] = _mean_over_images(found[SHOWN])
        matrices_of[name] = 1 - found[SHOWN]
        distance = np.clip(1 - np.nan_to_num(matrices[name]), 0, None)
        np.fill_diagonal(distance, 0)
        columns: Any = maps.models[[*maps.choices, "seed"]]
        variance.append(
            stability.explained_variance(distance, columns, groups).assign(explainer=name)
        )
        pairs = kinds["other architecture"]
        pairs = pairs if pairs.any() else kinds["other seed"]
        likeness[name], rho, p = stability.against_accuracy(
            found[SHOWN], maps.models["accuracy"].to_numpy(), pairs
        )
        accuracy.append({"explainer": name, "rho": rho, "p": p, "n": len(groups)})
    return Found(
        means=pd.DataFrame(means),
        variance=pd.concat(variance, ignore_index=True),
        accuracy=pd.DataFrame(accuracy),
        order=_order(maps.scores),
        matrices=matrices,
        likeness=likeness,
        tracking=_tracking(maps, matrices_of),
    )


def _tracking(maps: Maps, distances: Mapping[str, Array]) -> pd.DataFrame:
    """Has the network changed, or is the explainer unstable? Nothing without exact part values."""
    columns = ["explainer", "distance", *_LINE, "correlation", "due", "n"]
    if maps.worth is None:
        return pd.DataFrame(columns=columns)
    true = stability.apart(stability.shares_of_worth(maps.worth))
    pairs = ~np.eye(len(maps.worth), dtype=bool)
    rows = []
    for name, pixels in distances.items():
        parts = stability.apart(shares(maps.shown[name][..., :-1]))
        for kind, table in (("parts", parts), ("pixels", pixels)):
            found = stability.tracking(table, true, pairs)
            line = [*found.intercept[:3], *found.slope[:3]]
            rows.append([name, kind, *line, found.correlation, found.due, found.n])
    return pd.DataFrame(rows, columns=columns)


_LINE = [f"{name}{end}" for name in ("intercept", "slope") for end in ("", "_low", "_high")]


def _means(
    name: str, found: Mapping[str, Array], kinds: Mapping[str, Array], groups: Array
) -> list[dict[str, Any]]:
    return [
        {
            "explainer": name,
            "measure": measure,
            "kind": kind,
            **stability.pair_interval(table, pairs, groups)._asdict(),
        }
        for measure, table in found.items()
        for kind, pairs in kinds.items()
        if pairs.any()
    ]


def _chance(
    name: str, heat: Array, parts: Array | None, groups: Array, seed: int
) -> list[dict[str, Any]]:
    """What similarity is without any: heatmaps of other images, and random heatmaps."""
    noise = np.random.default_rng(seed).normal(size=heat.shape)
    off = ~np.eye(len(heat), dtype=bool)
    beside = {
        "other images": stability.similarities(heat, np.roll(heat, 1, axis=1), parts),
        "random": stability.similarities(noise, noise, parts),
    }
    return [
        row | {"kind": kind}
        for kind, found in beside.items()
        if kind == "random" or heat.shape[1] > 1
        for row in _means(name, found, {kind: off}, groups)
    ]


def _mean_over_images(table: Array) -> Array:
    known = ~np.isnan(table)
    total = known.sum(2)
    sums = np.where(known, table, 0).sum(2)
    return np.divide(sums, total, out=np.full(total.shape, np.nan), where=total > 0)


def _order(scores: pd.DataFrame) -> pd.DataFrame:
    """Kendall's W of the explainers' order over models, for each metric."""
    rows = []
    for metric, part in scores.groupby("metric"):
        wide = part.pivot_table(index="model", columns="explainer", values="score")
        if wide.shape[1] >= 2:
            found = kendall_w(wide.to_numpy())
            rows.append({"metric": metric, "w": found.mean, **found._asdict()})
    return pd.DataFrame(rows).drop(columns="mean", errors="ignore")


def numbers(found: Found) -> dict[str, Any]:
    """The metrics of the report's run."""
    metrics: dict[str, Any] = {
        f"{row['measure']}.{row['explainer']}.{str(row['kind']).replace(' ', '_')}": {
            end: row[end] for end in ("mean", "low", "high", "n")
        }
        for row in found.means.to_dict("records")
    }
    for row in found.tracking.to_dict("records"):
        for name in ("intercept", "slope"):
            metrics[f"{name}.{row['distance']}.{row['explainer']}"] = {
                "mean": row[name],
                "low": row[f"{name}_low"],
                "high": row[f"{name}_high"],
                "n": row["n"],
            }
    for row in found.order.to_dict("records"):
        metrics[f"order_w.{row['metric']}"] = {
            "mean": row["w"],
            **{end: row[end] for end in ("low", "high", "n")},
        }
    return metrics
