"""Robustness: how much a heatmap changes when the image changes a little.

Robust is not right: the edge filter and a mask that never looks at the network do well in all of
these. Read them beside a measure of faithfulness or of truth.
"""

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from xai_exp.config import Count, Range, configured
from xai_exp.metrics import shared
from xai_exp.metrics.around import Around, around, knows_any_image, largest, mean, seen, shifted
from xai_exp.types import Case, Scores

Positive = Annotated[float, Range(0, exclusive_low=True)]
Scale = Literal["heatmap", "none"]


def _scale(case: Case, scale: Scale) -> Scores:
    """What heatmaps are divided by: the norm of the clean one, or 1."""
    norms = _norms(case.heatmaps.flatten(1))
    return norms if scale == "heatmap" else torch.ones_like(norms)


def _norms(rows: Tensor) -> Tensor:
    """Norms along the last axis in float64, where squares of tiny numbers do not vanish."""
    return rows.double().norm(dim=-1)


def _moved(case: Case, near: Around) -> Tensor:
    """How far each neighbour's heatmap is from the clean one: (batch, sample)."""
    return _norms((near.heatmaps - case.heatmaps[:, None]).flatten(2))


@configured
class Sensitivity:
    r"""How far the heatmap moves when every pixel gets a little uniform noise.

    Yeh et al. 2019 (NeurIPS, "On the (in)fidelity and sensitivity of explanations"):

        max over |x' - x|_inf <= radius of ||h(x') - h(x)||_2 / ||h(x)||_2,

    with `samples` draws for the maximum; `score_by: mean` is their average instead (Bhatt et al.
    2020, IJCAI). `scale: none` leaves out the division, as the definition is printed; with it
    (captum and Quantus do so) a factor on the heatmap changes nothing. Range 0..infinity, LOWER is
    better.

    Cost: `samples` explanations an image, shared by max_sensitivity, avg_sensitivity,
    local_lipschitz and the relative stabilities of equal samples and radius.

    Pitfalls: a constant explanation is perfect, so is the edge of an image that hardly moves. The
    target stays the clean image's. Noise may leave 0..1. A maximum over few draws is a lower
    bound and grows with their number. An explainer that draws noise of its own (smoothgrad, random)
    draws anew for every changed image, and that counts as sensitivity.
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is all zero, or none was finite around the image"

    version: ClassVar[int] = 2
    score_by: Literal["max", "mean"] = "max"
    samples: Count = 10
    radius: Positive = 0.02
    scale: Scale = "heatmap"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        near = around(case, self.samples, self.radius)
        moved = _moved(case, near)
        reduce = {"max": largest, "mean": mean}[self.score_by]
        scale = _scale(case, self.scale)
        scores = reduce(moved / scale[:, None], moved.isfinite()).to(case.heatmaps)
        return shared.where_defined(case, scores, scale > 0)


@configured
class LocalLipschitz:
    r"""The steepest change of the heatmap around the image: an estimate of its Lipschitz constant.

    Alvarez-Melis & Jaakkola 2018 ("On the robustness of interpretability methods"):

        max over x' near x of ||h(x) - h(x')||_2 / ||x - x'||_2

    over `samples` draws of uniform noise in [-radius, radius]. `scale: heatmap` divides by
    ||h(x)||_2, so that explainers in different units compare; `none` is the definition as printed.
    Range 0..infinity, LOWER is better; unit: 1 / grey level.

    Cost: `samples` explanations an image, shared with max_sensitivity.

    Pitfalls: those of max_sensitivity; and in many dimensions random draws find far less than the
    true maximum. Explainers that jump (gradients of ReLU networks) have no finite constant: the
    score then grows as the radius falls.
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is all zero, or none was finite around the image"

    version: ClassVar[int] = 2
    samples: Count = 10
    radius: Positive = 0.02
    scale: Scale = "heatmap"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        near = around(case, self.samples, self.radius)
        moved = _moved(case, near)
        scale = _scale(case, self.scale)
        slopes = (moved / near.distances / scale[:, None]).to(case.heatmaps)
        return shared.where_defined(case, largest(slopes, slopes.isfinite()), scale > 0)


