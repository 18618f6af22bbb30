"""How alike two heatmaps are: correlations and cosine of every pair, in one operation."""

from typing import Literal

import torch

from xai_exp.types import Heatmaps, Rows, Scores

Likeness = Literal["spearman", "pearson", "cosine"]


def alike(first: Heatmaps, second: Heatmaps, measure: Likeness) -> Scores:
    """The likeness of each pair of heatmaps, in -1..1; NaN where one of them has no variation.

    `spearman` ranks equal values at their mean rank, `pearson` centres, `cosine` does neither (and
    is NaN where a heatmap is all zero).
    """
    return alike_rows(first.flatten(1), second.flatten(1), measure)


def alike_rows(first: Rows, second: Rows, measure: Likeness) -> Scores:
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
