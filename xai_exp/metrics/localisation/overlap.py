"""Localisation by thresholds and boxes: top-k intersection, attribution localisation, AUC.

What holds of localisation.py holds here: masks say where the object is, not what the model uses.
"""

from typing import Annotated, ClassVar, Literal

import torch

from xai_exp.config import InputError, Range, configured
from xai_exp.metrics.localisation import regions
from xai_exp.metrics.localisation.regions import Per
from xai_exp.types import Case, Scores

Share = Annotated[float, Range(0, 1, exclusive_low=True)]


@configured
class TopKIntersection:
    """The share of the k most relevant pixels that lie on the mask.

    Theiner et al. 2022 (WACV, "Interpretable semantic photo geolocation"), with T the k most
    relevant pixels and M those of which the parts fill more than half:

        |T and M| / k

    Range 0..1, HIGHER is better; chance is the mask's share of the image, and `lift: true` divides
    by that share (1 is chance, 1 / share the most), which is the paper's concept influence. `k:
    null` takes `share` of all pixels, 0.02 by default: about 1000 of 224x224. `per: part` looks for
    the k most relevant pixels of each part and the background (all, if they are fewer), and
    averages over the parts.

    Pitfalls: with k larger than the mask even the exact mask stays below 1, so k must fit the data
    (Quantus' default of 1000 is nearly all of 32x32 pixels); only pixels at the top count. Equal
    values go in a random order of the seed. Cost: no forward pass, one sort, which is shared.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"parts"})
    undefined: ClassVar[str] = "the mask is empty"

    k: Annotated[int, Range(1)] | None = None
    share: Share = 0.02
    lift: bool = False
    per: Per = "union"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case.

        Raises:
            InputError: when k is larger than the number of pixels.
        """
        pixels = case.heatmaps[0].numel()
        k = self.k or max(1, round(self.share * pixels))
        if k > pixels:
            raise InputError(f"top_k_intersection.k: got {k}; allowed: up to {pixels} pixels")
        inside, places = regions.ranked(case, self.per)
        size, compared = inside.sum(2), places.amax(2)
        # Where parts are left out, fewer than k pixels may remain to be compared.
        scores = (inside & (places <= k)).sum(2) / compared.clamp(max=k)
        return regions.mean_over_present(
            case, scores * compared / size if self.lift else scores, size > 0
        )


@configured
class AttributionLocalisation:
    """The share of the positive relevance inside the object's bounding box.

    Kohlbrenner et al. 2020 (IJCNN, "Towards best practice in explaining neural network decisions
    with LRP"):

        mu = R_in / R_tot,    weighted: mu_w = mu * S_tot / S_in

    with R_in and R_tot the positive relevance in the box and in the image, S_in and S_tot their
    numbers of pixels. Range 0..1, HIGHER is better; chance is the box's share, which `weighted:
    true` divides out (1 is chance, S_tot / S_in the most). Of several parts the boxes are united;
    `per: part` compares each part's box with the pixels of no box and averages over the parts (a
    part has 0 if neither has any positive relevance). `within: mask` takes the exact mask for the
    box, which is relevance_mass on whole pixels. Boxes of more than `max_size` of the image have no
    score (the paper leaves out those over 0.5 or 0.25).

    Cost: no forward pass.

    Pitfalls: a box holds background as well, and what is in it need not be what the network uses;
    negative relevance is not seen; boxes near the size of the image are won by any map. Quantus 0.6
    takes absolute relevance by default, divides the box by `x_batch[2:].size` (pixels times
    channels times the batch less two: 0 for two images), and its weighted form multiplies by
    S_in / S_tot where the paper divides.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"parts"})
    undefined: ClassVar[str] = "the mask is empty, its box is too large or nothing is positive"

    within: Literal["box", "mask"] = "box"
    weighted: bool = False
    max_size: Share = 1.0
    per: Per = "union"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        own = regions.masks(case, "part" if self.within == "box" else self.per)
        if self.within == "box":
            own = regions.boxes(own)
        filled = regions.somewhere(own, 1)
        free = ~filled
        if self.per == "union":
            own = filled[:, None]
        positive = case.heatmaps.clamp(min=0)
        inside = regions.sums(own, positive)
        total = inside + (free * positive).sum((1, 2))[:, None]
        size = own.sum((2, 3))
        compared = size + free.sum((1, 2))[:, None]
        scores = torch.where(total > 0, inside / total, 0.0)
        relevant = positive.flatten(1).sum(1, keepdim=True) > 0
        small = size / case.heatmaps[0].numel() <= self.max_size
        return regions.mean_over_present(
            case,
            scores * compared / size if self.weighted else scores,
            relevant & (size > 0) & small,
        )


@configured
class AUC:
    """How well relevance tells the mask's pixels from the others: the area under the ROC curve.

    Fawcett 2006 (Pattern Recognition Letters 27(8)), with p a random pixel of the mask and q a
    random pixel of the background:

        P(h_p > h_q) + P(h_p = h_q) / 2,

    which is the Mann-Whitney statistic and the area under the curve by trapezoids. Range 0..1,
    HIGHER is better, 0.5 is chance for any mask. `per: part` takes p from each part in turn and
    averages over the parts (union weighs them by their size).

    Pitfalls: all pixels count alike, so a map that marks the object thinly and leaves the rest at
    the background's value is near 0.5; only the order counts, not by how much. Ties count half, so
    a constant map has exactly 0.5. An image that the mask fills has no score. Cost: no forward
    pass, one sort.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"parts"})
    undefined: ClassVar[str] = "the mask is empty or fills the image"

    per: Per = "union"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        inside, _ = regions.ranked(case, self.per)
        size = inside.sum(2)
        won = regions.below(case)
        scores = (inside * won[:, None]).sum(2) / size
        somewhere = regions.background(case).flatten(1).any(1, keepdim=True)
        return regions.mean_over_present(case, scores, (size > 0) & somewhere)
