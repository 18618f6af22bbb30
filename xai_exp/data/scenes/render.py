"""The rasteriser: exact area coverage of polygons and discs, batched, on any device.

Conventions: pixel (row j, column i) is the unit square [i, i+1] x [j, j+1]; x grows to the right
and y downward. The coverage of a pixel is the area that the shape fills of it, in 0..1, exact up
to rounding (not sampled). Shapes are drawn in square windows just large enough for them, which
`scatter` then puts into the plane.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xai_exp.types import Planes, Vertices

Points = Float[Tensor, "shape 2"]
Lengths = Float[Tensor, " shape"]
Corner = Int[Tensor, "shape 2"]
Windows = Float[Tensor, "shape window window"]
_LEVEL = 1e-12  # a level edge spans no row, whatever its slope is taken to be
_ROUNDING = 160  # times the precision: what sums over edges leave in pixels outside of the polygon,
_GROWING = 2  # or as many times the precision of the largest coordinate, if that is more
_UPRIGHT = 8  # times the precision: the half width of an upright edge, which must not be 0 / 0


def windows_for(centres: Points, radii: Lengths, size: tuple[int, int]) -> tuple[Corner, int]:
    """The top left pixel (x, y) of each shape's window, and the windows' side in pixels.

    A shape's corner depends on that shape alone, and so then does every number computed in its
    window: an image is the same, bit for bit, whatever it is drawn together with.
    """
    reach = float(radii.max()) if len(radii) else 0.0
    corner = (centres - radii[:, None]).floor().long().clamp(min=0)
    return corner, min(max(size), 2 * math.ceil(reach) + 2)


def polygons(vertices: Vertices, corner: Corner, side: int) -> Windows:
    r"""The exact coverage of simple polygons.

    Green's theorem: the area of polygon left of x = t within a pixel row is the signed sum over
    its edges of $\int \mathrm{relu}(t - x(y))\,dy$ over the part of the edge in the row, and a
    pixel's coverage is the difference of that between its sides. Along an edge x is linear in y, so
    the mean of relu(u) over [m - h, m + h] is all it needs: $c^2 / 4h + \mathrm{relu}(m - h)$ with
    $c = \mathrm{clamp}(m + h, 0, 2h)$.

    Args:
        vertices: in order around the polygon, either way; (x, y) in pixels.
        corner: the top left pixel of each window.
        side: the windows' side in pixels.
    """
    start = vertices - corner[:, None].to(vertices)
    end = start.roll(-1, 1)
    lines = torch.arange(side + 1, device=vertices.device, dtype=vertices.dtype)
    rows = lines[:-1]
    x0, y0 = start[..., 0, None], start[..., 1, None]
    x1, y1 = end[..., 0, None], end[..., 1, None]
    top, bottom = y0.clamp(rows, rows + 1), y1.clamp(rows, rows + 1)
    level = (y1 - y0).abs() < _LEVEL
    slope = torch.where(level, 0, (x1 - x0) / torch.where(level, 1, y1 - y0))
    middle = x0 + ((top + bottom) / 2 - y0) * slope
    eps = torch.finfo(vertices.dtype).eps
    half = ((bottom - top) * slope).abs().div_(2).clamp_(min=_UPRIGHT * eps)[..., None]
    near = lines - (middle[..., None] + half)
    rounded = (near + 2 * half).clamp_(min=0)
    rounded = torch.minimum(rounded, 2 * half, out=rounded)
    left = rounded.square_().mul_(0.25 / half).add_(near.clamp_(min=0))
    left.mul_((bottom - top)[..., None])
    area = left[:, 0]
    for edge in range(1, left.shape[1]):
        area = area + left[:, edge]
    coverage = area.diff(dim=2).abs_().clamp_(max=1)
    rounding = (_GROWING * start.abs().amax((1, 2))).clamp_(min=_ROUNDING).mul_(eps)
    return coverage.mul_(coverage >= rounding[:, None, None])


def discs(centres: Points, radii: Lengths, corner: Corner, side: int) -> Windows:
    r"""The exact coverage of discs.

    The area of the unit disc left of x and above y is, but for terms of x or y alone,
    $K(x, y) = xy - \mathrm{sgn}(x)\,\mathrm{sgn}(y)\,B(|x|, |y|)$, and a pixel's area is the second
    difference of K over its corners. B is what the rectangle from the centre to a point outside
    has beyond the circle: with $\alpha = \arccos|x|$, $\beta = \arcsin|y|$ and
    $\delta = \mathrm{relu}(\beta - \alpha)$ it is
    $\sin(\alpha + \beta) \sin^2(\delta / 2) - (\delta - \sin\delta) / 2$. It is small wherever a
    pixel of the border needs it, so that rounding does not grow with the disc's area; pixels
    inside are 1 and pixels outside are 0, exactly.
    """
    edges = torch.arange(side + 1, device=centres.device, dtype=centres.dtype)
    radius = radii[:, None, None]
    pixel = edges - (centres - corner.to(centres))[..., None]
    pixel = pixel.clamp(min=-radius, max=radius)
    width = pixel.diff(dim=2)
    distance = (pixel / radius).abs_().clamp_(max=1)
    cosine, sine = distance[:, 0, None, :], distance[:, 1, :, None]
    alpha, beta = cosine.acos(), sine.asin()
    other = (1 - distance * distance).sqrt_()
    total = (cosine * sine).addcmul_(other[:, 0, None, :], other[:, 1, :, None])
    half = (beta - alpha).clamp_(min=0).div_(2)
    root = half.sin()
    square = root * root
    beyond = half.addcmul_(root, (1 - square).sqrt_(), value=-1).addcmul_(total, square, value=-1)
    sign = pixel.sign() * radius
    beyond.mul_(sign[:, 0, None, :]).mul_(sign[:, 1, :, None])
    area = beyond.diff(dim=1).diff(dim=2).addcmul_(width[:, 0, None, :], width[:, 1, :, None])
    same_side = pixel[..., 1:] * pixel[..., :-1] > 0
    nearest = torch.minimum(distance[..., 1:], distance[..., :-1]) * same_side
    reached = nearest[:, 1, :, None].asin() < nearest[:, 0, None, :].acos()
    return area.mul_(reached).clamp_(0, 1)


def canvas(planes: int, size: tuple[int, int], like: torch.Tensor) -> Planes:
    """Empty planes with a spare row and column, which take what `paint` would draw outside."""
    return like.new_zeros(planes, size[0] + 1, size[1] + 1)


def paint(canvas: Planes, windows: Windows, corner: Corner, plane: torch.Tensor) -> None:
    """Add every window to its plane (by number) at its place, in the canvas itself."""
    _, height, width = canvas.shape
    offset = torch.arange(windows.shape[-1], device=windows.device)
    rows = plane[:, None] * height + (corner[:, 1, None] + offset).clamp(max=height - 1)
    columns = (corner[:, 0, None] + offset).clamp(max=width - 1)
    place = (rows * width)[:, :, None] + columns[:, None, :]
    canvas.view(-1).index_add_(0, place.flatten(), windows.flatten())


def scatter(
    windows: Windows, corner: Corner, plane: torch.Tensor, size: tuple[int, int], planes: int
) -> Planes:
    """Every window added to its plane (by number) at its place; what lies outside is cut off."""
    drawn = canvas(planes, size, windows)
    paint(drawn, windows, corner, plane)
    return drawn[:, :-1, :-1]
