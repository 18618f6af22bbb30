"""LIME: a linear model of the network around one image, whose inputs are segments seen or not.

Conventions: a segment is seen as it is or filled by the imputer; only forward passes are made.
"""

from typing import Annotated

import torch
from torch import Tensor

from xai_exp.compute import ops
from xai_exp.config import Count, Range, configured
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.perturbation.players import Game, Playing
from xai_exp.explainers.perturbation.removal import Output, Seed
from xai_exp.removal.segments import Compactness, Cut
from xai_exp.types import Curves, Effects, Imputer, Keep, Keys, Subsets


@configured
class LIME(Playing):
    r"""The coefficients of a weighted ridge regression on which segments are seen.

    $\min_{w, b} \sum_i \pi(z_i) (f_t(x_{z_i}) - b - w \cdot z_i)^2 + \alpha |w|^2$ with
    $\pi(z) = \exp(-d(z)^2 / 2 \sigma^2)$ (Ribeiro et al. 2016, sec. 3.4). z says which of the M
    segments are seen, each with probability 1/2; the first z is the whole image; d is one minus the
    cosine of the angle between z and all ones, $1 - \sqrt{|z| / M}$. This is what the authors'
    package `lime` does for images, with its width 0.25 and ridge 1, but for the LOGIT in place of
    the probability, and it fits all segments (lime selects none by default either). captum's Lime
    is a lasso by default, of distances between images, with 50 samples. Units of the output,
    signed. It sums to nothing that is known.

    Pitfalls: the fit depends on how images are cut, on the kernel and on what is filled in. Half of
    the image is gone in nearly all samples, so it says what a segment adds to such images; the
    kernel hardly corrects that, since every sample is about equally far. Correlated effects are
    shared out by the ridge. With fewer samples than segments the ridge decides.

    Cost: `samples` forward passes.

    Args:
        cut: slic for superpixels, grid for squares.
        segments: about how many.
        compactness: of superpixels (see xai_exp.removal.segments).
        samples: of which segments are seen, for each image its own.
        width: sigma of the kernel.
        ridge: alpha.
        shared: whether the pixels of a segment share its coefficient, or each of them gets it as a
            whole (as in lime and captum).
        output: what is explained, the logit or the probability (paper).
        imputer: fills the segments that are not seen.
        seed: of the samples.
    """

    imputer: Imputer
    cut: Cut = "slic"
    segments: Count = 64
    compactness: Compactness = 0.1
    samples: Count = 256
    width: Annotated[float, Range(0, exclusive_low=True)] = 0.25
    ridge: Annotated[float, Range(0, exclusive_low=True)] = 1.0
    shared: bool = True
    output: Output = "logit"
    seed: Seed = 0

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return Cost(forward=self.samples, backward=0)

    def effects(self, game: Game) -> Effects:
        """The coefficient of each segment."""
        kept = game.drawn("lime", self._drawn)
        values = game.values(lambda rows, steps: kept[rows, steps], self.samples)
        return ops.in_chunks(self._fitted, kept, values, game.players, size=64)

    def _drawn(self, keys: Keys, players: Keep) -> Subsets:
        """Which segments each sample sees, the first all of them."""
        drawn = ops.keyed_uniform(keys, self.samples * players.shape[1])
        kept = drawn.view(len(keys), self.samples, -1) < 0.5
        kept[:, 0] = True
        return kept & players[:, None]

    def _fitted(self, kept: Subsets, values: Curves, players: Keep) -> Effects:
        share = kept.sum(2) / players.sum(1, keepdim=True)
        distance = 1 - share.double().sqrt()
        return fitted(
            kept.double(), values, (-0.5 * (distance / self.width) ** 2).exp(), self.ridge
        )


def fitted(design: Tensor, values: Curves, weights: Curves, ridge: float) -> Effects:
    """The coefficients of a weighted ridge regression with an intercept, for each of a batch."""
    weights, total = weights[..., None], weights.sum(1)[:, None, None]
    inputs = design - (weights * design).sum(1, keepdim=True) / total
    wanted = values[..., None] - (weights * values[..., None]).sum(1, keepdim=True) / total
    square = (weights * inputs).mT @ inputs
    square.diagonal(dim1=1, dim2=2).add_(ridge)
    return torch.linalg.solve(square, (weights * inputs).mT @ wanted)[..., 0]
