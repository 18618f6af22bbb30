"""How far relevance would have to be moved to lie on the mask: the earth mover's distance."""

import math
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.config import InputError, Range, configured
from xai_exp.metrics import shared
from xai_exp.metrics.localisation.regions import POOLINGS
from xai_exp.types import Case, Heatmaps, Scores

_LEFT = 1e-9  # a share of the relevance that need not be moved any more


@configured
class EarthMover:
    r"""How near the relevance lies to the mask, by the cheapest way of moving it there.

    Clark et al. 2024 (XAI-TRIS, Sect. 3.5): with s the pooled heatmap and m the mask, both scaled
    to a sum of 1, and d the Euclidean distance between pixels,

        1 - OT(s, m; d) / d_max,    OT = min over plans P >= 0 with marginals s and m of sum P d,

    d_max being the image's diagonal from pixel to pixel. Range 0..1, HIGHER is better: 1 if the
    heatmap is the mask; unlike a share of mass it tells a near miss from a far one. The paper takes
    `pooling: absolute`. The plan is the exact solution of the linear programme (HiGHS), on whole
    pixels for images of up to `cells` x `cells`; larger ones are first summed over that many
    blocks, which moves a score by at most a block's diagonal over d_max.

    Pitfalls: the mask's every pixel asks for the same mass, so that a peak inside it is not
    perfect; on small images chance is high (a uniform map on an 8x8 image has about 0.7); the whole
    mask is wanted where one part of it would do. Cost: no forward pass; a linear programme an
    image, 0.1 s at 16x16 blocks.

    Args:
        pooling: what becomes of negative relevance.
        cells: blocks along a side up to which the plan is exact.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"parts"})
    undefined: ClassVar[str] = "the mask is empty or the pooled heatmap is all zero"

    pooling: Literal["positive", "absolute"] = "positive"
    cells: Annotated[int, Range(2, 64)] = 16

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case.

        Raises:
            InputError: when a linear programme has no solution.
        """
        relevance = POOLINGS[self.pooling](case.heatmaps).double()
        mask = shared.coverage(case).double()
        defined = (relevance.sum((1, 2)) > 0) & (mask.sum((1, 2)) > 0) & shared.finite(case)
        height, width = mask.shape[1:]
        scores = torch.full((len(mask),), torch.nan, dtype=torch.float64)
        places = _centres(height, width, self.cells)
        apart = torch.cdist(places, places)
        for row in defined.nonzero()[:, 0].tolist():
            here, there = (_blocks(plane[row], self.cells).cpu() for plane in (relevance, mask))
            moved = transport(here / here.sum(), there / there.sum(), apart)
            scores[row] = 1 - moved / math.hypot(height - 1, width - 1)
        return shared.where_defined(case, scores.clamp(0, 1).to(case.heatmaps), defined)


def transport(source: Tensor, target: Tensor, apart: Tensor) -> float:
    """The least cost of moving one distribution to another, `apart` being a metric.

    What both have in one place stays there, which is optimal as no way round is shorter.

    >>> line = torch.tensor([[0.0, 1, 2], [1, 0, 1], [2, 1, 0]])
    >>> round(transport(torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 0.5, 0.5]), line), 6)
    1.5
    """
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    surplus, want = (source - target).clamp(min=0), (target - source).clamp(min=0)
    mass = float(surplus.sum())
    if mass <= _LEFT:
        return 0.0
    givers, takers = surplus.nonzero()[:, 0], want.nonzero()[:, 0]
    costs = apart[givers[:, None], takers]
    rows, columns = (
        number.flatten()
        for number in torch.meshgrid(
            torch.arange(len(givers)), torch.arange(len(takers)), indexing="ij"
        )
    )
    variable = torch.arange(len(rows))
    sums = coo_array(
        (
            torch.ones(2 * len(rows)).numpy(),
            (torch.cat([rows, len(givers) + columns]).numpy(), variable.repeat(2).numpy()),
        )
    )
    given = torch.cat([surplus[givers] / mass, want[takers] / want.sum()])
    # The last sum follows from the others; given twice, rounding makes it contradict them.
    found = linprog(
        costs.flatten().numpy(), A_eq=sums.tocsr()[:-1], b_eq=given[:-1].numpy(), method="highs"
    )
    if not found.success:
        raise InputError(f"earth_mover: got no optimal plan ({found.message}); allowed: one")
    return mass * float(found.fun)


def _edges(side: int, cells: int) -> Tensor:
    count = min(side, cells)
    return torch.arange(count + 1) * side // count


def _blocks(plane: Heatmaps | Tensor, cells: int) -> Tensor:
    """Sums over blocks, row by row."""
    total = functional.pad(plane.cumsum(0).cumsum(1), (1, 0, 1, 0))
    rows, columns = (_edges(side, cells).to(plane.device) for side in plane.shape)
    return total[rows][:, columns].diff(dim=0).diff(dim=1).flatten().clamp(min=0)


def _centres(height: int, width: int, cells: int) -> Tensor:
    """Where the blocks' middles are, in pixels: (block, 2)."""
    middles = [
        (edges[1:] + edges[:-1]).double() / 2
        for edges in (_edges(height, cells), _edges(width, cells))
    ]
    return torch.cartesian_prod(*middles)
