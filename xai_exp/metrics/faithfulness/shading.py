"""Average drop, increase and gain: the model's confidence in the image shaded by its own heatmap.

Class activation maps are mostly judged by these. All three read the same two probabilities of the
target, Y on the image and O on the shaded image

    x * (h - min h) / (max h - min h),

every channel alike, and cost one forward pass an image, which they share, beside the clean one.
What holds of one holds of all: the shaded image is dark where the heatmap is low, which is off the
data's manifold and, on a dark ground, no removal at all; the least relevant pixel is shaded in
full, so zero is not neutral in a signed heatmap; and a heatmap that is high everywhere changes
nothing, so a nearly constant map with one dark pixel is nearly best.
"""

from typing import ClassVar

import torch

from xai_exp.compute import ops
from xai_exp.config import configured
from xai_exp.metrics import shared
from xai_exp.types import Case, Scores


def probabilities(case: Case) -> tuple[Scores, Scores]:
    """The target's probability on each image and on the shaded image; NaN for constant heatmaps."""

    @torch.no_grad()
    def compute() -> Scores:
        flat = case.heatmaps.flatten(1)
        low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
        shade = ((flat - low) / (high - low)).view(case.heatmaps.shape)[:, None]
        known = shade.isfinite().flatten(1).all(1)
        shaded = case.images * shade.to(case.images).nan_to_num(0.0)
        with ops.evaluating(case.model):
            logits = ops.in_chunks(lambda some: shared.perturbed_logits(case, some), shaded)
        after = shared.target_output(case, logits, case.targets, "probability")
        return torch.where(known, after, torch.nan)

    return shared.clean_output(case, "probability"), shared.once(case, "shaded", compute)


@configured
class AverageDrop:
    """How much of its confidence the model loses when the image is shaded by its heatmap.

    Chattopadhay et al. 2018 (WACV, Grad-CAM++, sec. 4.1), one image's share of the average, Y and O
    being the target's probability on the image and on the shaded image:

        max(0, Y - O) / Y

    Range 0..1 (the paper: times 100), LOWER is better. Cost: one forward pass an image, shared with
    average_increase and average_gain, and the clean one, which metrics share.

    Pitfalls: shading leaves the data's manifold and removes nothing from dark pixels; the minimum
    is shaded in full, so the sign matters and zero is not neutral; a nearly constant heatmap is
    nearly best; ties do not matter, but a constant heatmap has no score.
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = (
        "the heatmap is constant or not finite, or the confidence in the image rounds to 0"
    )

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        before, after = probabilities(case)
        return shared.where_defined(case, (before - after).clamp(min=0) / before)


@configured
class AverageIncrease:
    """Whether the model is surer of the image shaded by its heatmap: 1 yes, 0 no.

    Chattopadhay et al. 2018 (WACV, Grad-CAM++, sec. 4.1, "increase in confidence"), one image's
    share of the average, with Y and O as for average_drop:

        1 if O > Y, else 0

    Range 0 or 1, HIGHER is better. Cost: one forward pass an image, shared with average_drop and
    average_gain, and the clean one, which metrics share.

    Pitfalls: those of average_drop; and an image of which the model is certain (Y rounds to 1)
    can't gain, so that well-trained models score near 0 whatever the heatmap is.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is constant or not finite"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        before, after = probabilities(case)
        surer = (after > before).to(before)
        return shared.where_defined(case, surer, after.isfinite())


@configured
class AverageGain:
    """How much of the confidence that it lacks the model gains by shading the image.

    Zhang et al. 2024 (CVIU, Opti-CAM, sec. 4.2), one image's share of the average, with Y and O as
    for average_drop, which it completes as increase does not:

        max(0, O - Y) / (1 - Y)

    Range 0..1 (the paper: times 100), HIGHER is better. Cost: one forward pass an image, shared
    with average_drop and average_increase, and the clean one, which metrics share.

    Pitfalls: those of average_drop; and where Y is near 1 the ratio is of two tiny numbers, so that
    rounding decides: an image of which Y rounds to 1 has no score.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is constant or not finite, or nothing can be gained"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        before, after = probabilities(case)
        gained = (after - before).clamp(min=0) / (1 - before)
        return shared.where_defined(case, gained, before < 1)
