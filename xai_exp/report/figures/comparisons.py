"""The figures of a page: ranks, one score against another, agreement of metrics and curves."""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from xai_exp import statistics
from xai_exp.config import InputError
from xai_exp.report import tables
from xai_exp.report.figures import plots
from xai_exp.report.figures.svg import svg


def pair(scores: pd.DataFrame, names: tuple[str, str]) -> dict[str, str]:
    """One metric against another over the models of all settings; no figure where none has both.

    Raises:
        InputError: when a metric was not scored.
    """
    known = scores["metric"].unique().tolist()
    for name in names:
        if name not in known:
            raise InputError(f"pairs: got metric {name}; allowed: one of {', '.join(known)}")
    mine = pd.DataFrame(scores[scores["metric"].isin(list(names))])
    keys = ["explainer", "setting", "model"]
    mine = mine.assign(score=statistics.evened(mine, by=[*keys, "metric"]))
    wide = mine.pivot_table(index=keys, columns="metric", values="score")
    there = wide.reindex(columns=list(names)).dropna()  # one without any score has no column
    title = f"{tables.words(names[1])} against {tables.words(names[0])}"
    if there.empty:
        return {"title": f"{title}: no model has a score by both", "figure": ""}
    drawn = [
        {str(name): rows[metric].to_numpy(float) for name, rows in there.groupby(level=0)}
        for metric in names
    ]
    return {"title": title, "figure": svg(plots.against(*drawn, names=names), title)}


def ranks(scores: pd.DataFrame, audited: pd.DataFrame) -> list[dict[str, str]]:
    """A critical-difference diagram for every metric, over the settings where it passed.

    Where all explainers tie there is nothing to draw, and its caption says so.
    """
    found = []
    for metric in scores["metric"].unique():
        names, table = blocks(scores, str(metric), audited)
        if len(table) < 2 or len(names) < 2:
            continue
        if not (table != table[:, :1]).any():
            caption = f"{tables.words(metric)}: all explainers tie in every model"
            found.append({"caption": html.escape(caption), "figure": ""})
            continue
        ranking = statistics.friedman(table)
        test = f"{ranking.n} models, Friedman p {tables.p_value(ranking.p)}"
        caption = f"{tables.words(metric)}: {test}"
        figure = plots.critical_difference(ranking, names)
        found.append({"caption": html.escape(caption), "figure": svg(figure, caption)})
    return found


def blocks(
    scores: pd.DataFrame, metric: str, audited: pd.DataFrame | None = None
) -> tuple[list[str], np.ndarray]:
    """One metric's independent blocks (a model of a setting) by explainers, more is better.

    Explainers that lack a score in more than half of the images are left out, and so are settings
    where the metric failed the audit.
    """
    mine = pd.DataFrame(scores[scores["metric"] == metric])
    if audited is not None and len(audited):
        good = audited[(audited["metric"] == metric) & audited["passed"]]
        mine = pd.DataFrame(mine[mine["setting"].isin(list(good["setting"]))])
    wide = mine.pivot_table(
        index=["setting", "model", "image"], columns="explainer", values="score", dropna=False
    )
    wide = wide.loc[wide.notna().any(axis=1)]
    if wide.empty:
        return [], np.empty((0, 0))
    wide = wide.loc[:, wide.notna().mean() > 0.5]
    sign = 1 if np.all(mine["higher_is_better"].to_numpy(bool)) else -1
    found = [_dealt(sign * rows) for _, rows in wide.groupby(level="setting", sort=False)]
    return [str(name) for name in wide.columns], np.concatenate(found)


def _dealt(rows: pd.DataFrame) -> np.ndarray:
    """A setting's models as independent blocks."""
    models, images = (rows.index.unique(level) for level in ("model", "image"))
    every = pd.MultiIndex.from_product([models, images], names=["model", "image"])
    cube = rows.droplevel("setting").reindex(every).to_numpy(float)
    dealt = statistics.independent_blocks(cube.reshape(len(models), len(images), -1))
    return dealt.reshape(-1, rows.shape[1])


def agreement(scores: pd.DataFrame) -> str:
    """How metrics rank the explainers alike, turned so that more is better."""
    names = [str(name) for name in scores["metric"].unique()]
    explainers = [str(name) for name in scores["explainer"].unique()]
    if len(names) < 2 or len(explainers) < 3:
        return ""
    sign = np.where(scores["higher_is_better"].astype(bool), 1, -1)
    turned = scores.assign(score=scores["score"] * sign)
    index = ["setting", "model", "image"]
    wide = turned.pivot_table(
        index=index, columns=["metric", "explainer"], values="score", dropna=False
    )
    cube = [pd.DataFrame(wide[name]).reindex(columns=explainers).to_numpy() for name in names]
    table, order = statistics.agreement(cube)
    figure = plots.agreement(table[np.ix_(order, order)], [names[i] for i in order])
    return svg(figure, "Rank correlation between metrics")


def drawn_curves(
    curves: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]],
) -> list[dict[str, Any]]:
    """The plots of each setting; metrics that read the same curves share one."""
    found: dict[str, dict[str, Any]] = {}
    for name, (x, drawn) in curves.items():
        setting, _, metric = name.partition(": ")
        group = found.setdefault(setting, {"setting": html.escape(setting), "plots": []})
        for other in group["plots"]:
            if _same(drawn, other["drawn"]):
                other["title"] += f"; {metric}"
                break
        else:
            group["plots"].append({"title": metric, "x": x, "drawn": drawn})
    for name, group in found.items():
        for one in group["plots"]:
            alt = f"{name}: {one['title']}"
            one["figure"] = svg(plots.curves(one.pop("x"), one.pop("drawn")), alt)
            one["title"] = html.escape(tables.words(one["title"]))
    return list(found.values())


def _same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)
