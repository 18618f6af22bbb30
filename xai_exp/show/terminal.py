"""What the user reads in the terminal: what is done, the table of scores, where to look next."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from rich.console import Console
from torch import Tensor

from xai_exp.build import Experiment
from xai_exp.explainers.promises import broken
from xai_exp.show import table
from xai_exp.show.answer import network, sentences
from xai_exp.tracking import Tracker
from xai_exp.training.store import TrainingResult
from xai_exp.types import Metric
from xai_exp.verdicts.answer import answer, is_control

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
    """One line for the metrics that need a truth which the data do not have."""
    lacking: dict[str, list[str]] = {}
    for name, metric in metrics.items():
        if missing := metric.needs - truths:
            lacking.setdefault(" and ".join(sorted(missing)), []).append(name)
    if lacking:
        parts = [f"{', '.join(names)} ({lacks})" for lacks, names in lacking.items()]
        lines(console, [f"metrics skipped for what the data lack: {'; '.join(parts)}"])


def results(
    console: Console,
    experiment: Experiment,
    result: TrainingResult,
    scores: Mapping[str, pd.DataFrame],
    guards: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> None:
    """The table: mean and 95 % interval over images for every explainer and metric.

    Below it a line for each promise that an explainer broke, as the guards of those just made say.
    """
    rows = [
        table.Row(label=name, control=is_control(experiment.explainers[name]), scores=mine)
        for name, mine in scores.items()
    ]
    table.printed(console, table.cells(rows, experiment.metrics))
    lines(console, [*marks(guards or {}), *cues(guards or {})])
    lines(console, [f"test accuracy {100 * result.accuracy:.2f} %"])


def answers(
    experiment: Experiment, result: TrainingResult, scores: Mapping[str, pd.DataFrame]
) -> list[str]:
    """What the scores of one network say, in sentences."""
    return answered(experiment, result.accuracy, scores)


def answered(
    experiment: Experiment, accuracy: float, scores: Mapping[str, pd.DataFrame]
) -> list[str]:
    """Likewise, by the network's accuracy."""
    found = answer(scores, experiment.explainers, experiment.metrics)
    said = sentences(found)
    one = "of this one network and these images; for others: -m seed=0,1,2 and more"
    return [*said, *([one] if said else []), network(accuracy, experiment.dataset)]


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
