"""Areas under what the model says while pixels go or come: deletion, insertion, their difference.

All read the same two curves (MoRF: most relevant first, LeRF: least relevant first), which one case
computes once for all of them, pixel flipping included.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch

from xai_exp.config import Count, configured
from xai_exp.metrics.faithfulness import removal
from xai_exp.metrics.shared import Output
from xai_exp.types import Case, Counts, Curves, Imputer, Scores


def shares(case: Case, counts: Counts) -> Curves:
    """The share of pixels gone at every step, a row an image."""
    x = (counts / case.heatmaps[0].numel()).to(case.heatmaps)
    return x.expand(len(case), -1)


@configured
class _PixelCurve(ABC):
    """What is read off curves of the target's output as pixels go, one step after the other."""

    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is not finite"

    imputer: Imputer
    steps: Count = 64
    output: Output = "probability"
    repeats: Count = 1

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        return self.score(self.curves(case))

    @abstractmethod
    def curves(self, case: Case) -> Mapping[str, Curves]:
        """Named curves and `x`, the share of pixels changed."""

    @abstractmethod
    def score(self, curves: Mapping[str, Curves]) -> Scores:
        """The score of every image from its curves."""


@configured
class Deletion(_PixelCurve):
    """Area under the target's output as the pixels are deleted, the most relevant first.

    Petsiuk et al. 2018 (BMVC, RISE): with k of the d pixels deleted in descending order of
    relevance,

        integral from 0 to 1 of f(x without its k = t d most relevant pixels) dt    (trapezoids),

    step 0, the clean image, included. LOWER is better. Range: that of the output, 0..1 for
    `probability`, which the paper takes. The paper deletes to a constant, 224 pixels a step;
    `steps` are evenly spaced, each at least one pixel.

    Cost: `steps` x `repeats` forward passes an image (repeats count for random imputers only),
    shared with pixel_flipping and abpc of equal settings, and the clean one, which metrics share.

    Pitfalls: the same number as pixel_flipping down to the last pixel, under the name that papers
    use since RISE. Deleted images leave the data's manifold and may be classed by their holes;
    scores compare under one imputer only, and MoRF alone is fragile: see abpc. Xplique averages
    over images before it takes the area, so it has no score an image. Equal values go in a random
    order of the seed.
    """

    higher_is_better: ClassVar[bool] = False

    def curves(self, case: Case) -> Mapping[str, Curves]:
        """`x`, the share of pixels deleted, and `morf`, the target's output."""
        counts = removal.spaced_counts(case, self.steps)
        morf = removal.pixel_curve(case, self.imputer, counts, self.output, self.repeats)
        return {"x": shares(case, counts), "morf": morf}

    def score(self, curves: Mapping[str, Curves]) -> Scores:
        """The area under every image's curve."""
        return torch.trapezoid(curves["morf"], curves["x"])


@configured
class Insertion(_PixelCurve):
    """Area under the target's output as pixels are inserted, the most relevant first.

    Petsiuk et al. 2018 (BMVC, RISE): begin with nothing (the imputer's image) and put back the
    pixels in descending order of relevance,

        integral from 0 to 1 of f(nothing with the k = t d most relevant pixels of x) dt,

    by trapezoids, both ends included. HIGHER is better. Range: that of the output, 0..1 for
    `probability`. The paper begins with a blurred image: `imputer=blur`.

    The image with its k most relevant pixels is the image without its d - k least relevant ones, so
    the curve is the LeRF curve of deletion read backwards, and its area is the same. Cost: `steps`
    x `repeats` forward passes an image (repeats count for random imputers only), shared with abpc
    of equal settings, and the clean one, which metrics share.

    Pitfalls: what counts is how soon the object can be recognised in front of the imputer's
    image, which a compact heatmap helps, right or wrong; with a blur much of the coarse information
    is there from the start. Scores compare under one imputer only. Equal values go in a random
    order of the seed.
    """

    higher_is_better: ClassVar[bool] = True

    def curves(self, case: Case) -> Mapping[str, Curves]:
        """`x`, the share of pixels inserted, and `insertion`, the target's output."""
        counts = removal.spaced_counts(case, self.steps)
        settings = (self.imputer, counts, self.output, self.repeats)
        lerf = removal.pixel_curve(case, *settings, order="lerf")
        return {"x": 1 - shares(case, counts).flip(1), "insertion": lerf.flip(1)}

    def score(self, curves: Mapping[str, Curves]) -> Scores:
        """The area under every image's curve."""
        return torch.trapezoid(curves["insertion"], curves["x"])


