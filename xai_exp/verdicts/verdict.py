"""From scores to verdicts: which claims hold, where, and how small a difference would have shown.

Scores come as the tidy table of `xai_exp.verdicts.scores`; which metrics can be believed is in
`xai_exp.verdicts.audit`. The units are networks; all networks of a setting explain the same images,
and an interval allows for both. The intervals of all claims that are judged together hold together.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from xai_exp.config import InputError
from xai_exp.statistics import Held, simultaneous
from xai_exp.verdicts.audit import audit
from xai_exp.verdicts.claims import Claim
from xai_exp.verdicts.consistency import dependences
from xai_exp.verdicts.scores import FACTORS, Compared

Outcome = Literal["holds", "reversed", "alike", "open", "too few networks"]
Answer = Literal[
    "supported", "refuted", "not found here", "alike", "depends on", "undecided", "not judged"
]
FEWEST = 3  # networks, below which an interval over networks says nothing
_ROWS = ("setting", "metric", *FACTORS, *Held._fields, "audited", "outcome")
_NO_ROWS = pd.DataFrame(columns=list(_ROWS))


class Verdict(NamedTuple):
    """What the scores say of a claim.

    Attributes:
        claim: the claim.
        answer: supported (it holds in `share` of the settings and is reversed in none); refuted
            (the same the other way round), which is 'not found here' where others claim it of other
            data; alike (within the claim's margin in `share` of the settings, and no more in the
            others); depends on (its sign hangs on the explained value, the reference or the grain);
            undecided; or not judged.
        rows: a row a setting, metric and level of the factors: setting, metric, audited,
            difference, low, high, effect, p, detectable, networks, n, outcome. The difference is
            oriented so that above 0 speaks for it; interval and p hold together with those of all
            claims.
        holds: settings in which it holds, of those whose metric the audit did not find wrong.
        reversed: settings in which the opposite holds.
        settings: their number.
        reason: why it is not judged, or what it depends on.
    """

    claim: Claim
    answer: Answer
    rows: pd.DataFrame
    holds: int
    reversed: int
    settings: int
    reason: str = ""


def judge(
    claims: Iterable[Claim], scores: pd.DataFrame, audited: pd.DataFrame | None = None
) -> list[Verdict]:
    """A verdict on every claim, by intervals that hold together over all of them.

    In one setting a claim holds if the simultaneous interval of the mean difference over networks
    and images lies above 0, is reversed if it lies below, alike if it lies within the claim's
    margin around 0, and open otherwise; a setting with fewer than three networks is none of these.

    Args:
        claims: what to judge.
        scores: the tidy table.
        audited: what `audit` found; None: it is called.

    Raises:
        InputError: when a claim names what was not scored.
    """
    claims = list(claims)
    wrong = _wrong(audit(scores) if audited is None else audited)
    compared = [claim.compared(scores) for claim in claims]
    every = [one for several in compared for one in several]
    tables = [one.table.to_numpy(float) for one in every]
    held = iter(simultaneous(tables, [one.place for one in every]))
    verdicts = []
    for claim, several in zip(claims, compared, strict=True):
        rows = [_row(claim, one, next(held), wrong) for one in several]
        verdicts.append(_verdict(claim, pd.DataFrame(rows) if rows else _NO_ROWS))
    return verdicts


def _wrong(audited: pd.DataFrame) -> set[tuple[str, str]]:
    rows = audited[~audited["passed"].to_numpy(bool)] if len(audited) else audited
    return set(zip(rows["metric"], rows["setting"], strict=True)) if len(rows) else set()


def _row(
    claim: Claim, one: Compared, found: Held, wrong: set[tuple[str, str]]
) -> dict[str, object]:
    counted = not claim.audited or (one.metric, one.setting) not in wrong
    place = {"setting": one.setting, "metric": one.metric, **one.factors}
    outcome = _outcome(found, claim.margin)
    return {**place, **found._asdict(), "audited": counted, "outcome": outcome}


def _outcome(found: Held, margin: float) -> Outcome:
    if found.networks < FEWEST:
        return "too few networks"
    if found.low > 0:
        return "holds"
    if found.high < 0:
        return "reversed"
    return "alike" if -margin <= found.low and found.high <= margin else "open"


def _verdict(claim: Claim, rows: pd.DataFrame) -> Verdict:
    counted = counting(rows)
    outcomes = counted["outcome"].tolist()
    holds, back, alike = (outcomes.count(name) for name in ("holds", "reversed", "alike"))
    enough = max(1.0, claim.share * len(counted))
    answer: Answer = "undecided"
    reason = ""
    if not len(counted) and "too few networks" in set(rows["outcome"]):
        answer, reason = "not judged", _too_few(rows)
    elif holds >= enough and not back:
        answer, reason = _standing(counted, "holds", "supported")
    elif back >= enough and not holds:
        against: Answer = "not found here" if claim.source else "refuted"
        answer, reason = _standing(counted, "reversed", against)
    elif alike >= enough and not holds and not back:
        answer = "alike"
    elif holds and back:
        answer, reason = _turning(counted)
    return Verdict(claim, answer, rows, holds, back, len(counted), reason)


def counting(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that count: metrics that the audit did not find wrong, and enough networks."""
    known = rows["audited"].to_numpy(bool) & (rows["outcome"] != "too few networks").to_numpy(bool)
    return pd.DataFrame(rows[known])


