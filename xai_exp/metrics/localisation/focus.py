"""Localisation without masks: does the explanation find its class in a mosaic of images?"""

from typing import Annotated, ClassVar

import torch
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.config import Range, configured
from xai_exp.metrics import shared
from xai_exp.metrics.around import explained, knows_any_image
from xai_exp.types import Case, Flags, Heatmaps, Images, Keep, Order, Scores

_TILES = 4


@configured
class Focus:
    """The share of the positive relevance on the images of the target's class in a mosaic.

    Arias-Duart et al. 2022 (FUZZ-IEEE, "Focus! Rating XAI methods and finding biases"): 2x2 images
    in random places, two of class c and two of other classes, are explained for c at once, and

        sum of max(h, 0) over the two tiles of class c / sum of max(h, 0) over all four

    Range 0..1, HIGHER is better, 0.5 is chance. Here a mosaic is made for every image: the image
    itself, another one of the same target and two of other targets, all from the case; the score is
    the mean over `mosaics` draws. Tiles are averaged down to half their size, so that the mosaic
    has the size that the network knows; the paper joins whole images, which only networks without
    a fixed size take. Partners are drawn by the images' own keys, not by their order. Quantus (0.6
    and its main branch of August 2026 have the same file) takes mosaics as given; on the same ones
    it gives this number.

    Cost: `mosaics` explanations an image. No forward pass of its own, no mask.

    Pitfalls: it takes for granted that the network's evidence for c lies in the images of c. That
    is doubtful where classes differ in number or size (counting: every tile has objects), where the
    network does not recognise images of half the size, and where other tiles speak for c as well: a
    low score may be the network's bias, which the paper uses it to find. Which partners an image
    gets depends on the sample. Controls that know only their own images have no score.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = (
        "the sample has no second image of its target or fewer than two of others, a mosaic's "
        "heatmap is nowhere positive, or the explainer knows only its own images"
    )

    mosaics: Annotated[int, Range(1)] = 4

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        enough = companions(case)
        if not knows_any_image(case) or not enough.any():
            return case.heatmaps.new_full((len(case),), torch.nan)
        drawn = [self._drawn(case, number) for number in range(self.mosaics)]
        return shared.where_defined(case, torch.stack(drawn).mean(0), enough)

    def _drawn(self, case: Case, number: int) -> Scores:
        """The scores of one mosaic an image; NaN where nothing is positive."""
        keys = shared.keys(case, f"focus {number}")
        tiles = partners(case, f"focus partners {number}")
        places = ops.keyed_uniform(keys, _TILES).argsort(1)
        whole = mosaic(case.images, tiles.gather(1, places))
        with ops.evaluating(case.model):
            heatmaps = explained(case, whole, case.targets)
        return share_on_target(heatmaps, places < 2)


def share_on_target(heatmaps: Heatmaps, on_target: Keep) -> Scores:
    """The positive share of the tiles (batch, 4) that show the target; NaN if none is positive."""
    positive = heatmaps.clamp(min=0)
    rows, columns = (-(-side // 2) for side in positive.shape[1:])
    quarters = [
        positive[:, top, left].sum((1, 2))
        for top in (slice(rows), slice(rows, None))
        for left in (slice(columns), slice(columns, None))
    ]
    shown = torch.stack(quarters, 1)
    return (shown * on_target).sum(1) / shown.sum(1)


def companions(case: Case) -> Flags:
    """Which images have another one of their target and two of other targets in the case."""
    alike = (case.targets[:, None] == case.targets[None]).sum(1)
    return (alike >= 2) & (len(case) - alike >= 2)


def partners(case: Case, name: str) -> Order:
    """Each image's four tiles (batch, 4): itself, one of its target, two of other targets.

    Every image draws a number for each other one, whose column is that one's place in the order of
    keys; so a permutation of the case draws the same partners.
    """
    own = shared.keys(case, "focus column")
    column = own.argsort().argsort()
    luck = ops.keyed_uniform(shared.keys(case, name), len(case))[:, column]
    alike = case.targets[:, None] == case.targets[None]
    itself = torch.eye(len(case), dtype=torch.bool, device=luck.device)
    same = torch.where(alike & ~itself, luck, torch.inf).argmin(1, keepdim=True)
    others = torch.where(alike, torch.inf, luck).argsort(1)[:, :2]
    return torch.cat([itself.int().argmax(1, keepdim=True), same, others], 1)


def mosaic(images: Images, tiles: Order) -> Images:
    """2x2 images of `tiles` (batch, 4: the rows of the mosaic one after the other) at half size.

    An odd side loses the last line of its right or lower tiles.
    """
    height, width = images.shape[2:]
    small = functional.adaptive_avg_pool2d(images, (-(-height // 2), -(-width // 2)))
    upper = torch.cat([small[tiles[:, 0]], small[tiles[:, 1]]], 3)
    lower = torch.cat([small[tiles[:, 2]], small[tiles[:, 3]]], 3)
    return torch.cat([upper, lower], 2)[:, :, :height, :width]
