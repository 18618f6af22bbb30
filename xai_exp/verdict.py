"""From scores to verdicts: which metrics can be believed, and which claims hold.

Scores come as the tidy table of `xai_exp.claims`.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from xai_exp.claims import Claim, oriented
from xai_exp.statistics import holm, paired

Outcome = Literal["holds", "reversed", "open"]
Answer = Literal["supported", "refuted", "undecided"]
_LEVEL = 0.05
# (better, worse, strictly): maps whose order is known without a network that is to be believed.
_AUDIT = (
    ("exact_mask", "random", True),
    ("exact_mask", "inverted_mask", True),
    ("exact_mask", "sobel", False),
    ("exact_mask", "laplacian", False),
    ("exact_mask", "image", False),
)


class Verdict(NamedTuple):
    """What the scores say of a claim.

    Attributes:
        claim: the claim.
        answer: supported (it holds in `share` of the settings and is reversed in none), refuted
            (the same the other way round), or undecided.
        rows: a row a setting and metric: setting, metric, audited, difference, low, high, effect,
            p, adjusted, n, outcome. The difference is oriented so that above 0 speaks for it.
        holds: settings in which it holds, of those whose metric passed the audit.
        reversed: settings in which the opposite holds.
        settings: their number.
    """

    claim: Claim
    answer: Answer
    rows: pd.DataFrame
    holds: int
    reversed: int
    settings: int


def audit(scores: pd.DataFrame, truths: Sequence[str] = ()) -> pd.DataFrame:
    """Whether each metric puts maps in order whose order is known.

    The exact mask has to be better than noise and than its own inverse (interval of the mean
    difference above 0), and no map of mere pixels (edges, the image itself) significantly better
    than the exact mask: such a metric would reward a heatmap that knows nothing of the network.
    Maps that the study lacks are not asked about; a metric that was asked nothing is not passed.

    Args:
        scores: the tidy table.
        truths: metrics that compare with the network's exact truth. They are not audited: what a
            network uses need not be what the mask shows.

    Returns:
        A row a metric: metric, passed, asked (number of comparisons), reason (empty if passed).
    """
    rows = []
    for metric in scores["metric"].unique():
        mine = _where(scores, "metric", [metric])
        there = set(mine["explainer"])
        asked = [pair for pair in _AUDIT if {pair[0], pair[1]} <= there]
        failures = [words for pair in asked if (words := _misordered(mine, *pair))]
        if metric in truths:
            asked, failures = [], ["is not asked: the study trusts it"]
        reason = "; ".join(failures) or ("" if asked else "no map of known order was scored")
        rows.append((str(metric), metric in truths or not reason, len(asked), reason))
    return pd.DataFrame(rows, columns=["metric", "passed", "asked", "reason"])


def _misordered(scores: pd.DataFrame, better: str, worse: str, strictly: bool) -> str:
    """What is wrong with the order of two maps over all settings; empty if nothing."""
    low, high, beaten = [], [], 0
    for _, rows in scores.groupby("setting", sort=False):
        if not {better, worse} <= set(rows["explainer"]):
            continue  # no masks in these data
        found = paired(*oriented(rows, better, worse))
        low.append(found.low)
        high.append(found.high)
        beaten += found.high < 0
    above = sum(bound > 0 for bound in low)
    if strictly and above < len(low):
        return f"{better} not above {worse} in {len(low) - above} of {len(low)} settings"
    if not strictly and beaten:
        return f"{worse} above {better} in {beaten} of {len(high)} settings"
    return ""


def judge(
    claims: Iterable[Claim], scores: pd.DataFrame, audited: pd.DataFrame | None = None
) -> list[Verdict]:
    """A verdict on every claim, with Holm's correction over all of their tests.

    In one setting a claim holds if the interval of the mean difference over models and images lies
    above 0 and the signed rank test over images, corrected for the number of all tests that are
    made here, rejects at 5 %; it is reversed if both say the opposite, and open otherwise.

    Args:
        claims: what to judge.
        scores: the tidy table.
        audited: what `audit` found; None: it is called.

    Raises:
        InputError: when a claim names what was not scored.
    """
    claims = list(claims)
    passed = _passed(audit(scores) if audited is None else audited)
    tables = [claim.rows(scores) for claim in claims]
    corrected = holm(np.concatenate([table["p"] for table in tables]) if tables else [])
    verdicts, start = [], 0
    for claim, table in zip(claims, tables, strict=True):
        adjusted = corrected[start : start + len(table)]
        start += len(table)
        counted = table["metric"].isin(list(passed)) | (not claim.audited)
        rows = table.assign(adjusted=adjusted, audited=counted)
        rows["outcome"] = [_outcome(*ends) for ends in rows[["low", "high", "adjusted"]].to_numpy()]
        verdicts.append(_verdict(claim, rows))
    return verdicts


def _where(table: pd.DataFrame, column: str, values: Sequence[object]) -> pd.DataFrame:
    return pd.DataFrame(table[table[column].isin(list(values))])


def _passed(audited: pd.DataFrame) -> set[str]:
    return set(_where(audited, "passed", [True])["metric"])


def _outcome(low: float, high: float, p: float) -> Outcome:
    if p >= _LEVEL or np.isnan(p):
        return "open"
    if low > 0:
        return "holds"
    return "reversed" if high < 0 else "open"


def _verdict(claim: Claim, rows: pd.DataFrame) -> Verdict:
    counted = _where(rows, "audited", [True])["outcome"].tolist()
    holds, back = counted.count("holds"), counted.count("reversed")
    enough = max(1.0, claim.share * len(counted))
    answer: Answer = "undecided"
    if holds >= enough and not back:
        answer = "supported"
    elif back >= enough and not holds:
        answer = "refuted"
    return Verdict(claim, answer, rows, holds, back, len(counted))


def sentence(verdict: Verdict) -> str:
    """The answer in one sentence, with the median effect size and where it does not hold."""
    rows = _where(verdict.rows, "audited", [True])
    left_out = sorted(set(verdict.rows["metric"]) - set(rows["metric"]))
    words = f" {_listed(left_out)} failed the audit and {_be(left_out)} not counted." * bool(
        left_out
    )
    if not len(rows):
        return f"Undecided: no metric of this claim passed the audit.{words}"
    effect = float(np.nanmedian(rows["effect"]))
    return (
        f"{verdict.answer.capitalize()}: it holds in {verdict.holds} of {verdict.settings} settings"
        f" and is reversed in {verdict.reversed}; median effect size (rank-biserial) {effect:+.2f}."
        f"{words}"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names).capitalize()


def _be(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
