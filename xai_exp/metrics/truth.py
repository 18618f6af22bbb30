r"""Heatmaps against the exact truth: what each part of a rendered scene is worth to the network.

The truth is the Shapley value of every part, computed by drawing the scene again without it (see
`xai_exp.truth`); it is computed once for a model and its images and shared by all metrics and
explainers of a run, at 2^k forward passes for an image of k parts.

What a heatmap says of a part is its relevance summed over the part's pixels: all pixels that the
part covers at all (a border pixel differs from the background by this part alone) and those within
`margin` pixels of them in the maximum norm, for much of what a network sees of an object is its
edge. A pixel that two parts reach equally early is shared between them. Relevance is pooled first:
`net` keeps signs, so that a part's positive and negative pixels cancel, `positive` is max(h, 0) and
`absolute` |h|, for maps whose sign has no meaning. Pixels of no part are pooled in the same way.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp import truth
from xai_exp.config import InputError, Range, configured
from xai_exp.metrics import shared
from xai_exp.truth import Truth
from xai_exp.types import Case, Effects, Flags, Heatmaps, Keep, Parts, Scenes, Scores

Division = Literal["objects", "corners", "sides"]
Pooling = Literal["net", "positive", "absolute"]
Depth = Annotated[float, Range(0, 0.5, exclusive_low=True, exclusive_high=True)]
Margin = Annotated[int, Range(0)]
POOLINGS: dict[str, Callable[[Heatmaps], Heatmaps]] = {
    "net": lambda heatmaps: heatmaps,
    "positive": lambda heatmaps: heatmaps.clamp(min=0),
    "absolute": torch.abs,
}
TAG = "tag"  # the part that is planted, as scenes name it


@configured
class PartShapley:
    r"""How far what a heatmap says of the parts is from their exact Shapley values.

    With R_p the relevance pooled over part p (R_0: over the pixels of no part) and phi_p the exact
    Shapley value of the part for the explained logit, `measure` is

    - distance: total variation between normalised absolute shares,
      1/2 * (sum over p of |a_p - s_p| + a_0) with a = |R| / sum |R| (R_0 among them) and
      s = |phi| / sum |phi|: mass outside of all parts is a share that ought to be 0.
      Range 0..1, LOWER is better.
    - spearman: rank correlation of R and phi over the image's parts (at `absolute` pooling of R and
      |phi|). Range -1..1, HIGHER is better, chance 0; undefined for a single part.
    - sign: the share of |phi| on parts whose R has phi's sign. Range 0..1, HIGHER is better.

    `depth` is how far the cuts of corners and sides go (null: as the scenes have it). Cost: 2^k
    forward passes for an image of k parts, once for all metrics and explainers of a run.

    Pitfalls: the distance depends on the margin (state it); where parts are of equal worth, as
    discs that are counted, a map that is merely even over objects comes near; at `net` pooling
    relevance that cancels within a part, or outside, is not seen.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"scenes"})
    undefined: ClassVar[str] = "the parts are worth nothing, or too few, or nothing is shown"

    measure: Literal["distance", "spearman", "sign"] = "distance"
    division: Division = "objects"
    depth: Depth | None = None
    margin: Margin = 2
    pooling: Pooling = "net"

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better: not for a distance."""
        return self.measure != "distance"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        exact = exact_truth(case, self.division, self.depth)
        if self.measure == "distance":
            scores = share_distance(*self.shares(case))
        else:
            inside, _ = pooled(case, self.division, self.depth, self.margin, self.pooling)
            worth = exact.shapley.abs() if self.pooling == "absolute" else exact.shapley
            compare = spearman if self.measure == "spearman" else sign_agreement
            scores = compare(inside, worth, exact.present)
        return shared.where_defined(case, scores.to(case.heatmaps.dtype))

    def shares(self, case: Case) -> tuple[Effects, Effects]:
        """What the heatmap says and what is true: (batch, part + 1), the last is the outside."""
        return shown_and_true(case, self.division, self.depth, self.margin, self.pooling)


@configured
class PartOrder:
    """Whether the heatmap puts the parts in the order of their true effects.

    Kendall's tau-a over the pairs of parts of the image that differ in truth: (agreeing - opposed)
    / pairs; a pair tied in the heatmap counts as neither. Range -1..1, HIGHER is better, chance 0.

    `against` is the truth: `effect`, what the logit loses when the part alone is removed,
    v(N) - v(N - p), or `shapley`, its Shapley value. Undefined for images with fewer than two
    parts, or whose parts are of equal worth. Cost: as part_shapley, shared with it.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"scenes"})
    undefined: ClassVar[str] = "fewer than two parts, or parts of equal worth"

    against: Literal["effect", "shapley"] = "effect"
    division: Division = "objects"
    depth: Depth | None = None
    margin: Margin = 2
    pooling: Pooling = "net"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        exact = exact_truth(case, self.division, self.depth)
        worth = exact.effect if self.against == "effect" else exact.shapley
        inside, _ = pooled(case, self.division, self.depth, self.margin, self.pooling)
        worth = worth.abs() if self.pooling == "absolute" else worth
        scores = concordance(inside, worth, exact.present)
        return shared.where_defined(case, scores.to(case.heatmaps.dtype))


