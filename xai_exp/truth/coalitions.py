"""All sets of the parts that play a game, and what each counts in Shapley values and interactions.

The formulas are in `xai_exp.truth.games`.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from xai_exp.types import Keep


def subsets(count: int) -> Keep:
    """All subsets of `count` parts in the order of the binary numbers: (2^count, count).

    >>> subsets(2).int().tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    numbers = torch.arange(2**count)[:, None]
    return (numbers >> torch.arange(count)) % 2 == 1


def ends_of(count: int) -> Keep:
    """No part, all parts, and all but each one."""
    everything = torch.ones(count, count, dtype=torch.bool)
    none = torch.zeros(1, count, dtype=torch.bool)
    return torch.cat([none, ~none, everything ^ torch.eye(count, dtype=torch.bool)])


@lru_cache(maxsize=32)
def shapley_weights(count: int) -> tuple[Tensor, Tensor]:
    """What each value v(S) counts in each Shapley value and in each interaction index.

    Shapes (part, 2^count) and (part, part, 2^count), the diagonal 0, float64.
    """
    if count == 0:
        return torch.zeros(0, 1).double(), torch.zeros(0, 0, 1).double()
    masks = subsets(count)
    others = masks.sum(1)[:, None] - masks.int()
    alone = _float64([order_share(size, count, 1) for size in range(count)])
    single = (alone[others] * torch.where(masks, 1.0, -1.0)).T
    if count < 2:
        return single, torch.zeros(count, count, 2**count, dtype=torch.float64)
    beside = masks.sum(1)[:, None, None] - masks.int()[:, :, None] - masks.int()[:, None, :]
    sign = torch.where(masks[:, :, None] == masks[:, None, :], 1.0, -1.0)
    both = _float64([order_share(size, count, 2) for size in range(count - 1)])
    off = ~torch.eye(count, dtype=torch.bool)
    pairs = both[beside.clamp(0, count - 2)] * sign * off
    return single, pairs.permute(1, 2, 0).contiguous()


def _float64(numbers: list[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def order_share(size: int, count: int, together: int = 1) -> float:
    """The share of orders in which exactly `size` others come before `together` joined parts.

    >>> order_share(1, 3)
    0.16666666666666666
    """
    left = count - size - together
    return math.factorial(size) * math.factorial(left) / math.factorial(count - together + 1)
