"""The regions that localisation measures look at: all parts together, or each part by itself.

`per: union` takes what the parts cover together. `per: part` takes one part after the other (the
objects of an image, or what its scene is divided into) and averages the scores over those present;
each is compared with the background alone, the other parts being left out. So a map that marks all
parts alike is perfect, and one that marks one of three gets a third.
"""

from typing import Literal

import torch

from xai_exp.metrics import shared
from xai_exp.types import (
    Case,
    Effects,
    Heatmaps,
    Keep,
    Masks,
    PartMasks,
    PartPlaces,
    Parts,
    RankedParts,
    Scores,
)

Per = Literal["union", "part"]


def coverages(case: Case, per: Per) -> Parts:
    """How much of each pixel every region fills, in 0..1."""
    return shared.coverage(case)[:, None] if per == "union" else shared.parts(case)


def masks(case: Case, per: Per) -> PartMasks:
    """The pixels of which every region fills more than half."""
    return shared.mask(case)[:, None] if per == "union" else shared.parts(case) > 0.5


def background(case: Case) -> Masks:
    """The pixels of which the parts together fill at most half."""
    return ~shared.mask(case)


def ranked(case: Case, per: Per) -> tuple[RankedParts, PartPlaces]:
    """Every region in the heatmap's order, most relevant pixels first, and the places there.

    The first tensor says whether the pixel is the region's; the second counts from 1 over the
    pixels of the region and of the background, and is 0 at pixels of other parts.
    """

    def compute() -> tuple[RankedParts, PartPlaces]:
        own = masks(case, per)
        order = shared.ranking(case)[:, None].expand(-1, own.shape[1], -1)
        compared = (own | background(case)[:, None]).flatten(2).gather(2, order)
        inside = own.flatten(2).gather(2, order)
        return inside, compared.cumsum(2) * compared

    return shared.once(case, ("ranked", per), compute)


def mean_over_present(case: Case, scores: Effects, present: Keep) -> Scores:
    """The mean over the regions that an image has; NaN where it has none."""
    total = torch.where(present, scores, 0.0).sum(1)
    return shared.where_defined(case, total / present.sum(1), present.any(1))


def boxes(regions: PartMasks) -> PartMasks:
    """The smallest upright rectangle around every region.

    >>> boxes(torch.eye(3, dtype=torch.bool)[None, None]).all()
    tensor(True)
    """
    return _between(regions.any(2))[:, :, None, :] & _between(regions.any(3))[..., None]


def _between(filled: RankedParts) -> RankedParts:
    """All positions from the first filled one to the last."""
    begun = filled.int().cummax(2).values
    ahead = filled.int().flip(2).cummax(2).values.flip(2)
    return (begun & ahead) > 0


def below(case: Case) -> Heatmaps:
    """For every pixel the share of background pixels that are less relevant, ties counted half."""
    flat = case.heatmaps.flatten(1)
    outside = background(case).flatten(1)
    ordered = torch.where(outside, flat, torch.inf).sort(1).values
    less = torch.searchsorted(ordered, flat)
    at_most = torch.searchsorted(ordered, flat, right=True)
    return ((less + at_most) / 2 / outside.sum(1, keepdim=True)).view_as(case.heatmaps)
