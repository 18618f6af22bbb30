"""Images cut into segments: squares of a grid, or superpixels that keep to the image's edges."""

from typing import Annotated, Literal

import torch
from torch import Tensor

from xai_exp.config import Range
from xai_exp.types import Heatmaps, Images, Rows, Segments

Cut = Literal["slic", "grid"]
Compactness = Annotated[float, Range(0)]
_ROUNDS = 5


def shape_of(height: int, width: int, count: int) -> tuple[int, int]:
    """Rows and columns of about `count` cells that are as square as can be.

    >>> shape_of(64, 64, 100), shape_of(10, 40, 16), shape_of(2, 2, 50)
    ((10, 10), (2, 8), (2, 2))
    """
    rows = min(height, max(1, round((count * height / width) ** 0.5)))
    return rows, min(width, max(1, round(count / rows)))


def grid(images: Images, count: int) -> Segments:
    """About `count` equal cells, numbered row by row, the same for every image.

    >>> grid(torch.zeros(1, 1, 2, 4), 2)
    tensor([[[0, 0, 1, 1],
             [0, 0, 1, 1]]])
    """
    height, width = images.shape[2:]
    rows, columns = shape_of(height, width, count)
    down = torch.arange(height, device=images.device) * rows // height
    across = torch.arange(width, device=images.device) * columns // width
    return (down[:, None] * columns + across).expand(len(images), -1, -1)


def slic(images: Images, count: int, compactness: float) -> Segments:
    """About `count` superpixels of each image, all images at once.

    Achanta et al. 2012 (IEEE TPAMI 34(11)): k-means from the cells of a grid of side S, where a
    pixel may only join the segments of its own and the eight surrounding cells, by the distance

        D^2 = |difference of values|^2 + compactness^2 * (distance in pixels / S)^2,

    in five rounds. Values are those of the channels, in 0..1, not CIELAB. The last step of the
    paper, which joins stray pixels to a neighbour, is left out: a segment may lie in pieces, and
    may be empty. A large `compactness` gives the grid, as does a constant image.
    """
    height, width = images.shape[2:]
    rows, columns = shape_of(height, width, count)
    labels = grid(images, count)
    down, across = labels[0, :, 0] // columns, labels[0, 0]
    side = (height * width / (rows * columns)) ** 0.5
    points = _points(images, compactness / side)
    centres = points.new_zeros(*points.shape[:2], rows * columns)
    for _ in range(_ROUNDS):
        centres = _centres(points, labels, centres)
        nearest = torch.full_like(points[:, 0], torch.inf)
        for x in (0, -1, 1):
            beside = (across + x).clamp(0, columns - 1)
            column = centres.unflatten(2, (rows, columns)).index_select(3, beside)
            for y in (0, -1, 1):
                beyond = (down + y).clamp(0, rows - 1)
                apart = column.index_select(2, beyond).sub_(points).square_().sum(1)
                cells = beyond[:, None] * columns + beside
                labels = torch.where(apart < nearest, cells, labels)
                nearest = torch.minimum(apart, nearest)
    return labels


def segments(images: Images, cut: Cut, count: int, compactness: float = 0.1) -> Segments:
    """Every pixel's segment, numbered from 0; about `count` an image, some perhaps empty."""
    return grid(images, count) if cut == "grid" else slic(images, count, compactness)


def means(heatmaps: Heatmaps, cut: Segments, number: int) -> tuple[Rows, Rows]:
    """The mean value (0 where it is empty) and the number of pixels of each of `number` segments.

    >>> means(torch.tensor([[[1.0, 3.0, 5.0]]]), torch.tensor([[[0, 0, 2]]]), 3)
    (tensor([[2., 0., 5.]]), tensor([[2., 0., 1.]]))
    """
    flat, places = heatmaps.flatten(1), cut.flatten(1).long()
    empty = flat.new_zeros(len(flat), number)
    sizes = empty.scatter_add(1, places, torch.ones_like(flat))
    return empty.scatter_add(1, places, flat) / sizes.clamp(min=1), sizes


def _points(images: Images, weight: float) -> Tensor:
    """Every pixel's values and weighted position (batch, channel + 2, height, width)."""
    height, width = images.shape[2:]
    down, across = torch.meshgrid(
        torch.arange(height, device=images.device),
        torch.arange(width, device=images.device),
        indexing="ij",
    )
    place = torch.stack([down, across]).to(images.dtype) * weight
    return torch.cat([images, place.expand(len(images), -1, -1, -1)], 1)


def _centres(points: Tensor, labels: Segments, before: Tensor) -> Tensor:
    """The mean of every segment's points (batch, channel + 2, segment); empty ones stay."""
    points, index = points.flatten(2), labels.flatten(1)
    total = torch.zeros_like(before).scatter_add(2, index[:, None].expand_as(points), points)
    ones = torch.ones_like(points[:, 0])
    sizes = torch.zeros_like(before[:, 0]).scatter_add(1, index, ones)[:, None]
    return torch.where(sizes > 0, total / sizes.clamp(min=1), before)
