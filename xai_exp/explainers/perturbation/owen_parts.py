"""Owen values of what is in a scene: each object among its kind, each roof among its block."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from xai_exp.compute import ops
from xai_exp.config import InputError, configured
from xai_exp.explainers.cost import Cost
from xai_exp.truth.doses import spread
from xai_exp.truth.owen import owen_values
from xai_exp.types import Heatmaps, Images, InUnions, Labels, Scenes


@configured
class OwenParts:
    r"""Exact Owen values of a scene's objects in the unions that the scene itself has (Owen 1977).

    Players are drawn and left out exactly, on the data's own manifold: objects, those of one kind
    being a union, or roofs, those of a block being one. The values of a union's members add up to
    what their union is worth among unions, all of them to f(x) - f(empty scene); each is spread
    over its object's pixels (see xai_exp.truth.owen).

    It knows the truth of a game of its own: where kinds interact the values are not Shapley's, by
    which `part_skill` judges. An image that is not among those that it is bound to gets the scene
    of the nearest one.

    Cost: for an image of m unions 2^(m - 1) x the sum over unions of 2^members forward passes; 32
    for six objects of two kinds.
    """

    requires: ClassVar[str] = "scenes"
    cost: ClassVar[Cost] = Cost(forward=32, backward=0)

    def with_scenes(self, images: Images, scenes: Scenes) -> "BoundOwenParts":
        """This explainer for these images and their scenes.

        Raises:
            InputError: for scenes that have no unions.
        """
        if not isinstance(scenes, InUnions):
            raise InputError(
                f"owen_parts: got {type(scenes).__name__}; allowed: scenes of objects or of roofs"
            )
        return BoundOwenParts(images=images, scenes=scenes)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """Refused: there are no unions to look at.

        Raises:
            InputError: always.
        """
        raise InputError("owen_parts: got no scenes; allowed: rendered data")


@dataclass(frozen=True, kw_only=True)
class BoundOwenParts:
    """Scenes, found by the image."""

    only_known_images: ClassVar[bool] = True
    cost: ClassVar[Cost] = OwenParts.cost
    images: Images
    scenes: Scenes

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The values of each image's objects at their pixels."""
        scenes = self.scenes[ops.nearest(images, self.images)]
        assert isinstance(scenes, InUnions)
        drawing, unions, parts = scenes.in_unions()
        values = owen_values(model, drawing, unions, targets)
        return spread(values, parts.double()).to(images)