@configured
class ObjectCoverage:
    """In how many of the k objects a heatmap puts more than chance.

    The share of objects p with (R_p / R) / (A_p / A) > `lift`, where R is pooled relevance and A
    area, each of the object with its margin and of the image. Range 0..1, HIGHER is better; a
    uniform map scores 0, noise about 1/2 at lift 1. A planted tag is no object. Undefined without
    objects. Cost: no forward pass.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"scenes"})
    undefined: ClassVar[str] = "there is no object or the pooled heatmap is all zero"

    lift: Annotated[float, Range(0, exclusive_low=True)] = 1.0
    margin: Margin = 2
    pooling: Literal["positive", "absolute"] = "positive"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        scenes = divided(case, "objects", None)
        objects = scenes.present & _by_person(scenes)
        inside, outside = pooled(case, "objects", None, self.margin, self.pooling)
        area = reached(case, "objects", None, self.margin).mean((2, 3))
        total = inside.sum(1) + outside
        lift = inside / total[:, None] / area
        covered = (lift > self.lift * (1 + _ROUNDING)) & objects
        scores = covered.sum(1) / objects.sum(1)
        return shared.where_defined(case, scores.to(case.heatmaps.dtype), total > 0)


@configured
class HumanStrategy:
    """How much more relevance than chance lies on what a person would use.

    Enrichment: the share of pooled relevance on the strategy's pixels over their share of the area.
    A person tells polygons by their corners and counts objects, so `division: null` takes corners
    where scenes have them, else objects; a planted tag is never among them. `within: object` takes
    both shares of the object with its margin instead of the image, so that a map which just fills
    the object gets 1. Range 0 to 1 / area, HIGHER is better, chance is 1.

    It says whether the heatmap looks like a person's reason, NOT whether it is the network's: read
    it beside part_shapley. Cost: no forward pass.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"scenes"})
    undefined: ClassVar[str] = "there is no such part or the pooled heatmap is all zero"

    division: Division | None = None
    depth: Depth | None = None
    within: Literal["image", "object"] = "image"
    margin: Margin = 2
    pooling: Literal["positive", "absolute"] = "positive"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        scenes = _scenes(case)
        division = self.division or ("corners" if "corners" in scenes.divisions else "objects")
        mine = _union_of_people(case, division, self.depth, self.margin)
        around = torch.ones_like(mine)
        if self.within == "object":
            around = torch.maximum(mine, _union_of_people(case, "objects", None, self.margin))
        relevance = POOLINGS[self.pooling](case.heatmaps)
        total, room = (relevance * around).sum((1, 2)), around.sum((1, 2))
        scores = (relevance * mine).sum((1, 2)) / total / (mine.sum((1, 2)) / room)
        return shared.where_defined(case, scores, (total > 0) & (mine.sum((1, 2)) > 0))


@configured
class ShortcutRecall:
    """Whether the heatmap gives a planted tag what its exact value deserves.

    With a the tag's share of what the heatmap shows and s its share of the exact Shapley values
    (both as in part_shapley, the outside included in a), `measure` is

    - recall: min(a / s, 1). Range 0..1, HIGHER is better: 1 if the heatmap reports all of the use.
    - error: |a - s|. Range 0..1, LOWER is better: showing too much counts as well.
    - shown, deserved: a or s itself, for the curve of shown against true use over networks that
      learnt with tags of other agreement; their direction (HIGHER) is a convention.

    Undefined for images without a tag; recall also where s is below `least`, since what is not used
    cannot be recalled. Cost: as part_shapley, shared with it.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"scenes"})
    undefined: ClassVar[str] = "there is no tag, or the network hardly uses it"

    measure: Literal["recall", "error", "shown", "deserved"] = "recall"
    least: Annotated[float, Range(0, 1, exclusive_low=True)] = 0.01
    division: Division = "objects"
    depth: Depth | None = None
    margin: Margin = 2
    pooling: Pooling = "net"

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better: not for an error."""
        return self.measure != "error"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        scenes = divided(case, self.division, self.depth)
        if scenes.part_names[-1:] != (TAG,):
            return torch.full_like(case.heatmaps[:, 0, 0], torch.nan)
        shown, true = shown_and_true(case, self.division, self.depth, self.margin, self.pooling)
        shown, true, there = shown[:, -2], true[:, -2], scenes.present[:, -1]
        if self.measure == "recall":
            there = there & (true >= self.least)
        scores = {
            "recall": (shown / true).clamp(max=1),
            "error": (shown - true).abs(),
            "shown": shown,
            "deserved": true,
        }[self.measure]
        return shared.where_defined(case, scores.to(case.heatmaps.dtype), there)


