"""Grade the witnesses on networks of known truth: the library, and docs/mine.md's tables."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from xai_exp.files import write_whole
from xai_exp.statistics import paired, rank_correlation
from xai_exp.witnesses import borrowed
from xai_exp.witnesses.answer import Answer
from xai_exp.witnesses.borrowed import LIBRARY, Lender, Library
from xai_exp.witnesses.certificate import Certificate
from xai_exp.witnesses.leads import FLOOR, Lead, certified, measured_lead, weighted
from xai_exp.witnesses.matched import lent
from xai_exp.witnesses.trial import Asked, Trial

PAGE = Path(__file__).resolve().parent.parent / "docs" / "mine.md"
CONSTANT = "deeplift"
CONTROLS = ("noise_x_difference", "random", "sobel", "laplacian", "constant", "image", "tied")
LIBRARY_ALONE, MATCHED_ALONE = "the package's networks alone", "matched scenes alone"
WITHOUT = "recommended, without matched scenes"
_HIGHER = {"infidelity": False, "region_perturbation_area": True}


def write(found: Sequence[Mapping[str, Any]]) -> None:
    """Write the library and the page from what was measured of each network."""
    lenders = [lender(one) for one in found]
    whole = Library(lenders=lenders, rates={})
    graded = [Graded(one, whole) for one in found]
    rates = summed(graded)
    write_whole(
        LIBRARY,
        json.dumps(
            {"version": 1, "lenders": [vars(one) for one in lenders], "rates": rates}, indent=1
        ),
    )
    text = PAGE.read_text("utf-8")
    for name, table in {
        "short": short(graded, rates),
        "networks": networks(graded),
        "witnesses": witnesses(graded),
        "verdicts": verdicts(rates),
        "certificates": certificates(found),
        "differ": differ(graded),
    }.items():
        mark = re.compile(f"(<!-- begin: {name} -->).*(<!-- end: {name} -->)", re.DOTALL)
        text = mark.sub(lambda match: f"{match[1]}\n\n{table}\n\n{match[2]}", text)  # noqa: B023
    write_whole(PAGE, text)


def lender(one: Mapping[str, Any]) -> Lender:
    """What a network lends: an explainer's exact skill, none below the floor."""
    return Lender(
        name=f"{one['task']}-{one['network']}",
        task=one["task"],
        features=one["features"],
        skills={
            name: round(max(FLOOR, float(np.nanmean(weighted(*both)))), 4)
            for name, both in one["exact"].items()
        },
    )


class Graded:
    """One network: exact truth beside what each witness says of it without knowing."""

    def __init__(self, one: Mapping[str, Any], whole: Library) -> None:
        self.one, self.name = one, f"{one['task']}-{one['network']}"
        self.rows = {name: weighted(*both) for name, both in one["exact"].items()}
        self.exact = lender(one).skills
        self.names = [name for name in self.exact if name not in CONTROLS]
        self.trials = [trial(raw) for raw in one["trials"]]
        packaged = whole.without(one["task"])
        self.matched = lent([trial(raw) for raw in one["matched"]], one["features"])
        libraries = {
            "": Library(lenders=[*packaged.lenders, *self.matched], rates={}),
            LIBRARY_ALONE: packaged,
            MATCHED_ALONE: Library(lenders=self.matched, rates={}),
        }
        self.answers = {
            name: Answer(
                explainers=self.names,
                trials=self.trials,
                features=one["features"],
                library=library,
            )
            for name, library in libraries.items()
        }
        self.answer = self.answers[""]

    def true(self, first: str, second: str) -> Lead:
        """By how much the first is truly ahead, over the images."""
        found = paired(self.rows[first], self.rows[second])
        return Lead(found.difference, found.low, found.high)

    def levels(self) -> dict[str, Mapping[str, float]]:
        """By witness, what it puts explainers in order by."""
        found: dict[str, Mapping[str, float]] = {
            "borrowed truth": self._borrowed(self.answer),
            LIBRARY_ALONE: self._borrowed(self.answers[LIBRARY_ALONE]),
            **(
                {MATCHED_ALONE: self._borrowed(self.answers[MATCHED_ALONE])} if self.matched else {}
            ),
            "plants and borrowed truth": self.answer.level,
            "always DeepLIFT from the border": {n: float(n == CONSTANT) for n in self.names},
        }
        if self.answer.planted:
            planted = {n: max(FLOOR, one.mean) for n, one in self.answer.planted.items()}
            found = {"plants": {n: FLOOR if np.isnan(v) else v for n, v in planted.items()}} | found
        for metric, scores in self.one["measures"].items():
            turned = 1 if _HIGHER[metric] else -1
            known = {n: float(np.nanmean(scores[n][0])) * turned for n in self.names if n in scores}
            found[metric.replace("_", " ")] = {n: known.get(n, -np.inf) for n in self.names}
        return found

    def _borrowed(self, answer: Answer) -> Mapping[str, float]:
        found = {n: borrowed.skill(answer.library, answer.features, n) for n in self.names}
        return {name: FLOOR if np.isnan(skill) else skill for name, skill in found.items()}

    def kinds(self) -> Mapping[str, Counter[str]]:
        """By kind of verdict: said, of clear pairs, opposite."""
        found: dict[str, Counter[str]] = {}
        for first, second in combinations(self.names, 2):
            true, pair = self.true(first, second).side, self.answer.pair(first, second)
            without = self.answers[LIBRARY_ALONE].pair(first, second)
            sides = {
                pair.kind: pair.side,
                "plants": pair.planted.side,
                "borrowed truth": pair.borrowed.side,
                LIBRARY_ALONE: without.borrowed.side,
                WITHOUT: without.side if without.kind == "recommended" else 0,
                **{m: self._measured(m, first, second) for m in self.one["measures"]},
            }
            for kind, side in sides.items():
                if side or kind in ("alike", "undecided"):
                    mine = found.setdefault(kind, Counter())
                    mine["said"] += 1
                    mine["clear"] += bool(true and side)
                    mine["opposite"] += side * true < 0
                    mine["told apart"] += bool(true)
        return found

    def _measured(self, metric: str, first: str, second: str) -> int:
        scores = {name: rows[0] for name, rows in self.one["measures"][metric].items()}
        return measured_lead(scores, first, second, higher_is_better=_HIGHER[metric]).side


