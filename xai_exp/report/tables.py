"""The tables of a study's page, as HTML whose columns sort; a cell's text is always escaped."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from xai_exp import statistics
from xai_exp.report import glossary

_OUTCOMES = ("right", "wrong", "unresolved")  # of a metric in a setting
_TEXTS = ('<td class="text"', '<td class="words"')


def means(scores: pd.DataFrame) -> pd.DataFrame:
    """Each explainer's mean by setting and metric, with its interval over models and images.

    Returns:
        setting, metric, higher_is_better, explainer, mean, low, high, n, models.
    """
    keys = ["setting", "metric", "higher_is_better", "explainer"]
    values = statistics.evened(scores, by=[*keys, "model"]).to_numpy()
    models, images = (pd.factorize(scores[name], sort=True)[0] for name in ("model", "image"))
    rows = []
    for names, mine in scores.groupby(keys, sort=False).indices.items():
        wide = _wide(models[mine], images[mine], values[mine])
        found = statistics.crossed_interval(wide)
        rows.append((*names, *found, len(wide)))  # pyright: ignore
    return pd.DataFrame(rows, columns=[*keys, "mean", "low", "high", "n", "models"])


def _wide(models: np.ndarray, images: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(models, images) means of the values, in the order of their numbers; NaN where none is."""
    (ours, row), (theirs, column) = (np.unique(x, return_inverse=True) for x in (models, images))
    cells, there = row * len(theirs) + column, ~np.isnan(values)
    size = len(ours) * len(theirs)
    count = np.bincount(cells[there], minlength=size)
    total = np.bincount(cells[there], values[there], minlength=size)
    means = np.divide(total, count, out=np.full(size, np.nan), where=count > 0)
    return means.reshape(len(ours), len(theirs))


def leaderboards(means: pd.DataFrame, audited: pd.DataFrame) -> list[tuple[str, str]]:
    """For each setting a table: explainers, the best first, by metrics; of `means`."""
    failed = set()
    if len(audited):
        rows = audited[~audited["passed"].to_numpy(bool)]
        failed = set(zip(rows["setting"], rows["metric"], strict=True))
    found = []
    for setting, rows in means.groupby("setting", sort=False):
        there = pd.DataFrame(rows[rows["n"] > 0])  # the others are under what failed
        metrics = there.drop_duplicates("metric")[["metric", "higher_is_better"]]
        heads = ["explainer"] + [
            f"{_explained(name)}<br><small>{'higher' if up else 'lower'} is better"
            f"{'<br>wrong by the audit' if (setting, name) in failed else ''}</small>"
            for name, up in metrics.itertuples(index=False)
        ]
        cells = {(r["explainer"], r["metric"]): r for r in rows.to_dict("records")}
        believed = [name for name in metrics["metric"] if (setting, name) not in failed]
        body = [
            [cell(words(name))]
            + [_estimate(cells.get((name, metric))) for metric in metrics["metric"]]
            for name in _best_first(pd.DataFrame(rows), believed)
        ]
        made = table(heads, body, name=f"leaderboard {setting}", escaped=False)
        found.append((html.escape(str(setting)), made))
    return found


def _explained(metric: object) -> str:
    """A metric's name, which says on hover what it is."""
    name, said = html.escape(words(metric)), glossary.meaning(glossary.base(str(metric)))
    return f'<abbr title="{html.escape(said)}">{name}</abbr>' if said else name


def _best_first(rows: pd.DataFrame, metrics: Sequence[object]) -> list[str]:
    """Explainers by their mean rank over these metrics, or over all if there are none."""
    mine = pd.DataFrame(rows[rows["metric"].isin(list(metrics))]) if metrics else rows
    sign = np.where(mine["higher_is_better"].astype(bool), -1, 1)
    turned = mine.assign(turned=mine["mean"] * sign)
    ranks = turned.pivot_table(index="explainer", columns="metric", values="turned").rank()
    rows_of = zip(ranks.index, ranks.to_numpy(), strict=True)
    means = {str(name): float(np.nanmean(one)) for name, one in rows_of}
    names = [str(name) for name in rows["explainer"].unique()]
    return sorted(names, key=lambda name: means.get(name, np.inf))


def audit(audited: pd.DataFrame) -> str:
    """In how many settings each metric is right, wrong or unresolved, and why."""
    if audited.empty:
        return ""
    body = []
    for metric, mine in audited.groupby("metric", sort=False):
        counts = [np.count_nonzero(mine["outcome"] == name) for name in _OUTCOMES]
        answers = [name for name, count in zip(_OUTCOMES, counts, strict=True) if count]
        answer = " or ".join(answers)
        if mine["reason"].str.contains("not asked").all():
            answer = "trusted"
        body.append(
            [
                cell(words(metric)),
                cell(answer, kind="text"),
                *(cell(str(count), count) for count in counts),
                cell(_reasons(pd.DataFrame(mine[mine["reason"] != ""])), kind="words"),
            ]
        )
    return table(["metric", "audit", *_OUTCOMES, "because"], body, name="audit")


def _reasons(rows: pd.DataFrame) -> str:
    """Each reason once, with the settings that have it."""
    found = []
    for reason, mine in rows.groupby("reason", sort=False):
        settings = "; ".join(str(name) for name in mine["setting"])
        everywhere = len(mine) > 3 and f"{len(mine)} settings"
        trusted = "not asked" in str(reason)
        found.append(words(reason) if trusted else f"{words(reason)} ({everywhere or settings})")
    return " · ".join(found)


