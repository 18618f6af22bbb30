"""Axioms: properties that an explanation should have by its definition, as distances from them."""

from typing import Annotated, ClassVar

import torch

from xai_exp import ops
from xai_exp.config import Range, configured
from xai_exp.metrics import shared
from xai_exp.types import Case, Scores

_ROUNDING = 16  # batches of different size give logits that differ by a few units in the last place


@configured
class Completeness:
    """How far the heatmap's sum is from what it should explain, the difference of the logits.

    Sundararajan et al. 2017 (ICML, "Completeness"); Bach et al. 2015 call it conservation:

        |sum(h) - (f(x) - f(x'))|       relative: divided by |f(x) - f(x')|

    where f is the target's logit and x' the image with `baseline` in every pixel (0 is black);
    `baseline: null` takes f(x') as 0, which is what LRP conserves. Range 0..infinity, LOWER is
    better. It tells only whether the amount is right, not its place.

    The scale of the heatmap is what is measured, so nothing is normalised (Quantus does so by
    default, which destroys the sum) and multiplying the heatmap changes the score. Methods that
    promise nothing about their sum (gradient, guided backprop) are not worse for a high score.
    Cost: one forward pass for the baseline of all images, and the clean one, which metrics share.
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
            logits = ops.logits(case.model, torch.full_like(case.images[:1], value))
        return shared.target_output(logits.expand(len(case), -1), case.targets, "logit")
