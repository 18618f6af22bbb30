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
from xai_exp.metrics.truth.likeness import concordance, sign_agreement, spearman
from xai_exp.metrics.truth.parts import (
    CLOUD,
    TAG,
    Depth,
    Division,
    Margin,
    OfPeople,
    Pooling,
    divided,
    exact_truth,
    magnitudes_and_rest,
    pooled,
    reached,
    shown_and_true,
)
from xai_exp.metrics.truth.people import by_person, of_people, strategy, worth_and_area
from xai_exp.truth.shares import share_distance, share_outside
from xai_exp.types import Case, Effects, Flags, Keep, Scores

Compare = Callable[[Effects, Effects, Keep], Scores]
_ROUNDING = 1e-5  # a uniform map is not above chance by the rounding of its sum
_GAP = 0.1  # of the value's difference, that the sum of a method which promises it may be off
_UNDEFINED = {
    "distance": "the parts are worth nothing or nothing is shown",
    "among": "fewer than two parts, parts of equal worth, or nothing is shown of any part",
    "outside": "nothing is shown",
    "error": "there is no part, or the heatmap's sum is not what the parts are worth together",
    "spearman": "fewer than two parts differ",
    "sign": "the parts are worth nothing",
}


@configured
class _OfParts:
    """How parts are made and what a heatmap says of them; the fields that several measures have."""

    needs: ClassVar[frozenset[str]] = frozenset({"scenes"})

    division: Division = "objects"
    depth: Depth | None = None
    margin: Margin = 2
    pooling: Pooling = "net"

    def shares(self, case: Case) -> tuple[Effects, Effects]:
        """What the heatmap says and what is true, as signed shares among the parts."""
        return shown_and_true(case, self.division, self.depth, self.margin, self.pooling)

    def pooled(self, case: Case) -> tuple[Effects, Scores]:
        """The relevance on each part and on none."""
        return pooled(case, self.division, self.depth, self.margin, self.pooling)

    def told_apart(self, case: Case, true: Effects, least: float = _ROUNDING) -> Flags:
        """Whether the image has two parts or more that differ in worth: what can be claimed."""
        there = exact_truth(case, self.division, self.depth).present
        return (there.sum(1) >= 2) & (share_distance(equal(there), true) > least)

    def compared(self, case: Case, measure: Compare, of: Literal["effect", "shapley"]) -> Scores:
        """Relevance pooled over parts against what they are worth, over those that are present."""
        exact = exact_truth(case, self.division, self.depth)
        inside, _ = pooled(case, self.division, self.depth, self.margin, self.pooling)
        worth = exact.effect if of == "effect" else exact.shapley
        worth = worth.abs() if self.pooling == "absolute" else worth
        return measure(inside, worth, exact.present)


def equal(present: Keep) -> Effects:
    """The shares of a map for which every part of the image counts alike."""
    return present.double() / present.sum(1, keepdim=True).clamp(min=1)


