"""What is in an image: a few numbers for each object, from which image and truth are drawn.

A scene is a uniform background and up to a fixed number of uniform objects that do not overlap
(discs and regular polygons), perhaps with a planted tag as the last of them. The size of an object
is the radius of the disc of equal area, so that kinds do not differ in area.

Because objects are uniform and disjoint, an image is linear in what is kept:
image = base + sum over parts of keep * coverage * (level - background). So rendering without a
part is exact, anti-aliased border included: nothing is painted over.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from xai_exp.config import InputError
from xai_exp.data import render
from xai_exp.data.polygons import (
    DISC,
    circumradii,
    circumradius,
    divide,
    regular_polygon,
    regular_polygons,
)
from xai_exp.types import (
    Centres,
    Images,
    Keep,
    Owners,
    Parts,
    PerObject,
    Scores,
    Sides,
    Vertices,
)

DIVISIONS = ("objects", "corners", "sides", "anatomy")
_MANY = 16  # polygons below which a second group costs more than it saves


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A batch of scenes.

    Args:
        sides: what each object is: 0 absent, 1 a disc, n >= 3 a regular polygon with n sides.
        centres: (x, y) in pixels.
        radii: the radius of the disc of equal area, in pixels.
        angles: by how much a polygon is turned, in radians.
        levels: the objects' grey level, in 0..1.
        background: the background's grey level, in 0..1.
        size: height and width in pixels.
        division: what counts as a part.
        depth: how far a cut goes: the share of the side that a corner's chord takes from either
            end, or the share of the radius that a side's strip takes.
        tagged: whether the last object is a planted tag.
    """

    sides: Sides
    centres: Centres
    radii: PerObject
    angles: PerObject
    levels: PerObject
    background: Scores
    size: tuple[int, int]
    division: str = "objects"
    depth: float = 0.3
    tagged: bool = False

    def __len__(self) -> int:
        return len(self.sides)

    def __getitem__(self, index: Any) -> "Scene":  # noqa: ANN401
        return self._mapped(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> "Scene":
        """The same scenes on `device`."""
        return self._mapped(lambda tensor: tensor.to(device))

    def _mapped(self, function: Any) -> "Scene":  # noqa: ANN401
        names = ("sides", "centres", "radii", "angles", "levels", "background")
        return dataclasses.replace(self, **{name: function(getattr(self, name)) for name in names})

    def turned(self, angle: float) -> "Scene":
        """The same scenes turned about the image's centre by `angle` radians, x towards y."""
        height, width = self.size
        middle = self.centres.new_tensor([width / 2, height / 2])
        x, y = (self.centres - middle).unbind(-1)
        sine, cosine = math.sin(angle), math.cos(angle)
        around = torch.stack([cosine * x - sine * y, sine * x + cosine * y], -1)
        return dataclasses.replace(self, centres=middle + around, angles=self.angles + angle)

    @property
    def divisions(self) -> tuple[str, ...]:
        """The ways these scenes can be divided: those of a polygon need scenes of one polygon."""
        one_polygon = self._objects == 1 and not bool((self.sides[:, 0] == DISC).any())
        return DIVISIONS if one_polygon else DIVISIONS[:1]

    def divided(self, division: str, depth: float | None = None) -> "Scene":
        """The same scenes with other parts: objects, corners, sides or anatomy, cut to `depth`.

        Raises:
            InputError: when these scenes have no such division, or parts so deep would overlap.
        """
        depth = self.depth if depth is None else depth
        if not 0 < depth <= 0.5:
            raise InputError(f"depth of a scene's parts: got {depth:g}; allowed: > 0 and <= 0.5")
        if division not in self.divisions:
            allowed = ", ".join(self.divisions)
            raise InputError(f"division of a scene: got {division!r}; allowed: {allowed}")
        return dataclasses.replace(self, division=division, depth=depth)

    @property
    def _objects(self) -> int:
        return self.sides.shape[1] - self.tagged

    @property
    def part_names(self) -> tuple[str, ...]:
        """The parts' names; the tag, if there is one, is the last."""
        corners = [f"corner {i + 1}" for i in range(self._most_sides)]
        edges = [f"edge {i + 1}" for i in range(self._most_sides)]
        names = {
            "objects": [f"object {i + 1}" for i in range(self._objects)],
            "corners": corners,
            "sides": [f"side {i + 1}" for i in range(self._most_sides)],
            "anatomy": [*corners, *edges, "interior"],
        }[self.division]
        return (*names, *(["tag"] if self.tagged else []))

    @cached_property
    def _most_sides(self) -> int:
        # Four at least, so that batches of triangles and squares divide into equally many parts.
        return max(4, int(self.sides[:, : self._objects].max())) if len(self) else 4

    @property
    def present(self) -> Keep:
        """Which parts each scene has."""
        return self._pieces[2]

    def render(self, keep: Keep | None = None) -> Images:
        """Draw the scenes, without the parts that `keep` leaves out."""
        if keep is None:
            return self._image(torch.ones_like(self.sides, dtype=torch.bool))[:, None]
        if self.division == "objects":
            return self._image(keep)[:, None]
        base, deltas = self.layers()
        return (base + (keep[..., None, None] * deltas).sum(1))[:, None]

    def layers(self) -> tuple[Tensor, Parts]:
        """What no part draws, and what each part adds: image = base + sum of the kept layers.

        Whoever renders many subsets of the same scenes draws each part once with this.
        """
        parts = self.parts()
        contrast = (self.levels - self.background[:, None]).gather(1, self._pieces[1])
        deltas = parts * contrast[..., None, None]
        whole = self._image(torch.ones_like(self.sides, dtype=torch.bool))
        return whole - deltas.sum(1), deltas

    def parts(self) -> Parts:
        """The exact coverage of every part; parts that a scene lacks are all zero."""
        if self.division == "objects":
            batch, count = self.sides.shape
            which = torch.arange(batch * count, device=self.sides.device)
            planes = self._draw(which, torch.ones_like(self.radii).flatten())
            return planes.unflatten(0, (batch, count)).contiguous()
        vertices, _, present = self._pieces
        batch, count = present.shape
        flat = vertices.reshape(batch * count, -1, 2)
        planes = _drawn(flat, self.size).unflatten(0, (batch, count))
        planes = planes * present[..., None, None]
        if self.tagged:
            everything = dataclasses.replace(self, division="objects").parts()
            planes[:, -1] = everything[:, -1]
        return planes

    def _image(self, keep: Keep) -> Tensor:
        """The image with the kept objects only."""
        contrast = (self.levels - self.background[:, None]) * keep
        batch, count = self.sides.shape
        plane = torch.arange(batch, device=self.sides.device).repeat_interleave(count)
        drawn = self._draw(plane, contrast.flatten(), planes=batch)
        return self.background[:, None, None] + drawn

    def _draw(self, plane: Tensor, weight: Tensor, planes: int | None = None) -> Tensor:
        """The weighted sum of the objects' coverages in the planes that they belong to."""
        sides, centres = self.sides.flatten(), self.centres.flatten(0, 1)
        radii, angles = self.radii.flatten(), self.angles.flatten()
        drawn = render.canvas(planes or len(plane), self.size, radii)
        for round_, which in self._alike(sides, radii):
            kinds, middle = sides[which], centres[which]
            radius = radii[which] * circumradii(kinds, radii)
            corner, side = render.windows_for(middle, radius, self.size)
            if round_:
                windows = render.discs(middle, radius, corner, side)
            else:
                outline = regular_polygons(middle, radius, angles[which], kinds)
                windows = render.polygons(outline, corner, side)
            windows = windows * weight[which, None, None]
            render.paint(drawn, windows, corner, plane[which])
        return drawn[:, :-1, :-1]

    def _alike(self, sides: Tensor, radii: Tensor) -> Iterator[tuple[bool, Tensor]]:
        """Objects that are drawn together (and whether they are discs): polygons of similar size.

        A window's cost grows with its area and the largest object sets it for all that are drawn
        together, so many polygons whose sizes vary are drawn in two groups.
        """
        for round_ in (False, True):
            which = (sides == DISC if round_ else sides > DISC).nonzero()[:, 0]
            groups = 1
            if not round_ and len(which) >= _MANY:
                which = which[radii[which].argsort()]
                groups = 1 + bool(radii[which[-1]] > 1.5 * radii[which[0]])
            for group in which.tensor_split(groups):
                if len(group):
                    yield round_, group

    @cached_property
    def _pieces(self) -> tuple[Tensor, Owners, Keep]:
        """The parts as polygons (batch, part, vertex, 2), their owners, and which there are."""
        if self.division == "objects":
            owners = torch.arange(self.sides.shape[1], device=self.sides.device)
            return self.centres[..., None, :], owners.expand_as(self.sides), self.sides > 0
        count = len(self.part_names)
        vertices = self.centres[:, :1, None, :].repeat(1, count, self._most_sides, 1)
        present = torch.zeros(len(self), count, dtype=torch.bool, device=self.sides.device)
        for kind in sorted({int(kind) for kind in self.sides[:, 0].unique()} - {0, DISC}):
            which = (self.sides[:, 0] == kind).nonzero()[:, 0]
            outline = regular_polygon(
                self.centres[which, 0],
                self.radii[which, 0] * circumradius(kind),
                self.angles[which, 0],
                kind,
            )
            for name, piece in divide(outline, self.division, self.depth).items():
                place = self.part_names.index(name)
                filler = piece[:, -1:].expand(-1, self._most_sides - piece.shape[1], -1)
                vertices[which, place] = torch.cat([piece, filler], 1)
                present[which, place] = True
        owners = torch.zeros_like(present, dtype=torch.long)
        if self.tagged:
            present[:, -1] = self.sides[:, -1] > 0
            owners[:, -1] = self.sides.shape[1] - 1
        return vertices, owners, present


def _drawn(vertices: Vertices, size: tuple[int, int]) -> Tensor:
    """The coverage of polygons, each in a plane of its own."""
    middle = (vertices.amin(1) + vertices.amax(1)) / 2
    reach = (vertices - middle[:, None]).norm(dim=-1).amax(1)
    corner, side = render.windows_for(middle, reach, size)
    plane = torch.arange(len(vertices), device=vertices.device)
    windows = render.polygons(vertices, corner, side)
    return render.scatter(windows, corner, plane, size, len(vertices))
