"""The page of what answers say, and a table of its numbers."""

import html
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from xai_exp.report import tables
from xai_exp.report.figures import ink
from xai_exp.report.figures.svg import svg
from xai_exp.report.pages import document
from xai_exp.report.pages.page import Section
from xai_exp.statistics import Interval
from xai_exp.statistics.preferences import Preferences
from xai_exp.survey import analysis
from xai_exp.survey.analysis import Guessed, Preferred
from xai_exp.survey.answers import Answers
from xai_exp.survey.key import PAIRS, Key

Rows = Sequence[tuple[str, str, Interval]]
_ALPHA = (
    "Krippendorff's alpha (nominal): 1 if all raters agree, 0 if as often as by chance. Its "
    "interval is the wider one of a bootstrap over questions and, from three raters on, of a "
    "jackknife over raters."
)


def written(key: Key, answers: Sequence[Answers]) -> tuple[str, pd.DataFrame, str]:
    """The page, a row for each of its numbers, and its answer in one sentence."""
    if key.kind == PAIRS:
        found = analysis.preferred(key, answers)
        headline, parts, rows = _preferred(key, found)
    else:
        guessed = analysis.guessed(key, answers)
        headline, parts, rows = _guessed(key, guessed)
    count = sum(len(one.given) for one in answers)
    seconds = float(np.median([one for each in answers for one in each.seconds.values()]))
    people = f"{len(answers)} {'people' if len(answers) > 1 else 'person'}"
    page = document.filled(
        "plain.html",
        title=html.escape(f"{key.title} What people said"),
        headline=html.escape(headline),
        summary=f"{people}, {count} answers, {seconds:.1f} s each (median). Survey {key.survey}.",
        sections=[(f"part-{n}", one.title.lower()) for n, one in enumerate(parts, 1)],
        parts=parts,
    )
    columns = ["what", "name", "mean", "low", "high", "n"]
    return page, pd.DataFrame([(*head, *one) for *head, one in rows], columns=columns), headline


def _preferred(key: Key, found: Preferred) -> tuple[str, list[Section], Rows]:
    order = [found.methods[int(place)] for place in np.argsort(-found.strengths.strengths)]
    strengths = {name: found.strengths.strength(found.methods.index(name)) for name in order}
    alone = Interval(found.alpha.mean, found.alpha.low, found.alpha.high, found.alpha.n)
    rows: list[tuple[str, str, Interval]] = [("strength", *one) for one in strengths.items()]
    rows += [("chosen", name, found.chosen[name]) for name in order]
    rows += [("alpha", "raters", alone), ("left", "sides", found.left)]
    rows += [("agreement", name, one.share) for name, one in found.metrics.items()]
    parts = [
        Section("What people prefer", _strengths(key, found, strengths)),
        Section("Do people agree", _agreed(found)),
        Section("People, metrics and exact truth", _metrics(key, found)),
    ]
    return _sentence(key, found, order), parts, rows


def _sentence(key: Key, found: Preferred, order: Sequence[str]) -> str:
    """Which method is ahead, of which others, by more than chance."""
    known = [name for name in order if name not in key.controls]
    if not known:
        return "No method was asked about, only controls."
    best = known[0]
    behind = [name for name in order if name != best and found.lead(best, name).low > 0]
    ahead = [name for name in order if name != best and found.lead(best, name).high < 0]
    rest = [name for name in order if name not in {best, *behind, *ahead}]
    said = f"Of the methods people prefer {tables.words(best)}"
    said += f", clearly to {_names(behind)}" if behind else ", clearly to none of the others"
    said += f"; not clearly to {_names(rest)}" if rest else ""
    return said + (f"; clearly behind {_names(ahead)}." if ahead else ".")


def _names(names: Sequence[str]) -> str:
    return ", ".join(tables.words(name) for name in names)


def _strengths(key: Key, found: Preferred, strengths: Mapping[str, Interval]) -> str:
    best = next(iter(strengths))
    body = [
        [
            tables.cell(_told(key, name)),
            _number(one),
            _number(found.chosen[name], per_cent=True),
            _number(found.lead(best, name)) if name != best else tables.cell(""),
        ]
        for name, one in strengths.items()
    ]
    heads = ["heatmap", "strength", "chosen", f"{tables.words(best)} is ahead by"]
    words = (
        "Bradley-Terry strengths, log-odds of being preferred to the mean of all that were shown, "
        "with 95 % intervals; a lead of 1 is being preferred in 73 % of answers. Leads hold "
        "together, over every two heatmaps. "
    )
    words += _allowed(found.strengths)
    if not found.strengths.finite:
        words += (
            "Some heatmaps never lost to any of the others, so that the likelihood has no maximum; "
            "these are the strengths of Firth's penalty. "
        )
    drawn = svg(_drawn(key, strengths), "Strengths of preference with their intervals")
    return f"<p>{words}</p><figure>{drawn}</figure>{tables.table(heads, body, name='strengths')}"


