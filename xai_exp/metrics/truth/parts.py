r"""What heatmaps say of the parts of rendered scenes, and the exact truth beside it.

What a heatmap says of a part is its relevance summed over the part's pixels: all pixels that the
part covers at all (a border pixel differs from the background by this part alone) and those within
`margin` pixels of them in the maximum norm, for much of what a network sees of an object is its
edge. A pixel that two parts reach equally early is shared between them. Relevance is pooled first:
`net` keeps signs, so that a part's positive and negative pixels cancel, `positive` is max(h, 0) and
`absolute` |h|, for maps whose sign has no meaning. Pixels of no part are pooled in the same way.

Parts are of one `division`: the scene's objects; corners, sides or anatomy of its polygon; a grid
of 4 x 4 patches (grid_2, grid_8: 2 x 2, 8 x 8) or single pixels, those with content (more than 12
are sampled: 256 random orders, 16 of pixels); or `conditional`: objects, whose worth is asked of
images in which the others are drawn anew instead of taken away (`xai_exp.truth.conditional`).
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from xai_exp.config import InputError, Range
from xai_exp.metrics import shared
from xai_exp.metrics.localisation import regions
from xai_exp.truth import games as truth
from xai_exp.truth.conditional import conditional
from xai_exp.truth.games import Truth
from xai_exp.truth.manifold import on_manifold
from xai_exp.truth.shares import shares
from xai_exp.types import Case, Effects, Parts, Scenes, Scores

PartsAndRest = Float[Tensor, "batch part_and_rest"]

Division = Literal[
    "objects",
    "corners",
    "sides",
    "anatomy",
    "grid",
    "grid_2",
    "grid_8",
    "pixels",
    "conditional",
]
OfPeople = Literal["objects", "corners", "sides"]  # what a person would look at
Pooling = Literal["net", "positive", "absolute"]
Depth = Annotated[float, Range(0, 0.5, exclusive_low=True, exclusive_high=True)]
Margin = Annotated[int, Range(0)]
_ORDERS = {"pixels": 16}  # drawn of more than 12 parts, where fewer than usual have to do
_ORDERS_ASKED = {"pixels": 4}  # whether the generator draws their coalitions
TAG = "tag"  # the part that is planted, as scenes name it
CLOUD = "cloud"  # one that comes by itself and can go with the class as a tag does
NO_REASON = (TAG, CLOUD, "vegetation")  # parts that no person tells the class by


def exact_truth(case: Case, division: str, depth: float | None) -> Truth:
    """The exact truth of the case's model and scenes, computed once for all explainers."""
    scenes = scenes_of(case)
    key = ("truth", division, depth, id(case.model), id(scenes), tuple(case.targets.tolist()))
    if key not in case.across:
        found = _solved(case, division, depth)
        # The inputs are kept beside it, so that no later object can have their ids.
        case.across[key] = (found, case.model, scenes)
    return case.across[key][0]


def _solved(case: Case, division: str, depth: float | None) -> Truth:
    scenes, seed = divided(case, division, depth), case.generator.initial_seed()
    if division == "conditional":
        return conditional(case.model, scenes, case.targets, seed=seed)
    orders = _ORDERS.get(division, truth.PERMUTATIONS)
    return truth.attribute(case.model, scenes, case.targets, permutations=orders, seed=seed)


def about_truths(case: Case) -> Mapping[str, Scores]:
    """What has to be known beside each exact truth that was asked for here, a value an image.

    `on_manifold/DIVISION`: the share of Shapley weight on images that the data's generator can draw
    (1 for `conditional`, which asks no others); `interaction/DIVISION`: what the parts do in pairs,
    as a share of that and of what each does (`interaction_share`). NaN where it is not known.
    """
    found = {}
    for division, depth in _known(case).items():
        exact, scenes = exact_truth(case, division, depth), divided(case, division, depth)
        share = _on_manifold(case, scenes, division, depth)
        found[f"on_manifold/{division}"] = share
        found[f"interaction/{division}"] = interaction_share(exact)
    return found


def interaction_share(exact: Truth) -> Scores:
    """Sum over i < j of |I_ij|, as a share of that and of the sum of |phi_i|: (batch)."""
    pairs = exact.interaction.triu(1).abs().sum((1, 2))
    shares = pairs / (pairs + exact.shapley.abs().sum(1))
    return torch.where(exact.present.sum(1) > 1, shares, torch.nan)


def _on_manifold(case: Case, scenes: Scenes, division: str, depth: float | None) -> Scores:
    key = ("on_manifold", division, depth, id(case.scenes))
    if key not in case.across:
        orders = _ORDERS_ASKED.get(division, 64)
        seed = case.generator.initial_seed()
        share = on_manifold(scenes, orders=orders, seed=seed)
        share = torch.where(share.isnan(), share, 1.0) if division == "conditional" else share
        case.across[key] = (share, case.scenes)
    return case.across[key][0]


