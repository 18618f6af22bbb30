"""From kept explanations to the tables of a stability report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_exp import stability
from xai_exp.config import InputError
from xai_exp.statistics import kendall_w
from xai_exp.tracking import Kept

VERSION = 1
Array = NDArray[Any]
_CHOICES = ("model.", "trainer.")
_SHOWN = "spearman"


@dataclass(frozen=True, kw_only=True)
class Maps:
    """Heatmaps of the same images by all models that are good enough.

    Attributes:
        models: A row a model: architecture (in words), seed, accuracy, and its choices.
        choices: The names of those that vary.
        heatmaps: (models, images, height, width) for each explainer.
        images: (images, channels, height, width) in bytes.
        masks: (images, 1, height, width) coverage of all parts in 0..1; None without truth.
        scores: A row a model, explainer and metric with the mean over images.
        runs: What all this was read from.
        left_out: How many models were not good enough.
    """

    models: pd.DataFrame
    choices: tuple[str, ...]
    heatmaps: Mapping[str, Array]
    images: Array
    masks: Array | None
    scores: pd.DataFrame
    runs: Sequence[str]
    left_out: int


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
    """

    means: pd.DataFrame
    variance: pd.DataFrame
    accuracy: pd.DataFrame
    order: pd.DataFrame
    matrices: Mapping[str, Array]
    likeness: Mapping[str, Array]

    def tables(self) -> dict[str, pd.DataFrame]:
        """Those that are recorded."""
        return {
            "similarity": self.means,
            "variance": self.variance,
            "accuracy": self.accuracy,
            "order": self.order,
        }


def gathered(kept: Sequence[Kept], least_accuracy: float) -> Maps:
    """Read the heatmaps of every model at least so accurate that every explainer explained.

    Raises:
        InputError: when fewer than two models are left, or their images differ.
    """
    good = [one for one in kept if one.accuracy >= least_accuracy]
    models = {one.tags["model_key"]: one for one in good}
    by = {(one.tags["model_key"], one.tags["explainer"]): one for one in good}
    names = sorted({name for _, name in by})
    whole = [key for key in models if all((key, name) in by for name in names)]
    all_models = len({one.tags["model_key"] for one in kept})
    if len(whole) < 2:
        best = max((one.accuracy for one in kept), default=float("nan"))
        raise InputError(
            f"stability: got {len(whole)} of {all_models} models with accuracy of at least "
            f"{least_accuracy:g} and all heatmaps (the best has {best:.3f}); allowed: two or more"
        )
    table, choices = _described([models[key] for key in whole])
    place = table.sort_values(["architecture", "seed"]).index.to_numpy()
    whole, table = [whole[i] for i in place], table.loc[place].reset_index(drop=True)
    arrays = {pair: by[pair].arrays() for pair in ((k, n) for k in whole for n in names)}
    first = arrays[whole[0], names[0]]
    if any(not np.array_equal(one["images"], first["images"]) for one in arrays.values()):
        raise InputError(
            "stability: got models that explain different images; allowed: the same dataset and "
            "the same number of images in all runs of the study"
        )
    return Maps(
        models=table,
        choices=choices,
        heatmaps={
            name: np.stack([arrays[key, name]["heatmaps"] for key in whole]) for name in names
        },
        images=first["images"],
        masks=first["masks"][:, None] / 255.0 if "masks" in first else None,
        scores=_scores([by[pair] for pair in arrays]),
        runs=[by[pair].run for pair in arrays],
        left_out=all_models - len(whole),
    )


