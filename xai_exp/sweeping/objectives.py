"""What a sweep optimises, as the settings name it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from xai_exp.config import InputError
from xai_exp.statistics import evened
from xai_exp.training.store import TrainingResult

_OF_TRAINING = {
    "validation_accuracy": lambda result: result.validation_accuracy,
    "accuracy": lambda result: result.accuracy,
    "parameters": lambda result: result.parameters,
    "training_seconds": lambda result: result.seconds,
}

_BETTER = {
    "validation_accuracy": "maximize",
    "accuracy": "maximize",
    "parameters": "minimize",
    "training_seconds": "minimize",
}


def refuse_wrong_directions(
    names: str | Sequence[str], directions: str | Sequence[str], metrics: Mapping[str, Any]
) -> None:
    """A search for the worst is a mistake that its table does not show.

    Args:
        names: as in `values`.
        directions: maximize or minimize, one for each.
        metrics: those of the experiment, by name.

    Raises:
        InputError: for a direction that is not the one in which this objective gets better.
    """
    pairs = zip(*([one] if isinstance(one, str) else one for one in (names, directions)))  # noqa: B905
    for name, direction in pairs:
        better = _BETTER.get(name)
        metric = metrics.get(name.partition("/")[2])
        if better is None and metric is not None:
            better = "maximize" if metric.higher_is_better else "minimize"
        if better is not None and direction != better:
            raise InputError(
                f"sweep direction: got {direction} for {name}; allowed: {better}, since that is "
                "better (hydra.sweeper.direction, one for each objective)"
            )


def refuse_unknown(
    names: str | Sequence[str], explainers: Iterable[str], metrics: Iterable[str]
) -> None:
    """Refuse, before work begins, an objective that no run of these could have.

    Raises:
        InputError: for none, and for a name that is neither of training nor EXPLAINER/METRIC.
    """
    several = [names] if isinstance(names, str) else names
    explaining, measuring = sorted(explainers), sorted(metrics)
    for name in several or [""]:
        explainer, _, metric = name.partition("/")
        if name not in _OF_TRAINING and not (explainer in explaining and metric in measuring):
            raise InputError(
                f"objective: got {name or 'none'}; allowed: {', '.join(_OF_TRAINING)}, or "
                f"EXPLAINER/METRIC with one of {', '.join(explaining)} and one of "
                f"{', '.join(measuring) or 'no metric'}"
            )


def values(
    names: str | Sequence[str], result: TrainingResult, scores: Mapping[str, pd.DataFrame]
) -> float | list[float]:
    """The numbers that these names stand for, one for a single name.

    Args:
        names: validation_accuracy, accuracy, parameters, training_seconds, or EXPLAINER/METRIC: the
            mean of that explainer's scores by that metric, images without a score left out.
        result: of training.
        scores: of each explainer.

    Raises:
        InputError: for any other name.
    """
    if isinstance(names, str):
        return _value(names, result, scores)
    return [_value(name, result, scores) for name in names]


def _value(name: str, result: TrainingResult, scores: Mapping[str, pd.DataFrame]) -> float:
    if name in _OF_TRAINING:
        return float(_OF_TRAINING[name](result))
    explainer, _, metric = name.partition("/")
    known = {key: list(table["metric"].unique()) for key, table in scores.items()}
    if metric not in known.get(explainer, []):
        pairs = [f"{key}/{one}" for key, found in known.items() for one in found]
        raise InputError(f"objective: got {name}; allowed: {', '.join([*_OF_TRAINING, *pairs])}")
    table = scores[explainer]
    return float(evened(table.loc[table["metric"] == metric]).mean())
