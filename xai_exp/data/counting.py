"""Counting: k similar objects that do not overlap; the label is k.

The variants of the earlier research line are choices of the fields: one radius (min_radius equal
to max_radius), several radii, other shapes, mixed shapes; `test_shape` and the test radii make a
network that learnt one variant face another.
"""

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from xai_exp.config import Added, InputError, Range, configured
from xai_exp.data import loading
from xai_exp.data.loading import SceneSplit, Splits, grey_levels, levels_beside, stream
from xai_exp.data.scenes.placement import Overlap, Placement, anywhere, crowded, refusal
from xai_exp.data.scenes.polygons import DISC, circumradii
from xai_exp.data.scenes.scene import Scene
from xai_exp.data.scenes.texture import Amplitude, Kind, backdrop

Shape = Literal["disc", "square", "triangle", "mixed"]
_SIDES = {"disc": DISC, "square": 4, "triangle": 3}


@configured
class Counting(Splits):
    """Between min_objects and max_objects equal-level objects on a uniform background.

    Args:
        count: images in all splits together.
        pixels: height and width of the images.
        shape: what the objects are; "mixed" draws each object's kind.
        min_objects, max_objects: how many there can be, every number equally often.
        min_radius, max_radius: size, as the radius of the disc of equal area; each object's own.
        test_shape, test_min_radius, test_max_radius: the same for the test split (null: as above).
        gap: the least distance between two objects' circumcircles, in pixels.
        min_contrast: the least difference between the grey levels of objects and background.
        validation_share, test_share: the share of images held out.
        texture: of the background: none, stripes or noise.
        amplitude: the texture's, in grey levels.
        overlap: by which share of the sum of two circumradii objects may overlap, each then having
            a level of its own and hiding those drawn before it; 0: they keep the gap.
        seed: of the scenes; models of all seeds see the same images.
    """

    count: Annotated[int, Range(30)] = 60_000
    pixels: Annotated[int, Range(16, 512)] = 64
    shape: Shape = "disc"
    min_objects: Annotated[int, Range(0)] = 0
    max_objects: Annotated[int, Range(1)] = 9
    min_radius: Annotated[float, Range(1)] = 3.0
    max_radius: Annotated[float, Range(1)] = 5.0
    test_shape: Shape | None = None
    test_min_radius: Annotated[float, Range(1)] | None = None
    test_max_radius: Annotated[float, Range(1)] | None = None
    gap: Annotated[float, Range(1.5)] = 2.0
    min_contrast: Annotated[float, Range(0, 0.9)] = 0.1
    validation_share: Annotated[float, Range(0, 0.5, exclusive_low=True)] = 0.03
    test_share: Annotated[float, Range(0, 0.5, exclusive_low=True)] = 0.1
    texture: Annotated[Kind, Added("none")] = "none"
    amplitude: Annotated[Amplitude, Added(0.1)] = 0.1
    overlap: Annotated[Overlap, Added(0.0)] = 0.0
    seed: Annotated[int, Range(0)] = 0

    undeciding = frozenset({"test_shape", "test_min_radius", "test_max_radius"})

    def __post_init__(self) -> None:
        if self.min_objects > self.max_objects:
            raise InputError(
                f"Counting.min_objects: got {self.min_objects}; allowed: at most "
                f"max_objects = {self.max_objects}"
            )
        for which in (loading.TRAIN, loading.TEST):
            _, low, high = self.variant(which)
            if low > high:
                raise InputError(
                    f"Counting.min_radius: got {low:g}; allowed: at most max_radius = {high:g}"
                )
            if not self.overlap and crowded(self.max_objects, low, self.gap, self.pixels):
                raise refusal("Counting.max_objects", self.max_objects, low, self.pixels)

    @property
    def classes(self) -> tuple[str, ...]:
        """The numbers that there can be."""
        return tuple(str(k) for k in range(self.min_objects, self.max_objects + 1))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return (self.pixels, self.pixels)

    def variant(self, which: int) -> tuple[str, float, float]:
        """Shape and radii of one split."""
        if which != loading.TEST:
            return self.shape, self.min_radius, self.max_radius
        return (
            self.test_shape or self.shape,
            self.test_min_radius or self.min_radius,
            self.test_max_radius or self.max_radius,
        )

    def split(self, which: int) -> SceneSplit:
        """Sample the scenes of one split."""
        count = loading.sizes(self.count, self.validation_share, self.test_share)[which]
        generator = stream(self.seed, which)
        shape, low, high = self.variant(which)
        labels = torch.randint(len(self.classes), (count,), generator=generator)
        slots = torch.arange(self.max_objects).expand(count, -1)
        there = slots < (labels + self.min_objects)[:, None]
        sides = self._kinds(shape, there.shape, generator)
        radii = low + (high - low) * torch.rand(there.shape, generator=generator)
        outer = radii * circumradii(sides, radii)
        place = Placement(
            pixels=self.pixels,
            gap=self.gap,
            overlap=self.overlap,
            free=self._free,
            name="Counting.max_objects",
        )
        centres = place.placed(outer, there, generator)
        level, background = grey_levels(count, self.min_contrast, generator)
        angles = 2 * math.pi * torch.rand(there.shape, generator=generator)
        levels = level[:, None].expand(there.shape).contiguous()
        if self.overlap:
            levels = levels_beside(background, there.shape[1], self.min_contrast, generator)
        scene = Scene(
            sides=sides * there,
            centres=centres,
            radii=radii,
            angles=angles,
            levels=levels,
            background=background,
            size=self.size,
            texture=backdrop(self.texture, self.amplitude, count, generator),
            stacked=self.overlap > 0,
            fewest=self.min_objects,
        )
        return SceneSplit(everything=scene, labels=labels)

    def _kinds(self, shape: str, where: tuple[int, ...], generator: torch.Generator) -> Tensor:
        if shape != "mixed":
            return torch.full(where, _SIDES[shape])
        kinds = torch.tensor(list(_SIDES.values()))
        return kinds[torch.randint(len(kinds), where, generator=generator)]

    def _free(self, candidates: Tensor, outer: Tensor) -> Tensor:
        """Which candidates keep off what a subclass keeps free; by itself nothing is."""
        return anywhere(candidates, outer)