def _known(case: Case) -> dict[str, float | None]:
    """The divisions whose exact truth is known of this model, its scenes and its targets."""
    known: dict[str, float | None] = {}
    targets = tuple(case.targets.tolist())
    for (_, division, depth, *_, explained), (_, model, scenes) in _truths(case).items():
        if model is case.model and scenes is case.scenes and explained == targets:
            known.setdefault(division, depth)
    return known


def worth_and_shown(case: Case) -> Mapping[str, tuple[Effects, PartsAndRest]]:
    """For each division whose exact truth is known here: Shapley values and pooled relevance.

    Values are (batch, part); relevance is (batch, part + 1), the last of it on no part, pooled as
    the measures do it unless told otherwise (margin 2, signs kept).
    """
    found = {}
    for division, depth in _known(case).items():
        inside, outside = pooled(case, division, depth, 2, "net")
        shown = torch.cat([inside, outside[:, None]], 1)
        found[division] = exact_truth(case, division, depth).shapley, shown
    return found


def _truths(case: Case) -> Mapping[Any, Any]:
    return {key: found for key, found in case.across.items() if key[0] == "truth"}


def divided(case: Case, division: str, depth: float | None) -> Scenes:
    """The case's scenes under a division.

    Raises:
        InputError: when there are no scenes, or they have no such division.
    """
    cut, _, cells = ("objects" if division == "conditional" else division).partition("_")
    side = int(cells) if cells else None
    return shared.once(
        case, ("divided", division, depth), lambda: scenes_of(case).divided(cut, depth, side)
    )


def scenes_of(case: Case) -> Scenes:
    """The case's scenes.

    Raises:
        InputError: when there are none.
    """
    if case.scenes is None:
        raise InputError("exact truth: got a case without scenes; allowed: rendered data")
    return case.scenes


def reached(case: Case, division: str, depth: float | None, margin: int) -> Parts:
    """Which part each pixel belongs to, in 0..1: those covered, then those within the margin."""

    def compute() -> Parts:
        return grown(divided(case, division, depth).parts().to(case.heatmaps), margin)

    return shared.once(case, ("reached", division, depth, margin), compute)


def grown(parts: Parts, margin: int) -> Parts:
    """Parts as shares of pixels: covered pixels in proportion, then `margin` steps to neighbours.

    >>> grown(torch.tensor([[[[0.0, 0.5, 0.0, 0.0, 1.0]]]]), 1)
    tensor([[[[1., 1., 1., 1., 1.]]]])
    """
    total = parts.sum(1, keepdim=True)
    shares = parts / total.where(total > 0, 1.0)
    for _ in range(margin):
        free = shares.sum(1, keepdim=True) == 0
        near = functional.max_pool2d((shares > 0).to(parts), 3, stride=1, padding=1)
        shares = shares + free * near / near.sum(1, keepdim=True).clamp(min=1)
    return shares


def pooled(
    case: Case, division: str, depth: float | None, margin: int, pooling: str
) -> tuple[Effects, Scores]:
    """The relevance pooled over each part (batch, part) and over the rest (batch), in float64."""

    def compute() -> tuple[Effects, Scores]:
        relevance = regions.POOLINGS[pooling](case.heatmaps).double()
        shares = reached(case, division, depth, margin).double()
        inside = regions.sums(shares, relevance)
        rest = (1 - shares.sum(1)).clamp(min=0)
        return inside, (relevance * rest).sum((1, 2))

    return shared.once(case, ("pooled", division, depth, margin, pooling), compute)


def shown_and_true(
    case: Case, division: str, depth: float | None, margin: int, pooling: str
) -> tuple[Effects, Effects]:
    """Signed shares among the parts by heatmap and by truth: (batch, part) each.

    At `absolute` pooling, where signs have no meaning, the truth's are magnitudes as well.
    """
    inside, _ = pooled(case, division, depth, margin, pooling)
    worth = exact_truth(case, division, depth).shapley
    return shares(inside), shares(worth.abs() if pooling == "absolute" else worth)


def magnitudes_and_rest(
    case: Case, division: str, depth: float | None, margin: int, pooling: str
) -> tuple[Effects, Effects]:
    """Magnitudes as shares of parts and rest, by heatmap and by truth: (batch, part + 1)."""
    inside, outside = pooled(case, division, depth, margin, pooling)
    worth = exact_truth(case, division, depth).shapley
    shown = torch.cat([inside, outside[:, None]], 1)
    return shares(shown.abs()), shares(functional.pad(worth, (0, 1)).abs())
