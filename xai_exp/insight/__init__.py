"""What a network is like beyond single heatmaps: whole-dataset answers in pictures and numbers.

`parameters` explains its answers by the parameters of rendered scenes, `diagnostics` says how good
they are and where they fail, `features` shows what its layers look for. Each is one configured
class with one YAML: it is given a `Subject` and answers with a `Finding`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import pandas as pd
import torch
from torch import nn

from xai_exp.compute import ops
from xai_exp.compute.values import Question
from xai_exp.training import Trainer
from xai_exp.types import Architecture, Dataset, Images, Index, Labels, Logits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GROUPS = ("diagnostics", "visualisation", "insight")  # of conf/, none of each by default
Number = int | float


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one insight found.

    Attributes:
        figures: what draws the pictures, by name.
        tables: by name.
        numbers: what can be compared between networks, by name; NaN is not kept.
        lines: what a person reads in the terminal.
    """

    figures: "Mapping[str, Callable[[], Figure]]" = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    numbers: Mapping[str, Number] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A trained network and all that is known of it.

    Attributes:
        network: from images to logits, in evaluation mode.
        data: what it was trained and is tested on.
        architecture, trainer: what made it, for insights that train others like it.
        question: what is asked of it: the target and the value.
        seed: of everything random.
        device: where the network is.
    """

    network: nn.Module
    data: Dataset
    architecture: Architecture
    trainer: Trainer
    question: Question
    seed: int
    device: torch.device

    def first(self, count: int) -> Index:
        """The places of the first test images, at most `count`."""
        return torch.arange(min(count, len(self.data.test)), device=self.device)

    def images(self, count: int) -> Images:
        """The first test images, at most `count`."""
        return self.data.test.images(self.first(count))

    def labels(self, count: int) -> Labels:
        """Their classes."""
        labels = self.data.test.labels
        return labels[self.first(count).to(labels.device)].to(self.device)

    def logits(self, count: int) -> Logits:
        """What the network says of them; said once, kept for whoever asks again."""
        known = self._said.get(count)
        if known is None:
            with ops.evaluating(self.network):
                pieces = self.first(count).split(256)
                said = [ops.logits(self.network, self.data.test.images(one)) for one in pieces]
            known = self._said[count] = torch.cat(said)
        return known

    @cached_property
    def _said(self) -> dict[int, Logits]:
        return {}


@runtime_checkable
class Insight(Protocol):
    """One question about a network."""

    shows: ClassVar[str]  # what its pictures show, in a few words

    def __call__(self, subject: Subject) -> Finding:
        """The answer.

        Raises:
            InputError: when it can't be had of such a network or such data.
        """
        ...
