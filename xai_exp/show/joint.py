"""Several jobs of one command in one table, with one link: what `-m` ends with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from rich.console import Console

from xai_exp.show import table, terminal
from xai_exp.tracking import Tracker
from xai_exp.types import Metric

_LINKED = 40  # runs; more are not named one by one
_SAME = ("dataset", "metric", "images", "target", "value", "against", "imputer")


@dataclass(frozen=True, kw_only=True)
class Left:
    """What one job leaves: how it was asked for, its scores, the runs that hold them.

    No data: of many jobs they would fill the memory.
    """

    words: Sequence[str]
    metrics: Mapping[str, Metric]
    controls: frozenset[str]
    accuracy: float
    scores: Mapping[str, pd.DataFrame]
    tracker: Tracker
    runs: Sequence[str]
    reused: int


def printed(console: Console, kept: Sequence[Left]) -> None:
    """The table over all jobs that were finished, and one link to all of their runs."""
    labels = differing([one.words for one in kept])
    metrics = {name: one for job in kept for name, one in job.metrics.items()}
    rows = [
        table.Row(
            label=" ".join(part for part in (name, label) if part),
            control=name in job.controls,
            scores=scores,
        )
        for job, label in zip(kept, labels, strict=True)
        for name, scores in job.scores.items()
    ]
    swept = {word.partition("=")[0].partition(".")[0] for label in labels for word in label.split()}
    compared = not swept & set(_SAME)
    table.printed(console, table.cells(rows, metrics, compared=compared), "explainer, job")
    if not compared:
        terminal.lines(console, ["no best is marked: the jobs do not answer the same question"])
    shown = [f"{label or 'all'} {100 * job.accuracy:.1f} %" for job, label in _models(kept, labels)]
    terminal.lines(console, [f"test accuracy: {', '.join(shown)}"])
    runs = list(dict.fromkeys(run for job in kept for run in job.runs))
    shown_runs = runs if len(runs) <= _LINKED else []
    terminal.where(console, kept[0].tracker, shown_runs, reused=sum(job.reused for job in kept))


def _models(kept: Sequence[Left], labels: Sequence[str]) -> list[tuple[Left, str]]:
    """The jobs whose accuracies are worth naming: one if all have the same."""
    pairs = list(zip(kept, labels, strict=True))
    return pairs if len({job.accuracy for job in kept}) > 1 else [(kept[0], "")]


def differing(several: Sequence[Sequence[str]]) -> list[str]:
    """What tells jobs apart; explainers name themselves.

    >>> differing([["seed=0", "images=8"], ["seed=1", "images=8"]])
    ['seed=0', 'seed=1']
    """
    same = set.intersection(*(set(words) for words in several)) if len(several) > 1 else set()
    apart = [[w for w in words if w not in same] for words in several]
    return [" ".join(w for w in words if not w.startswith("explainer=")) for words in apart]
