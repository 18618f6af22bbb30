r"""Heatmaps against the exact truth: what each part of a rendered scene is worth to the network.

The truth is the Shapley value of every part, computed by drawing the scene again without it (see
`xai_exp.truth.games`); it is computed once for a model and its images and shared by all metrics and
explainers of a run, at 2^k forward passes for an image of k parts.

How relevance is pooled over parts is in `xai_exp.metrics.truth.parts`.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch

from xai_exp.config import Range, configured
from xai_exp.metrics import shared
from xai_exp.metrics.localisation.regions import POOLINGS
from xai_exp.metrics.truth.likeness import (
    concordance,
    share_distance,
    sign_agreement,
    spearman,
)
from xai_exp.metrics.truth.parts import (
    TAG,
    Depth,
    Division,
    Margin,
    Pooling,
    divided,
    exact_truth,
    pooled,
    reached,
    shown_and_true,
)
from xai_exp.metrics.truth.people import by_person, of_people, strategy, worth_and_area
from xai_exp.types import Case, Effects, Keep, Scores

Compare = Callable[[Effects, Effects, Keep], Scores]
_ROUNDING = 1e-5  # a uniform map is not above chance by the rounding of its sum


@configured
class _OfParts:
    """How parts are made and what a heatmap says of them; the fields that several measures have."""

    needs: ClassVar[frozenset[str]] = frozenset({"scenes"})

    division: Division = "objects"
    depth: Depth | None = None
    margin: Margin = 2
    pooling: Pooling = "net"

    def shares(self, case: Case) -> tuple[Effects, Effects]:
        """What the heatmap says and what is true: (batch, part + 1), the last is the outside."""
        return shown_and_true(case, self.division, self.depth, self.margin, self.pooling)

    def compared(self, case: Case, measure: Compare, of: Literal["effect", "shapley"]) -> Scores:
        """Relevance pooled over parts against what they are worth, over those that are present."""
        exact = exact_truth(case, self.division, self.depth)
        inside, _ = pooled(case, self.division, self.depth, self.margin, self.pooling)
        worth = exact.effect if of == "effect" else exact.shapley
        worth = worth.abs() if self.pooling == "absolute" else worth
        return measure(inside, worth, exact.present)


@configured
class PartShapley(_OfParts):
    r"""How far what a heatmap says of the parts is from their exact Shapley values (Shapley 1953).

    Ours. With R_p the relevance pooled over part p (R_0: over the pixels of no part) and phi_p the
    exact Shapley value of the part for the explained logit, `measure` is

    - distance: total variation between normalised absolute shares,
      1/2 * (sum over p of |a_p - s_p| + a_0) with a = |R| / sum |R| (R_0 among them) and
      s = |phi| / sum |phi|: mass outside of all parts is a share that ought to be 0.
      Range 0..1, LOWER is better.
    - spearman: rank correlation of R and phi over the image's parts (at `absolute` pooling of R and
      |phi|). Range -1..1, HIGHER is better, chance 0; undefined for a single part.
    - sign: the share of |phi| on parts whose R has phi's sign (|phi|'s at `absolute` pooling,
      where it only asks whether anything is shown). Range 0..1, HIGHER is better.

    `depth` is how far the cuts of corners and sides go (null: as the scenes have it). Cost: 2^k
    forward passes for an image of k parts (up to 12; for more see `xai_exp.truth.games`), once for
    all metrics and explainers of a run.

    Pitfalls: the distance depends on the margin (state it); where parts are of equal worth, as
    discs that are counted, a map that is merely even over objects comes near; at `net` pooling
    relevance that cancels within a part, or outside, is not seen.
    """

    undefined: ClassVar[str] = (
        "the parts are worth nothing, nothing is shown (distance), or fewer than two parts differ "
        "(spearman)"
    )

    measure: Literal["distance", "spearman", "sign"] = "distance"

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better: not for a distance."""
        return self.measure != "distance"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        if self.measure == "distance":
            scores = share_distance(*self.shares(case))
        else:
            measure = spearman if self.measure == "spearman" else sign_agreement
            scores = self.compared(case, measure, "shapley")
        return shared.where_defined(case, scores.to(case.heatmaps.dtype))


@configured
class PartOrder(_OfParts):
    """Whether the heatmap puts the parts in the order of their true effects.

    Ours: Kendall's tau-a (1938) over the pairs of parts of the image that differ in truth,
    (agreeing - opposed) / pairs; a pair tied in the heatmap counts as neither. Range -1..1, HIGHER
    is better, chance 0.

    `against` is the truth: `effect`, what the logit loses when the part alone is removed,
    v(N) - v(N - p), or `shapley`, its Shapley value; at `absolute` pooling their magnitudes.
    Undefined for images with fewer than two parts, or whose parts are of equal worth. Cost: as
    part_shapley, shared with it.

    Pitfalls: an image of few parts has few pairs and a coarse score (two parts: -1, 0 or 1); a pair
    that differs in truth by next to nothing counts as much as any other; parts of a larger area
    have more relevance pooled, whatever they are worth; `effect` misses what parts do together.
    """

    higher_is_better: ClassVar[bool] = True
    undefined: ClassVar[str] = "fewer than two parts, or parts of equal worth"

    against: Literal["effect", "shapley"] = "effect"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        scores = self.compared(case, concordance, self.against)
        return shared.where_defined(case, scores.to(case.heatmaps.dtype))


