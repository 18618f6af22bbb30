"""The command line's own experiment, from Python: composed by Hydra, its scores kept in hand."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from xai_exp.config import InputError, configured
from xai_exp.notebook.composing import composed
from xai_exp.statistics import evened
from xai_exp.tracking import Kept, Tracker, Tracking

if TYPE_CHECKING:
    from xai_exp.build import Experiment

_FIRST = ["image", "explainer", "metric", "score", "reason"]
_SCORES: list[dict[str, pd.DataFrame]] = []  # of the runs under way, the innermost last


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one experiment gave.

    Args:
        scores: a row an image, explainer and metric: image, explainer, metric, score, reason, and
            label, prediction, target, higher_is_better.
        objective: what a sweep would optimise: the setting `objective`.
        config: the configuration as it was composed.
    """

    scores: pd.DataFrame
    objective: float | list[float]
    config: DictConfig = field(repr=False)

    def means(self) -> pd.DataFrame:
        """The mean score over images: a row an explainer, a column a metric."""
        if self.scores.empty:
            return pd.DataFrame()
        even = self.scores.assign(score=evened(self.scores, by=["explainer", "metric"]))
        return even.pivot_table("score", "explainer", "metric", sort=False, dropna=False)

    def _repr_html_(self) -> str:
        """The table of means, for notebooks."""
        return self.means().to_html(float_format="{:.3f}".format)


@configured
class InHand:
    """Tracking as it is configured, which also leaves every explainer's scores in hand.

    Args:
        inside: where results are kept.
    """

    inside: Any  # a protocol without a call, which fields can't be checked for

    def open(self) -> Tracker:
        """The tracker of `inside`, listened to."""
        inside: Tracking = self.inside
        return _Listening(inside.open(), _SCORES[-1])  # pyright: ignore[reportReturnType]


class _Listening:
    """A tracker that notes the scores which are recorded."""

    def __init__(self, tracker: Tracker, scores: dict[str, pd.DataFrame]) -> None:
        self._tracker, self._scores = tracker, scores

    def record_explanation(self, record: Any, **rest: Any) -> str | None:  # noqa: ANN401
        """Note the scores under the explainer's name, and record them."""
        self._scores[str(record.tags["explainer"])] = rest["scores"]
        return self._tracker.record_explanation(record, **rest)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._tracker, name)


def configuration(*arguments: str) -> DictConfig:
    """What the command line composes of these arguments for one job.

    Raises:
        InputError: for what the command line refuses, and for studies and sweeps of many jobs.
    """
    for argument in arguments:
        if not isinstance(argument, str) or argument.startswith("-"):
            raise InputError(
                f"xe.run: got {argument!r}; allowed: the command line's GROUP=NAME and KEY=VALUE"
            )
    config = composed(*arguments, with_hydra=True)
    if config.hydra.mode == RunMode.MULTIRUN:
        raise InputError(
            "xe.run: got an experiment of several jobs; allowed: one job; "
            f"python -m xai_exp {' '.join(arguments)} runs them all"
        )
    return config


def run(config: DictConfig) -> Run:
    """Do the experiment, with the names that Hydra knows the choices by.

    Raises:
        InputError: when the configuration asks for something that can't be.
    """
    from xai_exp import build, pipeline

    before = HydraConfig.instance().cfg
    scores: dict[str, pd.DataFrame] = {}
    _SCORES.append(scores)
    try:
        HydraConfig.instance().set_config(config)
        experiment = build.experiment(config)
        objective = pipeline.run(replace(experiment, tracking=InHand(inside=experiment.tracking)))
        wanted = list(experiment.explainers)
        if set(wanted) - set(scores):
            scores |= _found(experiment, scores)
    finally:
        _SCORES.remove(scores)
        HydraConfig.instance().cfg = before
    return Run(
        scores=_joined(wanted, scores),
        objective=objective,
        config=OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]),
    )


def _found(experiment: "Experiment", fresh: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The scores of what was finished before."""
    from xai_exp import pipeline

    finished: Mapping[str, Kept] = pipeline.finished(experiment, experiment.tracking.open())
    return {name: one.scores for name, one in finished.items() if name not in fresh}


def _joined(wanted: list[str], scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    tables = [scores[name].assign(explainer=name) for name in wanted if name in scores]
    if not tables:
        return pd.DataFrame(columns=_FIRST)
    whole = pd.concat(tables, ignore_index=True)
    return whole.reindex(columns=[*_FIRST, *(n for n in whole.columns if n not in _FIRST)])