@configured
class ABPC(_PixelCurve):
    """The area between the curves of removing the least and the most relevant pixels first.

        integral from 0 to 1 of [f_LeRF(t) - f_MoRF(t)] dt    (trapezoids, t the share removed)

    Schulz et al. 2020 (ICLR, the degradation task of "Restricting the flow"): insertion minus
    deletion. HIGHER is better, 0 in the mean for a random heatmap. Range -1..1 for `probability`,
    unbounded for `logit`. The paper removes square tiles of 8 and 14 pixels, which (all steps of
    one weight) is region_perturbation_area; and it divides by the mean fall over the data set,
    which is the same for every explainer and is left out here.

    Cost: 2 x `steps` x `repeats` forward passes an image (repeats count for random imputers only),
    shared with deletion, insertion and pixel_flipping of equal settings, and the clean one.

    Pitfalls: an error in the sign of the whole heatmap flips the score's sign; removed pixels leave
    the data's manifold, but both orders suffer alike, which makes it steadier than either curve
    (Bluecher et al. 2024). With `probability` an image that the model is sure of long after the
    object is gone gives little. Equal values go in a random order of the seed, LeRF's
    being MoRF's read backwards.
    """

    higher_is_better: ClassVar[bool] = True

    def curves(self, case: Case) -> Mapping[str, Curves]:
        """`x`, the share of pixels removed, and the target's output in both orders."""
        counts = removal.spaced_counts(case, self.steps)
        settings = (self.imputer, counts, self.output, self.repeats)
        both = {
            "morf": removal.pixel_curve(case, *settings, order="morf"),
            "lerf": removal.pixel_curve(case, *settings, order="lerf"),
        }
        return {"x": shares(case, counts)} | both

    def score(self, curves: Mapping[str, Curves]) -> Scores:
        """The area between every image's curves."""
        return torch.trapezoid(curves["lerf"] - curves["morf"], curves["x"])


@configured
class Selectivity:
    """Area under the target's output as regions are removed, the most relevant first.

    Montavon et al. 2018 (Digital Signal Processing 73, "explanation selectivity"): put the regions
    in descending order of their summed relevance, remove one after the other, and take the
    area under f,

        integral from 0 to 1 of f(x without its t L most relevant regions) dt    (trapezoids),

    step 0 included. LOWER is better: the output falls sooner. Range: that of the output;
    unbounded for `logit`. `region: null` is the largest size up to 9 that leaves 8 regions on the
    short side.

    Cost: regions x `repeats` forward passes an image (repeats count for random imputers only),
    shared with region_perturbation of equal settings, and the clean one, which metrics share.

    Pitfalls: but for the half weight of the first and last step it is f(x) minus the aopc of
    region_perturbation, so an image with a large logit has a large score: compare explainers on the
    same images only. Quantus takes the softmax, leaves out step 0 and does not divide by the number
    of regions. Removed regions leave the data's manifold. Regions of equal relevance go in a random
    order of the seed.
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is not finite"

    imputer: Imputer
    region: Count | None = None
    output: Output = "logit"
    repeats: Count = 3

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        return self.score(self.curves(case))

    def curves(self, case: Case) -> Mapping[str, Curves]:
        """`x`, the share of regions removed, and `morf`, the target's output."""
        size = removal.region_size(case, self.region)
        count = removal.region_count(case, size)
        counts = torch.arange(count + 1)
        x = (counts / count).to(case.heatmaps).expand(len(case), -1)
        settings = (self.imputer, size, counts, self.output, self.repeats)
        return {"x": x, "morf": removal.region_curve(case, *settings)}

    def score(self, curves: Mapping[str, Curves]) -> Scores:
        """The area under every image's curve."""
        return torch.trapezoid(curves["morf"], curves["x"])
