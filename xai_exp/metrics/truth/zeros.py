r"""What heatmaps show of parts that are certainly worth nothing, and what parts do together.

A part is a certified zero of an image if it changes the explained value of no set of the other
parts by more than a tolerance: max over S of |v(S + i) - v(S)|, found by drawing all sets, is next
to nothing beside the largest such change of any part. (A Shapley value of 0 is not enough: gains of
both signs can cancel in it.) White boxes have such parts by construction, networks of
`trainer=invariant` by training, and any other network where it happens to ignore something.
"""

from typing import Annotated, ClassVar, Literal

from xai_exp.config import Range, configured
from xai_exp.metrics import shared
from xai_exp.metrics.truth.parts import (
    Depth,
    Division,
    Margin,
    exact_truth,
    interaction_share,
    pooled,
)
from xai_exp.truth.games import Truth
from xai_exp.types import Case, Keep, Scores


def certified_zeros(truth: Truth, tolerance: float) -> Keep:
    """Which parts (batch, part) change no set of the others by more than the tolerance.

    It is a share of the largest change that any part of the image makes.
    """
    limit = tolerance * truth.largest.amax(1, keepdim=True)
    return truth.present & (truth.largest <= limit) & (limit > 0)


@configured
class FalseRelevance:
    r"""The share of relevance that a heatmap puts on parts which the network certainly ignores.

    Ours. With R_p = sum |h| over the pixels of part p (positive and negative relevance are both
    false there), the score is sum over certified zeros of R_p, divided by

    - image: the relevance of the whole image;
    - parts: that of all parts, so that what lies outside of them does not count;
    - excess: as parts, minus the share of the zeros among the image's parts: what the map shows of
      them beyond equal shares.

    Range 0..1 (excess -1..1), LOWER is better; equal shares have the zeros' number over that of
    parts at `parts`, and 0 at `excess`. Undefined for images without a certified zero, or whose
    network changes for nothing. Cost: as part_shapley, shared with it.

    Pitfalls: within the margin a zero's pixels may lie beside a part that counts; a map that shows
    nothing anywhere on parts is undefined at `parts`, and good at `image`.

    Args:
        tolerance: of a zero, as a share of the largest change that any part makes.
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset({"scenes"})
    undefined: ClassVar[str] = "no part is certainly ignored, or nothing is shown"

    measure: Literal["image", "parts", "excess"] = "image"
    tolerance: Annotated[float, Range(0, 1, exclusive_high=True)] = 0.01
    division: Division = "objects"
    depth: Depth | None = None
    margin: Margin = 2

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        truth = exact_truth(case, self.division, self.depth)
        zeros = certified_zeros(truth, self.tolerance)
        inside, outside = pooled(case, self.division, self.depth, self.margin, "absolute")
        total = inside.sum(1) + (outside if self.measure == "image" else 0)
        scores = (inside * zeros).sum(1) / total
        if self.measure == "excess":
            scores = scores - zeros.sum(1) / truth.present.sum(1)
        scores = scores.to(case.heatmaps.dtype)
        return shared.where_defined(case, scores, zeros.any(1) & (total > 0))


@configured
class InteractionShare:
    r"""How much of what the parts do to the network they do together, and not each by itself.

    With I_ij the exact pairwise Shapley interaction index (Grabisch and Roubens 1999) and phi_i the
    Shapley values, sum over i < j of |I_ij| / (sum over i < j of |I_ij| + sum over i of |phi_i|).

    Range 0..1: 0 where the network adds its parts up, so that one number a part can say all; 1
    where it all lies in pairs, as an exclusive or at both parts. It looks at the network alone and
    is the same for every heatmap; that LOWER is called better means only that heatmaps can do it
    justice. Undefined for images of fewer than two parts, where values are sampled (more than 12
    parts), or where the parts do nothing. Cost: as part_shapley, shared with it.

    Pitfalls: pairs only, so what three parts do together is not seen; it says nothing of a heatmap.
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset({"scenes"})
    undefined: ClassVar[str] = "fewer than two parts, more than 12, or parts that do nothing"

    division: Division = "objects"
    depth: Depth | None = None

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        scores = interaction_share(exact_truth(case, self.division, self.depth))
        return shared.where_defined(case, scores.to(case.heatmaps.dtype))
