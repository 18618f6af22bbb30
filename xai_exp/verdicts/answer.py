"""What a run's scores say: which method is best, by more than chance, and which beat controls.

One network: images are the units, and nothing is said of other networks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from xai_exp.statistics import evened, known
from xai_exp.types import Explainer, Metric

_LEVEL = 0.05
_FEWEST = 3  # images, below which nothing is said of chance
_KNOWING = {"ExactMask", "TrueMap"}  # controls that know the truth: nobody need beat these
_CONTROLS = tuple(f"xai_exp.explainers.{name}" for name in ("controls", "untrained", "damaged"))


class Best(NamedTuple):
    """The best of several methods by one metric.

    Attributes:
        metric: its name.
        explainer: the best method, controls left aside.
        certain: whether it is better than each other method by more than chance.
    """

    metric: str
    explainer: str
    certain: bool


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the scores of one network say.

    Attributes:
        best: the best method by each metric; empty where there are fewer than two.
        controls: those that know nothing of the network and were scored.
        beaten: by how many metrics each method is better than every control by more than chance.
        lost: by how many metrics a control is better than the method by more than chance.
        metrics: how many told a method and a control apart or could have.
    """

    best: Sequence[Best] = ()
    controls: Sequence[str] = ()
    beaten: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    metrics: int = 0


def is_control(explainer: Explainer) -> bool:
    """Whether a heatmap is no explanation of the network: an edge filter, noise, the exact mask."""
    return type(explainer).__module__ in _CONTROLS


def answer(
    scores: Mapping[str, pd.DataFrame],
    explainers: Mapping[str, Explainer],
    metrics: Mapping[str, Metric],
) -> Answer:
    """Read an answer off the scores of one network.

    A method is best by more than chance if the largest of the two-sided p values of its paired
    differences to all others (Student's t over images) is below 5 % after Holm's correction over
    the metrics; better than the controls likewise, corrected over methods and metrics.

    Args:
        scores: a table of `metric`, `image` and `score` for each explainer.
        explainers: those that were scored.
        metrics: those they were scored by.
    """
    methods = [name for name in scores if not is_control(explainers[name])]
    controls = [name for name in scores if is_control(explainers[name])]
    blind = [name for name in controls if type(explainers[name]).__name__ not in _KNOWING]
    tables = {name: _table(scores, name, metric) for name, metric in metrics.items()}
    tables = {name: one for name, one in tables.items() if not one.empty}
    shown = {name: one for name, one in tables.items() if set(blind) & set(one)}
    return Answer(
        best=_best(tables, methods),
        controls=blind,
        beaten=_count(shown, methods, blind, 1),
        lost=_count(shown, methods, blind, -1),
        metrics=len(shown),
    )


def _table(scores: Mapping[str, pd.DataFrame], name: str, metric: Metric) -> pd.DataFrame:
    """A column a method, a row an image, more is better; methods without a score are left out."""
    sign = 1 if metric.higher_is_better else -1
    found = {}
    for explainer, rows in scores.items():
        mine = pd.DataFrame(rows[rows["metric"] == name])
        values = sign * evened(mine).to_numpy(float)
        if len(values) and not np.isnan(values).all():
            found[explainer] = pd.Series(values)
    return pd.DataFrame(found)


def _best(tables: Mapping[str, pd.DataFrame], methods: Sequence[str]) -> list[Best]:
    found, chances = [], []
    for metric, table in tables.items():
        mine = table[[name for name in methods if name in table]]
        if mine.shape[1] < 2:
            continue
        first = str(mine.mean().idxmax())
        others = [name for name in mine if name != first]
        chances.append(max(_chance(mine[first] - mine[other]) for other in others))
        found.append((metric, first))
    sure = _holm(chances)
    return [Best(metric, first, ok) for (metric, first), ok in zip(found, sure, strict=True)]


def _count(
    tables: Mapping[str, pd.DataFrame], methods: Sequence[str], blind: Sequence[str], sign: int
) -> dict[str, int]:
    """By how many metrics a method is above all controls (sign 1), or below one of them (-1)."""
    places, chances = [], []
    for table in tables.values():
        controls = [name for name in blind if name in table]
        for name in methods:
            if name in table:
                each = [_above(sign * (table[name] - table[one])) for one in controls]
                places.append(name)
                chances.append(max(each) if sign > 0 else min(1.0, min(each) * len(each)))
    counts = dict.fromkeys(methods, 0)
    for name, ok in zip(places, _holm(chances), strict=True):
        counts[name] += ok
    return counts


def _above(differences: Any) -> float:  # noqa: ANN401
    """The chance of such a mean above 0 were there no difference; 1 where it is not above."""
    return _chance(differences) if differences.mean() > 0 else 1.0


def _chance(differences: Any) -> float:  # noqa: ANN401
    """Two-sided p of no difference; 1 where too little is known."""
    values = differences.dropna().to_numpy(float)
    if len(values) < _FEWEST:
        return 1.0
    if np.ptp(values) == 0:
        return float(values[0] == 0)
    return known(values[None]).p()


def _holm(chances: Sequence[float]) -> list[bool]:
    """Which hypotheses fall at 5 % over all (Holm 1979)."""
    fallen = [False] * len(chances)
    for rank, place in enumerate(np.argsort(chances, kind="stable")):
        if chances[place] > _LEVEL / (len(chances) - rank):
            break
        fallen[place] = True
    return fallen
