"""Faithfulness by removal of superpixels: IROF and the symmetric relevance gain."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from xai_exp.compute import ops
from xai_exp.config import Count, configured
from xai_exp.metrics import shared
from xai_exp.metrics.faithfulness.removal import removal_curve
from xai_exp.metrics.shared import Output
from xai_exp.removal import segments
from xai_exp.removal.segments import Compactness, Cut
from xai_exp.types import Case, Curves, Imputer, Scores, Segments

Order = Literal["morf", "lerf"]


@dataclass(frozen=True)
class Settings:
    """How images are cut and what is asked of the model."""

    imputer: Imputer
    cut: Cut
    count: int
    compactness: float
    output: Output
    repeats: int


def cut_of(case: Case, cut: Cut, count: int, compactness: float) -> Segments:
    """Every pixel's segment in its image, the same for all explainers."""
    key = ("segments", cut, count, compactness)
    known = case.across.get(key)
    if known is None or not torch.equal(known[1], case.images):
        found = ops.in_chunks(
            lambda images: segments.segments(images, cut, count, compactness), case.images
        )
        # The same images may have been drawn again since.
        known = case.across[key] = (found, case.images)
    return known[0]


def segment_curve(case: Case, settings: Settings, order: Order) -> tuple[Curves, Curves]:
    """The share of segments gone and the target's output, as they go by their mean relevance.

    Both are (batch, step) with a step for every segment that an image may have; images with fewer
    stay at share 1 when theirs are gone. Computed once for all who ask for it.
    """

    def compute() -> tuple[Curves, Curves]:
        own = cut_of(case, settings.cut, settings.count, settings.compactness)
        _, height, width = case.heatmaps.shape
        number = math.prod(segments.shape_of(height, width, settings.count))
        relevance, sizes = segments.means(case.heatmaps, own, number)
        signed = relevance if order == "morf" else -relevance
        keys = shared.keys(case, f"segments {order}")
        ranked = ops.keyed_descending(torch.where(sizes > 0, signed, -torch.inf), keys)
        places = ops.ranks(ranked).gather(1, own.flatten(1)).view(own.shape)
        counts = torch.arange(number + 1)
        how = (settings.output, settings.repeats)
        values = removal_curve(case, settings.imputer, places, counts, *how)
        existing = (sizes > 0).sum(1, keepdim=True)
        share = counts.to(case.heatmaps) / existing.to(case.heatmaps)
        return share.clamp(max=1), values

    return shared.once(case, ("segment curve", settings, order), compute)


@configured
class IROF:
    """How far the target's output falls while superpixels go, the most relevant first.

    Rieger & Hansen 2020 (arXiv 2003.08747, "IROF: a low resource evaluation metric for explanation
    methods"): the area over the curve of the outputs, divided by the clean one, as segments are
    removed in descending order of their MEAN relevance,

        1 - integral from 0 to 1 of f(x without its t L most relevant segments) / f(x) dt

    (trapezoids, step 0 included). HIGHER is better. Range -inf..1 for `probability`. The paper has
    the softmax output, superpixels by SLIC, and the mean in place of what is removed.

    `cut: slic` makes about `count` superpixels an image (Achanta et al. 2012; see
    xai_exp.removal.segments), all images at once; `grid` equal cells.

    Cost: about `count` x `repeats` forward passes an image (repeats count for random imputers
    only), and the clean one, which metrics share.

    Pitfalls: the division makes images that the model is hardly sure of weigh most; with `logit`
    the sign of f(x) matters, and the score is undefined where f(x) is 0. The mean favours small
    segments of high relevance. Images have different numbers of segments. Removed segments leave
    the data's manifold. Segments of equal relevance go in a random order of the seed. Quantus 0.6
    calls numpy.trapz, which numpy 2.4 does not have, and so crashes; with older numpy it leaves out
    step 0 and does not divide by the number of segments.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is not finite, or the output of the clean image is 0"

    imputer: Imputer
    cut: Cut = "slic"
    count: Count = 64
    compactness: Compactness = 0.1
    output: Output = "probability"
    repeats: Count = 1

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        return self.score(self.curves(case))

    def curves(self, case: Case) -> Mapping[str, Curves]:
        """`x`, the share of segments removed, and `morf`, the output over that of the image."""
        x, values = segment_curve(case, Settings(**vars(self)), "morf")
        clean = values[:, :1]
        return {"x": x, "morf": torch.where(clean != 0, values / clean, torch.nan)}

    def score(self, curves: Mapping[str, Curves]) -> Scores:
        """The area over every image's curve."""
        return 1 - torch.trapezoid(curves["morf"], curves["x"])


@configured
class SymmetricRelevanceGain:
    """How much better than chance superpixels are ordered, from both ends together.

    Bluecher et al. 2024 (TMLR, "Decoupling pixel flipping and occlusion strategy for consistent XAI
    benchmarks"): the gain of removing the most relevant first over a random order, plus the gain of
    a random order over removing the least relevant first, in which the random order cancels,

        (A_random - A_MoRF) + (A_LeRF - A_random) = A_LeRF - A_MoRF,

    A the area under the target's output against the share of segments removed (trapezoids). HIGHER
    is better, 0 in the mean for a random heatmap. Range -1..1 for `probability`, which the paper
    takes. Segments go by their mean relevance; `cut: slic` makes about `count` superpixels, `grid`
    equal cells.

    Why both ends: with an imputer whose images the model recognises badly MoRF says little and LeRF
    much, with a good one the reverse; their sum ranks explainers alike under the 40 occlusion
    strategies of the paper, where MoRF alone does not.

    Cost: about 2 x `count` x `repeats` forward passes an image (repeats count for random imputers
    only), of which irof shares the half at equal settings, and the clean one, which metrics share.

    Pitfalls: only the order between segments counts, not that within one; an image that the model
    is unsure of has little to gain. It makes the ranking agree between imputers, not the numbers.
    Removed segments leave the data's manifold. Segments of equal relevance go in a random order of
    the seed.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is not finite"

    imputer: Imputer
    cut: Cut = "slic"
    count: Count = 64
    compactness: Compactness = 0.1
    output: Output = "probability"
    repeats: Count = 1

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        return self.score(self.curves(case))

    def curves(self, case: Case) -> Mapping[str, Curves]:
        """`x`, the share of segments removed, and the target's output in both orders."""
        settings = Settings(**vars(self))
        x, morf = segment_curve(case, settings, "morf")
        _, lerf = segment_curve(case, settings, "lerf")
        return {"x": x, "morf": morf, "lerf": lerf}

    def score(self, curves: Mapping[str, Curves]) -> Scores:
        """The area between every image's curves."""
        return torch.trapezoid(curves["lerf"] - curves["morf"], curves["x"])
