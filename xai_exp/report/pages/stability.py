"""The stability report as one self-contained HTML page, to be read from top to bottom."""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from xai_exp.report import tables
from xai_exp.report.figures.stability_scalable import figures
from xai_exp.report.pages import document

_MEASURES = {
    "spearman": "Spearman correlation over pixels (-1 .. 1)",
    "cosine": "cosine (-1 .. 1)",
    "ssim": "structural similarity (-1 .. 1)",
    "top": "overlap of the most relevant tenth (0 .. 1; 0.1 by chance)",
    "parts": "agreement of the signed shares of relevance among the parts (0 .. 1)",
}
_TITLES = {"stability": "How stable are heatmaps over architectures and seeds?"}
_UNJUDGED = "can't be judged: the networks' exact part values do not differ enough."
_SMALL = 0.05  # a distance between shares that is next to none


def render(study: str, maps: Any, found: Any) -> str:  # noqa: ANN401
    """The page as text, of what `stability_tables` read and found."""
    made = {
        "likeness": likeness(found.means),
        "tracking": _tracking(found.tracking),
        "variance": _variance(found.variance),
        "accuracy": _accuracy(found.accuracy),
        "order": _order(found.order),
        "headline": html.escape(headline(found.means)),
    }
    names = {
        "alike": "how alike",
        "cause": "network or explainer",
        "choices": "choices",
        "accuracy": "accuracy",
        "order": "order",
        "picture": "one image",
    }
    there = {"cause": made["tracking"], "choices": made["variance"], "order": made["order"]}
    return document.filled(
        "stability.html",
        title=html.escape(_TITLES.get(study, f"How stable are heatmaps? {study}")),
        summary=_summary(maps),
        sections=[one for one in names.items() if there.get(one[0], True)],
        figures=figures(maps, found),
        architectures=_architectures(maps.models),
        **made,
    )


def sentence(row: Mapping[str, Any]) -> str:
    """What a fitted line means, in words.

    >>> line = {"intercept": 0.4, "intercept_low": 0.2, "intercept_high": 0.6, "slope": 0.1,
    ...         "slope_low": -0.5, "slope_high": 0.6, "due": 0.02}
    >>> sentence(line)[:58]
    'is unstable: its heatmaps differ by 0.40 [0.20, 0.60] even'
    """
    left, slope = (
        f"{_two(row[one])} [{_two(row[f'{one}_low'])}, {_two(row[f'{one}_high'])}]"
        for one in ("intercept", "slope")
    )
    if np.isnan(row["intercept_low"]) or np.isnan(row["slope_low"]):
        return _UNJUDGED
    if max(abs(row["intercept_high"]), abs(row["slope_high"])) < _SMALL:
        return "never differs, not even where the networks do: it says nothing about the network."
    if row["slope_low"] <= 0:
        if row["intercept_low"] > _SMALL:
            return (
                f"is unstable: its heatmaps differ by {left} even where two networks use the parts "
                f"alike, and it is not shown that they differ more where the networks do (slope "
                f"{slope})."
            )
        return (
            f"is undecided: {left} is left where two networks use the parts alike, slope {slope}."
        )
    if row["intercept_high"] < _SMALL:
        return (
            f"follows the networks: next to nothing is left where two networks use the parts alike "
            f"({left}), slope {slope}. Where its heatmaps differ, the network has changed."
        )
    return (
        f"follows the networks in part: slope {slope}, but {left} is left where two networks use "
        f"the parts alike; {100 * row['due']:.0f} % of its mean distance goes with the networks."
    )


def headline(means: pd.DataFrame) -> str:
    """Whose heatmaps are the most alike from architecture to architecture, and whose the least."""
    part: Any = means[(means["measure"] == "spearman") & means["mean"].notna()]
    kinds = set(part["kind"])
    kind = "other architecture" if "other architecture" in kinds else "other seed"
    rows = part[part["kind"] == kind].sort_values("mean").to_dict("records")
    if len(rows) < 2:
        return ""
    return (
        f"Over {kind.removeprefix('other ')}s, heatmaps of {tables.words(rows[-1]['explainer'])} "
        f"are the most alike (Spearman correlation {_known(rows[-1])}) and those of "
        f"{tables.words(rows[0]['explainer'])} the least ({_known(rows[0])})."
    )


def _known(row: Mapping[str, Any]) -> str:
    """A mean with its interval, if there is one."""
    if np.isnan(row["low"]):
        return _two(row["mean"])
    return f"{_two(row['mean'])}, 95 % interval {_two(row['low'])} to {_two(row['high'])}"


