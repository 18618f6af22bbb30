"""What the user reads in the terminal: what is done, the table of scores, where to look next."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from torch import Tensor

from xai_exp.build import Experiment
from xai_exp.explainers.promises import broken
from xai_exp.statistics import Interval, evened, mean_interval
from xai_exp.tracking import Tracker
from xai_exp.training.store import TrainingResult
from xai_exp.types import Metric

_SCORES_UNDER_A_HEATMAP = 2
_NAMED = 4  # explainers; more are counted


def header(console: Console, experiment: Experiment, device: torch.device) -> None:
    """One line that says what is about to happen."""
    names, explainers = experiment.names, list(experiment.explainers)
    shown = ", ".join(explainers) if len(explainers) <= _NAMED else f"{len(explainers)} explainers"
    console.print(
        f"[bold]{names['dataset']}[/] x [bold]{names['model']}[/] x "
        f"[bold]{shown}[/]  seed {experiment.settings.seed}, {device}",
        highlight=False,
    )


def trained(console: Console, result: TrainingResult, *, reused: bool) -> None:
    """How good the model is."""
    how = "found trained" if reused else f"trained in {result.seconds:.0f} s"
    console.print(
        f"model {how}: test accuracy {100 * result.accuracy:.2f} % after {result.epochs} epochs",
        highlight=False,
    )


def lines(console: Console, words: Sequence[str]) -> None:
    """What is to be known, a line each."""
    for one in words:
        console.print(one, highlight=False, markup=False, soft_wrap=True)


def skipped_metrics(
    console: Console, metrics: Mapping[str, Metric], truths: frozenset[str]
) -> None:
    """A line for each metric that needs a truth which the data do not have."""
    for name, metric in metrics.items():
        missing = metric.needs - truths
        if missing:
            lacks = " and ".join(sorted(missing))
            console.print(f"metric {name} is skipped: it needs {lacks}, which the data lack")


def results(
    console: Console,
    experiment: Experiment,
    result: TrainingResult,
    scores: Mapping[str, pd.DataFrame],
    guards: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> None:
    """The table: mean and 95 % interval over images for every explainer and metric.

    A row an explainer and a column a metric if they fit the terminal, else a row a metric. Below it
    a line for each promise that an explainer broke, as the guards of those just made say.
    """
    names = [
        n for n in experiment.metrics if any((t["metric"] == n).any() for t in scores.values())
    ]
    first = max(map(len, [*scores, "explainer"])) + 4
    if len(names) <= (console.width - first) // _COLUMN:
        if names:
            _print(console, _table(names, experiment.metrics, scores))
            console.print(_CAPTION, style="italic", highlight=False)
    else:
        explainers = list(scores)
        fit = max(1, (console.width - _METRIC - 13) // _NARROW)
        found = {name: _intervals(name, scores) for name in names}
        for start in range(0, len(explainers), fit):
            some = explainers[start : start + fit]
            _print(console, _long_table(names, experiment.metrics, scores, some, found))
        console.print(_LONG_CAPTION, style="italic", highlight=False)
    for line in [*marks(guards or {}), *cues(guards or {})]:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print(f"test accuracy {100 * result.accuracy:.2f} %", highlight=False)


def _print(console: Console, table: Table) -> None:
    """A table whole, also where the terminal is too narrow for it and breaks its lines."""
    wide = console.options.update(width=_NARROW * 100)
    least, most = Measurement.get(console, wide, table)
    if least > console.width:
        table.width = most
    console.print(table, crop=False)


def marks(guards: Mapping[str, Mapping[str, Tensor]]) -> list[str]:
    """A line for each promise that an explainer broke.

    >>> marks({"lrp_flat": {"completeness_gap": torch.tensor([0.23, 0.0])}, "gradient": {}})
    ['lrp_flat: sum off by up to 23 % (bound 1 %) on 1 of 2 images']
    """
    return [f"{name}: {line}" for name, kept in guards.items() for line in broken(kept)]


def cues(guards: Mapping[str, Mapping[str, Tensor]]) -> list[str]:
    """What each cue is worth to the network, if the factor game was played: the same for all maps.

    >>> cues({"lrp": {"cue/size": torch.tensor([0.4]), "cue_hidden": torch.tensor([0.8])}})[0]
    'cues, by their share of what decides the network (factor game): size +0.40'
    """
    kept = next((one for one in guards.values() if "cue_hidden" in one), None)
    if kept is None:
        return []
    found = {n.removeprefix("cue/"): float(v.nanmean()) for n, v in kept.items() if "cue/" in n}
    order = sorted(found, key=lambda cue: -abs(found[cue]))
    listed = ", ".join(f"{cue} {found[cue]:+.2f}" for cue in order)
    unseen = 100 * float(kept["cue_hidden"].nanmean())
    return [
        f"cues, by their share of what decides the network (factor game): {listed}",
        f"{unseen:.0f} % of it lies in cues without pixels of their own: no heatmap can show these",
    ]


_COLUMN = 19
_CAPTION = "mean over images, 95 % bootstrap interval; n: images with a score, if not all have one"

_METRIC, _NARROW = 26, 15
_LONG_CAPTION = (
    "mean over images and half the width of its 95 % interval; the best of a metric is bold\n"
    "n: images with a score, if not all have one"
)


def _table(
    names: Sequence[str], metrics: Mapping[str, Metric], scores: Mapping[str, pd.DataFrame]
) -> Table:
    table = Table()
    table.add_column("explainer", no_wrap=True)
    for name in names:
        arrow = "higher" if metrics[name].higher_is_better else "lower"
        words = fill(name.replace("_", " "), _COLUMN - 3)
        table.add_column(f"{words}\n[dim]{arrow} is better[/]", justify="right", no_wrap=True)
    for explainer, rows in scores.items():
        table.add_row(explainer, *(_cell(rows, name) for name in names))
    return table


def _intervals(metric: str, scores: Mapping[str, pd.DataFrame]) -> dict[str, Interval]:
    """Every explainer's mean by this metric."""
    return {e: mean_interval(evened(r.loc[r["metric"] == metric])) for e, r in scores.items()}


