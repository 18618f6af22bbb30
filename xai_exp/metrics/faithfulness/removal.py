"""Faithfulness by removal: what the model says as the most relevant pixels or regions go first."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.config import Added, InputError, Range, configured
from xai_exp.metrics import shared
from xai_exp.metrics.shared import Answer, Output
from xai_exp.types import Blocks, Case, Counts, Curves, Heatmaps, Imputer, Places, Scores

RegionOrder = Literal["morf", "lerf", "random"]
_ORDERS: Mapping[str, tuple[RegionOrder, ...]] = {
    "aopc": ("morf",),
    "lerf": ("lerf",),
    "area": ("morf", "lerf"),
    "gain": ("morf", "random"),
}


def removal_curve(
    case: Case, imputer: Imputer, places: Places, counts: Counts, output: Answer, repeats: int
) -> Curves:
    """The target's output after each step, step 0 (the clean image) included.

    `counts` says how many places are gone at each step and begins with 0. The result is
    (batch, step), the mean over `repeats` draws of the imputer (one, if it is not random), and NaN
    where the heatmap is not finite.
    """
    draws = repeats if imputer.random else 1
    total = torch.zeros(())
    for draw in range(draws):
        removal = imputer(case.images, case.scenes, shared.keys(case, f"removal {draw}"))
        values = shared.outputs_under_removal(case, removal, places, counts[1:], output)
        total = values if draw == 0 else total + values
    curve = torch.cat([shared.clean_output(case, output)[:, None], total / draws], 1)
    return torch.where(shared.finite(case)[:, None], curve, torch.nan)


def spaced_counts(case: Case, steps: int, fraction: float = 1.0) -> Counts:
    """0 and `steps` whole numbers of pixels, evenly spaced up to `fraction` of all of them."""
    pixels = case.heatmaps[0].numel()
    spaced = torch.linspace(0, pixels * fraction, steps + 1, dtype=torch.float64)
    return functional.pad(spaced[1:].round().int().clamp(min=1).unique(), (1, 0))


def pixel_curve(
    case: Case,
    imputer: Imputer,
    counts: Counts,
    output: Answer,
    repeats: int,
    order: Literal["morf", "lerf"] = "morf",
) -> Curves:
    """The target's output as pixels go by relevance, computed once for all who ask for it.

    LeRF is MoRF's order read backwards, ties included. (batch, step), as `removal_curve`.
    """

    def compute() -> Curves:
        places = shared.places(case)
        places = places if order == "morf" else case.heatmaps[0].numel() - 1 - places
        return removal_curve(case, imputer, places, counts, output, repeats)

    key = ("pixel curve", imputer, tuple(counts.tolist()), output, repeats, order)
    return shared.once(case, key, compute)


def region_curve(
    case: Case,
    imputer: Imputer,
    size: int,
    counts: Counts,
    output: Answer,
    repeats: int,
    *,
    order: RegionOrder = "morf",
    ties: int = 0,
) -> Curves:
    """The target's output as regions go by relevance, computed once for all who ask for it."""

    def compute() -> Curves:
        regions = region_sum(case.heatmaps, size)
        places = region_places(case, regions, size, order, ties)
        return removal_curve(case, imputer, places, counts, output, repeats)

    key = ("region curve", imputer, size, tuple(counts.tolist()), output, repeats, order, ties)
    return shared.once(case, key, compute)


