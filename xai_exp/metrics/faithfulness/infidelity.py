"""Infidelity: how well the heatmap foretells what a perturbation does to the output."""

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from xai_exp.compute import ops
from xai_exp.config import Count, Range, configured
from xai_exp.metrics import shared
from xai_exp.metrics.faithfulness.correlation import seeded_keys, set_falls, sums
from xai_exp.metrics.shared import Output
from xai_exp.types import Case, Curves, Imputer, Samples, Scores

Scale = Literal["positive", "optimal", "none"]


@configured
class Infidelity:
    r"""The squared error of the heatmap as a linear prediction of what perturbations do.

    Yeh et al. 2019 (NeurIPS, "On the (in)fidelity and sensitivity of explanations"): over
    random perturbations I,

        E_I[ ( b sum_i I_i h_i - (f(x) - f(x - I)) )^2 ],

    LOWER is better, range 0..infinity, in squared units of the output. The perturbations are

    - square: the pixels of a random square of `size` x `size` are removed (null: a quarter of the
      short side; f(x - I) is the mean over `repeats` draws); I_i is 1 on them and 0 elsewhere, as
      is due to heatmaps that hold the factor input (LRP, input x gradient, IG): their sum over the
      square foretells the fall.
    - noise: I is Gaussian noise of `sigma` grey levels, the same in all channels; the sum is that
      of a gradient.

    `scale` is the factor b. The explanations of one model differ in scale by orders of magnitude,
    and without a factor (`none`) the score measures little but the norm of the heatmap. `optimal`
    is the paper's factor of least error, E[I.h (f(x) - f(x - I))] / E[(I.h)^2] (captum's
    normalize=True); it is negative where the heatmap has the wrong sign, and so forgives it.
    `positive` is the same but never below 0, and a wrong heatmap then scores as an empty one,
    E[(f(x) - f(x - I))^2]. With both a positive factor on the heatmap changes nothing.

    Cost: `samples` x `repeats` forward passes an image (repeats count for squares under a
    random imputer only), and the clean one, which metrics share.

    Pitfalls: images that the model reacts to strongly have high scores, whatever the heatmap:
    compare explainers on the same images. Squares of black on black change nothing; noise leaves
    0..1 and the data's manifold. Samples are the seed's, the same for every image and
    explainer. Quantus' perturbation is x - x' as fixed patches go one after the other, none of
    which is put back, and it has no factor.
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is not finite"

    imputer: Imputer
    perturbation: Literal["square", "noise"] = "square"
    size: Count | None = None
    sigma: Annotated[float, Range(0, exclusive_low=True)] = 0.1
    scale: Scale = "positive"
    samples: Count = 64
    output: Output = "logit"
    repeats: Count = 1

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        if self.perturbation == "square":
            short = min(case.heatmaps.shape[1:])
            side = min(self.size or max(1, short // 4), short)
            moved = squares(case, self.samples, side)
            lost = set_falls(case, self.imputer, moved, self.output, self.repeats)
        else:
            moved = self.sigma * gaussians(case, self.samples)
            lost = noise_falls(case, moved, self.output)
        return shared.where_defined(case, error(sums(case.heatmaps, moved), lost, self.scale))


def error(foretold: Samples, lost: Samples, scale: Scale) -> Scores:
    """The mean squared error over the samples, after the prediction is scaled.

    >>> error(torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 4.0]]), "optimal")
    tensor([0.])
    """
    lost = lost.to(foretold.dtype)
    if scale == "none":
        return (foretold - lost).square().mean(1)
    product, square = (foretold * lost).mean(1), foretold.square().mean(1)
    factor = torch.where(square > 0, product / square, 0)
    factor = factor.clamp(min=0) if scale == "positive" else factor
    return (factor[:, None] * foretold - lost).square().mean(1)


def squares(case: Case, count: int, side: int) -> Tensor:
    """`count` squares at random places, wholly inside (count, height, width), True inside."""
    height, width = case.heatmaps.shape[1:]
    place = ops.keyed_uniform(seeded_keys(case, count, f"squares {side}"), 2)
    room = torch.tensor([height - side + 1, width - side + 1], device=place.device)
    top, left = (place * room).long().T[..., None]
    rows, columns = (torch.arange(length, device=place.device) for length in (height, width))
    inside_rows = (rows >= top) & (rows < top + side)
    inside_columns = (columns >= left) & (columns < left + side)
    return inside_rows[:, :, None] & inside_columns[:, None]


def gaussians(case: Case, count: int) -> Tensor:
    """`count` maps of standard normal noise (count, height, width)."""
    shape = case.heatmaps.shape[1:]
    uniform = ops.keyed_uniform(seeded_keys(case, count, "gaussians"), shape.numel())
    inside = (uniform.double() + 2**-25) * 2 - 1
    return (2**0.5 * torch.erfinv(inside)).to(case.images).view(count, *shape)


@torch.no_grad()
def noise_falls(case: Case, noise: Tensor, output: Output) -> Samples:
    """By how much the output falls when each map of noise is subtracted from every channel."""

    def block(rows: slice, steps: slice) -> Curves:
        copies = case.images[rows, None] - noise[steps, None]
        targets = case.targets[rows].repeat_interleave(copies.shape[1])
        logits = shared.perturbed_logits(case, copies.flatten(0, 1))
        values = shared.target_output(case, logits, targets, output)
        return values.view(copies.shape[:2])

    with ops.evaluating(case.model):
        after = ops.in_grid(block, len(case), len(noise), ops.chunk_size(case.images))
    return shared.clean_output(case, output)[:, None] - after