_ROUNDING = 1e-5  # a uniform map is not above chance by the rounding of its sum


def exact_truth(case: Case, division: str, depth: float | None) -> Truth:
    """The exact truth of the case's model and scenes, computed once for all explainers."""
    scenes = _scenes(case)
    key = ("truth", division, depth, id(case.model), id(scenes), tuple(case.targets.tolist()))
    if key not in case.across:
        found = truth.attribute(
            case.model,
            divided(case, division, depth),
            case.targets,
            seed=case.generator.initial_seed(),
        )
        # The inputs are kept beside it, so that no later object can have their ids.
        case.across[key] = (found, case.model, scenes)
    return case.across[key][0]


def divided(case: Case, division: str, depth: float | None) -> Scenes:
    """The case's scenes under a division.

    Raises:
        InputError: when there are no scenes, or they have no such division.
    """
    return shared.once(
        case, ("divided", division, depth), lambda: _scenes(case).divided(division, depth)
    )


def _scenes(case: Case) -> Scenes:
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
        relevance = POOLINGS[pooling](case.heatmaps).double()
        shares = reached(case, division, depth, margin).double()
        inside = torch.einsum("bphw,bhw->bp", shares, relevance)
        rest = (1 - shares.sum(1)).clamp(min=0)
        return inside, (relevance * rest).sum((1, 2))

    return shared.once(case, ("pooled", division, depth, margin, pooling), compute)


def shown_and_true(
    case: Case, division: str, depth: float | None, margin: int, pooling: str
) -> tuple[Effects, Effects]:
    """Normalised absolute shares by heatmap and by truth: (batch, part + 1), the last outside."""
    inside, outside = pooled(case, division, depth, margin, pooling)
    worth = exact_truth(case, division, depth).shapley
    return (
        _normalised(torch.cat([inside, outside[:, None]], 1)),
        _normalised(functional.pad(worth, (0, 1))),
    )


def _normalised(values: Effects) -> Effects:
    """Absolute shares of their sum; NaN where that is 0."""
    return values.abs() / values.abs().sum(1, keepdim=True)


def share_distance(shown: Effects, true: Effects) -> Scores:
    """Total variation between two rows of shares, in 0..1.

    >>> share_distance(torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[0.25, 0.5, 0.25]]))
    tensor([0.2500])
    """
    return (shown - true).abs().sum(1) / 2


def spearman(first: Effects, second: Effects, present: Keep) -> Scores:
    """Each row's rank correlation over its present parts, ties at mean ranks; NaN if undefined."""
    one, other = (_centred_ranks(values, present) for values in (first, second))
    spread = (one.square().sum(1) * other.square().sum(1)).sqrt()
    return (one * other).sum(1) / spread


def _centred_ranks(values: Effects, present: Keep) -> Effects:
    pairs = present[:, :, None] & present[:, None, :]
    above = (values[:, :, None] - values[:, None, :]).sign()
    return (above * pairs).sum(2) / 2


def sign_agreement(first: Effects, second: Effects, present: Keep) -> Scores:
    """The share of |second| on parts where both have one sign."""
    weight = second.abs() * present
    agree = first.sign() == second.sign()
    return (weight * agree).sum(1) / weight.sum(1)


def concordance(first: Effects, second: Effects, present: Keep) -> Scores:
    """(Agreeing - opposed) / pairs, over the pairs of present parts that differ in `second`."""
    pairs = (present[:, :, None] & present[:, None, :]).triu(1)
    one, other = ((v[:, :, None] - v[:, None, :]).sign() for v in (first, second))
    differ = pairs & (other != 0)
    return (one * other * differ).sum((1, 2)) / differ.sum((1, 2))


def _by_person(scenes: Scenes) -> Flags:
    """Which parts a person would look at: all but a planted tag."""
    return torch.tensor([name != TAG for name in scenes.part_names], device=scenes.present.device)


def _union_of_people(case: Case, division: str, depth: float | None, margin: int) -> Tensor:
    """How much of each pixel belongs to parts that a person would look at."""
    chosen = _by_person(divided(case, division, depth))
    return reached(case, division, depth, margin)[:, chosen].sum(1)
