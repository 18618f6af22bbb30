"""The true map of a network, whole or damaged by a known dose: what a metric has to tell apart."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import nn

from xai_exp.compute import ops
from xai_exp.config import InputError, Range, configured
from xai_exp.explainers.cost import Cost
from xai_exp.truth import games
from xai_exp.truth.doses import Damage, damaged
from xai_exp.types import Heatmaps, Images, Labels, Scenes


@configured
class TrueMap:
    """Every part's exact Shapley value on the part's pixels, damaged by a known dose.

    Ours, a control: at dose 0 no explanation of the parts is nearer to the truth, and with the dose
    it gets worse in a known way (`xai_exp.truth.doses`). A metric that agrees with the truth has to
    score it the lower, the larger the dose. It must be bound to scenes first (`with_scenes`); an
    image that is not among those gets the scene of the nearest one. Cost: 2^k forward passes for an
    image of k parts.

    Args:
        damage: none, bleeding, permuted, flipped or blurred.
        dose: how much of it, in 0..1.
        division: what counts as a part.
    """

    damage: Damage = "none"
    dose: Annotated[float, Range(0, 1)] = 0.0
    division: str = "objects"

    requires: ClassVar[str] = "scenes"
    cost: ClassVar[Cost] = Cost(forward=64, backward=0)  # six parts

    def with_scenes(self, images: Images, scenes: Scenes) -> "BoundTrueMap":
        """This explainer for these images and their scenes."""
        return BoundTrueMap(images=images, scenes=scenes.divided(self.division), given=self)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """Refused: there is no truth to give.

        Raises:
            InputError: always.
        """
        raise InputError("true_map: got no scenes; allowed: rendered data")


@dataclass(frozen=True, kw_only=True)
class BoundTrueMap:
    """Scenes, found by the image.

    `only_known_images` tells metrics that an image which is moved or turned has no scene here.
    """

    only_known_images: ClassVar[bool] = True
    images: Images
    scenes: Scenes
    given: TrueMap

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The true map of each image, damaged."""
        scenes = self.scenes[ops.nearest(images, self.images)]
        with torch.no_grad():
            values = games.attribute(model, scenes, targets).shapley
        parts = scenes.parts().to(images)
        maps = damaged(values, parts, scenes.present, self.given.damage, self.given.dose)
        return maps.to(images.dtype)
