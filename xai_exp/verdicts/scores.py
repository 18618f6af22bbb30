"""The tidy table of scores, and what claims read off it.

It has a row a score, with the columns `setting` (what was varied, in words: dataset, architecture,
imputer ...), `model` (a trained network), `accuracy` (of that network), `explainer`, `image`,
`metric`, `higher_is_better` and `score` (NaN: undefined). Models of one setting differ by their
seed and explain the same images.
"""

from collections.abc import Callable, Sequence

import pandas as pd

from xai_exp.config import InputError
from xai_exp.statistics import Array, Paired


def oriented(scores: pd.DataFrame, first: str, second: str) -> tuple[Array, Array]:
    """Two explainers' scores as (models, images), the same cells, so that more is better."""
    sign, tables = direction(scores), [wide(scores, name) for name in (first, second)]
    models = tables[0].index.intersection(tables[1].index)
    one, other = (sign * table.loc[models].to_numpy(float) for table in tables)
    return one, other


def wide(scores: pd.DataFrame, explainer: str) -> pd.DataFrame:
    """One explainer's scores, models by all images of the table."""
    table = scores.pivot_table(
        index=["model", "explainer"], columns="image", values="score", dropna=False
    )
    return pd.DataFrame(table.xs(explainer, level="explainer"))


def direction(scores: pd.DataFrame) -> int:
    """1 where higher is better, -1 where lower is."""
    return 1 if bool(scores["higher_is_better"].iloc[0]) else -1


def by_setting(
    scores: pd.DataFrame,
    metrics: Sequence[str],
    explainers: set[str],
    compare: Callable[[pd.DataFrame], Paired],
) -> pd.DataFrame:
    """What `compare` says of each setting and metric that has all of the explainers, a row each."""
    chosen = pd.DataFrame(scores[scores["metric"].isin(list(metrics))])
    rows = []
    for names, mine in chosen.groupby(["setting", "metric"], sort=False):
        setting, metric = tuple(names)  # pyright: ignore
        if explainers <= set(mine["explainer"]):
            found = compare(pd.DataFrame(mine))
            if found.n:  # a metric that is undefined on these data says nothing of the claim
                rows.append({"setting": setting, "metric": metric, **found._asdict()})
    return pd.DataFrame(rows, columns=["setting", "metric", *Paired._fields])


def refuse_unknown(
    text: str, scores: pd.DataFrame, explainers: Sequence[str], metrics: Sequence[str]
) -> None:
    """Refuse explainers and metrics that were not scored, in the name of the claim `text`."""
    for kind, names in (("explainer", explainers), ("metric", metrics)):
        known = list(scores[kind].unique())
        for name in names:
            if name not in known:
                raise InputError(
                    f"claim {text!r}: got {kind} {name}; allowed: one of {', '.join(known)}"
                )
