"""Triangles and squares: two classes of one uniform polygon on a uniform background.

Grey levels are random in either polarity, areas are equal in distribution, so neither brightness
nor size tells the class: a network has to look at the shape.
"""

import math
from typing import Annotated

import torch

from xai_exp.config import Added, InputError, Range, configured
from xai_exp.data import loading
from xai_exp.data.loading import SceneSplit, Splits, coalition_split, grey_levels, stream
from xai_exp.data.scenes.polygons import circumradii, circumradius
from xai_exp.data.scenes.scene import Coalitions, Scene
from xai_exp.data.scenes.texture import Amplitude, Kind, backdrop


@configured
class TrianglesSquares(Splits):
    """One regular triangle or square in each image.

    Args:
        count: images in all splits together.
        pixels: height and width of the images.
        min_radius, max_radius: the object's size, as the radius of the disc of equal area.
        rotate: whether the object is turned by a random angle (else it stands on a side).
        move: whether the object lies anywhere (else in the centre).
        min_contrast: the least difference between the grey levels of object and background; below
            0.1 the earlier research line saw most of its errors.
        validation_share, test_share: the share of images held out.
        texture: of the background: none, stripes or noise.
        amplitude: the texture's, in grey levels.
        coalitions: the division whose parts are left out at random of half of the training images,
            the label staying, so that a network knows images without parts (after Hesse et al.
            2024, IDSDS); null: none are.
        seed: of the scenes; models of all seeds see the same images.
    """

    count: Annotated[int, Range(30)] = 100_000
    pixels: Annotated[int, Range(8, 512)] = 32
    min_radius: Annotated[float, Range(1)] = 9.0
    max_radius: Annotated[float, Range(1)] = 9.0
    rotate: bool = True
    move: bool = False
    min_contrast: Annotated[float, Range(0, 0.9)] = 0.1
    validation_share: Annotated[float, Range(0, 0.5, exclusive_low=True)] = 0.02
    test_share: Annotated[float, Range(0, 0.5, exclusive_low=True)] = 0.1
    texture: Annotated[Kind, Added("none")] = "none"
    amplitude: Annotated[Amplitude, Added(0.1)] = 0.1
    coalitions: Annotated[Coalitions | None, Added(None)] = None
    seed: Annotated[int, Range(0)] = 0

    def __post_init__(self) -> None:
        if self.min_radius > self.max_radius:
            raise InputError(
                f"TrianglesSquares.min_radius: got {self.min_radius:g}; allowed: at most "
                f"max_radius = {self.max_radius:g}"
            )
        limit = self.pixels / 2 / circumradius(3)
        if self.max_radius > limit:
            raise InputError(
                f"TrianglesSquares.max_radius: got {self.max_radius:g}; allowed: at most "
                f"{limit:.1f}, so that a triangle fits {self.pixels} pixels"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """Triangle, square."""
        return ("triangle", "square")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return (self.pixels, self.pixels)

    def split(self, which: int) -> SceneSplit:
        """Sample the scenes of one split."""
        count = loading.sizes(self.count, self.validation_share, self.test_share)[which]
        generator = stream(self.seed, which)
        labels = torch.randint(2, (count,), generator=generator)
        spread = self.max_radius - self.min_radius
        radii = self.min_radius + spread * torch.rand(count, generator=generator)
        turned = 2 * math.pi * torch.rand(count, generator=generator)
        upright = math.pi / 2 - math.pi / (labels + 3)  # a side at the bottom
        reach = radii * circumradii(labels + 3, radii)
        room = (self.pixels - 2 * reach)[:, None]
        inside = reach[:, None] + room * torch.rand(count, 2, generator=generator)
        middle = torch.full((count, 2), self.pixels / 2)
        level, background = grey_levels(count, self.min_contrast, generator)
        scene = Scene(
            sides=(labels + 3)[:, None],
            centres=(inside if self.move else middle)[:, None],
            radii=radii[:, None],
            angles=(turned if self.rotate else upright)[:, None],
            levels=level[:, None],
            background=background,
            size=self.size,
            texture=backdrop(self.texture, self.amplitude, count, generator),
            fewest=1,
        )
        return coalition_split(scene, labels, self.coalitions, which, self.seed)
