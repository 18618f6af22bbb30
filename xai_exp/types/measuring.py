"""What is measured, and what measures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import nn

from xai_exp.types.data import Scenes
from xai_exp.types.shapes import (
    Curves,
    Explain,
    Heatmaps,
    Images,
    Labels,
    Parts,
    Precision,
    Scores,
    Value,
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One (model, explainer) on one set of images: everything that a metric may look at.

    The generator is only asked for its seed, so that no metric changes what another one draws.
    `memo` holds what several metrics share (clean outputs, rankings, curves); `dataclasses.replace`
    starts an empty one. `across` holds what does not depend on the heatmaps, so that explainers can
    share it (exact truth); what is kept there names the inputs that it was made of. `precision` is
    that of the forward passes of perturbed images; clean ones and explanations are in float32.
    `value` says what the model's outputs are (see `xai_exp.compute.values`).
    """

    model: nn.Module
    images: Images
    targets: Labels
    heatmaps: Heatmaps
    explain: Explain
    scenes: Scenes | None = None
    parts: Parts | None = None
    generator: torch.Generator
    precision: Precision = "float32"
    value: Value = "logit"
    across: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    memo: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)


@runtime_checkable
class Metric(Protocol):
    """A measure of a heatmap's quality: one score an image.

    `needs` names what the Case must hold beyond model, images and heatmaps: "parts", "scenes".
    `undefined` says in a few words when a score is NaN.
    """

    higher_is_better: ClassVar[bool]
    needs: ClassVar[frozenset[str]]
    undefined: ClassVar[str]

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        ...


@runtime_checkable
class WeightedMetric(Metric, Protocol):
    """A metric of which some images say more than others, so that its mean is a weighted one."""

    def weights(self, case: Case) -> Scores:
        """What each image's score counts in a mean, 0 or more, whatever the heatmaps."""
        ...


@runtime_checkable
class CurveMetric(Metric, Protocol):
    """A metric that is read off curves (perturbation steps), which are worth a plot."""

    def curves(self, case: Case) -> Mapping[str, Curves]:
        """Named curves, one row an image; `x` (the share of pixels perturbed) is among them."""
        ...

    def score(self, curves: Mapping[str, Curves]) -> Scores:
        """The score of every image from its curves; `__call__` is `score(curves(case))`."""
        ...