def skipped(rows: Sequence[tuple[str, str, str]]) -> str:
    """Explainers that a network did not get, and why."""
    return _explainers(rows, "skipped because", "skipped")


def broken(rows: Sequence[tuple[str, str, str]]) -> str:
    """Explainers whose heatmaps did not keep what they promise, and by how much."""
    return _explainers(rows, "what was not kept", "broken")


def _explainers(rows: Sequence[tuple[str, str, str]], heading: str, name: str) -> str:
    """What happened to explainers, where it is the same in one row."""
    if not rows:
        return ""
    places: dict[tuple[str, str], list[str]] = {}
    for explainer, where, why in rows:
        places.setdefault((explainer, why), []).append(where)
    body = [
        [
            cell(words(explainer)),
            cell("; ".join(dict.fromkeys(where)), kind="words"),
            cell(why, kind="words"),
        ]
        for (explainer, why), where in places.items()
    ]
    return table(["explainer", "on", heading], body, name=name)


def poor(networks: pd.DataFrame) -> str:
    """Networks that are not accurate enough to be explained."""
    if networks.empty:
        return ""
    body = [
        [
            cell(row["dataset"]),
            cell(row["model"], kind="text"),
            cell(str(row["seed"]), row["seed"]),
            cell(f"{100 * row['accuracy']:.2f} %", row["accuracy"]),
        ]
        for row in networks.to_dict("records")
    ]
    return table(["dataset", "architecture", "seed", "test accuracy"], body, name="left out")


def failed(scores: pd.DataFrame) -> str:
    """Scores that are missing, counted by metric and reason."""
    missing = pd.DataFrame(scores[scores["score"].isna()])
    if missing.empty:
        return ""
    counts = missing.assign(n=1).groupby(["metric", "explainer", "reason"], sort=False)["n"].sum()
    several = pd.DataFrame(counts).reset_index().groupby(["metric", "reason"], sort=False)
    body = [
        [
            cell(words(names[0])),  # pyright: ignore
            cell(names[1], kind="words"),  # pyright: ignore
            cell(", ".join(words(name) for name in rows["explainer"]), kind="words"),
            cell(str(rows["n"].sum()), rows["n"].sum()),
        ]
        for names, rows in several
    ]
    return table(["metric", "no score because", "explainers", "scores"], body, name="failed")


def models(scores: pd.DataFrame) -> str:
    """Every trained network of the study."""
    columns = ["setting", "architecture", "seed", "accuracy"]
    found = pd.DataFrame(scores.drop_duplicates(["setting", "model"])[columns])
    body = [
        [
            cell(row["setting"]),
            cell(row["architecture"], kind="text"),
            cell(str(row["seed"]), row["seed"]),
            cell(f"{100 * row['accuracy']:.2f} %", row["accuracy"]),
        ]
        for row in found.to_dict("records")
    ]
    return table(["setting", "architecture", "seed", "test accuracy"], body, name="models")


def _estimate(row: Mapping[str, Any] | None) -> str:
    if row is None or row["n"] == 0:
        return cell("")
    return estimate(row["mean"], row["low"], row["high"])


def estimate(value: float, low: float, high: float) -> str:
    """A cell with a number and its interval below, if there is one."""
    if np.isnan(value):
        return cell("undefined")
    spread = "" if np.isnan(low) else f"{low:.3g} .. {high:.3g}"
    return f'<td data-value="{value:.6g}">{value:.3g}<br><small class="soft">{spread}</small></td>'


def between(low: float, high: float, form: str = ".2f") -> str:
    """The ends of an interval in brackets, if there is one.

    >>> between(0.1, 0.25), between(float("nan"), 1.0)
    (' (0.10 to 0.25)', '')
    """
    return "" if np.isnan(low) or np.isnan(high) else f" ({low:{form}} to {high:{form}})"


def cell(text: object, value: object = None, kind: str = "") -> str:
    """One cell; `value` is what its column sorts by."""
    data = "" if value is None else f' data-value="{value}"'
    style = f' class="{kind}"' if kind else ""
    return f"<td{style}{data}>{html.escape(str(text))}</td>"


def table(
    heads: Sequence[str], body: Sequence[Sequence[str]], *, name: str, escaped: bool = True
) -> str:
    """A table of cells, whose columns sort and which downloads as NAME.csv."""
    shown = [html.escape(head) if escaped else head for head in heads]
    left = [bool(body) and one.startswith(_TEXTS) for one in body[0]] if body else []
    classes = [' class="text"' * one for one in left] or [""] * len(shown)
    top = "".join(f"<th{kind}>{head}</th>" for kind, head in zip(classes, shown, strict=True))
    rows = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in body)
    return (
        f'<div class="wide"><table class="sortable" data-name="{html.escape(name)}">'
        f"<thead><tr>{top}</tr></thead>\n<tbody>{rows}</tbody></table></div>"
    )


def p_value(value: float) -> str:
    """A p value as people write it.

    >>> p_value(0.0002), p_value(0.0312)
    ('< 0.001', '0.031')
    """
    if np.isnan(value):
        return "none"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def words(name: object) -> str:
    """A name as words."""
    return str(name).replace("_", " ")


def judged(row: Any) -> str:  # noqa: ANN401
    """The metric of a verdict's row as words, and whether it was left out."""
    return words(row["metric"]) + ("" if row["audited"] else " (not counted)")
