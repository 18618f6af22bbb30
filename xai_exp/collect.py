"""From what tracking holds to one tidy table of scores."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import pandas as pd

from xai_exp.tracking import Kept

_GROUPS = ("dataset", "model", "imputer")
_OTHER = ("target", "images")


def tidy(kept: Sequence[Kept]) -> pd.DataFrame:
    """The scores of many explanations, a row a score.

    Returns:
        setting (what differs between the runs apart from seed and explainer, in words), dataset,
        architecture, seed, model (the trained network), accuracy, explainer, seconds (for a
        heatmap), run, and the columns of each run's scores.
    """
    tables = [
        one.scores.assign(
            setting=setting,
            dataset=one.tags.get("dataset", ""),
            architecture=one.tags.get("model", ""),
            seed=int(one.tags.get("seed", 0)),
            model=one.tags.get("model_key", ""),
            accuracy=one.accuracy,
            explainer=one.tags.get("explainer", ""),
            seconds=one.seconds,
            run=one.run,
        )
        for one, setting in zip(kept, settings([one.params for one in kept]), strict=True)
    ]
    if not tables:
        return pd.DataFrame()
    return pd.concat(tables, ignore_index=True)


def settings(params: Sequence[Mapping[str, str]]) -> list[str]:
    """What tells the runs apart, in a few words each: the dataset's name, then what is varied.

    A key is named where it differs between runs of the same dataset, model and imputer; those names
    are named where they differ at all. Keys of explainers, metrics and seeds do not count.

    >>> settings([{"dataset.name": "digits", "model.depth": "2"},
    ...           {"dataset.name": "digits", "model.depth": "3"}])
    ['digits, model.depth=2', 'digits, model.depth=3']
    """
    values: dict[tuple[str, ...], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for one in params:
        for key, value in _counting(one).items():
            values[_names(one)][key].add(value)
    names = [_names(one) for one in params]
    named = [len({name[place] for name in names}) > 1 for place in range(len(_GROUPS))]
    words = []
    for one, name in zip(params, names, strict=True):
        parts = [name[0]]
        parts += [name[place] for place in range(1, len(name)) if named[place]]
        parts += [
            f"{_short(key)}={value}"
            for key, value in _counting(one).items()
            if len(values[name][key]) > 1
        ]
        words.append(", ".join(parts))
    return words


def _names(params: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(params.get(f"{group}.name", group) for group in _GROUPS)


def _counting(params: Mapping[str, str]) -> dict[str, str]:
    """The keys that make a setting."""
    prefixes = tuple(f"{group}." for group in _GROUPS)
    return {
        key: value
        for key, value in params.items()
        if (key.startswith(prefixes) or key in _OTHER) and not key.endswith((".name", ".seed"))
    }


def _short(key: str) -> str:
    return key.removeprefix("dataset.")
