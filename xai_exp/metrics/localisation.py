"""Localisation: how much of a heatmap lies on what is in the image, measured with exact masks.

The mask of an image is the union of its parts. It says where the object is, not what the model
uses: a model that reads the background is explained rightly by a map off the mask. So these measure
an explainer only on models that are known to use the object.
"""

from typing import Annotated, ClassVar, Literal

import torch

from xai_exp.config import Range, configured
from xai_exp.metrics import shared
from xai_exp.types import Case, Scores


@configured
class RelevanceMass:
    """The share of the relevance that lies on the mask.

    Arras et al. 2022 (CLEVR-XAI, Information Fusion 81, "relevance mass accuracy"), with r the
    pooled heatmap and c the coverage of each pixel by the parts (0..1: a pixel half filled counts
    half):

        sum(c * r) / sum(r)

    Range 0..1, HIGHER is better; a uniform map gets the mask's share of the image, so chance
    depends on its area: `lift: true` divides by that share (1 is chance).

    How signs are pooled is part of the definition: `positive` max(h, 0), `absolute` |h| (for maps
    whose sign has no meaning, as sensitivity), `square` h^2. Quantus does not pool, so negative
    relevance makes its ratio unbounded. Cost: no forward pass.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"parts"})
    undefined: ClassVar[str] = "the mask is empty or the pooled heatmap is all zero"

    pooling: Literal["positive", "absolute", "square"] = "positive"
    lift: bool = False

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        coverage = shared.coverage(case)
        pooled = _POOLINGS[self.pooling](case.heatmaps)
        total = pooled.sum((1, 2))
        share = coverage.mean((1, 2))
        scores = (coverage * pooled).sum((1, 2)) / total
        return shared.where_defined(
            case, scores / share if self.lift else scores, (total > 0) & (share > 0)
        )


_POOLINGS = {
    "positive": lambda heatmaps: heatmaps.clamp(min=0),
    "absolute": torch.abs,
    "square": torch.square,
}


@configured
class RelevanceRank:
    """The share of the K most relevant pixels that lie on the mask, where K is the mask's size.

    Arras et al. 2022 (CLEVR-XAI, Information Fusion 81, "relevance rank accuracy"). The mask
    holds the pixels of which the parts fill more than half. Range 0..1, HIGHER is better;
    chance is the mask's share of the image: `lift: true` divides by that share (1 is chance).

    Blind to the size of the relevance, so one spike or an additive constant changes nothing. Equal
    values go in a random order of the seed: a constant map scores at chance, not by where its
    pixels lie in memory. Cost: no forward pass, one sort, which is shared.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"parts"})
    undefined: ClassVar[str] = "the mask is empty"

    lift: bool = False

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        mask = shared.mask(case)
        size = mask.sum((1, 2))
        top = shared.places(case) < size[:, None, None]
        scores = (top & mask).sum((1, 2)) / size
        if self.lift:
            scores = scores / mask.float().mean((1, 2))
        return shared.where_defined(case, scores, size > 0)


@configured
class PointingGame:
    """Whether the most relevant pixel lies on the mask: 1 a hit, 0 a miss.

    Zhang et al. 2018 (IJCV 126, "pointing game"). The mask holds the pixels of which the parts
    fill more than half; `margin` pixels of Euclidean distance to the nearest of them still count as
    a hit (the paper took 15 on photographs). HIGHER is better; chance is the share of such pixels.

    One pixel decides: of several equal maxima (a constant or saturated map) one is drawn by the
    seed. An image without a mask is missing; Quantus counts it as a hit. Cost: no forward pass.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"parts"})
    undefined: ClassVar[str] = "the mask is empty"

    margin: Annotated[float, Range(0)] = 0.0

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        mask = shared.mask(case)
        height, width = mask.shape[1:]
        peak = shared.ranking(case)[:, 0]
        rows = torch.arange(height, device=mask.device) - (peak // width)[:, None]
        columns = torch.arange(width, device=mask.device) - (peak % width)[:, None]
        distance = rows[:, :, None] ** 2 + columns[:, None, :] ** 2
        hits = (mask & (distance <= self.margin**2)).flatten(1).any(1)
        return shared.where_defined(case, hits.float(), mask.flatten(1).any(1))
