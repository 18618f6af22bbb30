"""Whether a metric puts maps in order whose order is known: right, wrong or unresolved.

Two kinds of maps are known. Controls: the exact mask of the objects is better than noise, than
noise of few values, than the same value everywhere and than its own inverse. Doses: the true map of
a network (every part's exact worth on its pixels) is better than the same map damaged, and the more
damage, the worse (`xai_exp.truth.doses`). Nothing is asked about maps of edges or of the image
itself: whether they are nearer to the truth than the mask is not known beforehand.

A metric is wrong where the interval says the opposite of what is known, right where it says the
same of all that was asked, else unresolved. Only what is wrong is left out of verdicts. The
intervals of one metric in one setting hold together.
"""

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from xai_exp.statistics import Held, simultaneous
from xai_exp.verdicts.scores import differences, direction, wide

Outcome = Literal["right", "wrong", "unresolved"]
TRUSTED = "is not asked: the study trusts it"
NOTHING_ASKED = "no map of known order was scored"
FAILED_ELSEWHERE = "no map of known order was scored here, and it was wrong elsewhere"
TRUE_MAP = "true_map"
CONTROLS = (  # (better, worse)
    ("exact_mask", "random"),
    ("exact_mask", "tied"),
    ("exact_mask", "constant"),
    ("exact_mask", "inverted_mask"),
)
_DOSE = re.compile(r"(bleeding|permuted|flipped|blurred)_(\d+)")
_COLUMNS = ["metric", "setting", "outcome", "passed", "asked", "reason"]


def audit(scores: pd.DataFrame, truths: Sequence[str] = ()) -> pd.DataFrame:
    """Whether each metric puts maps in order whose order is known, setting by setting.

    Maps that a setting lacks or that have no score are not asked about. In a setting without any, a
    metric that was wrong elsewhere is wrong; else it is unresolved.

    Args:
        scores: the tidy table.
        truths: metrics that compare with the network's exact truth. They are not audited: what a
            network uses need not be what the mask shows.

    Returns:
        A row a metric and setting: metric, setting, outcome (right, wrong, unresolved), passed (it
        is not wrong), asked (number of questions), reason (empty if right).
    """
    rows = []
    for names, mine in scores.groupby(["metric", "setting"], sort=False):
        metric, setting = tuple(names)  # pyright: ignore
        if metric in truths:
            rows.append((metric, setting, "right", True, 0, TRUSTED))
            continue
        rows.append((metric, setting, *_judged(pd.DataFrame(mine))))
    table = pd.DataFrame(rows, columns=_COLUMNS)
    unasked = (table["asked"] == 0) & (table["reason"] == NOTHING_ASKED)
    wrong = set(table.loc[table["outcome"] == "wrong", "metric"])
    for place in np.flatnonzero(unasked & table["metric"].isin(list(wrong))):
        table.loc[place, ["outcome", "passed", "reason"]] = ["wrong", False, FAILED_ELSEWHERE]
    return table


def _judged(scores: pd.DataFrame) -> tuple[Outcome, bool, int, str]:
    """Outcome, whether it passed, questions and reason, for one metric in one setting."""
    asked = questions(scores)
    if not asked:
        return "unresolved", True, 0, NOTHING_ASKED
    places = [(tuple(table.index), tuple(table.columns)) for _, _, table in asked]
    held = simultaneous([table.to_numpy(float) for _, _, table in asked], places)
    outcomes = [_outcome(one) for one in held]
    wrong = [bad for (_, bad, _), one in zip(asked, outcomes, strict=True) if one == "wrong"]
    if wrong:
        return "wrong", False, len(asked), "; ".join(wrong)
    silent = [good for (good, _, _), one in zip(asked, outcomes, strict=True) if one != "right"]
    return "unresolved" if silent else "right", True, len(asked), _unresolved(silent)


def _unresolved(silent: Sequence[str]) -> str:
    return f"not resolved: {'; '.join(silent)}" if silent else ""


def _outcome(found: Held) -> Outcome:
    if found.low > 0:
        return "right"
    return "wrong" if found.high < 0 else "unresolved"


def questions(scores: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """What is known and its opposite, in words, and (models, images) numbers above 0 if it is so.

    For controls the numbers are differences, for doses minus the slope of the oriented score over
    the dose (least squares, dose 0 the true map).

    Args:
        scores: one metric's rows in one setting.
    """
    there = set(scores["explainer"])
    tables = wide(scores, {name for pair in CONTROLS for name in pair})
    found = [
        (f"{good} above {bad}", f"{bad} above {good}", differences(scores, good, bad, tables))
        for good, bad in CONTROLS
        if {good, bad} <= there
    ]
    for kind, doses in doses_of(there).items():
        table = -slopes(scores, doses)
        found.append((f"{kind} costs", f"{kind} pays", table))
    return [one for one in found if one[2].notna().to_numpy().any()]


def doses_of(explainers: set[str]) -> dict[str, dict[str, float]]:
    """By kind of damage the maps and their doses in 0..1, the true map at 0."""
    found: dict[str, dict[str, float]] = {}
    if TRUE_MAP in explainers:
        for name in sorted(explainers):
            if match := _DOSE.fullmatch(name):
                doses = found.setdefault(match[1], {TRUE_MAP: 0.0})
                doses[name] = int(match[2]) / 100
    return found


def slopes(scores: pd.DataFrame, doses: dict[str, float]) -> pd.DataFrame:
    """How the oriented score changes with the dose, least squares for each model and image.

    Missing where the score of any dose is missing.
    """
    dose = np.array(list(doses.values())) - np.mean(list(doses.values()))
    known = wide(scores, doses)
    tables = [direction(scores) * known[name] for name in doses]
    weights = dose / (dose**2).sum()
    total = tables[0] * weights[0]
    for table, weight in zip(tables[1:], weights[1:], strict=True):
        total = total + table * weight
    return total
