"""The tidy table of scores, and what claims read off it.

It has a row a score, with the columns `setting` (what was varied, in words: dataset, architecture,
imputer ...), `model` (a trained network), `accuracy` (of that network), `explainer`, `image`,
`metric`, `higher_is_better` and `score` (NaN: undefined), and the choices that no claim should hang
on: `value` (what of the network was explained), `reference` (what an explainer compares the image
with; empty for one that has none) and `division` (the grain of the parts; empty for a metric
without parts). Models of one setting differ by their seed and explain the same images.
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from xai_exp.config import InputError
from xai_exp.statistics import evened

FACTORS = ("value", "reference", "division")  # choices that no claim should hang on


class Compared(NamedTuple):
    """The differences that speak for or against a claim in one setting, by one metric.

    Attributes:
        setting: in words.
        metric: its name.
        factors: the level of each of FACTORS that the table has; empty where there is none.
        table: models by images; above 0 speaks for the claim, NaN is missing.
    """

    setting: str
    metric: str
    factors: Mapping[str, str]
    table: pd.DataFrame

    @property
    def place(self) -> tuple[object, ...]:
        """The same for those whose networks and images are the same."""
        return self.setting, tuple(self.table.index), tuple(self.table.columns)


def differences(
    scores: pd.DataFrame,
    first: str,
    second: str,
    tables: Mapping[str, pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """First minus second on the same images of the same models, so that more is better.

    Args:
        scores: one metric's rows in one setting.
        first: an explainer.
        second: another one.
        tables: theirs (`wide`), where they are known.
    """
    tables = tables or wide(scores, [first, second])
    models = tables[first].index.intersection(tables[second].index)
    return direction(scores) * (tables[first].loc[models] - tables[second].loc[models])


def wide(scores: pd.DataFrame, explainers: Collection[str]) -> dict[str, pd.DataFrame]:
    """Each explainer's scores, its models by all images of the table."""
    mine = pd.DataFrame(scores[scores["explainer"].isin(list(explainers))])
    even = mine.assign(score=evened(mine, by=["explainer", "model"]))
    means: Any = even.groupby(["explainer", "model", "image"])["score"].mean()
    table: Any = means.unstack("image").reindex(columns=sorted(scores["image"].unique()))
    return {str(name): rows.droplevel("explainer") for name, rows in table.groupby("explainer")}


def direction(scores: pd.DataFrame) -> int:
    """1 where higher is better, -1 where lower is."""
    return 1 if bool(scores["higher_is_better"].iloc[0]) else -1


def by_setting(
    scores: pd.DataFrame,
    metrics: Sequence[str],
    explainers: set[str],
    compare: Callable[[pd.DataFrame], pd.DataFrame],
) -> list[Compared]:
    """What `compare` makes of each setting and metric that has all of the explainers.

    Where `value`, `reference` or `division` are columns, each of their levels by itself: methods
    are compared at equal levels; a method without a level (a control) counts at every one. A
    metric's variants (`part_skill (division=grid)`) count by themselves.
    """
    chosen = pd.DataFrame(scores[scores["metric"].map(_base).isin(list(metrics))])
    found = []
    for names, mine in chosen.groupby(["setting", "metric"], sort=False):
        setting, metric = tuple(names)  # pyright: ignore
        for factors, rows in _levels(pd.DataFrame(mine[mine["explainer"].isin(list(explainers))])):
            if explainers <= set(rows["explainer"]):
                table = compare(rows)
                # A metric that is undefined on these data says nothing of the claim.
                if table.notna().to_numpy().any():
                    found.append(Compared(setting, metric, factors, table))
    return found


def _levels(scores: pd.DataFrame) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """The rows at each combination of the factors' levels."""
    names = [name for name in FACTORS if name in scores]
    levels = [list(scores.loc[_named(scores[name]), name].unique()) or [""] for name in names]
    for chosen in itertools.product(*levels):
        rows = scores
        for name, level in zip(names, chosen, strict=True):
            rows = rows[(rows[name] == level) | ~_named(rows[name])]
        yield dict(zip(names, map(str, chosen), strict=True)), pd.DataFrame(rows)


def _named(levels: Any) -> Any:  # noqa: ANN401
    return levels.notna() & (levels != "")


def _base(metric: str) -> str:
    """A metric's name without what tells its variants apart."""
    return metric.partition(" (")[0]


def refuse_unknown(
    text: str, scores: pd.DataFrame, explainers: Sequence[str], metrics: Sequence[str]
) -> None:
    """Refuse explainers and metrics that were not scored, in the name of the claim `text`."""
    for kind, names in (("explainer", explainers), ("metric", metrics)):
        known = list(scores[kind].unique())
        bases = {_base(name) for name in known} if kind == "metric" else set()
        for name in names:
            if name not in known and name not in bases:
                raise InputError(
                    f"claim {text!r}: got {kind} {name}; allowed: one of {', '.join(known)}"
                )
