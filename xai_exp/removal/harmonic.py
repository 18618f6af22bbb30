"""Holes of many images filled at once: every lost pixel is the weighted mean of its neighbours.

The linear system of Rong et al. 2022 (ICML, "A consistent and efficient evaluation strategy for
attribution methods", noisy linear imputation): for each lost pixel i

    sum over neighbours j of w_ij (x_i - x_j) = 0,    w = 1/6 beside and above, 1/12 across corners,

neighbours beyond the border left out. It is solved for all planes together by conjugate gradients
with one multigrid cycle as preconditioner: a coarse cell is unknown where all of its pixels are
lost, elsewhere its correction is 0. The first guess comes from the same pyramid.

Each equation is divided by the sum of its weights, so that a sweep (Jacobi) is a convolution and a
multiplication. It needs no damping: the stencil has no weight at its centre, and of what changes
from pixel to pixel a sweep leaves a third.

A plane is done when the error that its next correction would leave is below the tolerance. That is
told from the corrections: each is about as large as the error before it, and the share by which
they shrink is the share of the error that is left. A plane that is done is left alone, so that its
result does not depend on the others in the batch.

Planes are last in memory and the channels of one image here: neighbouring numbers belong to
different planes, and the stencil is a depthwise convolution, on a CPU ten times faster than one
convolution a plane. Results take the memory of what is needed no more, to stay in the cache.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

PlanesLast = Float[Tensor, "height width plane"]
Stack = Float[Tensor, "1 plane _ _"]


_STENCIL = ((1, 2, 1), (2, 0, 2), (1, 2, 1))  # in twelfths
_COARSEST = 8
_SWEEPS = 2  # after the correction from above; even, or images one pixel wide would not converge
_COARSEST_SWEEPS = 6  # of at most 8 x 8 cells
_CYCLES = 100  # more than ever needed: a cycle leaves a thirtieth to a third of the error
_FIRST_SHARE = 0.25  # of the error, left by the first correction; the others' is measured
_SAFETY = 2.0  # a correction is smaller than the error, and the last is no conjugate one


@torch.no_grad()
def filled(planes: PlanesLast, lost: PlanesLast, tolerance: float) -> PlanesLast:
    """The planes with their lost pixels filled; what is not lost stays as it is.

    `lost` is 1 where a pixel is lost and 0 elsewhere. `tolerance` is the root mean square, over a
    plane's lost pixels, of the error that may be left. A plane that has lost all of its pixels is
    given its own mean.
    """
    values, unknown = (given[None].permute(0, 3, 1, 2) for given in (planes, lost))
    count = unknown.sum((2, 3), keepdim=True)
    everything = count == unknown[0, 0].numel()
    if everything.any():
        values = torch.where(everything, values.mean((2, 3), keepdim=True), values)
        unknown = unknown * ~everything
    known = torch.addcmul(values, values, unknown, value=-1)
    found = _solve(_Pyramid.over(unknown), known, count.clamp_(min=1), tolerance)
    return found[0].permute(1, 2, 0)


def _solve(pyramid: "_Pyramid", known: Stack, count: Stack, tolerance: float) -> Stack:
    """Conjugate gradients, preconditioned by a multigrid cycle, until every plane is done."""
    least = torch.finfo(known.dtype).tiny
    values = pyramid.guess(0, known)
    way = left = pyramid.swept(0, values, known.sub_(values))
    now = size = torch.full_like(count, torch.inf)
    length = busy = torch.ones_like(count)
    for cycle in range(_CYCLES):
        step, before, earlier = pyramid.cycle(0, left), now, size
        now = pyramid.dot(left, step)
        size = (step.square().sum((2, 3), keepdim=True) / count).sqrt()
        share = (size / earlier.clamp(min=least)).clamp(max=0.9) if cycle else _FIRST_SHARE
        done = _SAFETY * size * share / (1 - share) < tolerance
        last, busy = length * busy * done, busy * ~done
        if not busy.any():
            return values.addcmul_(last, step)
        way = torch.addcmul(step, busy * now / before.clamp(min=least), way, out=step)
        pulled = torch.addcmul(way, pyramid.around(way), pyramid.steps[0], value=-1)
        length = last + busy * now / pyramid.dot(way, pulled).clamp(min=least)
        values.addcmul_(length, way)
        left.addcmul_(length, pulled, value=-1)
    return values


@dataclass(frozen=True)
class _Pyramid:
    """The unknown cells of every level, from pixels up, and what a sweep needs there.

    `steps` is 1 over the sum of an unknown cell's weights, which is below 1 at the border, and 0
    at known cells; `shares` is 1 over the share of each cell above that is known, for the guess.
    """

    kernel: Tensor
    weights: Tensor
    unknown: tuple[Stack, ...]
    steps: tuple[Stack, ...]
    shares: tuple[Stack, ...]

    @classmethod
    def over(cls, unknown: Stack) -> "_Pyramid":
        """Levels up to one of 8 x 8 cells, or until no cell is unknown."""
        stencil = torch.tensor(_STENCIL, dtype=unknown.dtype, device=unknown.device) / 12
        kernel = stencil.expand(unknown.shape[1], 1, 3, 3)
        levels, shares = [unknown], []
        while max(levels[-1].shape[2:]) > _COARSEST:
            lost = _means(levels[-1])
            shares.append((1 - lost).clamp_(min=0.1).reciprocal_())
            whole = lost >= 1
            if not whole.any():
                break
            levels.append(whole.to(unknown.dtype))
        steps = tuple(level / _weights(level) for level in levels)
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        return cls(kernel, _weights(unknown).flatten(), tuple(levels), steps, tuple(shares))

    def dot(self, one: Stack, other: Stack) -> Stack:
        """The product in which the equations, divided by their weights, are symmetric."""
        product = (one * other)[0].permute(1, 2, 0).flatten(0, 1)
        return (self.weights @ product).view(1, -1, 1, 1)

    def around(self, values: Stack) -> Stack:
        """The weighted sum of every cell's neighbours."""
        return functional.conv2d(values, self.kernel, padding=1, groups=values.shape[1])

    def swept(self, level: int, values: Stack, rest: Stack) -> Stack:
        """`rest`, and at unknown cells the weighted mean of the neighbours too."""
        found = self.around(values)
        return torch.addcmul(rest, found, self.steps[level], out=found)

    def cycle(self, level: int, rest: Stack) -> Stack:
        """One V-cycle from 0: the correction that `rest` asks for, about.

        The first sweep from 0 gives `rest` itself, and leaves what the neighbours pull then.
        """
        values = rest
        if level + 1 < len(self.unknown):
            above = functional.avg_pool2d(self.around(rest), 2, ceil_mode=True, divisor_override=1)
            coarse = _spread(self.cycle(level + 1, above.mul_(self.steps[level + 1])), rest)
            values = torch.addcmul(rest, coarse, self.unknown[level], out=coarse)
        for _ in range(_SWEEPS if level < len(self.shares) else _COARSEST_SWEEPS):
            values = self.swept(level, values, rest)
        return values

    def guess(self, level: int, known: Stack) -> Stack:
        """The known values, and unknown cells filled from the levels above and swept."""
        unknown, sweeps = self.unknown[level], 1
        if level < len(self.shares):
            coarse = _means(known).mul_(self.shares[level])
            if level + 1 < len(self.unknown):
                coarse = self.guess(level + 1, coarse)
            values = torch.addcmul(known, _spread(coarse, known), unknown)
        else:
            cells = unknown[0, 0].numel() - unknown.sum((2, 3), keepdim=True)
            mean = known.sum((2, 3), keepdim=True) / cells.clamp(min=1)
            values, sweeps = torch.addcmul(known, unknown, mean), _COARSEST_SWEEPS
        for _ in range(sweeps):
            values = self.swept(level, values, known)
        return values


def _weights(level: Stack) -> Tensor:
    """The sum of every cell's weights: the stencil is (1 2 1) by (1 2 1), less its centre."""
    sums = (
        level.new_tensor([4 - (i == 0) - (i == size - 1) for i in range(size)])
        for size in level.shape[2:]
    )
    return (torch.outer(*sums) - 4) / 12


def _means(values: Stack) -> Stack:
    """Every two by two cells' mean; at a border of odd length of fewer."""
    return functional.avg_pool2d(values, 2, ceil_mode=True, count_include_pad=False)


def _spread(coarse: Stack, like: Stack) -> Stack:
    """The coarse level's values between its cells' centres, on the level below."""
    fine = functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    return fine[..., : like.shape[2], : like.shape[3]]