@configured
class PixelFlipping:
    """Area under the target's output while pixels are removed, the most relevant first.

    Bach et al. 2015 (PLoS ONE 10(7), "pixel-flipping"): with the pixels in descending order of
    relevance, remove more and more of them and watch f. The score is the mean height of the curve,

        1 / x_L * integral from 0 to x_L of f(x) dx    (trapezoids; step 0 is the clean image),

    where x is the share of pixels removed and x_L = `fraction`. LOWER is better. Range: that of the
    output, 0..1 for `probability`.

    Cost: `steps` x `repeats` forward passes an image (repeats count for random imputers only), and
    the clean one, which metrics share. The steps are evenly spaced, each at least one pixel.

    Pitfalls: equal values go in a random order of the seed, so a constant map scores like a random
    one; the removed pixels leave the data's manifold, so scores compare
    under one imputer only; the first few steps carry most of the information. Softmax hides what
    happens while the model is sure; `output: logit` shows it.
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is not finite"

    imputer: Imputer
    steps: Annotated[int, Range(1)] = 64
    fraction: Annotated[float, Range(0, 1, exclusive_low=True)] = 1.0
    output: Output = "probability"
    repeats: Annotated[int, Range(1)] = 1

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        return self.score(self.curves(case))

    def curves(self, case: Case) -> Mapping[str, Curves]:
        """`x`, the share of pixels removed, and `morf`, the target's output."""
        counts = spaced_counts(case, self.steps, self.fraction)
        x = (counts / case.heatmaps[0].numel()).to(case.heatmaps)
        morf = pixel_curve(case, self.imputer, counts, self.output, self.repeats)
        return {"x": x.expand(len(case), -1), "morf": morf}

    def score(self, curves: Mapping[str, Curves]) -> Scores:
        """The mean height of every image's curve."""
        x = curves["x"]
        return torch.trapezoid(curves["morf"], x) / (x[:, -1] - x[:, 0])


@configured
class RegionPerturbation:
    """How much faster the target's output falls when the most relevant regions are removed first.

    Samek et al. 2017 (IEEE TNNLS 28(11), Section III): cut the image into non-overlapping regions
    of `region` x `region` pixels, put them in order of their summed relevance, remove one after the
    other (a removed region stays removed) and average over L steps, step 0 included:

        aopc = 1 / (L + 1) * sum over k = 0..L of [f(x_0) - f(x_k)]    (MoRF)
        lerf = -aopc(LeRF), how little it falls when the least relevant go first
        area = aopc(MoRF) - aopc(LeRF) = 1 / (L + 1) * sum of [f_LeRF(x_k) - f_MoRF(x_k)]
        gain = aopc(MoRF) - aopc(random order), what the paper's figures compare with

    without its mean over images. HIGHER is better; a random heatmap has area and gain 0 in the
    mean. Range: logits are unbounded; `probability` gives aopc in -1..1. `relative` divides by
    f(x) - f(b), with b the image without any of its pixels: then no logit's scale decides how much
    an image or a network counts, and scores compare between networks. Of several images it is the
    ratio of the means: an image weighs in means what is lost there. It is undefined where removing
    everything does not lower the output.

    `region: null` takes the largest size up to the paper's 9 that leaves 8 regions on the short
    side: 9 at 224 pixels, 8 at 64, 4 at 32, 1 at 8. Where the size does not divide the image, the
    regions at the lower and right border are smaller. `steps: null` removes all regions; the paper
    took 100 of about 600. One region alone has no order: the score is undefined.

    Cost: `repeats` x L forward passes an image for each order: aopc and lerf one, area and gain two
    (orders are shared between the scores); repeats count for random imputers only.

    Pitfalls: MoRF alone is fragile, and the imputer decides much (Bluecher et al. 2024): prefer
    area. The outputs of images that the model is sure of differ in scale: compare explainers on the
    same images. Regions of equal relevance go in a random order of the seed; `ties` draws another,
    to see whether it matters. Quantus leaves out step 0 and takes the softmax.
    """

    version: ClassVar[int] = 2  # relative scores weigh in means what is lost; alike before
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()

    imputer: Imputer
    score_by: Literal["aopc", "lerf", "area", "gain"] = "aopc"
    region: Annotated[int, Range(1)] | None = None
    steps: Annotated[int, Range(1)] | None = None
    output: Output = "logit"
    repeats: Annotated[int, Range(1)] = 3
    ties: Annotated[int, Range(0)] = 0
    relative: Annotated[bool, Added(False)] = False

    def __post_init__(self) -> None:
        if self.relative and self.steps is not None:
            raise InputError(
                f"RegionPerturbation.steps: got {self.steps} with relative: true; allowed: null, "
                "since f(b) is what is left when all regions are gone"
            )

    @property
    def undefined(self) -> str:
        """When there is no score."""
        plain = "the heatmap is not finite, or the image has one region only"
        return plain + ", or nothing is lost with all regions" * self.relative

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        return self.score(self.curves(case))

    def curves(self, case: Case) -> Mapping[str, Curves]:
        """`x`, the share of regions removed, and the target's output in every order needed."""
        size = region_size(case, self.region)
        count = region_count(case, size)
        counts = torch.arange(min(self.steps or count, count) + 1)
        x = (counts / count).to(case.heatmaps)
        settings = (self.imputer, size, counts, self.output, self.repeats)
        return {"x": x.expand(len(case), -1)} | {
            order: region_curve(case, *settings, order=order, ties=self.ties)
            for order in _ORDERS[self.score_by]
        }

    def score(self, curves: Mapping[str, Curves]) -> Scores:
        """AOPC, or its difference to the opposite or the random order, for every image."""
        x = curves["x"]
        if x.shape[1] == 2 and bool((x[:, 1] == 1).all()):  # step 0 and the whole image
            return torch.full_like(x[:, 0], torch.nan)
        if self.score_by == "lerf":
            return self._scaled((curves["lerf"] - curves["lerf"][:, :1]).mean(1), curves["lerf"])
        morf = curves["morf"]
        against = {"aopc": morf[:, :1], "area": curves.get("lerf"), "gain": curves.get("random")}
        return self._scaled((against[self.score_by] - morf).mean(1), morf)

    def weights(self, case: Case) -> Scores:
        """What is lost with everything, where scores are relative to it; else images are alike."""
        if not self.relative:
            return torch.ones_like(case.heatmaps[:, 0, 0])
        curves = self.curves(case)
        return _lost(curves["lerf" if self.score_by == "lerf" else "morf"]).clamp(min=0)

    def _scaled(self, scores: Scores, curve: Curves) -> Scores:
        """Relative to what is lost with everything."""
        if not self.relative:
            return scores
        lost = _lost(curve)
        return torch.where(lost > 0, scores / lost, torch.nan)


