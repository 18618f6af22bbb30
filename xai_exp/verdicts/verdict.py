"""From scores to verdicts: which metrics can be believed, and which claims hold.

Scores come as the tidy table of `xai_exp.verdicts.scores`.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from xai_exp.config import InputError
from xai_exp.statistics import Paired, holm, paired
from xai_exp.verdicts.claims import Claim
from xai_exp.verdicts.scores import oriented

Outcome = Literal["holds", "reversed", "open"]
Answer = Literal["supported", "refuted", "undecided", "not judged"]
_LEVEL = 0.05
TRUSTED = "is not asked: the study trusts it"
NOTHING_ASKED = "no map of known order was scored"
FAILED_ELSEWHERE = "no map of known order was scored here, and it failed elsewhere"
# (better, worse, strictly): maps whose order is known without a network that is to be believed.
_AUDIT = (
    ("exact_mask", "random", True),
    ("exact_mask", "tied", True),
    ("exact_mask", "constant", True),
    ("exact_mask", "inverted_mask", True),
    ("exact_mask", "sobel", False),
    ("exact_mask", "laplacian", False),
    ("exact_mask", "image", False),
)
_ROWS = ("setting", "metric", *Paired._fields, "adjusted", "audited", "outcome")
_NO_ROWS = pd.DataFrame(columns=list(_ROWS))


class Verdict(NamedTuple):
    """What the scores say of a claim.

    Attributes:
        claim: the claim.
        answer: supported (it holds in `share` of the settings and is reversed in none), refuted
            (the same the other way round), undecided, or not judged, for the `reason`.
        rows: a row a setting and metric: setting, metric, audited, difference, low, high, effect,
            p, adjusted, n, outcome. The difference is oriented so that above 0 speaks for it.
        holds: settings in which it holds, of those whose metric passed the audit.
        reversed: settings in which the opposite holds.
        settings: their number.
        reason: why it is not judged.
    """

    claim: Claim
    answer: Answer
    rows: pd.DataFrame
    holds: int
    reversed: int
    settings: int
    reason: str = ""


def audit(scores: pd.DataFrame, truths: Sequence[str] = ()) -> pd.DataFrame:
    """Whether each metric puts maps in order whose order is known, setting by setting.

    The exact mask has to be better than noise, than noise of few values, than the same value
    everywhere and than its own inverse (interval of the mean difference above 0), and no map of
    mere pixels (edges, the image itself) significantly better than the exact mask: such a metric
    would reward a heatmap that knows nothing of the network. Maps that a setting lacks or that have
    no score are not asked about. In a setting without any, a metric is believed if it passed
    wherever it was asked; one that was asked nowhere is not.

    Args:
        scores: the tidy table.
        truths: metrics that compare with the network's exact truth. They are not audited: what a
            network uses need not be what the mask shows.

    Returns:
        A row a metric and setting: metric, setting, passed, asked (number of comparisons), reason
        (empty if passed).
    """
    rows = []
    for names, mine in scores.groupby(["metric", "setting"], sort=False):
        metric, setting = tuple(names)  # pyright: ignore
        if metric in truths:
            rows.append((metric, setting, True, 0, TRUSTED))
            continue
        answers = [_misordered(pd.DataFrame(mine), *pair) for pair in _AUDIT]
        asked = [one for one in answers if one is not None]
        rows.append((metric, setting, not any(asked), len(asked), "; ".join(filter(None, asked))))
    table = pd.DataFrame(rows, columns=["metric", "setting", "passed", "asked", "reason"])
    unasked = (table["asked"] == 0) & (table["reason"] == "")
    elsewhere = table[~unasked].groupby("metric")["passed"].all()
    for place in np.flatnonzero(unasked):
        known = elsewhere.get(table.loc[place, "metric"])
        table.loc[place, "passed"] = bool(known)
        table.loc[place, "reason"] = {None: NOTHING_ASKED, False: FAILED_ELSEWHERE}.get(known, "")
    return table


def _misordered(scores: pd.DataFrame, better: str, worse: str, strictly: bool) -> str | None:
    """What is wrong with the order of two maps; empty if nothing, None if they have no scores."""
    if not {better, worse} <= set(scores["explainer"]):
        return None
    found = paired(*oriented(scores, better, worse))
    if not found.n:
        return None
    if strictly and not found.low > 0:
        return f"{better} not above {worse}"
    return f"{worse} above {better}" if not strictly and found.high < 0 else ""


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
        pairs = zip(table["metric"], table["setting"], strict=True)
        counted = [not claim.audited or pair in passed for pair in pairs]
        rows = table.assign(adjusted=adjusted, audited=np.array(counted, dtype=bool))
        rows["outcome"] = [_outcome(*ends) for ends in rows[["low", "high", "adjusted"]].to_numpy()]
        verdicts.append(_verdict(claim, rows))
    return verdicts


def _where(table: pd.DataFrame, column: str, values: Sequence[object]) -> pd.DataFrame:
    return pd.DataFrame(table[table[column].isin(list(values))])


def _passed(audited: pd.DataFrame) -> set[tuple[str, str]]:
    rows = _where(audited, "passed", [True])
    return set(zip(rows["metric"], rows["setting"], strict=True))


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


def answers(
    claims: Iterable[Claim], scores: pd.DataFrame, audited: pd.DataFrame | None = None
) -> list[Verdict]:
    """As `judge`, but a claim about what was not scored is not judged and says what it lacks."""
    claims, reasons = list(claims), {}
    for place, claim in enumerate(claims):
        try:
            claim.rows(scores)
        except InputError as error:
            reasons[place] = str(error).partition(": ")[2]
    able = [claim for place, claim in enumerate(claims) if place not in reasons]
    judged = iter(judge(able, scores, audited))
    return [
        Verdict(claim, "not judged", _NO_ROWS, 0, 0, 0, reasons[place])
        if place in reasons
        else next(judged)
        for place, claim in enumerate(claims)
    ]


def headline(verdicts: Sequence[Verdict]) -> str:
    """How many claims hold, in one sentence; empty without claims.

    >>> headline([])
    ''
    """
    counts = {name: sum(one.answer == name for one in verdicts) for name in get_args(Answer)}
    words = [f"{count} {name}" for name, count in counts.items() if count]
    if not verdicts:
        return ""
    if len(verdicts) == 1:
        return f"The claim is {verdicts[0].answer}."
    return f"Of {len(verdicts)} claims: {', '.join(words)}."


def sentence(verdict: Verdict, tests: int = 0) -> str:
    """The answer in one sentence: where it holds, effect size, interval and test.

    Args:
        verdict: the verdict.
        tests: how many tests were corrected for, to be named if above 0.
    """
    if verdict.answer == "not judged":
        return f"Not judged: {verdict.reason}."
    rows = _where(verdict.rows, "audited", [True])
    words = _left_out(verdict.rows)
    if not len(rows):
        return f"Undecided: no metric of this claim passed the audit.{words}"
    effects = rows["effect"].to_numpy(float)
    test = "signed rank test" if "accuracy" not in str(rows["metric"].iloc[0]) else "t test"
    of = f" over {tests} tests" * bool(tests)
    if len(rows) == 1:
        (row,) = rows.to_dict("records")
        interval = f"95 % interval {row['low']:+.3g} to {row['high']:+.3g}"
        if np.isnan(row["low"]):
            interval = "no interval: too few values"
        return (
            f"{verdict.answer.capitalize()}: difference {row['difference']:+.3g} ({interval}), "
            f"effect size (rank-biserial) {row['effect']:+.2f}, {test} p "
            f"{_p(row['adjusted'])} by Holm's correction{of}.{words}"
        )
    known = effects[~np.isnan(effects)]
    spread = f", from {known.min():+.2f} to {known.max():+.2f}" if len(known) else ""
    return (
        f"{verdict.answer.capitalize()}: it holds in {verdict.holds} of {verdict.settings} settings"
        f" and is reversed in {verdict.reversed} (95 % interval of the difference beside 0, {test} "
        f"p < {_LEVEL:g} by Holm's correction{of}); effect size (rank-biserial) "
        f"{float(np.median(known)) if len(known) else float('nan'):+.2f} in the median{spread}."
        f"{words}"
    )


def _left_out(rows: pd.DataFrame) -> str:
    """Which metrics failed the audit, and in how many settings if not in all."""
    names = []
    for metric, mine in rows.groupby("metric", sort=True):
        failed = int((~mine["audited"].to_numpy(bool)).sum())
        where = f" (in {failed} of {len(mine)} settings)" if failed < len(mine) else ""
        names += [f"{str(metric).replace('_', ' ')}{where}"] * bool(failed)
    if not names:
        return ""
    be = "is" if len(names) == 1 else "are"
    listed = ", ".join(names)
    return f" {listed[0].upper()}{listed[1:]} failed the audit and {be} not counted there."


def _p(value: float) -> str:
    if np.isnan(value):
        return "undefined"
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
