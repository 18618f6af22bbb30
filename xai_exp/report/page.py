"""One self-contained HTML page from a study's scores: nothing is loaded from elsewhere."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jinja2 import Environment
from matplotlib.figure import Figure

from xai_exp import statistics, verdict
from xai_exp.config import InputError
from xai_exp.report import gallery, plots, tables
from xai_exp.verdict import Verdict

_MOST_IMAGES, _MOST_MODELS, _MOST_MAPS = 12, 3, 24
_INTERVALS = (
    "Several models: a two-way layout of models and images with Student's t; one model: the "
    "bootstrap over its images (BCa)."
)
REFERENCES = (
    "Samek, Binder, Montavon, Lapuschkin, Müller: Evaluating the visualization of what a deep "
    "neural network has learned. IEEE TNNLS 2017.",
    "Shapley: A value for n-person games. 1953.",
    "Demsar: Statistical comparisons of classifiers over multiple data sets. JMLR 2006.",
    "Holm: A simple sequentially rejective multiple test procedure. 1979.",
    "Efron: Better bootstrap confidence intervals. JASA 1987.",
)


@dataclass(frozen=True, kw_only=True)
class Maps:
    """What the image browser shows of one setting.

    Attributes:
        setting: its name.
        images: (image, height, width) grey levels in bytes.
        masks: (image, height, width) coverage by objects in bytes, if known.
        captions: a line an image.
        channels: of the images.
        models: for a model's name, its heatmaps (image, height, width) by explainer.
    """

    setting: str
    images: np.ndarray
    masks: np.ndarray | None
    captions: Sequence[str]
    models: Mapping[str, Mapping[str, np.ndarray]]
    channels: int = 1


class Section(NamedTuple):
    """A section of the page beside the usual ones.

    Attributes:
        title: its heading, and in lower case its name in the list of sections.
        body: HTML.
    """

    title: str
    body: str


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a page is made of.

    Attributes:
        title: the question.
        scores: the tidy table, as `collect.tidy` makes it.
        verdicts: on the claims, if there are any.
        audited: which metrics passed, as `verdict.audit` has it.
        commands: that make it again.
        versions: of what it was made with, by name.
        curves: for a metric, x and each explainer's mean curve.
        maps: for the image browser.
        pairs: metrics to draw one against the other, a point a model.
        extras: sections after the answers.
        answer: in one sentence; if empty, how many claims hold.
        poor: networks that were left out: dataset, model, seed, accuracy.
        least_accuracy: for which reason.
        skipped: explainers that a network did not get: explainer, where, why.
    """

    title: str
    scores: pd.DataFrame
    verdicts: Sequence[Verdict] = ()
    audited: pd.DataFrame = field(default_factory=pd.DataFrame)
    commands: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]] = field(default_factory=dict)
    maps: Sequence[Maps] = ()
    pairs: Sequence[tuple[str, str]] = ()
    extras: Sequence[Section] = ()
    answer: str = ""
    poor: pd.DataFrame = field(default_factory=pd.DataFrame)
    least_accuracy: float = 0.0
    skipped: Sequence[tuple[str, str, str]] = ()

    @property
    def headline(self) -> str:
        """The answer in one sentence."""
        return self.answer or verdict.headline(self.verdicts)


def render(study: Study) -> str:
    """The page as text."""
    template = resources.files("xai_exp.report").joinpath("page.html").read_text("utf-8")
    made = {
        "claims": _claims(study.verdicts),
        "audit": tables.audit(study.audited),
        "leaders": tables.leaderboards(study.scores, study.audited),
        "ranks": _ranks(study.scores, study.audited),
        "agreement": _agreement(study.scores),
        "curves": _curves(study.curves),
        "extras": study.extras,
        "pairs": [_pair(study.scores, one) for one in study.pairs],
        "images": _browser(study.maps),
        "failed": tables.failed(study.scores),
        "skipped": tables.skipped(study.skipped),
        "poor": tables.poor(study.poor),
        "models": tables.models(study.scores),
    }
    sections = [("answers", "answers")]
    sections += [(f"extra-{n}", one.title.lower()) for n, one in enumerate(study.extras, 1)]
    sections += [("repeat", "how to repeat"), ("leaders", "leaderboard")]
    later = {"pairs": "pairs", "agreement": "agreement", "curves": "curves", "images": "images"}
    ids = {"images": "browser"}
    sections += [(ids.get(key, key), name) for key, name in later.items() if made[key]]
    return (
        Environment(autoescape=False)  # its values are HTML already; texts are escaped here
        .from_string(template)
        .render(
            title=html.escape(study.title),
            headline=html.escape(study.headline),
            style=style(),
            pooling=_pooling(study.maps),
            least=f"{study.least_accuracy:.1%}",
            summary=_summary(study.scores),
            sections=[*sections, ("failed", "what failed"), ("references", "references")],
            commands=[html.escape(line) for line in study.commands],
            versions=_versions(study.versions, study.scores),
            intervals=_INTERVALS,
            references=[html.escape(line) for line in REFERENCES],
            **made,
        )
    )


def _summary(scores: pd.DataFrame) -> str:
    counts = {
        "setting": scores["setting"].nunique(),
        "model": scores["model"].nunique(),
        "explainer": scores["explainer"].nunique(),
        "metric": scores["metric"].nunique(),
        "score": len(scores),
    }
    return ", ".join(f"{n:,} {name}{'s' * (n != 1)}" for name, n in counts.items()) + "."


def style() -> str:
    """The style sheet of every page."""
    return resources.files("xai_exp.report").joinpath("style.css").read_text("utf-8")


