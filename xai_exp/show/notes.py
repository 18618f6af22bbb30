"""Names and descriptions of runs: what differs from the defaults, and what was found."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from xai_exp.build import Experiment
from xai_exp.show import numbers, terminal
from xai_exp.statistics import evened, mean_interval
from xai_exp.training.store import TrainingResult

_USUAL = {"trainer": "default", "imputer": "noise"}
_ASKED = ("target", "value", "reference", "precision")
_LONG = 24  # characters of a value in a name
_ROWS = 40  # of a table


def name(experiment: Experiment, explainer: str = "", images: int | None = None) -> str:
    """A run's name: what was chosen, and what differs from the choices' own values.

    Such as `counting · cnn depth 4 activation gelu · lrp rule gamma · seed 0 · n 16`.
    """
    names, settings = experiment.names, experiment.settings
    parts = [_with(names[group], experiment.words, group) for group in ("dataset", "model")]
    if explainer:
        parts.append(_with(explainer, experiment.words, f"explainer.{explainer}"))
    for group, usual in _USUAL.items():
        chosen = _with(names[group], experiment.words, group)
        if chosen != usual:
            parts.append(f"{group} {chosen}")
    usual = type(settings)()
    asked = _ASKED if explainer or images is not None else ()
    other = [key for key in asked if getattr(settings, key) != getattr(usual, key)]
    parts += [f"{key} {getattr(settings, key)}" for key in other]
    parts.append(f"seed {settings.seed}")
    return " · ".join([*parts, *([f"n {images}"] if images is not None else [])])


def _with(chosen: str, words: Sequence[str], prefix: str) -> str:
    return " ".join([chosen, *_changes(words, prefix)])


def _changes(words: Sequence[str], prefix: str) -> Iterator[str]:
    """What the command line changed below a key.

    >>> list(_changes(["model.depth=4", "dataset.seed=1"], "model"))
    ['depth 4']
    """
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        if key.startswith(f"{prefix}."):
            short = value.rpartition("/")[2][-_LONG:]
            yield f"{key.removeprefix(prefix)[1:]} {short}"


def training(experiment: Experiment, result: TrainingResult) -> str:
    """How good a network is."""
    good = terminal.network(result.accuracy, experiment.dataset)
    return (
        f"**{good}**; {result.epochs} epochs, {result.parameters} parameters, "
        f"{result.seconds:.0f} s"
    )


def explanation(experiment: Experiment, explainer: str, scores: pd.DataFrame) -> str:
    """One explainer's means."""
    heads = [explainer, "better", "mean", "95 % interval", "n"]
    rows = []
    for metric, mine in scores.groupby("metric", sort=False):
        found = mean_interval(evened(mine), seed=experiment.settings.seed)
        better = "higher" if experiment.metrics[str(metric)].higher_is_better else "lower"
        rows.append([str(metric), better, *_three(*found)])
    return table(heads, rows)


def comparison(experiment: Experiment, scores: Mapping[str, pd.DataFrame], accuracy: float) -> str:
    """What several explainers say side by side, and the answer."""
    said = terminal.answered(experiment, accuracy, scores)
    metrics = list(dict.fromkeys(m for one in scores.values() for m in one["metric"]))
    rows = []
    for metric in metrics:
        means = [mean_interval(evened(one.loc[one["metric"] == metric])) for one in scores.values()]
        rows.append([metric, *(_one(mean, low, high, n) for mean, low, high, n in means)])
    return "\n\n".join([*(f"**{line}**" for line in said), table(["", *scores], rows)])


def _one(mean: float, low: float, high: float, n: int) -> str:
    half = numbers.half(low, high)
    return "undefined" if not n else numbers.known(mean, low, high) + (f" ± {half}" if half else "")


def _three(mean: float, low: float, high: float, n: int) -> list[str]:
    if not n:
        return ["undefined", "", "0"]
    return [numbers.known(mean, low, high), numbers.spread(low, high), str(n)]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; of many rows the first."""
    if not rows:
        return ""
    lines = [heads, ["---"] * len(heads), *rows[:_ROWS]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
