"""Complexity: how concentrated a heatmap is. No model, no truth: a spike at a wrong place wins."""

from typing import ClassVar

import torch

from xai_exp.config import configured
from xai_exp.metrics import shared
from xai_exp.types import Case, Rows, Scores


@configured
class Sparseness:
    """The Gini index of the absolute relevance: 0 all pixels equal, near 1 one pixel has it all.

    Chalasani et al. 2020 (ICML), after Hurley & Rickard 2009. With |h| in ascending order
    v_1 <= ... <= v_d:

        1 - 2 * sum over k of (v_k / sum(v)) * (d - k + 1/2) / d

    Range 0..1 - 1/d, HIGHER is read as better: a concise explanation. Signs are dropped; the score
    says nothing about truth, so the edge filter and a random spike do well. Cost: one sort, no
    forward pass.

    >>> from xai_exp.metrics.complexity import gini
    >>> gini(torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 5.0]]))
    tensor([0.0000, 0.7500])
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is all zero"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        magnitudes = case.heatmaps.flatten(1).abs()
        return shared.where_defined(case, gini(magnitudes), magnitudes.sum(1) > 0)


def gini(values: Rows) -> Scores:
    """The Gini index of every row of non-negative values; NaN where a row is all zero."""
    count = values.shape[1]
    ascending = values.sort(1).values
    weights = torch.arange(count, 0, -1, device=values.device, dtype=values.dtype) - 0.5
    shares = ascending @ (weights / count) / ascending.sum(1)
    return 1 - 2 * shares
