"""The sections of experiment=mine's page: pictures, witnesses, certificates, what none can know."""

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from xai_exp.report import tables
from xai_exp.report.figures.gallery import gallery
from xai_exp.report.pages.page import Section
from xai_exp.witnesses.answer import Answer, Pair
from xai_exp.witnesses.leads import Lead, certified, measured_lead
from xai_exp.witnesses.trial import Trial

Measures = Mapping[str, tuple[bool, Mapping[str, Sequence[float]]]]
Seen = Mapping[str, tuple[np.ndarray, np.ndarray]]
_PICTURES, _METHODS = 4, 6
UNKNOWN = (
    "Cues that have no pixels of their own. A network that goes by tint, haze, season, or by the "
    "number, size and orientation of things shows that in no heatmap: take the cue away or change "
    "it, and look at the answer.",
    "Whether a method tells your own objects apart as well as it tells plants apart: plants are "
    "easier, unless they were cut out of your own pictures.",
    "Whether a method is better than an edge filter: on plants that is no evidence.",
    "How good any method is by itself. Witnesses put methods in order; they do not vouch for a "
    "heatmap.",
    "What your network does with its own evidence. The plants were learnt by a copy of it.",
)


def sections(
    judged: Answer,
    studied: Sequence[Trial],
    measures: Measures,
    seen: Seen,
    silent: Sequence[str],
) -> list[Section]:
    """All of them, in order."""
    return [
        Section("In pictures", _pictures(judged, seen)),
        Section("What the witnesses say", _witnesses(judged, measures)),
        Section("Certificates", _certificates(judged, studied, silent)),
        Section("What this cannot know", _unknown()),
    ]


def _pictures(judged: Answer, seen: Seen) -> str:
    """The best methods, and those that are broken, on the first pictures."""
    named = [name for name in judged.order if name in seen]
    first = [name for name in named if name not in judged.broken][:_METHODS]
    chosen = [*first, *[name for name in judged.broken if name in seen][:2]]
    if not chosen:
        return "<p>No pictures were kept.</p>"
    images = torch.from_numpy(seen[chosen[0]][0][:_PICTURES]).float() / 255
    maps = {
        tables.words(name) + (" (broken here)" if name in judged.broken else ""): torch.from_numpy(
            seen[name][1][:_PICTURES]
        )
        for name in chosen
    }
    figure = gallery(images, maps, ["" for _ in range(len(images))])
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=110)
        drawn = base64.b64encode(file.getvalue()).decode()
    words = html.escape(
        "Your own pictures and network: the best methods first. Each heatmap on a scale of its own."
    )
    named = html.escape(", ".join(maps))
    return (
        f"<p>{words}</p><figure><img alt='Pictures beside heatmaps of {named}' "
        f"src='data:image/png;base64,{drawn}' style='max-width:100%'></figure>"
    )


def _witnesses(judged: Answer, measures: Measures) -> str:
    best = judged.best
    names = list(measures)
    heads = ["explainer", "verdict", "by plants", "by borrowed truth"]
    heads += [f"by {tables.words(name)}" for name in names]
    body = [_best_row(best, len(heads))]
    for name, pair in judged.against_best.items():
        body.append(
            [
                tables.cell(tables.words(name)),
                tables.cell(_verdict(pair, judged), kind="words"),
                _lead(pair.planted),
                _lead(pair.borrowed),
                *(
                    _lead(measured_lead(scores, best, name, higher_is_better=up))
                    for up, scores in measures.values()
                ),
            ]
        )
    words = (
        f"By how much {tables.words(best)} is ahead of each other method, with 95 % intervals: "
        "above 0 it is better, and 'behind' is said where it is worse. Recommended: it is ahead by "
        "plants and by borrowed truth; a lean: by one of them, and the other does not tell. Plants "
        "and borrowed truth are skills (1 is the truth, 0 knows no network); measures of "
        "perturbation are in units of their own and have no vote."
    )
    rates = [
        f"{kind}: {judged.rate(kind)}"
        for kind in ("recommended", "lean by plants", "lean by borrowed truth")
    ]
    rates += [
        f"{tables.words(name)} alone: {judged.rate(name)}"
        for name in names
        if name in judged.library.rates
    ]
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in [*rates, *_audit(judged, measures)])
    table = tables.table(heads, body, name="witnesses")
    return (
        f"<p>{html.escape(words)}</p>{table}<p>How often such verdicts were opposite to exact "
        f"truth, where that is known (docs/mine.md), and what controls say:</p><ul>{lines}</ul>"
    )


def _best_row(best: str, columns: int) -> list[str]:
    rest = [tables.cell("") for _ in range(columns - 2)]
    return [tables.cell(tables.words(best)), tables.cell("the best", kind="words"), *rest]


def _verdict(pair: Pair, judged: Answer) -> str:
    broken = "; FAILED the planted test" if pair.second in judged.broken else ""
    behind = " (it is ahead)" if pair.side < 0 else ""
    return pair.kind + behind + broken


def _audit(judged: Answer, measures: Measures) -> list[str]:
    """What each measure says of noise and of an edge filter, which know no network."""
    found = []
    for metric, (up, scores) in measures.items():
        for control in ("random", "sobel"):
            if control not in scores:
                continue
            sides = [
                measured_lead(scores, name, control, higher_is_better=up).side
                for name in judged.explainers
                if name in scores
            ]
            found.append(
                f"{tables.words(metric)}: {sides.count(1)} of {len(sides)} methods are clearly "
                f"ahead of {tables.words(control)}, {sides.count(-1)} clearly behind"
            )
    return found


def _certificates(judged: Answer, studied: Sequence[Trial], silent: Sequence[str]) -> str:
    heads = [
        "of",
        "look, design",
        "certificate",
        "accuracy or R2",
        "A over B",
        "idle over A",
        "spread",
    ]
    body = []
    told = [("plants", one) for one in judged.trials]
    for what, one in [*told, *(("matched scenes", each) for each in studied)]:
        held = one.certificate
        numbers = (held.good, held.ratio, held.idle, held.spread)
        cells = [tables.cell(f"{value:.2f}", value) for value in numbers]
        holds = tables.cell(held.fault or "holds", kind="words")
        body.append([tables.cell(what), tables.cell(one.asked.name), holds, *cells])
    words = (
        f"{len(certified(judged.trials))} of {len(judged.trials)} copies of the network provably "
        "use the plants as they should, by the plants' exact Shapley values; only these judge "
        "methods. Stripes and solid shapes are pasted into your pictures; A decides and B is "
        "irrelevant (distract), or A is worth 2, B 1 and C 0 (worth). Matched scenes are discs on "
        "textures with the spectrum and the colours of your pictures: what a copy of the network "
        "that has learnt them makes of explainers is one task more to borrow truth from."
    )
    lines = "".join(f"<p>No {html.escape(line)}</p>" for line in silent)
    made = tables.table(heads, body, name="certificates") if body else ""
    return f"<p>{html.escape(words)}</p>{lines}{made}"


def _unknown() -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in UNKNOWN) + "</ul>"


def _lead(lead: Lead) -> str:
    if math.isnan(lead.mean):
        return tables.cell("unknown")
    if math.isnan(lead.low):
        return tables.cell(f"{lead.mean:+.3f} (no interval)", lead.mean)
    text = f"{lead.mean:+.3f} [{lead.low:+.3f}, {lead.high:+.3f}]"
    return tables.cell(text + (" behind" if lead.side < 0 else ""), lead.mean)
