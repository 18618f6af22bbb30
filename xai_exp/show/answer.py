"""What a run's scores say, in sentences."""

from collections.abc import Sequence

import torch

from xai_exp.types import Dataset
from xai_exp.verdicts.answer import Answer

_NAMED = 4  # metrics or methods; more are counted
_LITTLE = 0.5  # of what there is to learn: below it a network is called weak


def sentences(found: Answer) -> list[str]:
    """Which method is best, and whether any is better than a map that knows nothing."""
    return [*_best(found), *_against_controls(found)]


def _best(found: Answer) -> list[str]:
    if not found.best:
        return []
    groups: dict[str, list[tuple[str, bool]]] = {}
    for one in found.best:
        groups.setdefault(one.explainer, []).append((one.metric, one.certain))
    order = sorted(groups, key=lambda name: -len(groups[name]))
    parts = [f"{name} {_of(groups[name], len(found.best))}" for name in order[:_NAMED]]
    more = len(order) - _NAMED
    parts += [f"{more} others"] if more > 0 else []
    lead = "best method: " if len(order) == 1 else "no one best method: "
    return [lead + "; ".join(parts)]


def _of(metrics: Sequence[tuple[str, bool]], total: int) -> str:
    sure = [name for name, certain in metrics if certain]
    if len(metrics) == total:
        by = {1: "by the one metric", 2: "by both metrics"}.get(total, f"by all {total} metrics")
    else:
        by = f"by {listed([name for name, _ in metrics])}"
    if len(sure) == len(metrics):
        return f"{by}, by more than chance"
    if not sure:
        return f"{by}, not by more than chance"
    return f"{by}, by more than chance only by {listed(sure)}"


def _against_controls(found: Answer) -> list[str]:
    if not found.controls or not found.beaten or not found.metrics:
        return []
    controls = listed(found.controls, "or")
    none = [name for name, count in found.beaten.items() if not count]
    if not none:
        some = [f"{name} by {count}" for name, count in found.beaten.items()]
        return [
            f"better than what knows nothing of the network ({listed(found.controls)}) by more "
            f"than chance: {listed(some)} of {_metrics(found.metrics)}"
        ]
    worse = [name for name in none if found.lost.get(name)]
    tail = f"; even worse by some: {listed(worse)}" if worse else ""
    return [
        f"not found better than {controls} by any of {_metrics(found.metrics)}, by more than "
        f"chance: {listed(none)}{tail}"
    ]


def _metrics(count: int) -> str:
    return f"{count} metric{'s' * (count != 1)}"


def network(accuracy: float, data: Dataset) -> str:
    """Whether the network is good enough for its heatmaps to explain a skill."""
    counts = torch.bincount(data.test.labels.cpu(), minlength=len(data.classes))
    share = float(counts.max()) / len(data.test)
    error = (max(accuracy * (1 - accuracy), 1e-9) / len(data.test)) ** 0.5
    numbers = f"{100 * accuracy:.1f} % right, {100 * share:.1f} % by always saying one class"
    if accuracy - 1.96 * error <= share:
        return f"the network is not good enough to be explained: {numbers}"
    if accuracy - share < _LITTLE * (1 - share):
        return f"the network is weak ({numbers}): its heatmaps explain little skill"
    return f"the network is good enough to be explained: {numbers}"


def listed(names: Sequence[str], word: str = "and") -> str:
    """Names as a sentence has them; many are counted.

    >>> listed(["a", "b", "c"]), listed(["a"]), listed(list("abcdef"))
    ('a, b and c', 'a', 'a, b, c, d and 2 more')
    """
    some = list(names[:_NAMED])
    if len(names) > _NAMED:
        return f"{', '.join(some)} and {len(names) - _NAMED} more"
    return f" {word} ".join(part for part in (", ".join(some[:-1]), some[-1]) if part)
