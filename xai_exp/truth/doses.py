"""Maps that are exactly right about the parts, and the same maps damaged by a known dose.

The true map lays every part's exact worth evenly on the part's pixels. A dose in 0..1 damages it in
one way, and the more, the further it is from the truth:

- bleeding: that share of the magnitudes lies on the pixels of no part instead;
- permuted: worths go over to those in reverse order of the parts (1: the part that is worth most
  gets what the least is worth);
- flipped: that share of the parts, those of the largest magnitude first, has the other sign;
- blurred: a Gaussian of dose / 8 of the short side takes relevance across the borders.

Values are (batch, part), parts (batch, part, height, width) coverages; no network is known here.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.types import Effects, Heatmaps, Keep, Parts

Damage = Literal["none", "bleeding", "permuted", "flipped", "blurred"]


def damaged(values: Effects, parts: Parts, present: Keep, damage: Damage, dose: float) -> Heatmaps:
    """The true map with this dose of damage; at dose 0 the true map whatever the damage.

    >>> parts = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]], [[0.0, 1.0, 0.0, 0.0]]]])
    >>> present = torch.tensor([[True, True]])
    >>> damaged(torch.tensor([[3.0, -1.0]]), parts, present, "bleeding", 0.5).tolist()
    [[[1.5, -0.5, 1.0, 1.0]]]
    """
    if damage == "permuted":
        values = (1 - dose) * values + dose * in_reverse(values, present)
    if damage == "flipped":
        values = flipped(values, present, dose)
    heatmaps = spread(values, parts)
    if damage == "bleeding":
        outside = (parts.sum(1) == 0).to(heatmaps)
        share = outside / outside.sum((1, 2), keepdim=True).clamp(min=1)
        mass = dose * values.abs().sum(1)
        return (1 - dose) * heatmaps + mass[:, None, None].to(heatmaps) * share
    return blurred(heatmaps, dose) if damage == "blurred" else heatmaps


def spread(values: Effects, parts: Parts) -> Heatmaps:
    """Each part's value, evenly on its pixels by coverage."""
    area = parts.sum((2, 3))
    weights = values.to(parts) / torch.where(area > 0, area, 1.0)
    return (parts * weights[..., None, None]).sum(1)


def in_reverse(values: Effects, present: Keep) -> Effects:
    """The values of an image's parts in reverse order: the first in rank gets the last one's.

    >>> in_reverse(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[True, True, True]]))
    tensor([[1., 3., 2.]])
    """
    order = torch.where(present, values, torch.inf).argsort(1)
    count = present.sum(1, keepdim=True)
    places = torch.arange(values.shape[1], device=values.device).expand_as(order)
    opposite = torch.where(places < count, count - 1 - places, places)
    return torch.empty_like(values).scatter_(1, order, values.gather(1, order.gather(1, opposite)))


def flipped(values: Effects, present: Keep, dose: float) -> Effects:
    """The values with a share of the parts' signs turned, those of the largest magnitude first.

    >>> flipped(torch.tensor([[3.0, -1.0, 2.0]]), torch.tensor([[True, True, True]]), 0.5)
    tensor([[-3., -1., -2.]])
    """
    size = torch.where(present, values.abs(), -1.0)
    rank = size.argsort(1, descending=True).argsort(1)
    turned = rank < (dose * present.sum(1, keepdim=True)).ceil()
    return torch.where(turned & present, -values, values)


def blurred(heatmaps: Heatmaps, dose: float) -> Heatmaps:
    """The map under a Gaussian of dose / 8 of the short side; borders are mirrored."""
    width = dose * min(heatmaps.shape[1:]) / 8
    if width == 0:
        return heatmaps
    reach = min(math.ceil(3 * width), min(heatmaps.shape[1:]) - 1)
    steps = torch.arange(-reach, reach + 1, device=heatmaps.device, dtype=heatmaps.dtype)
    weights = torch.exp(-0.5 * (steps / width) ** 2)
    return _along(_along(heatmaps, weights / weights.sum()).mT, weights / weights.sum()).mT


def _along(maps: Tensor, weights: Tensor) -> Tensor:
    """Filtered along the last axis."""
    reach = len(weights) // 2
    wide = functional.pad(maps, (reach, reach), mode="reflect")
    rows = functional.conv1d(wide.flatten(0, 1)[:, None], weights[None, None])
    return rows.view(maps.shape)