def _best(found: Mapping[str, Interval], *, higher: bool) -> float | None:
    """The best mean of all explainers; none where fewer than two have one to be compared."""
    means = [one.mean for one in found.values() if one.n]
    return (max if higher else min)(means) if len(means) > 1 else None


def _long_table(
    names: Sequence[str],
    metrics: Mapping[str, Metric],
    scores: Mapping[str, pd.DataFrame],
    some: Sequence[str],
    found: Mapping[str, Mapping[str, Interval]],
) -> Table:
    """A row a metric, a column for each of some explainers; the best of all is bold."""
    table = Table()
    table.add_column("metric")
    table.add_column("better")
    for explainer in some:
        table.add_column(fill(explainer.replace("_", " "), _NARROW - 3), justify="right")
    for name in names:
        higher = metrics[name].higher_is_better
        best = _best(found[name], higher=higher)
        images = {e: int(np.count_nonzero(scores[e]["metric"] == name)) for e in some}
        cells = [_short(*found[name][e], images[e], best) for e in some]
        table.add_row(
            fill(name.replace("_", " "), _METRIC), "higher" if higher else "lower", *cells
        )
    return table


def _short(mean: float, low: float, high: float, n: int, images: int, best: float | None) -> str:
    if n == 0:
        return "[dim]undefined[/]"
    shown = f"{mean:.3g}" if abs(mean) >= 100 else f"{mean:.3f}"
    shown = f"[bold]{shown}[/]" if mean == best else shown
    half = (high - low) / 2
    spread = (
        "" if half != half else f" [dim]{half:.3f}[/]" if half < 100 else f" [dim]{half:.2g}[/]"
    )
    return shown + spread + (f"\n[dim]n = {n}[/]" if n < images else "")


def _cell(rows: pd.DataFrame, metric: str) -> str:
    mine = evened(rows.loc[rows["metric"] == metric])
    mean, low, high, n = mean_interval(mine)
    if n == 0:
        return "undefined"
    short = f"\nn = {n}" if n < len(mine) else ""
    spread = "all equal" if low != low else f"{low:.3f} .. {high:.3f}"
    return f"{mean:.3f}\n[dim]{spread}[/]{short}"


def signed(value: float, low: float, high: float) -> str:
    """A number with its sign, over its interval if it has one."""
    if value != value:
        return "undefined"
    return f"{value:+.2f}\n[dim]{low:+.2f} .. {high:+.2f}[/]" if low == low else f"{value:+.2f}"


def where(console: Console, tracker: Tracker, runs: Sequence[str], *, reused: int) -> None:
    """How to open these very runs."""
    if reused:
        console.print(f"{reused} of the runs were found finished (reuse=false makes them again)")
    command = tracker.ui_command(runs)
    if command:
        console.print(f"see these runs:  {command}", highlight=False, soft_wrap=True)
    elif tracker.address(runs):
        console.print(f"see these runs:  {tracker.address(runs)}", highlight=False, soft_wrap=True)


def explained(console: Console, count: int, *, reused: int) -> None:
    """One line for all explanations of a run of a study."""
    found = f", {reused} of them found finished" if reused else ""
    console.print(f"{count} explanations{found}", highlight=False)


def captions(
    labels: Tensor,
    predictions: Tensor,
    targets: Tensor,
    classes: Sequence[str],
    files: Sequence[str] | None = None,
) -> list[str]:
    """File, target, prediction and, where that is wrong, the label of every image."""
    lines = []
    names = [f"{name}\n" for name in files] if files else [""] * len(labels)
    for name, label, guess, target in zip(names, labels, predictions, targets, strict=True):
        right = "" if guess == label else f", is {classes[int(label)]}"
        said = f"predicted {classes[int(guess)]}{right}"
        lines.append(f"{name}target {classes[int(target)]}\n{said}")
    return lines


def score_lines(scores: pd.DataFrame, images: int) -> list[str]:
    """The first scores of every image, as lines under its heatmap."""
    names = list(scores["metric"].unique())[:_SCORES_UNDER_A_HEATMAP]
    mine = {name: scores.loc[scores["metric"] == name, "score"].to_numpy() for name in names}
    return [
        "\n".join(f"{name.replace('_', ' ')} {mine[name][row]:.2f}" for name in names)
        for row in range(images)
    ]