def likeness(means: pd.DataFrame) -> list[tuple[str, str]]:
    """A table for each measure: explainers by kinds of pairs."""
    kinds = list(dict.fromkeys(means["kind"]))
    found = []
    for measure, name in _MEASURES.items():
        mine: Any = means[means["measure"] == measure]
        if len(mine):
            cells = {(r["explainer"], r["kind"]): _mean(r) for r in mine.to_dict("records")}
            body = [
                [tables.cell(tables.words(one))]
                + [cells.get((one, kind), tables.cell("")) for kind in kinds]
                for one in dict.fromkeys(mine["explainer"])
            ]
            heads = ["explainer", *kinds]
            found.append((name, tables.table(heads, body, name=f"likeness_{measure}")))
    return found


def _summary(maps: Any) -> str:  # noqa: ANN401
    groups = maps.models["architecture"].nunique()
    seeds = maps.models["seed"].nunique()
    return (
        f"{len(maps.models)} networks of {groups} architecture{'s' * (groups != 1)} from {seeds} "
        f"seed{'s' * (seeds != 1)}, {maps.left_out} left out for their accuracy; "
        f"{len(maps.images)} images, the same for all; {len(maps.heatmaps)} explainers."
    )


def _mean(row: Mapping[str, Any], value: str = "mean", low: str = "low", high: str = "high") -> str:
    if np.isnan(row[value]):
        return tables.cell("")
    spread = "" if np.isnan(row[low]) else f"{_two(row[low])} .. {_two(row[high])}"
    return (
        f'<td data-value="{row[value]:.6g}">{_two(row[value])}'
        f'<br><small class="soft">{spread}</small></td>'
    )


def _two(number: float) -> str:
    """Two decimals, zero without a sign."""
    return f"{round(number, 2) + 0.0:.2f}"


def _tracking(table: pd.DataFrame) -> dict[str, Any] | None:
    if table.empty:
        return None
    rows: list[Any] = table.to_dict("records")
    heads = ["explainer", "distance of", "left at 0", "slope", "correlation", "due", "pairs"]
    body = [
        [
            tables.cell(tables.words(row["explainer"])),
            tables.cell(row["distance"], kind="text"),
            *(_mean(row, one, f"{one}_low", f"{one}_high") for one in ("intercept", "slope")),
            *(tables.cell(f"{row[one]:.2f}") for one in ("correlation", "due")),
            tables.cell(row["n"]),
        ]
        for row in rows
    ]
    told = [
        (html.escape(tables.words(row["explainer"])), html.escape(sentence(row)))
        for row in rows
        if row["distance"] == "parts"
    ]
    judged = any(one != html.escape(_UNJUDGED) for _, one in told)
    made = tables.table(heads, body, name="tracking")
    return {"sentences": told, "judged": judged, "table": made}


def _variance(table: pd.DataFrame) -> str:
    if table.empty:
        return ""
    body = [
        [
            tables.cell(tables.words(row["explainer"])),
            tables.cell(tables.words(row["choice"]), kind="text"),
            *(tables.cell(f"{row[one]:.3f}") for one in ("share", "expected")),
            tables.cell(tables.p_value(row["p"]), row["p"]),
        ]
        for row in table.to_dict("records")
    ]
    heads = ["explainer", "choice", "share explained", "by chance", "p"]
    return tables.table(heads, body, name="variance")


def _accuracy(table: pd.DataFrame) -> str:
    if np.isnan(table["rho"].to_numpy(float)).all():
        return ""
    body = [
        [
            tables.cell(tables.words(row["explainer"])),
            tables.cell("" if np.isnan(row["rho"]) else f"{row['rho']:+.2f}", row["rho"]),
            tables.cell(tables.p_value(row["p"]), row["p"]),
            tables.cell(row["n"]),
        ]
        for row in table.to_dict("records")
    ]
    heads = ["explainer", "rank correlation of likeness with accuracy", "p", "networks"]
    return tables.table(heads, body, name="accuracy")


def _order(table: pd.DataFrame) -> str:
    if table.empty:
        return ""
    body = [
        [tables.cell(tables.words(row["metric"])), _mean(row, "w"), tables.cell(row["n"])]
        for row in table.to_dict("records")
    ]
    return tables.table(["metric", "Kendall's W", "networks"], body, name="order")


def _architectures(models: pd.DataFrame) -> str:
    body = [
        [
            tables.cell(number, number),
            tables.cell(words or "the only one", kind="words"),
            tables.cell(", ".join(str(seed) for seed in mine["seed"]), kind="text"),
            tables.cell(f"{100 * mine['accuracy'].mean():.2f} %"),
        ]
        for number, (words, mine) in enumerate(models.groupby("architecture", sort=False), 1)
    ]
    heads = ["number", "architecture", "seeds", "mean test accuracy"]
    return tables.table(heads, body, name="architectures")
