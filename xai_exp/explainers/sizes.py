"""Coarse maps at the image's own size."""

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.types import Blocks, Heatmaps, Images


def size_of(images: Images) -> tuple[int, int]:
    """Height and width."""
    return images.shape[2], images.shape[3]


def enlarged(maps: Blocks, size: tuple[int, int]) -> Heatmaps:
    """Maps at the image's size, by bilinear interpolation between the centres of their cells."""
    large = functional.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)
    return large[:, 0]


def shared_out(maps: Blocks, size: tuple[int, int]) -> Heatmaps:
    """Maps at the image's size, each cell's value shared by the pixels around it: sums are kept.

    Shares fall off as in bilinear interpolation.
    """
    down, across = (
        _shares(cells, pixels).to(maps) for cells, pixels in zip(maps.shape[1:], size, strict=True)
    )
    return down.mT @ maps @ across


def _shares(cells: int, pixels: int) -> Tensor:
    """How much of each cell every pixel gets: (cell, pixel), each row summing to 1."""
    if cells == pixels:
        return torch.eye(cells)
    impulses = torch.eye(cells, dtype=torch.float64)[None, None]
    found = functional.interpolate(impulses, (cells, pixels), mode="bilinear", antialias=True)[0, 0]
    return found / found.sum(1, keepdim=True)
