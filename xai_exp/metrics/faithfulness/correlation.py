"""Faithfulness as agreement: does what the heatmap gives to pixels go with what the model loses?

Sampled subsets and squares are drawn from the seed and are the same for every image and every
explainer: differences between explainers are not those of their samples.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.config import Count, Range, configured
from xai_exp.metrics import shared
from xai_exp.metrics.likeness import mean_ranks
from xai_exp.metrics.shared import Output
from xai_exp.types import Case, Curves, Flags, Heatmaps, Imputer, Samples, Scores, StepMasks

Correlation = Literal["pearson", "spearman"]
_ROUNDING = 16


def varies(values: Samples, scale: Scores, eps: float) -> Flags:
    """Which rows hold values that differ by more than rounding does at this scale."""
    return values.amax(1) - values.amin(1) > _ROUNDING * eps * scale


def correlation(first: Samples, second: Samples, kind: Correlation) -> Scores:
    """The correlation of each row of `first` with that of `second`, in float64.

    >>> rising = torch.tensor([[1.0, 2.0, 3.0]])
    >>> correlation(rising, -(rising**3), "spearman").round(decimals=9)
    tensor([-1.], dtype=torch.float64)
    """
    first, second = first.double(), second.double()
    if kind == "spearman":
        first, second = mean_ranks(first), mean_ranks(second)
    first = first - first.mean(1, keepdim=True)
    second = second - second.mean(1, keepdim=True)
    return functional.cosine_similarity(first, second, dim=1, eps=1e-300)


def seeded_keys(case: Case, count: int, name: str) -> Tensor:
    """`count` keys for the purpose `name` that only the seed decides."""
    seed = ops.image_keys(torch.zeros(1, 1, 1, 1), case.generator.initial_seed())
    return ops.named_keys(seed + torch.arange(count), name).to(case.images.device)


def subsets(case: Case, count: int, size: int) -> Tensor:
    """`count` random sets of `size` pixels each (count, height, width), True inside."""

    def compute() -> Tensor:
        shape = case.heatmaps.shape[1:]
        draws = ops.keyed_uniform(seeded_keys(case, count, f"subsets {size}"), shape.numel())
        chosen = draws.argsort(dim=1, stable=True)[:, :size]
        empty = torch.zeros(draws.shape, dtype=torch.bool, device=draws.device)
        return empty.scatter_(1, chosen, True).view(count, *shape)

    return shared.once(case, ("subsets", count, size), compute)


def sums(maps: Heatmaps, sets: Tensor) -> Samples:
    """What each heatmap gives to each set of pixels, in float64 (batch, set)."""
    return maps.flatten(1).double() @ sets.flatten(1).double().T


def outputs(
    case: Case,
    imputer: Imputer,
    masks: Callable[[slice, slice], StepMasks],
    steps: int,
    output: Output,
    repeats: int,
) -> list[Curves]:
    """Each target's output without the pixels of each step, one (batch, step) a draw."""
    found = []
    for draw in range(repeats if imputer.random else 1):
        gone = imputer(case.images, case.scenes, shared.keys(case, f"removal {draw}"))
        found.append(shared.outputs_under_masks(case, gone, masks, steps, output))
    return found


def set_falls(case: Case, imputer: Imputer, sets: Tensor, output: Output, repeats: int) -> Samples:
    """By how much the output falls without each of the sets, the same sets for every image."""

    def masks(rows: slice, steps: slice) -> StepMasks:
        return sets[steps].expand(len(case.targets[rows]), -1, -1, -1)

    after = outputs(case, imputer, masks, len(sets), output, repeats)
    return shared.clean_output(case, output)[:, None] - torch.stack(after).mean(0)