def _allowed(strengths: Preferences) -> str:
    """What the intervals allow for, and what they can't."""
    known = {"raters": strengths.by_rater, "pictures": strengths.by_picture}
    told = [f"the {one.groups} {name}" for name, one in known.items() if one is not None]
    words = f"Intervals allow for how {' and '.join(told)} differ. " if told else ""
    if untold := [name for name, one in known.items() if one is None]:
        words += (
            f"How {' and '.join(untold)} differ can't be told from so few: as if they were alike. "
        )
    return words


def _drawn(key: Key, found: Mapping[str, Interval]) -> Figure:
    figure, axes = ink.canvas(0.6 + 0.26 * len(found))
    axes.axvline(0, color=ink.SOFT, linewidth=0.8)
    names = list(found)[::-1]
    for place, name in enumerate(names):
        one = found[name]
        colour = ink.SOFT if name in key.controls else ink.BLUE
        axes.hlines(place, one.low, one.high, color=colour, linewidth=1.5)
        axes.plot(one.mean, place, "o", ms=4, color=colour)
    axes.set_yticks(range(len(found)), [_told(key, name) for name in names])
    axes.set_xlabel("strength (right: preferred)")
    ink.plain(axes, grid="x")
    return figure


def _agreed(found: Preferred) -> str:
    alpha = (
        "undefined, as nobody else answered" if np.isnan(found.alpha.mean) else _text(found.alpha)
    )
    return (
        f"<p>{html.escape(_ALPHA)} Here: <b>{alpha}</b> over {found.alpha.n} questions. The left "
        f"heatmap was chosen in {_text(found.left, per_cent=True)} of answers; sides were dealt "
        "out evenly, so that this favours none.</p>"
    )


def _metrics(key: Key, found: Preferred) -> str:
    if not found.metrics:
        return "<p>No metric was computed.</p>"
    body = [
        [
            tables.cell(tables.words(name) + (" (exact truth)" if name in key.truths else "")),
            _number(one.share, per_cent=True),
            tables.cell("undefined")
            if np.isnan(one.order)
            else tables.cell(f"{one.order:+.2f}", one.order),
        ]
        for name, one in found.metrics.items()
    ]
    words = (
        "How often people choose the heatmap that is better by a metric, where both have scores "
        "that differ: 50 % is chance; the interval allows for people and questions. Beside it "
        "Spearman's correlation of strengths with mean scores over all that was shown."
    )
    heads = ["metric", "people choose the better one", "rank correlation"]
    return f"<p>{words}</p>{tables.table(heads, body, name='metrics')}"


def _guessed(key: Key, found: Guessed) -> tuple[str, list[Section], Rows]:
    rows: list[tuple[str, str, Interval]] = [("right", *one) for one in found.right.items()]
    rows += [("effect", *one) for one in found.effect.items()]
    rows += [("alpha", "raters", found.alpha)]
    body = [
        [
            tables.cell(_told(key, name)),
            _number(one, per_cent=True),
            tables.cell("the placebo")
            if name == key.placebo
            else _number(found.effect[name], per_cent=True),
        ]
        for name, one in found.right.items()
    ]
    words = (
        f"The share of right guesses; {100 * found.chance:.0f} % is chance. The effect is the "
        f"difference to the same raters' guesses beside the placebo ({tables.words(key.placebo)}), "
        "a map that knows no network; intervals (95 %) allow for people and networks."
    )
    heads = ["beside the pictures", "right guesses", "effect against the placebo"]
    table = tables.table(heads, body, name="guesses")
    alpha = "undefined" if np.isnan(found.alpha.mean) else _text(found.alpha)
    parts = [
        Section("Do heatmaps help", f"<p>{words}</p>{table}"),
        Section("Do people agree", f"<p>{html.escape(_ALPHA)} Here: <b>{alpha}</b>.</p>"),
    ]
    return _effects(key, found), parts, rows


def _effects(key: Key, found: Guessed) -> str:
    kinds = [name for name in found.effect if name in found.right and name != "no heatmap"]
    helps = [name for name in kinds if found.effect[name].low > 0]
    harms = [name for name in kinds if found.effect[name].high < 0]
    rest = [name for name in kinds if name not in {*helps, *harms}]
    placebo = f"against the placebo ({tables.words(key.placebo)})"
    said = [
        f"{verb}: {_names(names)}"
        for verb, names in (
            (f"Heatmaps that help people to guess the mechanism, {placebo}", helps),
            ("that mislead them", harms),
            ("not shown to do either", rest),
        )
        if names
    ]
    return "; ".join(said)[:1].upper() + "; ".join(said)[1:] + "."


def _told(key: Key, name: str) -> str:
    control = name in key.controls and name != "exact truth"
    return tables.words(name) + (" (control)" if control else "")


def _number(one: Interval, *, per_cent: bool = False) -> str:
    if np.isnan(one.mean):
        return tables.cell("undefined")
    return tables.cell(_text(one, per_cent=per_cent), one.mean)


def _text(one: Interval, *, per_cent: bool = False) -> str:
    if per_cent:
        return f"{100 * one.mean:.0f} %{tables.between(100 * one.low, 100 * one.high, '.0f')}"
    return f"{one.mean:.2f}{tables.between(one.low, one.high)}"