def trial(raw: Mapping[str, Any]) -> Trial:
    """A trial as it was kept."""
    look, design, seed = raw["name"].split(", ")
    return Trial(
        asked=Asked(design=design, look=look, seed=int(seed.split()[1])),
        certificate=Certificate(**raw["certificate"]),
        skills=raw["skills"],
        weights=raw["weights"],
        refused={},
    )


def summed(graded: Sequence[Graded]) -> dict[str, dict[str, int]]:
    """The kinds of verdicts over all networks."""
    total: dict[str, Counter[str]] = {}
    for one in graded:
        for kind, counts in one.kinds().items():
            total.setdefault(kind, Counter()).update(counts)
    return {kind: dict(counts) for kind, counts in total.items()}


def short(graded: Sequence[Graded], rates: Mapping[str, Mapping[str, int]]) -> str:
    """What follows, in a paragraph."""

    def share(kind: str) -> str:
        return f"{rates[kind]['opposite'] / rates[kind]['clear']:.1%}"

    hits: Counter[str] = Counter()
    for one in graded:
        best = max(one.names, key=lambda name: one.exact[name])
        for witness, levels in one.levels().items():
            hits[witness] += max(levels, key=lambda name: levels[name]) == best
    constant = hits["always DeepLIFT from the border"]
    both, planted = hits["plants and borrowed truth"], hits["plants"]
    adds = "no better than" if max(both, planted) <= constant else "better than"
    return (
        f"DeepLIFT from the border is truly the best on {constant} of {len(graded)} networks, and "
        f"as a choice of the best method the witnesses are {adds} this constant answer: both "
        f"together pick the best on {both}, plants alone on {planted}. What plants add is "
        f"certainty about pairs: where both witnesses put two methods in the same order, exact "
        f"truth is opposite in {share('recommended')} of the pairs of which it is clear, where "
        f"borrowed truth alone does in {share('lean by borrowed truth')}, plants alone in "
        f"{share('lean by plants')}, infidelity in {share('infidelity')} and the area of region "
        f"perturbation in {share('region_perturbation_area')}. With the study of matched scenes "
        f"{rates['recommended']['said']} pairs are recommended, without it "
        f"{rates[WITHOUT]['said']}, of which {share(WITHOUT)} are opposite."
    )