def agreement(
    case: Case, given: Samples, lost: Samples, output: Output, kind: Correlation
) -> Scores:
    """The correlation of what was given and what was lost, NaN where one of them is constant."""
    eps = torch.finfo(case.heatmaps.dtype).eps
    clean = shared.clean_output(case, output)
    largest = torch.maximum(clean.abs(), (clean[:, None] - lost).abs().amax(1))
    defined = varies(given, given.abs().amax(1), eps)
    defined &= varies(lost, largest, torch.finfo(lost.dtype).eps)
    scores = correlation(given.nan_to_num(0, 0, 0), lost, kind).to(case.heatmaps.dtype)
    return shared.where_defined(case, scores, defined)


@configured
class FaithfulnessCorrelation:
    """The correlation of what random sets of pixels are given and what the model loses with them.

    Bhatt et al. 2020 (IJCAI, "Evaluating and aggregating feature-based model explanations",
    "faithfulness"): over random sets S of `size` of the d pixels,

        corr_S( sum over i in S of h_i ,  f(x) - f(x without S) ),

    Pearson's. HIGHER is better, range -1..1; a random heatmap has 0 in the mean. On a linear model
    with heatmap weight x (input - baseline) it is 1. `size: null` is an eighth of the pixels. Under
    a random imputer f(x without S) is the mean over `repeats` draws.

    Cost: `sets` x `repeats` forward passes an image (repeats count for random imputers only), and
    the clean one, which metrics share.

    Pitfalls: large random sets take a little of everything, so all sums are alike and
    the correlation is weak for every explainer; the sets are scattered pixels, which no natural
    image loses. With few sets the error is 1 / sqrt(sets). `absolute` takes |h_i| (an option of
    Quantus), which punishes signed heatmaps that are right. Without it a shift of the heatmap
    by a constant changes nothing, since the sets are equally large; so does any positive factor,
    and Quantus' normalisation by the maximum is not needed.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = (
        "all sets are given the same (a constant heatmap) or cost the same (an output that stays)"
    )

    imputer: Imputer
    sets: Annotated[int, Range(2)] = 100
    size: Count | None = None
    absolute: bool = False
    correlation: Correlation = "pearson"
    output: Output = "logit"
    repeats: Count = 1

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        pixels = case.heatmaps[0].numel()
        sets = subsets(case, self.sets, min(self.size or max(1, pixels // 8), pixels))
        maps = case.heatmaps.abs() if self.absolute else case.heatmaps
        lost = set_falls(case, self.imputer, sets, self.output, self.repeats)
        return agreement(case, sums(maps, sets), lost, self.output, self.correlation)


@configured
class SensitivityN:
    """The correlation of what sets of n pixels are given and what the model loses, over all n.

    Ancona et al. 2018 (ICLR, "Towards better understanding of gradient-based attribution methods"):
    for a set size n, over random sets S of n pixels,

        r(n) = corr_S( sum over i in S of h_i ,  f(x) - f(x without S) )    (Pearson),

    and the score is the mean of r over `sizes` values of n, evenly spaced in log n from 1 to
    `fraction` of the pixels (rounded, and fewer where two round to the same), without those at
    which r is undefined. HIGHER is better, range -1..1. A method has sensitivity-n where r(n) = 1;
    on a linear model with heatmap weight x (input - baseline) it is 1 for every n. The curve r(n)
    is what the paper plots, over 100 sets a size.

    Cost: at most `sizes` x `sets` x `repeats` forward passes an image (repeats, over which the
    output is averaged, count for random imputers only), and the clean one, which metrics share.

    Pitfalls: as of faithfulness_correlation, of which this is the sweep over n: few sets make r
    noisy; sets of one pixel see little but dead pixels where heatmaps are sparse. Quantus' measure
    of this name is another: it removes the most relevant pixels, not random ones, compares what the
    last of them are given with what is lost without all so far, and correlates over the images of
    the first batch, so that it gives no score an image.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = (
        "at every size all sets are given the same (a constant heatmap) or cost the same (an "
        "output that stays)"
    )

    imputer: Imputer
    sizes: Count = 8
    sets: Annotated[int, Range(2)] = 32
    fraction: Annotated[float, Range(0, 1, exclusive_low=True)] = 0.8
    output: Output = "logit"
    repeats: Count = 1

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        return self.score(self.curves(case))

    def curves(self, case: Case) -> Mapping[str, Curves]:
        """`x`, the share of pixels in the sets, and `correlation` at each size."""
        pixels = case.heatmaps[0].numel()
        top = max(1.0, pixels * self.fraction)
        spaced = torch.logspace(0, 1, self.sizes, base=top, dtype=torch.float64)
        sizes = spaced.round().int().unique().tolist()

        sets = torch.cat([subsets(case, self.sets, size) for size in sizes])
        lost = set_falls(case, self.imputer, sets, self.output, self.repeats).split(self.sets, 1)
        given = sums(case.heatmaps, sets).split(self.sets, 1)
        at = [
            agreement(case, *pair, self.output, "pearson") for pair in zip(given, lost, strict=True)
        ]
        x = (torch.tensor(sizes) / pixels).to(case.heatmaps)
        return {
            "x": x.expand(len(case), -1),
            "correlation": torch.stack(at, 1),
        }

    def score(self, curves: Mapping[str, Curves]) -> Scores:
        """The mean correlation over the sizes that have one."""
        return curves["correlation"].nanmean(1)


