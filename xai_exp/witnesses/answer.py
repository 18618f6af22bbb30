"""What the witnesses say together, pair by pair, and the answer in a sentence.

Of two explainers the one that is clearly ahead (its interval lies beside 0)

- by plants AND by borrowed truth is RECOMMENDED over the other;
- by one of them while the other does not tell them apart: a LEAN;
- by one, and behind by the other: UNDECIDED;
- by neither: ALIKE, as far as these witnesses see.

Measures of perturbation on the network as it is are shown beside them and have no vote. Nothing is
concluded from the level of a skill, but for one thing: an explainer that is clearly worse on
certified plants than equal shares, which know no network, is broken on this network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from xai_exp.witnesses import borrowed
from xai_exp.witnesses.borrowed import Library
from xai_exp.witnesses.leads import (
    FEWEST_TRIALS,
    FLOOR,
    Lead,
    certified,
    planted_lead,
    planted_skill,
)
from xai_exp.witnesses.trial import Trial

Kind = Literal["recommended", "lean by plants", "lean by borrowed truth", "undecided", "alike"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What is said of two explainers.

    Attributes:
        first: one.
        second: another.
        planted: by how much the first is ahead on plants.
        borrowed: by how much it is on networks like this one.
    """

    first: str
    second: str
    planted: Lead
    borrowed: Lead

    @property
    def side(self) -> int:
        """1 if the first is ahead, -1 if the second is, 0 if it is not said."""
        both = self.planted.side + self.borrowed.side
        return (both > 0) - (both < 0)

    @property
    def kind(self) -> Kind:
        """Of the verdict."""
        by = self.planted.side, self.borrowed.side
        if by == (0, 0):
            return "alike"
        if by[0] == by[1]:
            return "recommended"
        if 0 not in by:
            return "undecided"
        return "lean by plants" if by[0] else "lean by borrowed truth"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the witnesses say of the explainers of one network.

    Attributes:
        explainers: those that explain the network itself, controls left out.
        trials: of planted truth.
        features: what network and pictures are like.
        library: what is borrowed from.
    """

    explainers: Sequence[str]
    trials: Sequence[Trial]
    features: Mapping[str, float]
    library: Library

    def pair(self, first: str, second: str) -> Pair:
        """What is said of two."""
        return Pair(
            first=first,
            second=second,
            planted=planted_lead(self.trials, first, second),
            borrowed=borrowed.lead(self.library, self.features, first, second),
        )

    @cached_property
    def planted(self) -> Mapping[str, Lead]:
        """Each explainer's mean skill on certified plants; empty without any."""
        if not certified(self.trials):
            return {}
        return {name: planted_skill(self.trials, name) for name in self.explainers}

    @cached_property
    def level(self) -> Mapping[str, float]:
        """Each explainer's mean of what is planted and borrowed, by which they are put in order."""
        return {name: float(np.mean(self._levels(name))) for name in self.explainers}

    def _levels(self, name: str) -> list[float]:
        found = [self.planted[name].mean] if self.planted else []
        found.append(borrowed.skill(self.library, self.features, name))
        known = [max(FLOOR, one) for one in found if not np.isnan(one)]
        return known or [FLOOR]

    @cached_property
    def order(self) -> list[str]:
        """The explainers, the best first."""
        return sorted(self.explainers, key=lambda name: -self.level[name])

    @property
    def best(self) -> str:
        """The explainer that is recommended."""
        return self.order[0]

    @cached_property
    def against_best(self) -> Mapping[str, Pair]:
        """The best one against each other one, in their order."""
        return {name: self.pair(self.best, name) for name in self.order[1:]}

    @property
    def broken(self) -> list[str]:
        """Those that fail on certified plants: clearly below equal shares."""
        return [name for name, skill in self.planted.items() if skill.high < 0]

    def _nearest(self, words: Mapping[str, str]) -> str:
        """By how much the best is ahead of the nearest that both witnesses put behind it."""
        pairs = [one for one in self.against_best.values() if _said(one) == "recommended"]
        leads = [
            f"{one.mean:+.2f} [{one.low:+.2f}, {one.high:+.2f}]"
            for one in (pairs[0].planted, pairs[0].borrowed)
        ]
        return f"{words[pairs[0].second]}: {leads[0]} by plants, {leads[1]} by borrowed truth"

    def rate(self, kind: str) -> str:
        """How often such a verdict was opposite to exact truth, in words."""
        found = self.library.rates.get(kind)
        if not found or not found["clear"]:
            return "never met where truth is known"
        return f"{found['opposite']} of {found['clear']} were wrong where truth is known"

    def sentence(self, words: Mapping[str, str], whence: str = "") -> str:
        """The answer; `words` names explainers, `whence` the image that counts as nothing."""
        if not self.explainers or not (self.planted or self.library.lenders):
            return "No witness can say anything of this network: no plant could be certified."
        pairs = self.against_best
        told = {
            kind: ", ".join(words[name] for name, pair in pairs.items() if _said(pair) == kind)
            for kind in ("recommended", "lean", "alike", "undecided")
        }
        parts = [f"On your network use {words[self.best]}{whence}"]
        if told["recommended"]:
            parts.append(
                f"both witnesses put it before {told['recommended']} "
                f"({self._nearest(words)}; {self.rate('recommended')})"
            )
        if told["lean"]:
            parts.append(f"one witness alone puts it before {told['lean']}")
        if told["alike"]:
            parts.append(f"alike within the interval: {told['alike']}")
        if told["undecided"]:
            parts.append(f"undecided: {told['undecided']}")
        if self.broken:
            named = ", ".join(words[name] for name in self.broken)
            parts.append(f"FAILED the planted test, and broken on this network: {named}")
        if (held := len(certified(self.trials))) < FEWEST_TRIALS:
            count = f"{held or 'no'} plant{'s' * (held > 1)}"
            parts.append(
                f"{count} could be certified where {FEWEST_TRIALS} are asked, so that only "
                "borrowed truth tells pairs apart"
            )
        return "; ".join(parts) + "."


def _said(pair: Pair) -> str:
    if pair.kind.startswith("lean"):
        return "lean" if pair.side > 0 else "undecided"
    return pair.kind if pair.kind != "recommended" or pair.side > 0 else "undecided"