@configured
class PartShapley(_OfParts):
    r"""How far what a heatmap says of the parts is from their exact Shapley values (Shapley 1953).

    Ours. With R_p the relevance pooled over part p (R_0: over the pixels of no part), phi_p the
    exact Shapley value of the part for the explained value, and signed shares among the parts
    a_p = R_p / sum |R_q|, s_p = phi_p / sum |phi_q| (`xai_exp.truth.shares`; at `absolute` pooling
    |phi|), `measure` is

    - among: 1/2 * sum over p of |a_p - s_p|, the signed distance among the parts. Range 0..1, LOWER
      is better; minus the true map has 1.
    - outside: |R_0| / (|R_0| + sum |R_p|), the share outside of the parts. Range 0..1, LOWER is
      better. It asks nothing of the network.
    - error: the mean over the image's parts of |R_p - phi_p|, in units of the explained value,
      for methods that share out v(N) - v({}). Range 0..infinity, LOWER is better; undefined where
      the heatmap's sum is further than a tenth from v(N) - v({}), or signs are dropped by pooling.
    - distance: the measure of older reports, total variation of magnitudes with the rest as one
      more part, 1/2 * (sum over p of |a_p - s_p| + a_0) with a = |R| / sum |R| (R_0 among them) and
      s = |phi| / sum |phi|. Range 0..1, LOWER is better. It is at least the share outside and
      sees no signs.
    - spearman: rank correlation of R and phi over the image's parts (at `absolute` pooling of R and
      |phi|). Range -1..1, HIGHER is better, chance 0; undefined for a single part.
    - sign: the share of |phi| on parts whose R has phi's sign (|phi|'s at `absolute` pooling,
      where it only asks whether anything is shown). Range 0..1, HIGHER is better.

    `depth` is how far the cuts of corners and sides go (null: as the scenes have it). Cost: 2^k
    forward passes for an image of k parts (up to 12; for more see `xai_exp.truth.games`), once for
    all metrics and explainers of a run.

    Pitfalls: distances depend on the margin (state it); where parts are of nearly equal worth, as
    discs that are counted, a map that is merely even over objects comes near: see part_skill; at
    `net` pooling relevance that cancels within a part, or outside, is not seen.
    """

    measure: Literal["distance", "among", "outside", "error", "spearman", "sign"] = "distance"

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better: not for distances, errors and what lies outside."""
        return self.measure in ("spearman", "sign")

    @property
    def undefined(self) -> str:
        """When there is no score."""
        return _UNDEFINED[self.measure]

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        compute = {
            "distance": self._distance,
            "among": self._among,
            "outside": lambda case: share_outside(*self.pooled(case)),
            "error": self._error,
            "spearman": lambda case: self.compared(case, spearman, "shapley"),
            "sign": lambda case: self.compared(case, sign_agreement, "shapley"),
        }[self.measure]
        return shared.where_defined(case, compute(case).to(case.heatmaps.dtype))

    def _distance(self, case: Case) -> Scores:
        settings = (self.division, self.depth, self.margin, self.pooling)
        return share_distance(*magnitudes_and_rest(case, *settings))

    def _among(self, case: Case) -> Scores:
        shown, true = self.shares(case)
        return torch.where(self.told_apart(case, true), share_distance(shown, true), torch.nan)

    def _error(self, case: Case) -> Scores:
        exact = exact_truth(case, self.division, self.depth)
        inside, _ = self.pooled(case)
        count = exact.present.sum(1)
        error = ((inside - exact.shapley).abs() * exact.present).sum(1) / count
        due, total = exact.whole - exact.empty, case.heatmaps.double().sum((1, 2))
        promised = ((total - due).abs() <= _GAP * due.abs()) & (count > 0) & (due != 0)
        return torch.where(promised & (self.pooling == "net"), error, torch.nan)


@configured
class PartSkill(_OfParts):
    r"""How much nearer to the exact truth a heatmap is than a map for which all parts count alike.

    Ours, after the skill scores of forecasts (Murphy 1988, eq. 4): 1 - D / D(equal shares), with D
    the signed distance among the parts (part_shapley's `among`) and equal shares 1/k for each of
    the image's k parts. Range -infinity..1, HIGHER is better: 1 is the truth, 0 no better than
    equal shares, which know nothing of the network, below 0 worse.

    Undefined for images with fewer than two parts, or whose parts are worth so nearly the same that
    equal shares are nearer than `least` to the truth: nothing could be told apart there.

    The skill of several images is the ratio of the means, 1 - mean D / mean D(equal shares): in
    means an image weighs as much as equal shares are wrong there (`xai_exp.statistics.weights`).

    Cost: as part_shapley, shared with it.

    Pitfalls: an image's own skill is very negative where equal shares are near, so read it in
    weighted means, of the same images, and mind how many are left.
    """

    version: ClassVar[int] = 2  # images weigh in means what equal shares miss; alike before

    higher_is_better: ClassVar[bool] = True
    undefined: ClassVar[str] = (
        "fewer than two parts, parts of equal worth, or nothing is shown of any part"
    )

    least: Annotated[float, Range(0, 1, exclusive_low=True)] = 0.01

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        shown, true = self.shares(case)
        skill = 1 - share_distance(shown, true) / self.weights(case)
        known = self.told_apart(case, true, self.least)
        return shared.where_defined(case, skill.to(case.heatmaps.dtype), known)

    def weights(self, case: Case) -> Scores:
        """How far equal shares are from the truth: D(equal shares)."""

        def compute() -> Scores:
            _, true = self.shares(case)
            alike = equal(exact_truth(case, self.division, self.depth).present)
            return share_distance(alike, true)

        key = ("equal shares", self.division, self.depth, self.margin, self.pooling)
        return shared.once(case, key, compute)


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

    division: OfPeople | None = None
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

    division: OfPeople | None = None
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

    Ours, for a tag or, over settlements, a cloud. With a its signed share of what the heatmap shows
    of the parts and s its share of the exact Shapley values (both as in part_shapley), `measure` is

    - recall: a / s, cut to 0..1. HIGHER is better: 1 if the heatmap reports all of the use.
    - error: |a - s|. Range 0..2, LOWER is better: showing too much counts as well.
    - shown, deserved: a or s itself, for the curve of shown against true use over networks that
      learnt with tags of other agreement. Range -1..1; their direction (HIGHER) is a convention.

    Undefined for images without a tag, where nothing is shown (a) or worth anything (s); recall
    also where |s| is below `least`, since what is not used cannot be recalled. Cost: as
    part_shapley, shared with it.

    Pitfalls: recall never punishes showing too much, so a map of the tag alone has 1: read it
    beside error; relevance outside of all parts is not seen (part_shapley's `outside` is); margin
    and pooling decide what the tag gets, as in part_shapley.
    """

    version: ClassVar[int] = 2  # signed shares among the parts; magnitudes with the rest before
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
        if scenes.part_names[-1] not in (TAG, CLOUD):
            return shared.undefined(case)
        shown, true = self.shares(case)
        shown, true, there = shown[:, -1], true[:, -1], scenes.present[:, -1]
        if self.measure == "recall":
            there = there & (true.abs() >= self.least)
        scores = {
            "recall": (shown / true).clamp(0, 1),
            "error": (shown - true).abs(),
            "shown": shown,
            "deserved": true,
        }[self.measure]
        return shared.where_defined(case, scores.to(case.heatmaps.dtype), there)
