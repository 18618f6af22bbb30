"""What the output loses, or keeps, while parts of the image are hidden: occlusion and RISE.

Conventions: the target's logit is watched (RISE can watch the probability, as its paper does);
hidden pixels are filled by the imputer in all channels together; only forward passes are made.
"""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.config import Count, InputError, Range, configured
from xai_exp.explainers.cost import SIDE, Cost
from xai_exp.explainers.perturbation.removal import (
    Output,
    Removing,
    Seed,
    gone_entirely,
    outputs,
)
from xai_exp.types import Copies, Curves, Heatmaps, Images, Imputer, Keys, Labels, Scenes


@configured
class Occlusion(Removing):
    r"""What the logit loses when a window is hidden that slides over the image.

    $R_p = \frac{1}{|W_p|} \sum_{w \in W_p} (f_t(x) - f_t(x \setminus w)) / |w|$ (Zeiler and Fergus
    2014, sec. 4.2), the mean over the windows $W_p$ that cover pixel p, each of which shares its
    drop among its |w| pixels (as in DeepExplain). A last window that does not fit is cut off at the
    border. Units of logit, signed. Windows that do not overlap (`stride` = `size`) sum to the drops
    of all windows, which for a linear network is $f_t(x) - f_t(\text{imputed})$.

    Pitfalls: a window smaller than an object that is recognised by any half of it shows nothing;
    one larger blurs. The edges of a window are new to the network, and may count as objects.

    Cost: a forward pass for each of (ceil((height - size) / stride) + 1) x (likewise) windows, and
    one of the image: 226 with the defaults at 64 x 64 pixels, which `cost` states.

    Args:
        size: side of the window in pixels.
        stride: of the window in pixels, at most its size.
        shared: whether a window's drop is divided by its number of pixels, or given to each of them
            as a whole (as in captum).
        imputer: fills the window.
        seed: of a random imputer.
    """

    imputer: Imputer
    size: Count = 8
    stride: Count = 4
    shared: bool = True
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.stride > self.size:
            raise InputError(
                f"Occlusion.stride: got {self.stride}; allowed: at most size, {self.size}"
            )

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap of 64 x 64 pixels."""
        return Cost(forward=1 + len(self._windows(SIDE)) ** 2, backward=0)

    def explain(
        self, model: nn.Module, images: Images, targets: Labels, scenes: Scenes | None
    ) -> Heatmaps:
        """The mean drop at every pixel."""
        removal = self.removal(images, scenes)
        down, across = (self._windows(side).to(images.device) for side in images.shape[2:])
        steps = torch.arange(-1, len(down) * len(across), device=images.device)

        def copies(rows: slice, columns: slice) -> Copies:
            window = steps[columns]  # -1: the image itself
            y, x = down[window // len(across)], across[window % len(across)]
            gone = y[:, :, None] & x[:, None] & (window >= 0)[:, None, None]
            return removal(rows, gone.expand(rows.stop - rows.start, -1, -1, -1))

        values = outputs(model, images, targets, copies, len(steps))
        drops = (values[:, :1] - values[:, 1:]).view(-1, len(down), len(across))
        down, across = down.to(drops), across.to(drops)
        if self.shared:
            drops = drops / (down.sum(1)[:, None] * across.sum(1))
        total = torch.einsum("yh,byx,xw->bhw", down, drops, across)
        return total / (down.sum(0)[:, None] * across.sum(0))

    def _windows(self, side: int) -> Tensor:
        """Which pixels along one side every window covers (window, pixel)."""
        number = 1 + max(0, -(-(side - self.size) // self.stride))
        starts = torch.arange(number)[:, None] * self.stride
        pixels = torch.arange(side)
        return (pixels >= starts) & (pixels < starts + self.size)


@configured
class RISE(Removing):
    r"""Randomised input sampling: what the output is on average while a pixel is seen.

    $S_p = \frac{1}{N q} \sum_{i=1}^N f_t(x \odot M_i) M_i(p)$ (Petsiuk et al. 2018, eq. 6). A mask
    M is a grid of `cells` x `cells` values, each 1 with probability q and else 0, enlarged
    bilinearly and shifted by a random part of a cell; where it is less than 1 the image is blended
    with the imputed one (the paper: with black). Its expectation is q at every pixel.

    Here f is the LOGIT; the paper takes the probability. Either way the map is an estimate of
    f's mean over masks plus what the pixel contributes, so its zero has no meaning, unless
    `centred` takes the mean off: then a pixel far from all that matters gets 0 in the mean. The
    paper does not; a logit far from 0 drowns the contributions then.

    Pitfalls: noise falls with the root of `masks` only and is largest where cells are small; masks
    leave grey halos that the data do not have.

    Cost: `masks` forward passes.

    Args:
        masks: N; the paper takes 4000 to 8000 for images of 224 x 224 pixels.
        cells: of a mask along each side.
        keep: q.
        output: what is averaged, the logit or the probability (paper).
        centred: whether the mean output over masks is taken off (not in the paper).
        imputer: what is seen where a mask is 0.
        seed: of the masks, drawn for each image.
    """

    imputer: Imputer
    masks: Count = 512
    cells: Annotated[int, Range(1, 64)] = 7
    keep: Annotated[float, Range(0, 1, exclusive_low=True, exclusive_high=True)] = 0.5
    output: Output = "logit"
    centred: bool = True
    seed: Seed = 0

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return Cost(forward=self.masks, backward=0)

    def explain(
        self, model: nn.Module, images: Images, targets: Labels, scenes: Scenes | None
    ) -> Heatmaps:
        """The mean of all masks, each weighed by what the network says under it."""
        empty = gone_entirely(images, self.removal(images, scenes))
        keys = ops.named_keys(ops.image_keys(images, self.seed), "rise")

        def copies(rows: slice, columns: slice) -> Copies:
            down, grids, across = self._factors(keys[rows], images, columns)
            seen = (down @ grids @ across.mT)[:, :, None]
            start = empty[rows, None]
            return (start + seen * (images[rows, None] - start)).flatten(0, 1)

        values = outputs(model, images, targets, copies, self.masks, self.output)
        if self.centred:
            values = values - values.mean(1, keepdim=True)

        def weighed(keys: Keys, values: Curves) -> Heatmaps:
            down, grids, across = self._factors(keys, images, slice(0, self.masks))
            right = (values[..., None, None] * grids) @ across.mT
            return torch.einsum("bnhs,bnsw->bhw", down, right)

        size = ops.chunk_size(images)
        return ops.in_chunks(weighed, keys, values, size=size) / (self.masks * self.keep)

    def _factors(self, keys: Keys, images: Tensor, wanted: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Some masks as products D G A^T: their grids G, enlarged and shifted by D and A.

        Shapes (batch, mask, height, cell), (batch, mask, cell, cell), (batch, mask, width, cell).
        """
        drawn = ops.keyed_uniform(keys, self.masks * (self.cells**2 + 2))
        drawn = drawn.view(len(keys), self.masks, -1)[:, wanted]
        grids = (drawn[..., 2:] < self.keep).to(images.dtype)
        tables = [_enlarging(side, self.cells).to(images) for side in images.shape[2:]]
        down, across = (
            table[(drawn[..., axis] * len(table)).long()] for axis, table in enumerate(tables)
        )
        return down, grids.view(*drawn.shape[:2], self.cells, self.cells), across


def _enlarging(side: int, cells: int) -> Tensor:
    """Bilinear weights of the cells at each pixel, for every shift: (shift, pixel, cell).

    The grid is enlarged to one cell more than the image has, so that any shift within a cell fits.
    """
    cell = -(-side // cells)
    weights = torch.eye(cells, dtype=torch.float64)[None]
    size = (cells + 1) * cell
    large = functional.interpolate(weights, size=size, mode="linear", align_corners=False)[0].T
    return torch.stack([large[shift : shift + side] for shift in range(cell)])
