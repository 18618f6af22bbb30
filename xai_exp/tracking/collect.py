"""From what tracking holds to one tidy table of scores."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from xai_exp.tracking import Kept

_GROUPS = ("dataset", "model", "imputer")
_OTHER = ("target", "images", "value", "against", "reference")
_BEFORE = {"value": "logit", "reference": "own"}  # what runs of before there was a choice have
_OF_PARTS = "xai_exp.metrics.truth."  # metrics that have a grain, objects unless they say
Variant = frozenset[tuple[str, str]]  # the parameters of an explainer or a metric


def told_apart(kept: Sequence[Kept]) -> list[Kept]:
    """The explanations, the newest first, by names that tell apart what must not be averaged.

    Where one network was explained in one setting by explainers of the same name, or scored by
    metrics of the same name, with other parameters, what differs becomes part of the name:
    `lrp (rule=gamma)`. Of scores that are alike in all of that the newest count.
    """
    explainers = _names_apart((_place(one), one.tags["explainer"], _own(one)) for one in kept)
    kept = [
        replace(one, tags={**one.tags, "explainer": explainers[one.tags["explainer"], _own(one)]})
        for one in kept
    ]
    places = [(_place(one), one.tags["explainer"]) for one in kept]
    scored = [
        {name: _own(one, f"metric.{name}.") for name in one.scores["metric"].unique()}
        for one in kept
    ]
    metrics = _names_apart(
        (place, *given) for place, own in zip(places, scored, strict=True) for given in own.items()
    )
    found, seen = [], set()
    for one, place, own in zip(kept, places, scored, strict=True):
        names = {name: metrics[name, variant] for name, variant in own.items()}
        names = {old: new for old, new in names.items() if (place, new) not in seen}
        seen |= {(place, new) for new in names.values()}
        if names:
            found.append(_renamed(one, names))
    return found


def _place(one: Kept) -> Hashable:
    """The network and the setting."""
    setting = frozenset(_counting(one.params).items())
    return one.tags.get("model_key", ""), _names(one.params), setting


def _own(one: Kept, prefix: str = "explainer.") -> Variant:
    """What an explanation's parameters say of its explainer, or of a metric."""
    return frozenset(
        (key.removeprefix(prefix), value)
        for key, value in one.params.items()
        if key.startswith(prefix) and key != f"{prefix}name"
    )


def _names_apart(
    given: Iterable[tuple[Hashable, str, Variant]],
) -> dict[tuple[str, Variant], str]:
    """Names with what differs, for those that have several variants at any one place."""
    at: dict[str, dict[Hashable, set[Variant]]] = defaultdict(lambda: defaultdict(set))
    for place, name, variant in given:
        at[name][place].add(variant)
    found = {}
    for name, places in at.items():
        variants = set().union(*places.values())
        common = frozenset.intersection(*variants)
        clash = any(len(several) > 1 for several in places.values())
        for one in variants:
            differs = ", ".join(f"{key}={value}" for key, value in sorted(one - common))
            found[name, one] = f"{name} ({differs})" if clash and differs else name
    return found


def _renamed(one: Kept, names: Mapping[str, str]) -> Kept:
    """An explanation with these of its metrics, and with their curves, under other names."""
    if len(names) == one.scores["metric"].nunique() and all(a == b for a, b in names.items()):
        return one
    chosen: Any = one.scores[one.scores["metric"].isin(list(names))]

    def arrays() -> Mapping[str, Any]:
        found = {}
        for key, values in one.arrays().items():
            kind, *rest = key.split("/", 2)
            if kind == "curve":
                name, end = rest
                if name not in names:
                    continue
                key = f"{kind}/{names[name]}/{end}"
            found[key] = values
        return found

    return replace(one, scores=chosen.assign(metric=chosen["metric"].map(names)), arrays=arrays)


def network(one: Kept) -> str:
    """A network in words: its kind and its seed."""
    return f"{one.tags.get('model', '')} seed {one.tags.get('seed', '')}"


def curved(arrays: Mapping[str, Any]) -> list[str]:
    """The metrics that left a curve of the most relevant first."""
    keys = [key.split("/") for key in arrays if key.startswith("curve/")]
    return [key[1] for key in keys if key[2:] == ["morf"]]


def tidy(kept: Sequence[Kept]) -> pd.DataFrame:
    """The scores of many explanations, a row a score.

    Returns:
        setting (what differs between the runs apart from seed and explainer, in words), dataset,
        architecture, seed, model (the trained network), accuracy, explainer, value (what of the
        network was explained), reference (from where explainers measure; `own`: as each has it),
        division (the grain of the metric's parts; empty for a metric without parts), seconds (for
        a heatmap), run, and the columns of each run's scores.
    """
    if not kept:
        return pd.DataFrame()
    rows = [len(one.scores) for one in kept]

    def each(values: Iterable[object]) -> Any:  # noqa: ANN401
        """One value a run, for all of its rows."""
        return pd.Series(list(values)).repeat(rows).array

    metrics = pd.concat([_divisions(one) for one in kept], ignore_index=True)
    return pd.concat([one.scores for one in kept], ignore_index=True).assign(
        setting=each(settings([one.params for one in kept])),
        dataset=each(one.tags.get("dataset", "") for one in kept),
        architecture=each(one.tags.get("model", "") for one in kept),
        seed=each(int(one.tags.get("seed", 0)) for one in kept),
        model=each(one.tags.get("model_key", "") for one in kept),
        accuracy=each(one.accuracy for one in kept),
        explainer=each(one.tags.get("explainer", "") for one in kept),
        value=each(_value(one.params) for one in kept),
        reference=each(one.params.get("reference", _BEFORE["reference"]) for one in kept),
        division=metrics,
        seconds=each(one.seconds for one in kept),
        run=each(one.run for one in kept),
    )


def _divisions(one: Kept) -> Any:  # noqa: ANN401
    """The grain of each score of a run."""
    known: Any = {name: _division(one.params, name) for name in one.scores["metric"].unique()}
    return one.scores["metric"].map(known)


def _value(params: Mapping[str, str]) -> str:
    """What was explained, with the class that it is compared with, if that was chosen."""
    value, against = params.get("value", _BEFORE["value"]), params.get("against", "runner_up")
    return value if against == "runner_up" else f"{value} against {against}"


def _division(params: Mapping[str, str], metric: str) -> str:
    """The grain of a metric's parts, as its run recorded it; empty without one."""
    recorded = f"metric.{metric.partition(' (')[0]}"  # as it was called before it was told apart
    of_parts = params.get(f"{recorded}._target_", "").startswith(_OF_PARTS)
    division = params.get(f"{recorded}.division", "objects" if of_parts else "")
    if division in ("None", "null"):  # the finest that the scenes have
        return ""
    cells = params.get(f"{recorded}.cells", "None")
    return division if cells in ("None", "null") else f"{division} of {cells}"


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
        for key, value in (_BEFORE | dict(params)).items()
        if (key.startswith(prefixes) or key in _OTHER) and not key.endswith((".name", ".seed"))
    }


def _short(key: str) -> str:
    return key.removeprefix("dataset.")
