"""How alike two heatmaps are: correlations and cosine of every pair, in one operation."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.types import Heatmaps, Rows, Scores

RowLikeness = Literal["spearman", "pearson", "cosine"]
Likeness = Literal["spearman", "pearson", "cosine", "ssim"]
_WINDOW = 7


def alike(first: Heatmaps, second: Heatmaps, measure: Likeness) -> Scores:
    """The likeness of each pair of heatmaps, in -1..1; NaN where one of them has no variation.

    `spearman` ranks equal values at their mean rank, `pearson` centres, `cosine` does neither (and
    is NaN where a heatmap is all zero). `ssim` is the structural similarity of the two as pictures.
    """
    if measure == "ssim":
        return structural_similarity(first, second)
    return alike_rows(first.flatten(1), second.flatten(1), measure)


def alike_rows(first: Rows, second: Rows, measure: RowLikeness) -> Scores:
    """The likeness of each pair of rows.

    >>> one, other = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[1.0, 3.0, 2.0]])
    >>> alike_rows(one, other, "spearman").tolist()
    [0.5]
    """
    if measure == "spearman":
        first, second = mean_ranks(first), mean_ranks(second)
    one, other = _scaled(first), _scaled(second)
    if measure != "cosine":
        one, other = _centred(one), _centred(other)
    length = one.norm(dim=1) * other.norm(dim=1)
    scores = ((one * other).sum(1) / length).clamp(-1, 1)
    return torch.where(length > 0, scores, torch.nan).to(first.dtype)


def structural_similarity(first: Heatmaps, second: Heatmaps) -> Scores:
    """The mean structural similarity of each pair, each heatmap divided by its largest magnitude.

    Wang et al. 2004 (IEEE TIP 13(4), eq. 13): the mean over all pixels, with the means m, variances
    s^2 and covariance s_ab in the 7 x 7 pixels around each (mirrored at the border), of

        (2 m_a m_b + c_1) (2 s_ab + c_2) / ((m_a^2 + m_b^2 + c_1) (s_a^2 + s_b^2 + c_2)),

    c_1 = 0.02^2, c_2 = 0.06^2 for values in -1..1. Range -1..1; NaN where one of them has no
    variation.

    >>> steps = torch.arange(64.0).view(1, 8, 8)
    >>> structural_similarity(steps, 3 * steps)
    tensor([1.])
    """
    one, other = (_scaled(maps.flatten(1)).view_as(maps) for maps in (first, second))
    mean, other_mean = _around(one), _around(other)
    spread = _around(one**2) - mean**2 + _around(other**2) - other_mean**2
    together = _around(one * other) - mean * other_mean
    small, large = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    above = (2 * mean * other_mean + small) * (2 * together + large)
    scores = (above / ((mean**2 + other_mean**2 + small) * (spread + large))).mean((1, 2))
    varied = [maps.flatten(1).amax(1) > maps.flatten(1).amin(1) for maps in (first, second)]
    return torch.where(varied[0] & varied[1], scores, torch.nan).to(first.dtype)


def _around(maps: Tensor) -> Tensor:
    """The mean of the window around every pixel; beyond the border the picture is mirrored."""
    rows, columns = (_mirrored(length, maps.device) for length in maps.shape[1:])
    return functional.avg_pool2d(maps[:, None, rows][..., columns], _WINDOW, stride=1)[:, 0]


def _mirrored(length: int, device: torch.device) -> Tensor:
    """The positions 0 .. length - 1 and half a window more on both sides, edges repeated."""
    reach = _WINDOW // 2
    turned = torch.arange(-reach, length + reach, device=device) % (2 * length)
    return torch.minimum(turned, 2 * length - 1 - turned)


def _scaled(rows: Rows) -> Rows:
    """Rows divided by their largest magnitude, in float64, so that tiny ones do not underflow."""
    rows = rows.double()
    top = rows.abs().amax(1, keepdim=True)
    return rows / torch.where(top > 0, top, 1)


def _centred(rows: Rows) -> Rows:
    """Rows less their mean; those of one value become exactly zero, whatever rounding says."""
    centred = rows - rows.mean(1, keepdim=True)
    return torch.where(rows.amax(1, keepdim=True) > rows.amin(1, keepdim=True), centred, 0)


def mean_ranks(rows: Rows) -> Rows:
    """The rank of every value in its row, from 0; equal values share their mean rank.

    >>> mean_ranks(torch.tensor([[3.0, 1.0, 3.0]]))
    tensor([[1.5000, 0.0000, 1.5000]])
    """
    rows = rows.contiguous()
    ascending = rows.sort(1).values
    below = torch.searchsorted(ascending, rows)
    not_above = torch.searchsorted(ascending, rows, right=True)
    return ((below + not_above - 1) / 2).to(rows.dtype)