def _described(models: Sequence[Kept]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Each model's architecture in words, its choices, seed and accuracy."""
    params: Any = pd.DataFrame([dict(one.params) for one in models])
    varied = [
        str(name)
        for name in params
        if str(name).startswith(_CHOICES) and params[name].nunique(dropna=False) > 1
    ]
    short = {name: name.removeprefix("model.") for name in varied}
    table = params[varied].rename(columns=short).fillna("")
    words = [" ".join(f"{k}={v}" for k, v in row.items()) for row in table.to_dict("records")]
    table = table.assign(
        architecture=words,
        seed=[int(one.tags.get("seed", 0)) for one in models],
        accuracy=[float(one.accuracy) for one in models],
    )
    return table, tuple(short.values())


def _scores(kept: Sequence[Kept]) -> pd.DataFrame:
    rows = []
    for one in kept:
        up: Any = one.scores.groupby("metric")["higher_is_better"].first()
        means: Any = one.scores.groupby("metric")["score"].mean()
        for metric, mean in means.items():
            value = mean if up[metric] else -mean
            rows.append(
                {
                    "model": one.tags["model_key"],
                    "explainer": one.tags["explainer"],
                    "metric": metric,
                    "score": value,
                }
            )
    return pd.DataFrame(rows, columns=["model", "explainer", "metric", "score"])


def compared(maps: Maps, seed: int = 0) -> Found:
    """Every comparison of the report."""
    groups = maps.models["architecture"].to_numpy()
    kinds = stability.kinds(groups)
    means, variance, accuracy = [], [], []
    matrices, likeness = {}, {}
    for name, heat in maps.heatmaps.items():
        found = stability.similarities(heat, heat, maps.masks)
        means += _means(name, found, kinds, groups)
        means += _chance(name, heat, maps.masks, groups, seed)
        matrices[name] = _mean_over_images(found[_SHOWN])
        distance = np.clip(1 - np.nan_to_num(matrices[name]), 0, None)
        np.fill_diagonal(distance, 0)
        columns: Any = maps.models[[*maps.choices, "seed"]]
        variance.append(
            stability.explained_variance(distance, columns, groups).assign(explainer=name)
        )
        pairs = kinds["other architecture"]
        pairs = pairs if pairs.any() else kinds["other seed"]
        likeness[name], rho, p = stability.against_accuracy(
            found[_SHOWN], maps.models["accuracy"].to_numpy(), pairs
        )
        accuracy.append({"explainer": name, "rho": rho, "p": p, "n": len(groups)})
    return Found(
        means=pd.DataFrame(means),
        variance=pd.concat(variance, ignore_index=True),
        accuracy=pd.DataFrame(accuracy),
        order=_order(maps.scores),
        matrices=matrices,
        likeness=likeness,
    )


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
    name: str, heat: Array, masks: Array | None, groups: Array, seed: int
) -> list[dict[str, Any]]:
    """What similarity is without any: heatmaps of other images, and random heatmaps."""
    noise = np.random.default_rng(seed).normal(size=heat.shape)
    off = ~np.eye(len(heat), dtype=bool)
    beside = {
        "other images": stability.similarities(heat, np.roll(heat, 1, axis=1), masks),
        "random": stability.similarities(noise, noise, masks),
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
    for row in found.order.to_dict("records"):
        metrics[f"order_w.{row['metric']}"] = {
            "mean": row["w"],
            **{end: row[end] for end in ("low", "high", "n")},
        }
    return metrics


def printed(found: Found) -> Any:  # noqa: ANN401
    """The mean Spearman correlations for the terminal."""
    from rich.table import Table

    kinds = list(dict.fromkeys(found.means["kind"]))
    shown = Table(title="Spearman correlation of heatmaps, mean and 95 % interval")
    shown.add_column("explainer", no_wrap=True)
    for kind in kinds:
        shown.add_column(kind, justify="right")
    part = found.means[found.means["measure"] == _SHOWN].set_index(["explainer", "kind"])
    for name in found.matrices:
        shown.add_row(name, *(_cell(part.loc[(name, kind)]) for kind in kinds))
    return shown


def _cell(row: Any) -> str:  # noqa: ANN401
    if row["low"] != row["low"]:
        return f"{row['mean']:+.2f}"
    return f"{row['mean']:+.2f}  [dim]{row['low']:+.2f} .. {row['high']:+.2f}[/]"