@configured
class FaithfulnessEstimate:
    """The correlation of what each group of pixels is given and what the model loses without it.

    Alvarez-Melis & Jaakkola 2018 (NeurIPS, "Towards robust interpretability with self-explaining
    neural networks", "faithfulness"): each feature is removed ALONE, the others stay,

        corr_i( h_i ,  f(x) - f(x without i) )    (Pearson),

    here for `groups` groups of pixels that follow one another in descending relevance, of
    floor(d / groups) pixels each (the few least relevant that are left over are never removed), h_i
    their sum. `groups` equal to the number of pixels is the paper's. HIGHER is better, range -1..1;
    on a linear model with heatmap weight x (input - baseline) it is 1. Under a random imputer
    f(x without i) is the mean over `repeats` draws.

    Cost: `groups` x `repeats` forward passes an image (repeats count for random imputers only), and
    the clean one, which metrics share.

    Pitfalls: single groups of scattered pixels change little, so the correlation may be that of
    noise; a redundant object loses nothing with any one group. Quantus' `features_in_step` is d /
    groups, where d counts the values of all channels. `absolute` takes |h_i|, which punishes signed
    heatmaps that are right. Pixels of equal relevance fall into groups at random, by the seed.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = (
        "all groups are given the same (a constant heatmap) or cost the same (an output that stays)"
    )

    imputer: Imputer
    groups: Annotated[int, Range(2)] = 64
    absolute: bool = False
    correlation: Correlation = "pearson"
    output: Output = "logit"
    repeats: Count = 1

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        maps = case.heatmaps.abs() if self.absolute else case.heatmaps
        given, after = without_groups(
            case, maps, self.imputer, self.groups, self.output, self.repeats
        )
        lost = shared.clean_output(case, self.output)[:, None] - torch.stack(after).mean(0)
        return agreement(case, given, lost, self.output, self.correlation)


def without_groups(
    case: Case, maps: Heatmaps, imputer: Imputer, groups: int, output: Output, repeats: int
) -> tuple[Samples, list[Curves]]:
    """The sum over each group of pixels of like relevance, and the output without that group.

    Groups are of equal size, in descending order of `maps`; a map has at most as many as pixels.
    Shapes: (batch, group), and for each draw of the imputer (batch, group).
    """
    flat = maps.flatten(1)
    groups = min(groups, flat.shape[1])
    size = flat.shape[1] // groups
    order = ops.keyed_descending(flat, shared.keys(case, "ranking"))
    given = flat.double().gather(1, order)[:, : groups * size].unflatten(1, (groups, size)).sum(2)
    places = ops.ranks(order).view(maps.shape) // size
    numbers = torch.arange(groups, device=places.device)

    def masks(rows: slice, steps: slice) -> StepMasks:
        return places[rows, None] == numbers[steps, None, None]

    return given, outputs(case, imputer, masks, groups, output, repeats)