@configured
class ObjectCoverage:
    """In how many of the k objects a heatmap puts more than chance.

    Ours: the share of objects p with (R_p / R) / (A_p / A) > `lift`, where R is pooled relevance
    and A area, each of the object with its margin and of the image. Range 0..1, HIGHER is better; a
    uniform map scores 0, noise about 1/2 at lift 1. A planted tag is no object. Undefined without
    objects. Cost: no forward pass.

    Pitfalls: it knows where objects are, not which of them the network uses; an object that is just
    above chance counts like one that has it all, so an edge filter does well; the margin is part of
    the area, so a wide one lowers the lift of a map that fills the object alone.
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
        objects = scenes.present & by_person(scenes)
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

    Ours, enrichment: the share of pooled relevance on the strategy's pixels over their share of the
    area, (sum(c R) / sum(R)) / (sum(c) / pixels), c being their coverage and R the pooled heatmap.
    A person tells polygons by their corners and counts objects, so `division: null` takes corners
    where scenes have them, else objects; a planted tag is never among them. `within: object` takes
    both shares of the object with its margin instead of the image, so that a map which just fills
    the object gets 1. Range 0 to 1 / (their share of the area), HIGHER is better, chance is 1.

    Cost: no forward pass.

    Pitfalls: it says whether the heatmap looks like a person's reason, NOT whether it is the
    network's: read it beside part_shapley. The highest possible score depends on the area, so
    compare on the same scenes; edge filters do well, for corners are where edges meet; pooling
    drops or turns negative relevance.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"scenes"})
    undefined: ClassVar[str] = (
        "there is no such part or the pooled heatmap is all zero (within: object, there)"
    )

    division: Division | None = None
    depth: Depth | None = None
    within: Literal["image", "object"] = "image"
    margin: Margin = 2
    pooling: Literal["positive", "absolute"] = "positive"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        mine = of_people(case, strategy(case, self.division), self.depth, self.margin)
        around = torch.ones_like(mine)
        if self.within == "object":
            around = torch.maximum(mine, of_people(case, "objects", None, self.margin))
        relevance = POOLINGS[self.pooling](case.heatmaps)
        total, room = (relevance * around).sum((1, 2)), around.sum((1, 2))
        scores = (relevance * mine).sum((1, 2)) / total / (mine.sum((1, 2)) / room)
        return shared.where_defined(case, scores, (total > 0) & (mine.sum((1, 2)) > 0))


@configured
class StrategyUse:
    """How much of the network's evidence for its class hangs on what a person would use, exactly.

    Ours. With v the explained logit, u = (v(all) - v(without corners)) / (v(all) - v(empty scene)):
    what is lost with the parts of `division` (null: as in human_strategy) over what is lost with
    everything. By the efficiency law both are sums of exact Shapley values; a planted tag's is left
    out. `lift` divides by the parts' share of the objects' area, so that a network to which every
    pixel of an object counts alike gets 1.

    Range unbounded (cutting corners can cost more than removing the object), HIGHER is better: more
    of a person's strategy; at `lift` chance is 1. Undefined where the objects do not speak for the
    class, or are the division (u is 1 by definition). Cost: as part_shapley for both divisions,
    shared with it.

    Pitfalls: it looks at the network alone and is the same for every heatmap: the truth beside
    human_strategy, which looks at the heatmap alone. Cut corners are off the training data (see
    `xai_exp.truth.games`), so part of u is surprise. A small denominator makes it large.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"scenes"})
    undefined: ClassVar[str] = "objects are all there is, or they do not speak for the class"

    division: Division | None = None
    depth: Depth | None = None
    lift: bool = True

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        division = strategy(case, self.division)
        if division == "objects":
            return shared.undefined(case)
        everything, whole = worth_and_area(case, "objects", None)
        mine, area = worth_and_area(case, division, self.depth)
        scores = mine / everything
        scores = scores * whole / area if self.lift else scores
        return shared.where_defined(case, scores.to(case.heatmaps.dtype), everything > 0)


@configured
class ShortcutRecall(_OfParts):
    """Whether the heatmap gives a planted tag what its exact value deserves.

    Ours. With a the tag's share of what the heatmap shows and s its share of the exact Shapley
    values (both as in part_shapley, the outside included in a), `measure` is

    - recall: min(a / s, 1). Range 0..1, HIGHER is better: 1 if the heatmap reports all of the use.
    - error: |a - s|. Range 0..1, LOWER is better: showing too much counts as well.
    - shown, deserved: a or s itself, for the curve of shown against true use over networks that
      learnt with tags of other agreement. Range 0..1; their direction (HIGHER) is a convention.

    Undefined for images without a tag, where nothing is shown (a) or worth anything (s); recall
    also where s is below `least`, since what is not used cannot be recalled. Cost: as part_shapley,
    shared with it.

    Pitfalls: recall never punishes showing too much, so a map of the tag alone has 1: read it
    beside error; shares are of magnitudes, so the tag's sign is not asked for; margin and pooling
    decide what the tag gets, as in part_shapley.
    """

    undefined: ClassVar[str] = (
        "there is no tag, nothing is shown or worth anything, or (recall) the tag is hardly used"
    )

    measure: Literal["recall", "error", "shown", "deserved"] = "recall"
    least: Annotated[float, Range(0, 1, exclusive_low=True)] = 0.01

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better: not for an error."""
        return self.measure != "error"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        scenes = divided(case, self.division, self.depth)
        if scenes.part_names[-1:] != (TAG,):
            return shared.undefined(case)
        shown, true = self.shares(case)
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