def witnesses(graded: Sequence[Graded]) -> str:
    """How good each witness's choice is: a row a witness."""
    rows: dict[str, list[tuple[float, ...]]] = {}
    for one in graded:
        true = np.array([one.exact[name] for name in one.names])
        place = (-true).argsort().argsort()
        for witness, levels in one.levels().items():
            mine = np.array([levels[name] for name in one.names])
            pick = int(mine.argmax())
            rho = np.nan if witness.startswith("always") else correlated(mine, true)
            rows.setdefault(witness, []).append(
                (place[pick] == 0, place[pick] < 3, true.max() - true[pick], rho)
            )
        count = len(one.names)
        chance = (1 / count, 3 / count, float(true.max() - true.mean()), 0.0)
        rows.setdefault("chance", []).append(chance)
    lines = ["| witness | networks | best | among the best three | regret | rank correlation |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for witness, values in rows.items():
        best, three, regret = (float(np.mean([v[k] for v in values])) for k in range(3))
        rhos = [v[3] for v in values if not np.isnan(v[3])]
        rho = f"{np.mean(rhos):+.2f}" if rhos else ""
        lines.append(
            f"| {witness} | {len(values)} | {best:.0%} | {three:.0%} | {regret:.2f} | {rho} |"
        )
    return "\n".join(lines)


def correlated(first: np.ndarray, second: np.ndarray) -> float:
    """The rank correlation of two orders of explainers."""
    return float(rank_correlation(first[None], second[None])[0])


def verdicts(rates: Mapping[str, Mapping[str, int]]) -> str:
    """How often each kind of verdict is opposite to a clear exact truth."""
    lines = ["| verdict | pairs | exact truth is clear | opposite |", "| --- | --- | --- | --- |"]
    order = [
        "recommended", "lean by plants", "lean by borrowed truth", "undecided", "alike",
        WITHOUT, "plants", "borrowed truth", LIBRARY_ALONE, *_HIGHER,
    ]  # fmt: skip
    for kind in order:
        if kind not in rates:
            continue
        one = rates[kind]
        silent = kind in ("undecided", "alike")
        clear = one["told apart"] if silent else one["clear"]
        share = "" if silent or not clear else f"{one['opposite']} ({one['opposite'] / clear:.1%})"
        lines.append(f"| {kind.replace('_', ' ')} | {one['said']} | {clear} | {share} |")
    return "\n".join(lines)


def networks(graded: Sequence[Graded]) -> str:
    """A row a network: its accuracy, the truly best, what the witnesses would have said."""
    lines = ["| network | accuracy | certified | truly best | plants | borrowed | both | regret |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for one in graded:
        levels = one.levels()

        def pick(witness: str, levels: Mapping[str, Mapping[str, float]] = levels) -> str:
            if witness not in levels:
                return "none"
            return max(levels[witness], key=lambda name: levels[witness][name])

        best = max(one.names, key=lambda name: one.exact[name])
        both = pick("plants and borrowed truth")
        cells = [best, pick("plants"), pick("borrowed truth"), both]
        named = " | ".join(cell.replace("_", " ") for cell in cells)
        lines.append(
            f"| {one.name.replace('_', ' ')} | {one.one['accuracy']:.2%} "
            f"| {len(certified(one.trials))} of {len(one.trials)} | {named} "
            f"| {one.exact[best] - one.exact[both]:.2f} |"
        )
    return "\n".join(lines)


def differ(graded: Sequence[Graded]) -> str:
    """How far the exact orders of networks differ from one another."""
    rhos, other = [], []
    for one, two in combinations(graded, 2):
        both = [name for name in one.names if name in two.names]
        values = [[each.exact[name] for name in both] for each in (one, two)]
        where = rhos if one.one["task"] == two.one["task"] else other
        where.append(correlated(*np.array(values)))
    bests = Counter(max(one.names, key=lambda name: one.exact[name]) for one in graded)
    named = ", ".join(f"{name.replace('_', ' ')} on {many}" for name, many in bests.most_common())
    alike = [
        f"{np.mean(values):.2f} {where} (from {min(values):.2f} to {max(values):.2f})"
        for values, where in ((rhos, "within a task"), (other, "between tasks"))
        if values
    ]
    return (
        f"{len(graded)} networks of {len({one.one['task'] for one in graded})} tasks. The exact "
        f"orders of two networks correlate by {' and '.join(alike)}. Truly best: {named}."
    )


def certificates(found: Sequence[Mapping[str, Any]]) -> str:
    """How many trials of each look and design were certified, and what they took."""
    rows: dict[str, list[tuple[bool, float]]] = {}
    for one in found:
        for raw in [*one["trials"], *one["matched"]]:
            name = raw["name"].rpartition(",")[0]
            rows.setdefault(name, []).append(
                (not raw["certificate"]["fault"], one["seconds"][raw["name"]])
            )
    lines = ["| look and design | certified | seconds, median |", "| --- | --- | --- |"]
    lines += [
        f"| {name} | {sum(held for held, _ in values)} of {len(values)} "
        f"| {np.median([seconds for _, seconds in values]):.0f} |"
        for name, values in rows.items()
    ]
    return "\n".join(lines)