@configured
class Continuity:
    r"""The strongest change of the heatmap while the image glides sideways.

    Montavon, Samek & Mueller 2018 (Digital Signal Processing 73, "explanation
    continuity"):

        max over x' of ||h(x) - h(x')||_1 / ||x - x'||_2,

    x' being the image moved by 1..`pixels` whole pixels to the left or to the right. `pixels: null`
    is an eighth of the width. `scale: heatmap` divides by ||h(x)||_1, so that explainers in
    different units compare; `none` is the definition as printed. Range 0..infinity, LOWER is
    better.

    Cost: 2 x `pixels` explanations an image.

    Pitfalls: the heatmap SHOULD move with the object, so this compares with others, not with 0;
    see equivariance for the part that is not due to the motion. What comes in repeats the edge
    (Quantus fills with black, which may be an object of its own, begins where the whole image is
    pushed out, and never looks at the image itself; its main branch of August 2026 has the file of
    0.6). Undefined for explainers that know only the
    images they were bound to (exact_mask), and for images that no move changes.
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = (
        "the heatmap is all zero, no move changes the image, or the explainer knows only its images"
    )

    pixels: Count | None = None
    scale: Scale = "heatmap"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        count = self.pixels or max(1, case.images.shape[-1] // 8)
        moves = [*range(-count, 0), *range(1, count + 1)]
        norms = case.heatmaps.flatten(1).abs().sum(1)
        if not knows_any_image(case):
            return torch.full_like(norms, torch.nan)
        wide = torch.cat([shifted(case.images, move, 0) for move in moves])
        near = seen(case, len(moves), lambda rows: wide[rows])
        moved = (near.heatmaps - case.heatmaps[:, None]).flatten(2).abs().sum(2)
        scale = norms if self.scale == "heatmap" else torch.ones_like(norms)
        slopes = moved / near.distances / scale[:, None]
        return shared.where_defined(case, largest(slopes, slopes.isfinite()), norms > 0)


@configured
class Consistency:
    r"""How often images with the same explanation get the same prediction.

    Dasgupta, Frost & Moshkovitz 2022 (ICML, "Framework for evaluating faithfulness of local
    explanations"): the probability that f(x') = f(x) given that x' has the
    explanation of x, over the other images of the case. Heatmaps are never equal, so `same_if`
    says what counts as the same:

    - nearest: the `count` heatmaps of highest cosine to this one; equal cosines all count in part.
    - top_n_sign: the same signs at each image's own `count` most relevant pixels, in order. (The
      function of that name in Quantus takes the first five pixels, whatever is relevant, in 0.6
      as in its main branch of August 2026.)

    Range 0..1, HIGHER is better. Cost: none; the clean forward pass, which metrics share.

    Pitfalls: the only score here that depends on the other images of the case, so compare on the
    same images; chance is the share of the image's own prediction among the others; a heatmap that
    shows the image itself does well where classes look different. With top_n_sign an image whose
    explanation no other one has is undefined (Quantus gives it 0), and a heatmap that is all
    positive has the explanation of every other such.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "no other image has this explanation, or the heatmap is not finite"

    same_if: Literal["nearest", "top_n_sign"] = "nearest"
    count: Count = 5

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        predictions = shared.clean_logits(case).argmax(1)
        agree = (predictions[:, None] == predictions).double()
        weight = {"nearest": self._nearest, "top_n_sign": self._signs}[self.same_if](case)
        scores = (weight * agree).sum(1) / weight.sum(1)
        return shared.where_defined(case, scores.to(case.heatmaps.dtype), weight.sum(1) > 0)

    def _others(self, case: Case) -> Tensor:
        """Which pairs are of two images, both of a finite heatmap."""
        apart = ~torch.eye(len(case), dtype=torch.bool, device=case.images.device)
        return apart & shared.finite(case)

    def _nearest(self, case: Case) -> Tensor:
        """How much each other image counts: the ones at the border share the places left."""
        flat = case.heatmaps.flatten(1).double().nan_to_num(0, 0, 0)
        unit = flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-300)
        others = self._others(case)
        cosine = torch.where(others, (unit @ unit.T * 1e9).round(), -torch.inf)
        count = min(self.count, len(case) - 1)
        if count == 0:
            return torch.zeros_like(cosine)
        border = cosine.topk(count, dim=1).values[:, -1:]
        above, level = (cosine > border) & others, (cosine == border) & others
        left = count - above.sum(1, keepdim=True)
        return above + level * left / level.sum(1, keepdim=True).clamp(min=1)

    def _signs(self, case: Case) -> Tensor:
        """Whether each other image has the same signs at its most relevant pixels."""
        top = shared.ranking(case)[:, : self.count]
        signs = case.heatmaps.flatten(1).gather(1, top).sign()
        return ((signs[:, None] == signs).all(2) & self._others(case)).double()
