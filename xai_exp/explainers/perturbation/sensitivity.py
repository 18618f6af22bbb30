"""Global sensitivity analysis of masks: Sobol indices and HSIC of what each cell does."""

from functools import cache
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.config import Range, configured
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.perturbation.removal import Output, Removing, Seed, gone_entirely, outputs
from xai_exp.types import Copies, Curves, Effects, Heatmaps, Images, Imputer, Labels, Scenes

Cells = Annotated[int, Range(1, 32)]


class _Masking(Removing):
    """The output under masks of cells, the same masks for every image."""

    cells: int
    output: Output

    def under(
        self,
        model: nn.Module,
        images: Images,
        targets: Labels,
        scenes: Scenes | None,
        masks: Tensor,
    ) -> Curves:
        """The target's output under every mask (step, cell): (batch, step), float64."""
        empty = gone_entirely(images, self.removal(images, scenes))
        masks = masks.to(images).view(-1, 1, self.cells, self.cells)

        def copies(rows: slice, columns: slice) -> Copies:
            seen = functional.interpolate(masks[columns], images.shape[2:], mode="nearest")
            start = empty[rows, None]
            return (start + seen * (images[rows, None] - start)).flatten(0, 1)

        return outputs(model, images, targets, copies, len(masks), self.output).double()

    def spread(self, effects: Effects, images: Images) -> Heatmaps:
        """Each cell's value at its pixels."""
        cells = effects.to(images.dtype).view(-1, 1, self.cells, self.cells)
        return functional.interpolate(cells, images.shape[2:], mode="nearest")[:, 0]


@configured
class SobolIndices(_Masking):
    r"""Total Sobol indices of a grid's cells (Fel et al. 2021).

    $S_{T_i} = \frac{1}{2 N V} \sum_{j=1}^N (f(A_j) - f(A^{(i)}_j))^2$ (Jansen 1999), V the variance
    of f(A): the share of the output's variance under random masks in 0..1 that is due to cell i,
    its interactions included. A and B are halves of a scrambled Sobol sequence (Owen 1998), the
    mask $A^{(i)}$ is A with cell i of B; each blends the image with the imputed one.

    Never negative: it does not say in which direction a cell acts. Indices of all cells sum to 1
    where cells add up, and to more where they interact. An output that never changes has none, and
    its heatmap is empty.

    Cost: designs x (cells^2 + 1) forward passes: 1,168 with the defaults.

    Args:
        cells: of a side of the grid; the paper takes 11.
        designs: N, a power of 2; the paper takes 32.
        output: what is explained, the logit or the probability.
        imputer: what is seen where a mask is 0.
        seed: of the scrambling.
    """

    imputer: Imputer
    cells: Cells = 6
    designs: Annotated[int, Range(2, 1024)] = 32
    output: Output = "logit"
    seed: Seed = 0

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return Cost(forward=self.designs * (self.cells**2 + 1), backward=0)

    def explain(
        self, model: nn.Module, images: Images, targets: Labels, scenes: Scenes | None
    ) -> Heatmaps:
        """The total index of every cell at its pixels."""
        masks = _jansen(self.designs, self.cells**2, self.seed)
        values = self.under(model, images, targets, scenes, masks)
        base, swapped = values[:, : self.designs], values[:, self.designs :]
        swapped = swapped.view(len(values), self.cells**2, self.designs)
        return self.spread(total_indices(base, swapped), images)


def total_indices(base: Curves, swapped: Tensor) -> Effects:
    """Jansen's estimate (batch, cell) from f(A) (batch, N) and f(A with a cell of B).

    It is 0 without variance.
    """
    variance = base.var(1, correction=1, keepdim=True)
    raw = (base[:, None] - swapped).square().mean(2) / 2
    return torch.where(variance > 0, raw / variance.clamp(min=1e-300), 0)


@cache
def _jansen(designs: int, cells: int, seed: int) -> Tensor:
    """A, and A with each cell of B: (designs x (cells + 1), cells)."""
    with torch.inference_mode(False):
        engine = torch.quasirandom.SobolEngine(2 * cells, scramble=True, seed=seed)
        first, second = engine.draw(designs).split(cells, 1)
        swapped = first.expand(cells, -1, -1).clone()
        place = torch.arange(cells)
        swapped[place, :, place] = second.T
        return torch.cat([first, swapped.flatten(0, 1)])


@configured
class HSIC(_Masking):
    r"""How far the output depends on whether a cell is seen (Novello et al. 2022).

    $\mathrm{HSIC}_i = \frac{1}{(N-1)^2} \mathrm{tr}(K_i H L H)$, the Hilbert-Schmidt independence
    criterion of cell i's mask (0 or 1 with probability 1/2; kernel $[z = z'] - 1/2$) and the output
    (a Gaussian kernel as wide as the median distance of outputs), H the centring matrix. 0 in the
    limit where the output does not depend on the cell alone; never negative, so without direction.

    Pitfalls: a cell that acts only together with another is not seen in the limit (the paper's
    interactions are not included); noise is about 1 / samples. An output that never changes gives
    an empty heatmap.

    Cost: `samples` forward passes.

    Args:
        cells: of a side of the grid; the paper takes 7.
        samples: N; the paper takes 1536.
        output: what is explained, the logit or the probability.
        imputer: what is seen where a mask is 0.
        seed: of the masks.
    """

    imputer: Imputer
    cells: Cells = 6
    samples: Annotated[int, Range(4, 8192)] = 384
    output: Output = "logit"
    seed: Seed = 0

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return Cost(forward=self.samples, backward=0)

    def explain(
        self, model: nn.Module, images: Images, targets: Labels, scenes: Scenes | None
    ) -> Heatmaps:
        """Every cell's criterion at its pixels."""
        source = torch.Generator().manual_seed(self.seed)
        masks = torch.rand(self.samples, self.cells**2, generator=source) < 0.5
        values = self.under(model, images, targets, scenes, masks)
        centred = masks.to(values) - 0.5
        found = ops.in_chunks(lambda some: dependence(some, centred), values, size=8)
        return self.spread(found, images)


def dependence(values: Curves, centred: Tensor) -> Effects:
    """HSIC (batch, cell) of outputs (batch, N) and masks less a half (N, cell)."""
    apart = (values[:, :, None] - values[:, None]).abs()
    width = apart.flatten(1).median(1).values[:, None, None]
    kernel = torch.exp(-(apart**2) / (2 * width.clamp(min=1e-12) ** 2))
    kernel = kernel - kernel.mean(1, keepdim=True)
    kernel = kernel - kernel.mean(2, keepdim=True)
    # The mask's kernel is 2 (z - 1/2)(z' - 1/2).
    found = 2 * torch.einsum("nc,bnm,mc->bc", centred, kernel, centred)
    return found / (values.shape[1] - 1) ** 2
