"""Localisation: how much of a heatmap lies on what is in the image, measured with exact masks.

The mask of an image is the union of its parts. It says where the object is, not what the model
uses: a model that reads the background is explained rightly by a map off the mask. So these measure
an explainer only on models that are known to use the object. `per: part` scores every part by
itself, against the background, and averages over those present (see metrics/regions.py).
"""

from typing import Annotated, ClassVar, Literal

import torch

from xai_exp.config import Range, configured
from xai_exp.metrics import shared
from xai_exp.metrics.localisation import regions
from xai_exp.metrics.localisation.regions import Per
from xai_exp.types import Case, Keep, PartMasks, PartPeaks, Scores


@configured
class RelevanceMass:
    """The share of the relevance that lies on the mask.

    Arras et al. 2022 (CLEVR-XAI, Information Fusion 81, "relevance mass accuracy"), with r the
    pooled heatmap and c the coverage of each pixel by the parts (0..1: a pixel half filled counts
    half):

        sum(c * r) / sum(r)

    Range 0..1, HIGHER is better; a uniform map gets the mask's share of the image, so chance
    depends on its area: `lift: true` divides by that share (1 is chance, 1 / share the most).
    `per: part` puts each part's coverage for c, leaves the other parts out of both sums and
    averages over the parts; a part has 0 if neither it nor the background has any relevance.

    How signs are pooled is part of the definition: `positive` max(h, 0), `absolute` |h| (for maps
    whose sign has no meaning, as sensitivity), `square` h^2. Cost: no forward pass.

    Pitfalls: a mask is where the object is, not what the network uses. A heatmap blurred over the
    border loses mass, a large constant added to it brings it to chance; `positive` does not see
    what speaks against the class. Quantus does not pool unless told to (`abs`), so negative
    relevance makes its ratio unbounded.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"parts"})
    undefined: ClassVar[str] = "the mask is empty or the pooled heatmap is all zero"

    pooling: Literal["positive", "absolute", "square"] = "positive"
    lift: bool = False
    per: Per = "union"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        covered = regions.coverages(case, self.per)
        free = 1 - shared.coverage(case)
        pooled = regions.POOLINGS[self.pooling](case.heatmaps)
        inside = regions.sums(covered, pooled)
        total = inside + (free * pooled).sum((1, 2))[:, None]
        scores = torch.where(total > 0, inside / total, 0.0)
        area = covered.sum((2, 3))
        if self.lift:
            scores = scores * (1 + free.sum((1, 2))[:, None] / area)
        relevant = pooled.flatten(1).sum(1, keepdim=True) > 0
        return regions.mean_over_present(case, scores, relevant & (area > 0))


@configured
class RelevanceRank:
    """The share of the K most relevant pixels that lie on the mask, where K is the mask's size.

    Arras et al. 2022 (CLEVR-XAI, Information Fusion 81, "relevance rank accuracy"). The mask holds
    the pixels of which the parts fill more than half. Range 0..1, HIGHER is better; chance is the
    mask's share of the image: `lift: true` divides by that share (1 is chance, 1 / share the most).
    `per: part` ranks each part's pixels among those of the background and averages over the parts.

    Cost: no forward pass, one sort, which is shared.

    Pitfalls: a mask is where the object is, not what the network uses. It is blind to the size of
    the relevance, so neither how high a spike is nor an additive constant matters, and to the order
    below the K pixels. Equal values go in a random order of the seed: a constant map scores at
    chance, not by where its pixels lie in memory.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"parts"})
    undefined: ClassVar[str] = "the mask is empty"

    lift: bool = False
    per: Per = "union"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        inside, places = regions.ranked(case, self.per)
        size = inside.sum(2)
        scores = (inside & (places <= size[..., None])).sum(2) / size
        if self.lift:
            scores = scores * places.amax(2) / size
        return regions.mean_over_present(case, scores, size > 0)


@configured
class PointingGame:
    """Whether the most relevant pixel lies on the mask: 1 a hit, 0 a miss.

    Zhang et al. 2018 (IJCV 126, "pointing game"). The mask holds the pixels of which the parts
    fill more than half; `margin` pixels of Euclidean distance to the nearest of them still count as
    a hit (the paper took 15 on photographs). Range 0..1 (of one part or the union: 0 or 1), HIGHER
    is better; chance is the share of such pixels.
    `per: part` asks of each part whether it has the most relevant pixel of itself and the
    background, and averages over the parts.

    Cost: no forward pass.

    Pitfalls: one pixel decides: of several equal maxima (a constant or saturated map) one is drawn
    by the seed. A mask is where the object is, not what the network uses, and a large one is hit by
    chance. An image without a mask is missing; Quantus counts it as a hit.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"parts"})
    undefined: ClassVar[str] = "the mask is empty"

    margin: Annotated[float, Range(0)] = 0.0
    per: Per = "union"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        own = regions.masks(case, self.per)
        peak = regions.peaks(case, self.per)
        if self.margin:
            hits = _near(own, peak, self.margin)
        else:
            hits = own.flatten(2).gather(2, peak[..., None])[..., 0]
        return regions.mean_over_present(case, hits.to(case.heatmaps), own.flatten(2).any(2))


def _near(own: PartMasks, peak: PartPeaks, margin: float) -> Keep:
    """Whether any pixel of each region is within `margin` of its peak."""
    height, width = own.shape[2:]
    rows = torch.arange(height, device=own.device) - (peak // width)[..., None]
    columns = torch.arange(width, device=own.device) - (peak % width)[..., None]
    distance = rows[..., :, None] ** 2 + columns[..., None, :] ** 2
    return (own & (distance <= margin**2)).flatten(2).any(2)