def _pooling(maps: Sequence[Maps]) -> str:
    """Whether it can matter how channels are pooled to one heatmap."""
    if not maps or any(one.channels > 1 for one in maps):
        return ""
    return (
        "How channels are pooled to one heatmap is no setting here: all images are grey, so that "
        "a heatmap has one channel to begin with."
    )


def _claims(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    tests = sum(int(np.isfinite(one.rows["p"].to_numpy(float)).sum()) for one in verdicts)
    return [_claim(one, tests) for one in verdicts]


def _claim(one: Verdict, tests: int) -> dict[str, Any]:
    rows = one.rows.to_dict("records")
    heads = ["setting", "metric", "difference", "95 % interval", "effect"]
    heads += ["p", "p (Holm)", "n"]
    body = [
        [
            tables.cell(row["setting"]),
            tables.cell(tables.words(row["metric"]) + ("" if row["audited"] else " (not counted)")),
            tables.cell(f"{row['difference']:+.3g}", row["difference"]),
            tables.cell(f"{row['low']:+.3g} .. {row['high']:+.3g}", row["low"]),
            tables.cell(f"{row['effect']:+.2f}", row["effect"]),
            tables.cell(tables.p_value(row["p"]), row["p"]),
            tables.cell(tables.p_value(row["adjusted"]), row["adjusted"]),
            tables.cell(str(row["n"]), row["n"]),
        ]
        for row in rows
    ]
    return {
        "text": html.escape(one.claim.text),
        "source": html.escape(one.claim.source),
        "answer": one.answer,
        "kind": one.answer.replace(" ", "-"),
        "sentence": html.escape(_capital(verdict.sentence(one, tests).partition(": ")[2])),
        "figure": picture(plots.forest(_counted(one.rows), one.claim.sides)) if rows else "",
        "table": tables.table(heads, body, name=one.claim.text) if rows else "",
    }


def _counted(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that count, or all if none does."""
    counted = pd.DataFrame(rows[rows["audited"].to_numpy(bool)])
    return counted if len(counted) else rows


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _pair(scores: pd.DataFrame, names: tuple[str, str]) -> dict[str, str]:
    """One metric against another over the models of all settings.

    Raises:
        InputError: when a metric was not scored.
    """
    known = scores["metric"].unique().tolist()
    for name in names:
        if name not in known:
            raise InputError(f"pairs: got metric {name}; allowed: one of {', '.join(known)}")
    mine = pd.DataFrame(scores[scores["metric"].isin(list(names))])
    keys = ["explainer", "setting", "model"]
    there = mine.pivot_table(index=keys, columns="metric", values="score").dropna()
    drawn = [
        {str(name): rows[metric].to_numpy(float) for name, rows in there.groupby(level=0)}
        for metric in names
    ]
    title = f"{tables.words(names[1])} against {tables.words(names[0])}"
    return {"title": title, "figure": picture(plots.against(*drawn, names=names))}


def _ranks(scores: pd.DataFrame, audited: pd.DataFrame) -> list[dict[str, str]]:
    """A critical-difference diagram for every metric, over the settings where it passed."""
    found = []
    for metric in scores["metric"].unique():
        names, table = blocks(scores, str(metric), audited)
        if len(table) < 2 or len(names) < 2:
            continue
        ranking = statistics.friedman(table)
        test = f"{ranking.n} models, Friedman p {tables.p_value(ranking.p)}"
        caption = f"{tables.words(metric)}: {test}"
        figure = plots.critical_difference(ranking, names)
        found.append({"caption": html.escape(caption), "figure": picture(figure)})
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


def _agreement(scores: pd.DataFrame) -> str:
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
    return picture(plots.agreement(table[np.ix_(order, order)], [names[i] for i in order]))


def _curves(
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
    for group in found.values():
        for one in group["plots"]:
            one["figure"] = picture(plots.curves(one.pop("x"), one["drawn"], title=one["title"]))
            one["title"] = html.escape(one["title"])
    return list(found.values())


def _same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def _versions(versions: Mapping[str, str], scores: pd.DataFrame) -> str:
    words = ", ".join(f"{name} {value}" for name, value in versions.items())
    if words:
        seeds = ", ".join(str(seed) for seed in sorted(scores["seed"].unique()))
        words += f"; seeds {seeds}"
    return f'<p class="soft">Made with {html.escape(words)}.</p>' if words else ""


def _browser(maps: Sequence[Maps]) -> str:
    if not maps:
        return ""
    found = [
        {
            "name": one.setting,
            "size": list(one.images.shape[1:]),
            "images": _encoded(one.images[:_MOST_IMAGES]),
            "masks": _encoded(one.masks[:_MOST_IMAGES]) if one.masks is not None else None,
            "captions": list(one.captions[:_MOST_IMAGES]),
            "models": [
                {
                    "name": name,
                    "heatmaps": {
                        tables.words(method): _encoded(_signed(drawn[:_MOST_IMAGES]))
                        for method, drawn in list(heatmaps.items())[:_MOST_MAPS]
                    },
                }
                for name, heatmaps in list(one.models.items())[:_MOST_MODELS]
            ],
        }
        for one in maps
    ]
    return json.dumps(found).replace("</", "<\\/")


def _signed(heatmaps: np.ndarray) -> np.ndarray:
    """Each map in -127..127, its 99.5 % quantile at the end of the scale."""
    ends = np.array([gallery.limit(torch.from_numpy(one)) for one in heatmaps])[:, None, None]
    return (np.clip(np.nan_to_num(heatmaps / ends), -1, 1) * 127).round().astype(np.int8)


def _encoded(block: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(block).tobytes()).decode()


def picture(figure: Figure) -> str:
    """A figure as the address of an image within the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white", bbox_inches="tight", pad_inches=0.1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