def _lost(curve: Curves) -> Scores:
    """From the first to the last point of a curve."""
    return curve[:, 0] - curve[:, -1]


def region_size(case: Case, region: int | None) -> int:
    """The region's side: `region`, or the largest up to 9 that leaves 8 on the short side."""
    return region or max(1, min(9, min(case.heatmaps.shape[1:]) // 8))


def region_count(case: Case, size: int) -> int:
    """How many regions of this size an image has; those at its border may be smaller."""
    height, width = case.heatmaps.shape[1:]
    return -(-height // size) * -(-width // size)


def region_sum(heatmaps: Heatmaps, size: int) -> Blocks:
    """The summed relevance of every region; regions at the border may be smaller.

    >>> region_sum(torch.ones(1, 2, 3), 2)
    tensor([[[4., 2.]]])
    """
    height, width = heatmaps.shape[1:]
    padded = functional.pad(heatmaps, (0, -width % size, 0, -height % size))
    return functional.avg_pool2d(padded[:, None], size, divisor_override=1)[:, 0]


def region_places(
    case: Case, regions: Blocks, size: int, order: RegionOrder, ties: int = 0
) -> Places:
    """Every pixel's region's place in the order of removal: 0 goes first."""
    relevance = {"morf": regions, "lerf": -regions, "random": torch.zeros_like(regions)}[order]
    name = f"regions {order}" + (f" {ties}" if ties else "")
    ranked = ops.keyed_descending(relevance.flatten(1), shared.keys(case, name))
    places = ops.ranks(ranked).view(regions.shape).float()
    return ops.block_spread(places, size, *case.heatmaps.shape[1:]).int()
