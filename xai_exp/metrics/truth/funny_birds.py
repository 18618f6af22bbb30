r"""The protocols of FunnyBirds and IDSDS on the parts of our scenes, each removed exactly.

Hesse, Schaub-Meyer and Roth (2023, "FunnyBirds: a synthetic vision dataset for a part-based
analysis of explainable AI methods", section 4) draw birds without some of their parts, as we draw
scenes; the same authors (2024, "Benchmarking the attribution quality of vision models", IDSDS)
remove the patches of a grid one by one from photographs.

Relevance R_p is pooled over part p and two pixels around it (their 5 x 5 dilation), signs kept. A
part is IMPORTANT to a heatmap at threshold t if R_p > t * sum(h). They take the threshold of 80 in
0.01..0.5 that suits a method best; here a score is the mean over these 80, or at the `threshold`
that is asked for, so that nothing is chosen by the score.
"""

import dataclasses
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xai_exp.compute import ops
from xai_exp.config import Range, configured
from xai_exp.metrics import shared
from xai_exp.metrics.truth.likeness import spearman
from xai_exp.metrics.truth.parts import Depth, Margin, divided, pooled
from xai_exp.metrics.truth.people import by_person
from xai_exp.truth.coalitions import ends_of, subsets
from xai_exp.truth.games import MOST_EXACT, Game
from xai_exp.types import Case, Effects, Flags, Keep, Labels, Logits, Readout, Scores, Subsets

Chosen = Bool[Tensor, "batch threshold part"]
Asked = Float[Tensor, "batch asked"]
Sets = Bool[Tensor, "batch subset"]
Removed = Literal["objects", "corners", "sides", "anatomy", "grid", "pixels"]

_THRESHOLDS = torch.linspace(0.01, 0.5, 80, dtype=torch.float64)
_RELEVANT = 0.05  # of the value, from which a part's removal counts


@configured
class _OnParts:
    """How parts are made, and what happens when some of them are gone."""

    needs: ClassVar[frozenset[str]] = frozenset({"scenes"})

    division: Removed = "objects"
    depth: Depth | None = None
    margin: Margin = 2

    def present(self, case: Case) -> Keep:
        """Which parts there are."""
        return divided(case, self.division, self.depth).present

    def relevance(self, case: Case) -> Effects:
        """R_p of every part."""
        return pooled(case, self.division, self.depth, self.margin, "net")[0]

    def values(
        self, case: Case, keep: Subsets, targets: Labels, value: Readout = ops.pick
    ) -> Asked:
        """The value of each target with the parts of each set alone: (batch, set)."""
        scenes = divided(case, self.division, self.depth)
        with ops.evaluating(case.model), torch.no_grad():
            game = Game.of(case.model, scenes, targets, value)
            return game.values(keep.to(scenes.present.device))

    def effects(self, case: Case, targets: Labels) -> tuple[Effects, Scores]:
        """What each target loses without each part, and its value with all: k + 2 passes."""
        key = ("deletions", self.division, self.depth, id(case.model), tuple(targets.tolist()))
        if (key, id(case.scenes)) not in case.across:
            ends = self.values(case, ends_of(self.present(case).shape[1])[None], targets)
            # The inputs are kept beside it, so that no later object can have their ids.
            case.across[key, id(case.scenes)] = (ends, case.model, case.scenes)
        ends = case.across[key, id(case.scenes)][0]
        return ends[:, 1, None] - ends[:, 2:], ends[:, 1]


@configured
class SingleDeletion(_OnParts):
    """Whether parts whose removal alone costs more have more relevance (FunnyBirds; IDSDS).

    Hesse et al. 2023, section 4; Hesse et al. 2024.

    Spearman's rank correlation over the image's parts of R_p and v(N) - v(N - p), v being the
    explained value. Range -1..1, HIGHER is better, chance 0. FunnyBirds' score is (1 + it) / 2;
    IDSDS's is this, of the patches of a grid (`division: grid`), which there are covered with
    black, here drawn without what is in them. Undefined where fewer than two parts differ. Cost:
    k + 2 forward passes an image of k parts.

    Pitfalls: two parts give -1 or 1; what parts do together is not seen (part_shapley's spearman
    has it); ranks know no sizes, so a part that does nothing counts like any other.
    """

    higher_is_better: ClassVar[bool] = True
    undefined: ClassVar[str] = "fewer than two parts, or parts that do not differ"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        effects, _ = self.effects(case, case.targets)
        scores = spearman(self.relevance(case), effects, self.present(case))
        return shared.where_defined(case, scores.to(case.heatmaps.dtype))


