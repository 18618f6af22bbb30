"""The regions that localisation measures look at: all parts together, or each part by itself.

`per: union` takes what the parts cover together. `per: part` takes one part after the other (the
objects of an image, or what its scene is divided into) and averages the scores over those present;
each is compared with the background alone, the other parts being left out. So a map that marks all
parts alike is perfect, and one that marks one of three gets a third.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.metrics import shared
from xai_exp.types import (
    Case,
    Effects,
    Heatmaps,
    Keep,
    Masks,
    Order,
    PartMasks,
    PartPeaks,
    Parts,
    Rows,
    Scores,
)

RankedParts = Bool[Tensor, "batch part pixel"]
PartPlaces = Int[Tensor, "batch part pixel"]

Per = Literal["union", "part"]
POOLINGS: dict[str, Callable[[Heatmaps], Heatmaps]] = {
    "net": lambda heatmaps: heatmaps,
    "positive": lambda heatmaps: heatmaps.clamp(min=0),
    "absolute": torch.abs,
    "square": torch.square,
}


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
        if per == "union":
            places = torch.arange(1, order.shape[2] + 1, device=order.device)
            return own.flatten(2).gather(2, order), places.expand(order.shape)
        compared = (own | background(case)[:, None]).flatten(2).gather(2, order)
        inside = own.flatten(2).gather(2, order)
        return inside, compared.cumsum(2) * compared

    return shared.once(case, ("ranked", per), compute)


def peaks(case: Case, per: Per) -> PartPeaks:
    """The most relevant pixel of every region and the background, ties in the ranking's order."""
    flat, keys = case.heatmaps.flatten(1), shared.keys(case, "ranking")
    if per == "union":
        return ops.keyed_argmax(flat, keys)[:, None]
    compared = (masks(case, per) | background(case)[:, None]).flatten(2)
    values = torch.where(compared, flat[:, None], -torch.inf).flatten(0, 1)
    keys = keys.repeat_interleave(compared.shape[1])
    return ops.keyed_argmax(values, keys).view(compared.shape[:2])


def mean_over_present(case: Case, scores: Effects, present: Keep) -> Scores:
    """The mean over the regions that an image has; NaN where it has none."""
    total = torch.where(present, scores, 0.0).sum(1)
    return shared.where_defined(case, total / present.sum(1), present.any(1))


def sums(regions: Parts | PartMasks, values: Heatmaps) -> Effects:
    """The sum of the values over every region."""
    return (regions * values[:, None]).sum((2, 3))


def boxes(regions: PartMasks) -> PartMasks:
    """The smallest upright rectangle around every region.

    >>> boxes(torch.eye(3, dtype=torch.bool)[None, None]).all()
    tensor(True)
    """
    return (
        _between(somewhere(regions, 2))[:, :, None, :] & _between(somewhere(regions, 3))[..., None]
    )


def somewhere(regions: PartMasks, axis: int) -> Tensor:
    """Whether anything is True along the axis: `any`, which torch does six times slower."""
    return regions.sum(axis) > 0


def _between(filled: RankedParts) -> RankedParts:
    """All positions from the first filled one to the last."""
    position = torch.arange(filled.shape[2], device=filled.device)
    first = torch.where(filled, position, filled.shape[2]).amin(2, keepdim=True)
    last = torch.where(filled, position, -1).amax(2, keepdim=True)
    return (position >= first) & (position <= last)


def below(case: Case) -> Rows:
    """In the heatmap's order, every pixel's share of background pixels that are less relevant.

    Equally relevant ones count half.
    """

    def compute() -> Rows:
        order = shared.ranking(case)
        values = case.heatmaps.flatten(1).float().gather(1, order)
        outside = ~ranked(case, "union")[0][:, 0]
        seen = outside.cumsum(1)
        total = seen[:, -1:]
        passed = seen.to(case.heatmaps) - outside / 2
        same = values[:, 1:] == values[:, :-1]
        if same.any():
            _level(passed, same, seen - outside.long(), seen)
        return 1 - passed / total

    return shared.once(case, "below", compute)


def _level(passed: Rows, same: Keep, before: Order, after: Order) -> None:
    """Give equal values, marked where the next is `same`, the middle of what they pass together."""
    follows, goes_on = (
        functional.pad(same, (1, 0)).flatten(),
        functional.pad(same, (0, 1)).flatten(),
    )
    tied = (follows | goes_on).nonzero()[:, 0]
    begins = ~follows[tied]
    middle = (before.view(-1)[tied[begins]] + after.view(-1)[tied[~goes_on[tied]]]).to(passed) / 2
    passed.view(-1)[tied] = middle[begins.cumsum(0) - 1]