def _too_few(rows: pd.DataFrame) -> str:
    most = max(map(int, rows["networks"]))
    return f"too few networks to tell (at most {most} in a setting; at least {FEWEST})"


def _standing(rows: pd.DataFrame, towards: str, answer: Answer) -> tuple[Answer, str]:
    """The answer, unless its sign hangs on a factor."""
    found = [one for one in dependences(rows, towards=towards) if not one.stands]
    return ("depends on", "; ".join(one.words() for one in found)) if found else (answer, "")


def _turning(rows: pd.DataFrame) -> tuple[Answer, str]:
    """Undecided, unless there is a factor under whose levels the claim is turned round."""
    found = [one for one in dependences(rows) if one.oppose and one.agree]
    words = "; ".join(one.words() for one in found)
    return ("depends on", words) if found else ("undecided", "")


def answers(
    claims: Iterable[Claim], scores: pd.DataFrame, audited: pd.DataFrame | None = None
) -> list[Verdict]:
    """As `judge`, but a claim about what was not scored is not judged and says what it lacks."""
    claims, reasons = list(claims), {}
    for place, claim in enumerate(claims):
        try:
            claim.compared(scores)
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
    words = [f"{count} {_plain(name)}" for name, count in counts.items() if count]
    if not verdicts:
        return ""
    if len(verdicts) == 1:
        return f"The claim is {_plain(verdicts[0].answer)}."
    return f"Of {len(verdicts)} claims: {', '.join(words)}."


def _plain(answer: str) -> str:
    return "dependent on a choice" if answer == "depends on" else answer


def sentence(verdict: Verdict, tests: int = 0) -> str:
    """The answer in one sentence: where it holds, difference, interval and what would have shown.

    Args:
        verdict: the verdict.
        tests: how many intervals hold together, to be named if above 0.
    """
    if verdict.answer == "not judged":
        return f"Not judged: {verdict.reason}."
    rows, words = counting(verdict.rows), _left_out(verdict.rows)
    if not len(rows):
        return f"Undecided: the audit found every metric of this claim wrong.{words}"
    lead = f"{verdict.answer.capitalize()}: "
    if verdict.reason:
        lead += f"{verdict.reason}; "
    together = f"simultaneous 95 % interval{f' over {tests} comparisons' * bool(tests)}"
    seen = _one(rows, together) if len(rows) == 1 else _several(verdict, rows, together)
    return f"{lead}{seen}{_unvaried(rows)}{words}"


def _one(rows: pd.DataFrame, together: str) -> str:
    (row,) = rows.to_dict("records")
    interval = f"{together} {row['low']:+.3g} to {row['high']:+.3g}"
    if np.isnan(row["low"]):
        interval = "no interval: too few values"
    return (
        f"difference {row['difference']:+.3g} ({interval}, {row['networks']} networks), effect "
        f"size (rank-biserial over images) {row['effect']:+.2f}; {_detectable(rows)}."
    )


def _several(verdict: Verdict, rows: pd.DataFrame, together: str) -> str:
    effects = rows["effect"].to_numpy(float)
    known = effects[~np.isnan(effects)]
    middle = float(np.median(known)) if len(known) else float("nan")
    spread = f", from {known.min():+.2f} to {known.max():+.2f}" if len(known) else ""
    alike = list(rows["outcome"]).count("alike")
    near = f", alike within {verdict.claim.margin:g} in {alike}" * bool(alike)
    networks = rows["networks"].to_numpy(int)
    count = str(networks.min()) + f" to {networks.max()}" * bool(np.ptp(networks))
    return (
        f"it holds in {verdict.holds} of {verdict.settings} settings and is reversed in "
        f"{verdict.reversed}{near} ({together} beside 0, {count} networks each); effect size "
        f"(rank-biserial over images) {middle:+.2f} in the median{spread}; "
        f"{_detectable(rows)}."
    )


def _detectable(rows: pd.DataFrame) -> str:
    """What difference would have been found, with a probability of 80 %."""
    sizes = rows["detectable"].to_numpy(float)
    sizes = sizes[~np.isnan(sizes)]
    if not len(sizes):
        return "what difference would have shown is not known"
    one = f"{sizes.min():.3g}" + f" to {sizes.max():.3g}" * (len(sizes) > 1)
    return f"a difference of {one} would have shown in 80 % of such studies"


def _unvaried(rows: pd.DataFrame) -> str:
    """That nothing says whether the sign hangs on a factor."""
    varied = any(name in rows for name in FACTORS)
    known = "accuracy" in str(rows["metric"].iloc[0]) or varied
    return "" if known else " Explained value, reference and grain were not varied."


def _left_out(rows: pd.DataFrame) -> str:
    """Which metrics the audit found wrong, and in how many settings if not in all."""
    names = []
    for metric, mine in rows.groupby("metric", sort=True):
        failed = int((~mine["audited"].to_numpy(bool)).sum())
        where = f" (in {failed} of {len(mine)} settings)" if failed < len(mine) else ""
        names += [f"{str(metric).replace('_', ' ')}{where}"] * bool(failed)
    if not names:
        return ""
    be = "is" if len(names) == 1 else "are"
    listed: Any = ", ".join(names)
    return f" {listed[0].upper()}{listed[1:]} failed the audit and {be} not counted there."
