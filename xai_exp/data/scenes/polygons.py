"""Regular polygons as their corners, and the disjoint parts that they are divided into."""

import math

import torch
from torch import Tensor

from xai_exp.types import Vertices

DISC = 1  # where a number of sides is asked for


def circumradius(sides: int) -> float:
    """The circumradius of a regular polygon as a multiple of the radius of its equal-area disc.

    >>> round(circumradius(4), 4), circumradius(DISC)
    (1.2533, 1.0)
    """
    if sides == DISC:
        return 1.0
    return math.sqrt(2 * math.pi / (sides * math.sin(2 * math.pi / sides)))


def circumradii(sides: Tensor, like: Tensor) -> Tensor:
    """The circumradius of each kind, in the type of `like`."""
    known = [circumradius(max(DISC, kind)) for kind in range(int(sides.max()) + 1)]
    return like.new_tensor(known)[sides]


def regular_polygon(centres: Tensor, radii: Tensor, angles: Tensor, sides: int) -> Vertices:
    """The corners of regular polygons, in order."""
    steps = torch.arange(sides, device=centres.device, dtype=centres.dtype) * 2 * math.pi / sides
    return _around(centres, radii, angles[:, None] + steps)


def regular_polygons(centres: Tensor, radii: Tensor, angles: Tensor, sides: Tensor) -> Vertices:
    """The same for polygons of several kinds: those of fewer sides stay at their last corner."""
    steps = torch.arange(int(sides.max()), device=centres.device).expand(len(sides), -1)
    steps = torch.minimum(steps, sides[:, None] - 1).to(centres) * 2 * math.pi / sides[:, None]
    return _around(centres, radii, angles[:, None] + steps)


def _around(centres: Tensor, radii: Tensor, angles: Tensor) -> Vertices:
    """Points around the centres, at each of a row of angles."""
    offset = torch.stack([angles.cos(), angles.sin()], -1)
    return centres[:, None] + radii[:, None, None] * offset


def divide(outline: Vertices, division: str, depth: float) -> dict[str, Tensor]:
    """The disjoint parts of polygons, by name.

    - corners: the triangle that a chord cuts off, the chord's ends `depth` of a side away.
    - sides: the trapezoid between a side and the same side of the polygon shrunk by `depth`.
    - anatomy: corners as above, edges between them, and the interior: they fill the polygon.
    """
    after, before = outline.roll(-1, 1), outline.roll(1, 1)
    onward, backward = outline + depth * (after - outline), outline + depth * (before - outline)
    count = outline.shape[1]
    if division == "sides":
        middle = outline.mean(1, keepdim=True)
        inner = middle + (1 - depth) * (outline - middle)
        strips = torch.stack([outline, after, inner.roll(-1, 1), inner], 2)
        return {f"side {i + 1}": strips[:, i] for i in range(count)}
    cut = torch.stack([outline, onward, backward], 2)
    corners = {f"corner {i + 1}": cut[:, i] for i in range(count)}
    if division == "corners":
        return corners
    chord = (onward + backward) / 2
    between = torch.stack([onward, backward.roll(-1, 1), chord.roll(-1, 1), chord], 2)
    edges = {f"edge {i + 1}": between[:, i] for i in range(count)}
    return {**corners, **edges, "interior": chord}
