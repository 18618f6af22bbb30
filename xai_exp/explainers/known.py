"""Heatmaps that are there already: what may be asked of them, and what may not."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from xai_exp.explainers.cost import Cost
from xai_exp.types import (
    Explainer,
    Heatmaps,
    Images,
    Labels,
    NoOtherHeatmapsError,
    OnlyKnownImages,
)


@dataclass(frozen=True, kw_only=True)
class Known:
    """An explainer whose heatmaps of one network and its images are known; it makes others.

    What metrics ask of the explainer beside is answered by itself.
    """

    explainer: Explainer
    model: nn.Module
    images: Images
    targets: Labels
    heatmaps: Heatmaps

    @property
    def only_known_images(self) -> bool:
        """Whether it has nothing to say of images that are moved or turned."""
        explainer = self.explainer
        return isinstance(explainer, OnlyKnownImages) and explainer.only_known_images

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The heatmaps that are known, or new ones."""
        same = model is self.model and images is self.images
        if same and torch.equal(targets, self.targets):
            return self.heatmaps
        return self.explainer(model, images, targets)


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """Who made heatmaps that were given ready: nobody here, so that there are no others."""

    only_known_images: ClassVar[bool] = True
    cost: ClassVar[Cost] = Cost(forward=0, backward=0)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """Refused.

        Raises:
            NoOtherHeatmapsError: always.
        """
        raise NoOtherHeatmapsError(
            "it needs heatmaps of other images, targets or networks, and these were made elsewhere"
        )
