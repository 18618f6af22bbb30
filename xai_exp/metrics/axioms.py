"""Axioms: properties that an explanation should have by its definition, as distances from them."""

from typing import Annotated, ClassVar

import torch
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.config import Range, configured
from xai_exp.metrics import shared
from xai_exp.metrics.faithfulness.removal import region_size
from xai_exp.types import Case, Imputer, Removal, Samples, Scores

_ROUNDING = 16  # batches of different size give logits that differ by a few units in the last place


@configured
class Completeness:
    """How far the heatmap's sum is from what it should explain, the difference of the logits.

    Sundararajan et al. 2017 (ICML, "Completeness"); Bach et al. 2015 call it conservation:

        |sum(h) - (f(x) - f(x'))|       relative: divided by |f(x) - f(x')|

    where f is the target's logit and x' the image with `baseline` in every pixel (0 is black);
    `baseline: null` takes f(x') as 0, which is what LRP conserves. Range 0..infinity, LOWER is
    better.

    Cost: one forward pass for the baseline of all images, and the clean one, which metrics share.

    Pitfalls: it tells only whether the amount is right, not its place. The scale of the heatmap is
    what is measured, so nothing is normalised (Quantus does so by default, which destroys the sum)
    and multiplying the heatmap changes the score. Methods that promise nothing about their sum
    (gradient, guided backprop) are not worse for a high score. A sum to another baseline than
    `baseline` counts as an error.
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is not finite, or relative and the logits do not differ"

    baseline: Annotated[float, Range(0, 1)] | None = 0.0
    relative: bool = False

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        logits = explained = shared.clean_output(case, "logit")
        if self.baseline is not None:
            explained = logits - self._baseline_output(case, self.baseline)
        scores = (case.heatmaps.sum((1, 2)) - explained).abs()
        if not self.relative:
            return shared.where_defined(case, scores)
        differs = explained.abs() > _ROUNDING * torch.finfo(logits.dtype).eps * logits.abs()
        return shared.where_defined(case, scores / explained.abs(), differs)

    @staticmethod
    def _baseline_output(case: Case, value: float) -> Scores:
        """Each target's logit on the image that has `value` everywhere."""
        with ops.evaluating(case.model):
            logits = ops.logits(shared.network(case), torch.full_like(case.images[:1], value))
        return shared.target_output(case, logits.expand(len(case), -1), case.targets, "logit")


@configured
class NonSensitivity:
    r"""Which regions the heatmap and the network disagree about using.

    Nguyen & Martinez 2020 ("On quantitative aspects of model interpretability"): the
    size of the symmetric difference of the regions without relevance and the regions that the
    network does not react to, here as a share of all regions:

        |{r : h(r) = 0} xor {r : f(x without r) = f(x)}| / number of regions

    h(r) is 0 if no pixel of it has more than `tolerance` of the heatmap's largest magnitude, and f
    (the target's logit) is the same if it moves by no more than `tolerance` times max(|f|, 1) under
    all of `repeats` draws of the imputer. Range 0..1, LOWER is better.

    Regions are `region` x `region` pixels; null is the largest size up to 9 that leaves 8 on the
    short side, and 1 gives the paper's pixels. Cost: regions x repeats forward passes an image
    (repeats count for random imputers only) and the clean one, which metrics share.

    Pitfalls: most heatmaps are zero nowhere, and then the score is the share of regions that the
    network ignores, whatever the explainer; an imputer that leaves a region as it was (the known
    background) makes the network look insensitive there. Only zero against not zero counts. Quantus
    counts the values of every channel, not a share, takes the softmax and holds its changes against
    an absolute 1e-5, so that a network which is sure of its class passes for insensitive. Pixel by
    pixel (`region: 1`) ours is the number of Quantus 0.6 and of its main branch (85bc29d, 2026),
    which asks groups of pixels only among those that are alike in having relevance; the paper's
    definition, and ours, has no such groups.
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is not finite"

    imputer: Imputer
    region: Annotated[int, Range(1)] | None = None
    tolerance: Annotated[float, Range(0, 1)] = 1e-5
    repeats: Annotated[int, Range(1)] = 1

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        size = region_size(case, self.region)
        magnitudes = case.heatmaps.abs()
        peaks = functional.max_pool2d(magnitudes[:, None], size, ceil_mode=True).flatten(1)
        top = magnitudes.amax((1, 2))[:, None]
        silent = peaks <= self.tolerance * top
        ignored = self._moves(case, size) <= self.tolerance
        return shared.where_defined(case, (silent ^ ignored).to(case.heatmaps.dtype).mean(1))

    @torch.no_grad()
    def _moves(self, case: Case, size: int) -> Samples:
        """By how much the logit moves, at most, without each region (batch, region)."""
        height, width = case.heatmaps.shape[1:]
        rows, columns = -(-height // size), -(-width // size)
        number = torch.arange(rows * columns, device=case.images.device)
        place = ops.block_spread(number.view(1, rows, columns).float(), size, height, width)
        clean = shared.clean_output(case, "logit")[:, None]
        farthest = torch.zeros_like(clean)
        for draw in range(self.repeats if self.imputer.random else 1):
            keys = shared.keys(case, f"non sensitivity {draw}")
            removal = self.imputer(case.images, case.scenes, keys)

            def block(images: slice, steps: slice, removal: Removal = removal) -> Samples:
                masks = (place == number[steps, None, None]).expand(
                    images.stop - images.start, -1, -1, -1
                )
                targets = case.targets[images].repeat_interleave(masks.shape[1])
                logits = shared.network(case)(removal(images, masks))
                return shared.target_output(case, logits, targets, "logit").view(masks.shape[:2])

            with ops.evaluating(case.model):
                outputs = ops.in_grid(block, len(case), len(number), ops.chunk_size(case.images))
            farthest = torch.maximum(farthest, (outputs - clean).abs())
        return farthest / clean.abs().clamp(min=1)