@configured
class _OfImportant(_OnParts):
    """Checks of the parts that a heatmap calls important."""

    threshold: Annotated[float, Range(0, 1)] | None = None

    def important(self, case: Case) -> Chosen:
        """The parts that are important at each threshold."""
        given = [self.threshold] if self.threshold is not None else _THRESHOLDS.tolist()
        levels = torch.tensor(given, dtype=torch.float64, device=case.heatmaps.device)
        due = levels * case.heatmaps.double().sum((1, 2))[:, None]
        above = self.relevance(case)[:, None] > due[:, :, None]
        return above & self.present(case)[:, None]

    def shown(self, case: Case) -> Flags:
        """Whether the heatmap shows anything."""
        return (case.heatmaps != 0).any((1, 2))

    def answers(self, case: Case, keep: Subsets) -> Asked:
        """1 where the network still says the target with these parts alone."""
        return self.values(case, keep, case.targets, said)


@configured
class PartCheck(_OfImportant):
    r"""What the network says with the important parts alone, or without them (FunnyBirds).

    Hesse et al. 2023, section 4.

    With I the parts that are important to the heatmap (see the module), `check` is

    - preservation: 1 if the network still says the explained class of the parts of I alone;
    - deletion: 1 if it no longer says it of all parts but I;
    - controlled: max over M of |M & I| / |M|, M being the minimal sufficient sets of parts: of
      their parts alone the network says the class, and of none of their own subsets. (FunnyBirds
      reads them off the definition of its classes; here all 2^k subsets are asked of the network.)

    Range 0..1, HIGHER is better, the mean over thresholds. Undefined where the network does not say
    the explained class, nothing is shown, or (controlled) the class is said of no part at all or
    there are more than 12 parts. Cost: 80 forward passes an image (one at one threshold), 2^k for
    controlled.

    Pitfalls: preservation and controlled reward calling everything important, deletion as well
    where nothing is the other class: read them beside distractibility; where the empty scene has
    the class, preservation is 1 for whatever heatmap.
    """

    higher_is_better: ClassVar[bool] = True
    undefined: ClassVar[str] = (
        "the network says another class, nothing is shown, or (controlled) says it of no part"
    )

    check: Literal["preservation", "deletion", "controlled"] = "preservation"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        important, present = self.important(case), self.present(case)
        known = (self.answers(case, present[:, None])[:, 0] == 1) & self.shown(case)
        if self.check == "controlled":
            scores = self._controlled(case, important)
        elif self.check == "preservation":
            scores = self.answers(case, important)
        else:
            scores = 1 - self.answers(case, present[:, None] & ~important)
        return shared.where_defined(case, scores.mean(1).to(case.heatmaps.dtype), known)

    def _controlled(self, case: Case, important: Chosen) -> Asked:
        count = important.shape[2]
        if count > MOST_EXACT:
            return torch.full_like(important[..., 0], torch.nan, dtype=torch.float64)
        every, present = subsets(count).to(important.device), self.present(case)
        found = self.answers(case, every[None]) == 1
        whole = ~(every[None] & ~present[:, None]).any(2)
        least = minimal(found & whole)
        sizes = every.sum(1).double()
        hits = important.double() @ every.double().T / sizes
        best = torch.where(least[:, None] & (sizes > 0), hits, -torch.inf).amax(2)
        return torch.where(best.isfinite(), best, torch.nan)


def minimal(sufficient: Sets) -> Sets:
    """Which sets (batch, 2^k) are sufficient while none of their proper subsets is.

    Sets are numbered in binary; the last that is sufficient here has two parts and one within it:

    >>> minimal(torch.tensor([[False, True, False, True]])).tolist()
    [[False, True, False, False]]
    """
    count = sufficient.shape[1].bit_length() - 1
    within, below = sufficient.clone(), torch.zeros_like(sufficient)
    for part in range(count):
        halves = within.view(len(within), -1, 2, 2**part)
        halves[:, :, 1] |= halves[:, :, 0].clone()
    for part in range(count):
        mine = below.view(len(below), -1, 2, 2**part)
        mine[:, :, 1] |= within.view(len(within), -1, 2, 2**part)[:, :, 0]
    return sufficient & ~below


