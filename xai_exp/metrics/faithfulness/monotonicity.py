"""Monotonicity: two measures of one name, Arya's and Nguyen and Martinez'."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch

from xai_exp.config import Count, Range, configured
from xai_exp.metrics import shared
from xai_exp.metrics.faithfulness import removal
from xai_exp.metrics.faithfulness.correlation import agreement, without_groups
from xai_exp.metrics.shared import Output
from xai_exp.types import Case, Curves, Imputer, Scores


@configured
class MonotonicityArya:
    """How often the target's output rises as pixels come back, the least relevant first.

    Arya et al. 2019 (arXiv 1909.03012, AI Explainability 360): begin with nothing (the imputer's
    image), insert the pixels in ascending order of relevance, and watch f after each step:

        all:   1 if f never falls from one step to the next, else 0    (the definition)
        share: the share of the steps at which f does not fall

    HIGHER is better, range 0..1. `share` is no part of the paper: with many steps and a network
    `all` is 0 for nearly every image, and then says nothing.

    The image with its k least relevant pixels is the image without its d - k most relevant ones, so
    this is the curve of deletion read backwards. Cost: `steps` x `repeats` forward passes an image
    (repeats count for random imputers only), shared with deletion, abpc and pixel_flipping of equal
    settings, and the clean one, which metrics share.

    Pitfalls: only the sign of each step counts, not its size, so saturated steps that move
    by rounding count like others; signed relevance: pixels against the target come first and should
    lower f, which counts as a fault. A random heatmap has about one half. Quantus means `all`, by
    |h| and with the softmax, but puts black on black where it should insert pixels, so that every
    heatmap has 1. Equal values go in a random order of the seed.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is not finite"

    imputer: Imputer
    score_by: Literal["share", "all"] = "share"
    steps: Count = 64
    output: Output = "probability"
    repeats: Count = 1

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        return self.score(self.curves(case))

    def curves(self, case: Case) -> Mapping[str, Curves]:
        """`x`, the share of pixels inserted, and `ascending`, the target's output."""
        counts = removal.spaced_counts(case, self.steps)
        morf = removal.pixel_curve(case, self.imputer, counts, self.output, self.repeats)
        x = 1 - (counts / case.heatmaps[0].numel()).to(case.heatmaps).flip(0)
        return {"x": x.expand(len(case), -1), "ascending": morf.flip(1)}

    def score(self, curves: Mapping[str, Curves]) -> Scores:
        """How many steps do not fall, or whether none does."""
        steps = curves["ascending"].diff(dim=1)
        kept = (steps >= 0).to(steps.dtype)
        values = kept.mean(1) if self.score_by == "share" else kept.amin(1)
        return torch.where(steps.isnan().any(1), torch.nan, values)


@configured
class MonotonicityNguyen:
    """Whether pixels that are given more are those whose absence makes the output less certain.

    Nguyen & Martinez 2020 (arXiv 2007.07584, "On quantitative aspects of model interpretability"):
    Spearman's rank correlation of the size of each feature's relevance and of the expected squared
    change of the output when that feature is drawn anew and the others stay,

        spearman_i( |h_i| ,  E[ (f(x) - f(x with i redrawn))^2 ] ),

    the expectation over `repeats` draws of the imputer, here for `groups` groups of pixels that
    follow one another in descending |h|, of floor(d / groups) pixels each (the few least relevant
    that are left over are never removed), |h_i| their sum. `groups` equal to the number of
    pixels is the paper's. HIGHER is better, range -1..1; a random heatmap has 0 in the mean.

    Cost: `groups` x `repeats` forward passes an image (repeats count for random imputers only), and
    the clean one, which metrics share.

    Pitfalls: the sign of the relevance does not count. Few draws rank the groups that
    matter little by chance; a constant imputer makes the expectation one draw, in which a pixel
    that has the constant's value already changes nothing. Redrawn pixels leave the data's manifold.
    Quantus divides the expectation by f(x)^2, which changes no rank, and takes the softmax. Pixels
    of equal |h| fall into groups at random, by the seed.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = (
        "all groups are given the same (constant magnitudes) or move the output alike (it stays)"
    )

    imputer: Imputer
    groups: Annotated[int, Range(2)] = 64
    output: Output = "logit"
    repeats: Count = 4

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        settings = (self.imputer, self.groups, self.output, self.repeats)
        given, after = without_groups(case, case.heatmaps.abs(), *settings)
        clean = shared.clean_output(case, self.output)[:, None]
        moved = (torch.stack(after) - clean).square().mean(0)
        return agreement(case, given, moved.sqrt(), self.output, "spearman")
