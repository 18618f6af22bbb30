"""Whether a claim's sign hangs on a choice: the explained value, the reference, the grain.

A claim counts only where its sign holds under at least two levels of each of these. A factor that
no metric of the claim has (the grain, without parts) is not asked about; where the scores do not
say any of them (no such column), there is nothing to say here and the verdict says so.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from xai_exp.verdicts.scores import FACTORS

# Levels that ask the same: what methods have of their own is mostly black, and the median of the
# border is the background of rendered scenes.
_SAME: Mapping[str, str] = {"own": "black", "background": "border"}
WORDS: Mapping[str, str] = {
    "value": "the explained value",
    "reference": "the reference",
    "division": "the grain",
}


class Dependence(NamedTuple):
    """What a claim does under the levels of one factor.

    Attributes:
        factor: one of FACTORS.
        agree: levels under which the claim has its sign: it holds and is never reversed.
        oppose: levels under which it is reversed.
        silent: levels under which nothing is found.
    """

    factor: str
    agree: tuple[str, ...]
    oppose: tuple[str, ...]
    silent: tuple[str, ...]

    @property
    def stands(self) -> bool:
        """Whether the sign holds under at least two levels and turns under none."""
        return _different(self.agree) >= 2 and not self.oppose

    def words(self) -> str:
        """What the claim hangs on."""
        name = WORDS.get(self.factor, self.factor)
        if self.oppose and self.agree:
            return f"{name} (holds: {_listed(self.agree)}; reversed: {_listed(self.oppose)})"
        if self.oppose:
            return f"{name} (reversed: {_listed(self.oppose)})"
        asked = (*self.agree, *self.silent)
        if _different(asked) < 2:
            return f"{name} (only {_listed(asked)} was asked)" if asked else f"{name} (not varied)"
        return f"{name} (shown under {_listed(self.agree) or 'none'} only)"


def dependences(
    rows: pd.DataFrame, factors: Sequence[str] = FACTORS, *, towards: str = "holds"
) -> list[Dependence]:
    """What a claim does under each factor's levels; empty if the rows have none of the columns.

    Args:
        rows: a row a setting, metric and levels, with the column `outcome`; the factors' columns
            are optional. If one is there, all are asked about.
        factors: the columns.
        towards: the outcome that is the claim's sign; `reversed` asks about its opposite.
    """
    if not any(_known(rows, name) for name in factors):
        return []
    return [_of(rows, name, towards) for name in factors if name not in rows or _known(rows, name)]


def _known(rows: pd.DataFrame, name: str) -> bool:
    return name in rows and bool(rows[name].replace("", pd.NA).notna().any())


def _different(levels: Sequence[str]) -> int:
    return len({_SAME.get(level, level) for level in levels})


def _of(rows: pd.DataFrame, factor: str, towards: str) -> Dependence:
    against = "reversed" if towards == "holds" else "holds"
    levels: dict[str, list[str]] = {"agree": [], "oppose": [], "silent": []}
    if factor in rows:
        named = rows[rows[factor].replace("", pd.NA).notna()]
        for level, mine in named.groupby(factor, sort=True):
            outcomes = set(mine["outcome"])
            kind = "agree" if towards in outcomes else "silent"
            levels["oppose" if against in outcomes else kind].append(str(level))
    return Dependence(factor, *(tuple(one) for one in levels.values()))


def _listed(levels: Sequence[str]) -> str:
    return ", ".join(levels)
