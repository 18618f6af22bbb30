"""Sufficiency: is what the heatmap marks enough for the prediction?"""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch

from xai_exp.config import Count, Range, configured
from xai_exp.metrics import shared
from xai_exp.types import Case, Imputer, Scores


@configured
class Sufficiency:
    """How often the prediction stays the same where the explanation of the image applies.

    Dasgupta, Frost & Moshkovitz 2022 (ICML, "Framework for evaluating faithfulness of local
    explanations"): the probability that f(x') = f(x) given that the explanation of x applies to x',
    f the predicted class. What it is to apply depends on the kind of explanation:

    - kept: x' has the pixels of x that the heatmap marks, the `share` of highest relevance, and
      what the imputer gives elsewhere (the precision of an anchor). The score is the share of
      `repeats` draws of the imputer; one draw, so 0 or 1, if it is not random.
    - close: x' is another image of the case whose heatmap lies within `threshold` of this one, in
      Euclidean distance with every pixel divided by its standard deviation over the case, each
      heatmap first divided by its largest magnitude. The score is the share of these images
      with the same class. After Quantus, which drops the signs and takes the threshold as a share
      of the largest distance in the call.

    Range 0..1, HIGHER is better. Cost: `repeats` forward passes an image for kept (random imputers;
    else one), none for close, and the clean one, which metrics share.

    Pitfalls: the prediction, not the target, is compared. Kept: pixels on an imputed ground leave
    the data's manifold; a model with a favourite class keeps it whatever is shown; the share
    decides much, and scores compare under one share and imputer only; equal values at the border of
    the share are kept at random, by the seed. Close: the score depends on the other images of the
    case; the distance grows as the root of the number of pixels, so that within 0.6 (Quantus'
    number, in another unit) lie heatmaps that are all but equal, mostly none: then Quantus gives 0
    and this is undefined.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = (
        "no other heatmap is close or this one is all zero (both for close), or it is not finite"
    )

    imputer: Imputer
    applies_if: Literal["kept", "close"] = "kept"
    share: Annotated[float, Range(0, 1)] = 0.1
    threshold: Annotated[float, Range(0)] = 0.6
    repeats: Count = 16

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        return self._kept(case) if self.applies_if == "kept" else self._close(case)

    def _kept(self, case: Case) -> Scores:
        """The share of draws in which the marked pixels alone give the same class."""
        pixels = case.heatmaps[0].numel()
        gone = torch.tensor([pixels - round(self.share * pixels)])
        places = pixels - 1 - shared.places(case)
        predicted = replace(case, targets=shared.clean_logits(case).argmax(1))
        draws = []
        for draw in range(self.repeats if self.imputer.random else 1):
            removal = self.imputer(case.images, case.scenes, shared.keys(case, f"removal {draw}"))
            same = shared.outputs_under_removal(predicted, removal, places, gone, "correct")
            draws.append(same[:, 0])
        return shared.where_defined(case, torch.stack(draws).mean(0))

    def _close(self, case: Case) -> Scores:
        """The share of images with a close heatmap that have the same class."""
        flat = case.heatmaps.flatten(1).double()
        flat = flat / flat.abs().amax(1, keepdim=True)
        good = flat.isfinite().all(1)
        spread = flat[good].std(0) if good.sum() > 1 else torch.ones_like(flat[0])
        scaled = torch.where(spread > 0, flat / spread, 0)
        near = (torch.cdist(scaled, scaled) <= self.threshold) & good & good[:, None]
        near &= ~torch.eye(len(near), dtype=torch.bool, device=near.device)
        classes = shared.clean_logits(case).argmax(1)
        same = near & (classes[:, None] == classes)
        scores = (same.sum(1) / near.sum(1)).to(case.heatmaps.dtype)
        return shared.where_defined(case, scores, near.any(1))
