"""Borrowed truth: exact skills of explainers on rendered networks, the likest counting most.

`library.json` beside this file holds, for each network of `scripts/witnesses_proof.py`, what it is
like (`described`) and the exact skill of every explainer on it. A network weighs

    w = exp(-d^2 / 2),  d^2 = sum over features of ((own - its) / width)^2,

and counts together with the others of its task, for these are alike: the unit of an interval is the
task, with the effective number (sum w)^2 / sum w^2 of them (Kish 1965, section 11.7).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from torch import nn

from xai_exp.types import Images
from xai_exp.witnesses.leads import Lead

QUESTION = {"reference": "border", "value": "centred"}  # that was asked of the library's networks
_FEWEST = 2.0  # tasks, in effect, that say how far networks differ
LIBRARY = Path(__file__).with_name("library.json")
WIDTHS: Mapping[str, float] = {
    "attention": 0.5,  # 1 with layers of attention
    "residual": 0.5,  # 1 with sums of branches
    "smooth": 1.0,  # 1 with activations that are no ReLU
    "depth": 1.0,  # log2 of the layers with weights
    "colour": 1.0,  # 1 with three channels and more
    "contrast": 0.2,  # the pictures' standard deviation
    "brightness": 0.5,  # their mean
    "average": 1.0,  # 1 where maps end in one number each
}


def described(network: nn.Module, images: Images) -> dict[str, float]:
    """What a network and its pictures are like, by the names of `WIDTHS`."""
    kinds = {type(module).__name__.lower() for module in network.modules()}
    deep = sum(isinstance(m, nn.Linear | nn.Conv2d) for m in network.modules())
    attention = any("attention" in kind for kind in kinds)
    return {
        "attention": float(attention),
        "residual": float(attention or any("block" in k or "residual" in k for k in kinds)),
        "smooth": float(not any(kind.startswith("relu") for kind in kinds)),
        "depth": float(np.log2(max(1, deep))),
        "colour": float(images.shape[1] >= 3),
        "contrast": float(images.std()),
        "brightness": float(images.mean()),
        "average": float(any(kind.startswith("adaptiveavg") for kind in kinds)),
    }


@dataclass(frozen=True, kw_only=True)
class Lender:
    """One network whose exact truth is known.

    Attributes:
        name: task and architecture.
        task: what it learnt.
        features: what it is like.
        skills: the exact skill of each explainer that it has heatmaps of.
    """

    name: str
    task: str
    features: Mapping[str, float]
    skills: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Library:
    """Networks whose exact truth is known, and how often verdicts were wrong on them.

    Attributes:
        lenders: the networks.
        rates: by kind of verdict: how many verdicts, and how many opposite to exact truth, of
            pairs of which exact truth itself is clear.
    """

    lenders: Sequence[Lender]
    rates: Mapping[str, Mapping[str, int]]

    def without(self, task: str) -> "Library":
        """The library as someone would have it who works on this task."""
        left = [one for one in self.lenders if one.task != task]
        return Library(lenders=left, rates=self.rates)


@cache
def library() -> Library:
    """The library that comes with the package."""
    found: Any = json.loads(LIBRARY.read_text("utf-8"))
    return Library(lenders=[Lender(**one) for one in found["lenders"]], rates=found["rates"])


def likeness(own: Mapping[str, float], its: Mapping[str, float]) -> float:
    """How much a network counts, in 0..1.

    >>> likeness({name: 0.0 for name in WIDTHS}, {name: 0.0 for name in WIDTHS})
    1.0
    """
    apart = sum(((own[name] - its[name]) / width) ** 2 for name, width in WIDTHS.items())
    return float(np.exp(-apart / 2))


def skill(found: Library, own: Mapping[str, float], explainer: str) -> float:
    """The explainer's skill on networks like this one: a mean over tasks; NaN without any."""
    rows = _by_task(found, own, lambda one: one.skills.get(explainer))
    return float(np.average(rows[:, 0], weights=rows[:, 1])) if len(rows) else float("nan")


def lead(
    found: Library, own: Mapping[str, float], first: str, second: str, confidence: float = 0.95
) -> Lead:
    """By how much the first explainer's skill is above the second's on networks like this one."""

    def difference(one: Lender) -> float | None:
        both = one.skills.get(first), one.skills.get(second)
        return None if both[0] is None or both[1] is None else both[0] - both[1]

    rows = _by_task(found, own, difference)
    if not len(rows):
        return Lead(float("nan"), float("nan"), float("nan"))
    values, weights = rows[:, 0], rows[:, 1] / rows[:, 1].sum()
    mean, many = float(weights @ values), float(1 / (weights**2).sum())
    if many < _FEWEST:
        return Lead(mean, float("nan"), float("nan"))
    error = np.sqrt((weights**2) @ (values - mean) ** 2 * many / (many - 1))
    reach = float(stats.t.ppf((1 + confidence) / 2, many - 1) * error)
    return Lead(mean, mean - reach, mean + reach)


def _by_task(
    found: Library, own: Mapping[str, float], value: Callable[[Lender], float | None]
) -> np.ndarray:
    """A row a task: the weighted mean of its networks' values, and the largest weight of them."""
    tasks: dict[str, list[tuple[float, float]]] = {}
    for one in found.lenders:
        if (mine := value(one)) is not None:
            tasks.setdefault(one.task, []).append((mine, likeness(own, one.features)))
    rows = [
        (np.average([v for v, _ in all_], weights=[w for _, w in all_]), max(w for _, w in all_))
        for all_ in tasks.values()
    ]
    return np.array(rows).reshape(-1, 2)