@configured
class Distractibility(_OfImportant):
    """The share of irrelevant parts that the heatmap does not call important (FunnyBirds).

    Hesse et al. 2023, section 4.

    A part is irrelevant if its removal alone changes the explained value by less than a twentieth
    of it, |v(N) - v(N - p)| < |v(N)| / 20, or raises it. Range 0..1, HIGHER is better, the mean
    over thresholds. Undefined where no part is irrelevant or nothing is shown. Cost: as
    single_deletion, shared with it.

    Pitfalls: a map that calls nothing important has 1: read it beside part checks; the twentieth is
    of a value whose zero is a convention (with value=logit, anybody's).
    """

    higher_is_better: ClassVar[bool] = True
    undefined: ClassVar[str] = "no part is irrelevant, or nothing is shown"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        effects, whole = self.effects(case, case.targets)
        idle = self.present(case) & (effects < _RELEVANT * whole.abs()[:, None])
        wrong = (self.important(case) & idle[:, None]).sum(2) / idle.sum(1, keepdim=True)
        scores = 1 - wrong.double().mean(1)
        known = idle.any(1) & self.shown(case)
        return shared.where_defined(case, scores.to(case.heatmaps.dtype), known)


@configured
class TargetSensitivity(_OnParts):
    """Whether parts have more relevance for the class that they speak for (FunnyBirds).

    Hesse et al. 2023, section 4.

    Of the explained class c and the class d with the next largest value, let part i be the one
    whose removal costs c most beside d, and part j the one that costs d most beside c. The score is
    the mean of [R_i for c > R_i for d] and [R_j for d > R_j for c]. Range 0..1 (0, 1/2 or 1),
    HIGHER is better, chance 1/2. Undefined unless c loses more without i than without j, and d
    more without j than without i. (FunnyBirds takes two other classes that share parts with the
    bird by definition.)
    Cost: one more heatmap and 2 (k + 2) forward passes an image.

    Pitfalls: with two classes centred heatmaps are each other's negatives, so it only asks for
    signs; maps that know no class have 0.
    """

    higher_is_better: ClassVar[bool] = True
    undefined: ClassVar[str] = "no two parts speak for different classes"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        logits = shared.clean_logits(case)
        others = logits.scatter(1, case.targets[:, None], -torch.inf).argmax(1)
        present = self.present(case)
        if not present.shape[1]:
            return shared.undefined(case)
        mine, theirs = (self.effects(case, one)[0] for one in (case.targets, others))
        beside = mine - theirs
        first = torch.where(present, beside, -torch.inf).argmax(1, keepdim=True)
        second = torch.where(present, beside, torch.inf).argmin(1, keepdim=True)
        apart = (mine.gather(1, first) > mine.gather(1, second)) & (
            theirs.gather(1, second) > theirs.gather(1, first)
        )
        heatmaps = case.explain(case.model, case.images, others)
        other = self.relevance(dataclasses.replace(case, heatmaps=heatmaps, targets=others))
        more = self.relevance(case) - other
        scores = (more.gather(1, first) > 0).double() + (more.gather(1, second) < 0).double()
        known = apart[:, 0] & heatmaps.isfinite().flatten(1).all(1)
        return shared.where_defined(case, (scores[:, 0] / 2).to(case.heatmaps.dtype), known)


@configured
class BackgroundIndependence(_OnParts):
    """The share of parts no person tells the class by that the network does not use (FunnyBirds).

    Hesse et al. 2023, section 4.

    Such parts are a planted tag, a cloud and vegetation; one is used if its removal alone lowers
    the explained value by a twentieth of it or more. Range 0..1, HIGHER is better. It looks at the
    network alone and is the same for every heatmap. Undefined without such parts. Cost: as
    single_deletion, shared with it.

    Pitfalls: it says nothing of heatmaps; a part that raises the value counts as not used.
    """

    higher_is_better: ClassVar[bool] = True
    undefined: ClassVar[str] = "there is no tag, cloud or vegetation"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        scenes = divided(case, self.division, self.depth)
        aside = scenes.present & ~by_person(scenes)
        effects, whole = self.effects(case, case.targets)
        used = aside & (effects >= _RELEVANT * whole.abs()[:, None])
        scores = 1 - used.sum(1) / aside.sum(1)
        return shared.where_defined(case, scores.to(case.heatmaps.dtype), aside.any(1))


def said(logits: Logits, targets: Labels) -> Scores:
    """1 where the target is what the network says, else 0."""
    return (logits.argmax(1) == targets).double()
