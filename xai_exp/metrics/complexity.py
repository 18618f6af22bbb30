"""Complexity: how concentrated a heatmap is. No truth is asked: a spike at a wrong place wins."""

from typing import Annotated, ClassVar, Literal

import torch
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.config import Count, Range, configured
from xai_exp.metrics import shared
from xai_exp.metrics.faithfulness import removal
from xai_exp.metrics.shared import Output
from xai_exp.types import Case, Counts, Curves, Imputer, Rows, Scores


@configured
class Sparseness:
    """The Gini index of the absolute relevance: 0 all pixels equal, near 1 one pixel has it all.

    Chalasani et al. 2020 (ICML), after Hurley & Rickard 2009. With |h| in ascending order
    v_1 <= ... <= v_d:

        1 - 2 * sum over k of (v_k / sum(v)) * (d - k + 1/2) / d

    Range 0..1 - 1/d, HIGHER is read as better: a concise explanation. Cost: one sort, no forward
    pass.

    Pitfalls: it says nothing about truth, so the edge filter and a random spike do well. Signs are
    dropped. A positive constant added to a heatmap without negative values lowers it, though the
    order of pixels stays.

    >>> from xai_exp.metrics.complexity import gini
    >>> gini(torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 5.0]]))
    tensor([0.0000, 0.7500])
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is all zero"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        magnitudes = case.heatmaps.flatten(1).abs()
        return shared.where_defined(case, gini(magnitudes), magnitudes.sum(1) > 0)


@configured
class Complexity:
    """The entropy of the shares that pixels have in the absolute relevance.

    Bhatt et al. 2020 (IJCAI, "Evaluating and aggregating feature-based model explanations"): with
    p_i = |h_i| / sum(|h|),

        - sum over i of p_i * ln(p_i)    (in nats; 0 ln 0 = 0)

    Range 0 (one pixel has it all) to ln(d) (d pixels alike), LOWER is read as better. Cost: no
    forward pass.

    Pitfalls: it says nothing about truth, and noise of heavy tails does well. Signs are dropped.
    The range grows with the image, so compare on one size. Quantus adds 1e-12 to p_i, which changes
    no fifth digit.
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is all zero"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        magnitudes = case.heatmaps.flatten(1).abs()
        total = magnitudes.sum(1, keepdim=True)
        return shared.where_defined(
            case, torch.special.entr(magnitudes / total).sum(1), total[:, 0] > 0
        )


@configured
class EffectiveComplexity:
    """How many of the most relevant pixels are enough for the model to say what it says.

    Nguyen & Martinez 2020 (arXiv 2007.07584, "On quantitative aspects of model interpretability"):
    with x_k the image that keeps its k most relevant pixels, the others drawn by the imputer,

        min { k : E |f(x) - f(x_k)| < tolerance },

    the expectation being the mean over `repeats` draws of a random imputer. k runs from 0 to all
    pixels d in `steps` equal strides, rounded. Range 0..d, LOWER is better. `score_by: threshold`
    counts the pixels with |h| > `threshold` * max |h| instead (1..d), which asks no model; so does
    Quantus, whose metric of this name therefore is not the paper's.

    Cost: `steps` x `repeats` forward passes an image (repeats count for random imputers only; with
    others they are shared with insertion and abpc of equal settings), and the clean one, which
    metrics share; by threshold none.

    Pitfalls: an image whose class the model also sees in the imputer's empty image has 0 whatever
    the heatmap; the smallest such k counts even where the output leaves the tolerance again. By
    threshold a map without exact zeros has nearly d. Equal values go in a random order of the seed.
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is not finite, or by threshold all zero"

    imputer: Imputer
    score_by: Literal["model", "threshold"] = "model"
    tolerance: Annotated[float, Range(0, exclusive_low=True)] = 0.1
    steps: Count = 64
    output: Output = "probability"
    repeats: Count = 1
    threshold: Annotated[float, Range(0, 1)] = 1e-5

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        magnitudes = case.heatmaps.flatten(1).abs()
        most = magnitudes.amax(1, keepdim=True)
        if self.score_by == "threshold":
            counted = (magnitudes > self.threshold * most).sum(1).to(magnitudes)
            return shared.where_defined(case, counted, most[:, 0] > 0)
        gone = removal.spaced_counts(case, self.steps)
        within = self._losses(case, gone) < self.tolerance
        kept = (magnitudes.shape[1] - gone).to(magnitudes)
        return shared.where_defined(case, torch.where(within, kept, torch.inf).amin(1))

    def _losses(self, case: Case, gone: Counts) -> Curves:
        """How far the output is from the clean one at every step, the mean over draws."""
        clean = shared.clean_output(case, self.output)[:, None]
        if not self.imputer.random:
            curve = removal.pixel_curve(
                case, self.imputer, gone, self.output, self.repeats, order="lerf"
            )
            return (curve - clean).abs()
        places = case.heatmaps[0].numel() - 1 - shared.places(case)
        losses = []
        for draw in range(self.repeats):
            images = self.imputer(case.images, case.scenes, shared.keys(case, f"removal {draw}"))
            values = shared.outputs_under_removal(case, images, places, gone[1:], self.output)
            losses.append((values - clean).abs())
        return functional.pad(torch.stack(losses).mean(0), (1, 0))  # nothing gone, nothing lost


def gini(values: Rows) -> Scores:
    """The Gini index of every row of non-negative values; NaN where a row is all zero."""
    count = values.shape[1]
    ascending = ops.ascending(values)
    weights = torch.arange(count, 0, -1, device=values.device, dtype=values.dtype) - 0.5
    shares = ascending @ (weights / count) / ascending.sum(1)
    return 1 - 2 * shares
