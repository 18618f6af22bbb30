"""The effect of a claim in every setting as HTML: readable on a phone, in the dark and on paper."""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from xai_exp.report.tables import judged, words
from xai_exp.verdicts.scores import FACTORS

_KEY = '<li class="key"><span class="name"></span><span>{}</span><span></span></li>\n'
_COLOURS = " · ".join(
    f'<b class="{one}">{one}</b>' for one in ("holds", "alike", "open", "reversed")
)


def forest(rows: pd.DataFrame, sides: tuple[str, str]) -> str:
    """A bar a setting, from zero to its effect size, coloured by its outcome.

    Args:
        rows: as a verdict has them: setting, metric, audited, effect, outcome.
        sides: what the right and the left side stand for.
    """
    right, left = (html.escape(words(side)) for side in sides)
    ends = f'<span class="ends"><span>-1: {left}</span><span>+1: {right}</span></span>'
    varied = [name for name in FACTORS if name in rows and len(set(rows[name])) > 1]
    bars = [_bar(row, varied) for row in rows.to_dict("records")]
    top, foot = _KEY.format(f"rank-biserial effect: {_COLOURS}"), _KEY.format(ends)
    return f'<ul class="forest">{top}{"".join(bars)}{foot}</ul>'


def _bar(row: Any, varied: Sequence[str]) -> str:  # noqa: ANN401
    said = row["setting"].split(", ")
    levels = [row[key] for key in varied if row[key] and f"{key}={row[key]}" not in said]
    name = " · ".join([row["setting"], judged(row), *levels])
    effect, bar, number = float(row["effect"]), "", "undefined"
    if np.isfinite(effect):
        left, wide = 50 + 50 * min(effect, 0), 50 * abs(effect)
        bar = f'<i style="left:{left:.1f}%;width:{wide:.1f}%"></i>'
        number = f"{effect:+.2f}"
    outcome = row["outcome"].replace(" ", "-")
    return (
        f'<li class="{outcome}"><span class="name">{html.escape(name)}</span>'
        f'<span class="track">{bar}</span><span class="number">{number}</span></li>\n'
    )
