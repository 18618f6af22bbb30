"""Discs and polygons put into planes, many at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_exp.data.scenes import render
from xai_exp.data.scenes.polygons import DISC, circumradii, regular_polygons
from xai_exp.types import Planes, Vertices

_MANY = 16  # polygons below which a second group costs more than it saves


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Objects in a row, as a scene has them: 0 absent, 1 a disc, n >= 3 a regular polygon.

    Args:
        sides: what each is.
        centres: (x, y) in pixels.
        radii: the radius of the disc of equal area, in pixels.
        angles: by how much a polygon is turned, in radians.
    """

    sides: Tensor
    centres: Tensor
    radii: Tensor
    angles: Tensor

    def painted(self, plane: Tensor, weights: Tensor, planes: int, size: tuple[int, int]) -> Planes:
        """The weighted sum of coverages in the planes that the objects belong to.

        Weights are (object, channel); channel c of plane p is plane p * channels + c of the result.
        """
        channels = weights.shape[1]
        drawn = render.canvas(planes * channels, size, self.radii)
        for round_, which in self._alike():
            kinds, middle = self.sides[which], self.centres[which]
            radius = self.radii[which] * circumradii(kinds, self.radii)
            corner, side = render.windows_for(middle, radius, size)
            if round_:
                windows = render.discs(middle, radius, corner, side)
            else:
                outline = regular_polygons(middle, radius, self.angles[which], kinds)
                windows = render.polygons(outline, corner, side)
            for channel in range(channels):
                weighted = windows * weights[which, channel, None, None]
                render.paint(drawn, weighted, corner, plane[which] * channels + channel)
        return drawn[:, :-1, :-1]

    def _alike(self) -> Iterator[tuple[bool, Tensor]]:
        """Objects that are drawn together (and whether they are discs): polygons of similar size.

        A window's cost grows with its area and the largest object sets it for all that are drawn
        together, so many polygons whose sizes vary are drawn in two groups.
        """
        for round_ in (False, True):
            which = (self.sides == DISC if round_ else self.sides > DISC).nonzero()[:, 0]
            groups = 1
            if not round_ and len(which) >= _MANY:
                which = which[self.radii[which].argsort()]
                groups = 1 + bool(self.radii[which[-1]] > 1.5 * self.radii[which[0]])
            for group in which.tensor_split(groups):
                if len(group):
                    yield round_, group


def polygons_alone(vertices: Vertices, size: tuple[int, int]) -> Planes:
    """The coverage of polygons, each in a plane of its own."""
    middle = (vertices.amin(1) + vertices.amax(1)) / 2
    reach = (vertices - middle[:, None]).norm(dim=-1).amax(1)
    corner, side = render.windows_for(middle, reach, size)
    plane = torch.arange(len(vertices), device=vertices.device)
    windows = render.polygons(vertices, corner, side)
    return render.scatter(windows, corner, plane, size, len(vertices))
