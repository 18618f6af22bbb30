"""One self-contained HTML page from a study's scores: nothing is loaded from elsewhere."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from xai_exp.report import glossary, tables
from xai_exp.report.figures import comparisons
from xai_exp.report.figures.forest import forest
from xai_exp.report.pages import browser
from xai_exp.report.pages.browser import Maps
from xai_exp.report.pages.document import filled
from xai_exp.verdicts import verdict
from xai_exp.verdicts.scores import FACTORS
from xai_exp.verdicts.verdict import Verdict

_INTERVALS = (
    "Several networks: a two-way layout of networks and images with Student's t, never narrower "
    "than networks as units; one network: the bootstrap over its images (BCa), below 20 of them "
    "Student's t."
)
REFERENCES = (
    "Samek, Binder, Montavon, Lapuschkin, Müller: Evaluating the visualization of what a deep "
    "neural network has learned. IEEE TNNLS 2017.",
    "Shapley: A value for n-person games. 1953.",
    "Demsar: Statistical comparisons of classifiers over multiple data sets. JMLR 2006.",
    "Searle, Casella, McCulloch: Variance components. 1992.",
    "Westfall, Young: Resampling-based multiple testing. 1993.",
    "Efron: Better bootstrap confidence intervals. JASA 1987.",
)


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
        audited: which metrics passed, as `xai_exp.verdicts.audit` has it.
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
        broken: promises that explainers broke: explainer, where, by how much.
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
    broken: Sequence[tuple[str, str, str]] = ()

    @cached_property
    def means(self) -> pd.DataFrame:
        """Each explainer's mean by setting and metric."""
        return tables.means(self.scores)

    @property
    def headline(self) -> str:
        """The answer in one sentence."""
        return self.answer or verdict.headline(self.verdicts)


def render(study: Study) -> str:
    """The page as text."""
    made = {
        "claims": _claims(study.verdicts),
        "audit": tables.audit(study.audited),
        "leaders": tables.leaderboards(study.means, study.audited),
        "ranks": comparisons.ranks(study.scores, study.audited),
        "agreement": comparisons.agreement(study.scores),
        "curves": comparisons.drawn_curves(study.curves),
        "extras": study.extras,
        "pairs": [comparisons.pair(study.scores, one) for one in study.pairs],
        "images": browser.data(study.maps),
        "thumbnail": browser.thumbnail(study.maps),
        "failed": tables.failed(study.scores),
        "skipped": tables.skipped(study.skipped),
        "broken": tables.broken(study.broken),
        "poor": tables.poor(study.poor),
        "models": tables.models(study.scores),
    }
    metrics = study.scores["metric"].unique()
    sections = [("browser", "pictures")] if made["images"] else []
    sections += [("answers", "answers")]
    sections += [(f"extra-{n}", one.title.lower()) for n, one in enumerate(study.extras, 1)]
    sections += [("repeat", "how to repeat"), ("leaders", "leaderboard")]
    later = {"pairs": "pairs", "agreement": "agreement", "curves": "curves"}
    sections += [(key, name) for key, name in later.items() if made[key]]
    return filled(
        "page.html",
        title=html.escape(study.title),
        headline=html.escape(study.headline),
        pooling=browser.pooling(study.maps),
        least=f"{study.least_accuracy:.1%}",
        summary=_summary(study.scores),
        sections=[*sections, ("failed", "what failed"), ("references", "references")],
        commands=[html.escape(line) for line in study.commands],
        versions=_versions(study.versions, study.scores),
        intervals=_INTERVALS,
        glossary=[(name, html.escape(said)) for name, said in glossary.told(metrics)],
        references=[html.escape(line) for line in REFERENCES],
        **made,
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


def _claims(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    tests = sum(len(one.rows) for one in verdicts)
    return [_claim(one, tests) for one in verdicts]


def _claim(one: Verdict, tests: int) -> dict[str, Any]:
    rows = one.rows.to_dict("records")
    factors = [name for name in FACTORS if name in rows[0]] if rows else []
    heads = ["setting", "metric", *factors, "outcome", "difference", "simultaneous 95 %"]
    heads += ["detectable", "effect", "p (simultaneous)", "networks", "images"]
    body = [
        [
            tables.cell(row["setting"]),
            tables.cell(tables.judged(row), kind="text"),
            *(tables.cell(row[name], kind="text") for name in factors),
            tables.cell(row["outcome"], kind="text"),
            tables.cell(f"{row['difference']:+.3g}", row["difference"]),
            tables.cell(_known(f"{row['low']:+.3g} .. {row['high']:+.3g}"), row["low"]),
            tables.cell(_known(f"{row['detectable']:.3g}"), row["detectable"]),
            tables.cell(_known(f"{row['effect']:+.2f}"), row["effect"]),
            tables.cell(tables.p_value(row["p"]), row["p"]),
            tables.cell(str(row["networks"]), row["networks"]),
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
        "effects": forest(_counted(one.rows), one.claim.sides) if rows else "",
        "table": tables.table(heads, body, name=one.claim.text) if rows else "",
    }


def _known(number: str) -> str:
    return "undefined" if "nan" in number else number


def _counted(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that count, or all if none does."""
    counted = pd.DataFrame(rows[rows["audited"].to_numpy(bool)])
    return counted if len(counted) else rows


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _versions(versions: Mapping[str, str], scores: pd.DataFrame) -> str:
    words = ", ".join(f"{name} {value}" for name, value in versions.items())
    if words:
        seeds = ", ".join(str(seed) for seed in sorted(scores["seed"].unique()))
        words += f"; seeds {seeds}"
    return f'<p class="soft">Made with {html.escape(words)}.</p>' if words else ""
