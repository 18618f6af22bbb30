"""Holes of many images filled at once: every lost pixel is the weighted mean of its neighbours.

The linear system of Rong et al. 2022 (ICML, "A consistent and efficient evaluation strategy for
attribution methods", noisy linear imputation): for each lost pixel i

    sum over neighbours j of w_ij (x_i - x_j) = 0,    w = 1/6 beside and above, 1/12 across corners,

neighbours beyond the border left out. It is solved for all planes together by conjugate gradients
with one multigrid cycle as preconditioner: a coarse cell is unknown where all of its pixels are
lost, elsewhere its correction is 0. The first guess comes from the same pyramid. A plane is done
when the root mean square of its last correction is below the tolerance; it is left alone then, so
that its result does not depend on the others in the batch.

Planes are the channels of one image in channels-last order here: neighbouring numbers in memory
belong to different planes, and the stencil is a depthwise convolution, on a CPU ten times faster
than one convolution a plane.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.types import Holes, Planes, Stack

_STENCIL = ((1, 2, 1), (2, 0, 2), (1, 2, 1))  # in twelfths
_DAMPING = 0.9  # below 1, or strips one pixel wide would not converge
_COARSEST = 8
_SWEEPS = 6  # on the coarsest level, which has at most 8 x 8 cells
_CYCLES = 100  # more than ever needed: a cycle leaves a fifth to a third of the error


def filled(planes: Planes, lost: Holes, tolerance: float) -> Planes:
    """The planes with their lost pixels filled; what is not lost stays as it is.

    `tolerance` is the root mean square, over a plane's lost pixels, of the last correction; the
    error that is left is mostly a third of it. A plane that has lost all of its pixels is given its
    own mean.
    """
    everything = lost.flatten(1).all(1)[:, None, None]
    if everything.any():
        planes = torch.where(everything, planes.mean((1, 2), keepdim=True), planes)
        lost = lost & ~everything
    unknown = _transposed(lost.to(planes.dtype))
    pyramid = _Pyramid.over(unknown)
    values = _solve(pyramid, pyramid.guess(0, _transposed(planes)), tolerance)
    return values[0].flatten(1).contiguous().view_as(planes)


def _transposed(planes: Planes) -> Stack:
    """The planes as channels of one image, channels last."""
    count, height, width = planes.shape
    last = planes.reshape(count, -1).t().contiguous()
    return last.view(1, height, width, count).permute(0, 3, 1, 2)


def _solve(pyramid: "_Pyramid", values: Stack, tolerance: float) -> Stack:
    """Conjugate gradients, preconditioned by a multigrid cycle, until every plane is done."""
    least = torch.finfo(values.dtype).tiny
    size = _over_plane(pyramid.unknown[0]).clamp(min=1)
    left = pyramid.pull(0, values)
    way = pyramid.cycle(0, left)
    now = _over_plane(left * way)
    busy = torch.ones_like(now)
    for _ in range(_CYCLES):
        pulled = pyramid.pull(0, way)
        length = busy * now / (-_over_plane(way * pulled)).clamp(min=least)
        values = values.addcmul(length, way)
        change = length.square() * _over_plane(way.square()) / size
        busy = busy * (change > tolerance**2)
        if not busy.any():
            break
        left.addcmul_(length, pulled)
        step, before = pyramid.cycle(0, left), now
        now = _over_plane(left * step)
        way = torch.addcmul(step, now / before.clamp(min=least), way)
    return values


def _over_plane(values: Stack) -> Stack:
    return values.sum((2, 3), keepdim=True)


@dataclass(frozen=True)
class _Pyramid:
    """The unknown cells of every level, from pixels up, and what the stencil needs there.

    `weights` is the sum of a cell's weights, below 1 at the border; `steps` is the step of a
    damped relaxation, 0 at known cells.
    """

    kernel: Tensor
    unknown: tuple[Stack, ...]
    weights: tuple[Stack, ...]
    steps: tuple[Stack, ...]

    @classmethod
    def over(cls, unknown: Stack) -> "_Pyramid":
        """Levels up to one of 8 x 8 cells, or until no cell is unknown."""
        stencil = torch.tensor(_STENCIL, dtype=unknown.dtype, device=unknown.device) / 12
        count = unknown.shape[1]
        kernel = stencil.expand(count, 1, 3, 3).contiguous(memory_format=torch.channels_last)
        levels = [unknown]
        while max(levels[-1].shape[2:]) > _COARSEST:
            whole = _means(levels[-1]) >= 1
            if not whole.any():
                break
            levels.append(whole.to(unknown.dtype))
        ones = [torch.ones_like(level[:, :1]) for level in levels]
        around = [functional.conv2d(one, stencil[None, None], padding=1) for one in ones]
        weights = tuple(
            w.expand_as(m).contiguous(memory_format=torch.channels_last)
            for w, m in zip(around, levels, strict=True)
        )
        steps = tuple(_DAMPING * m / w for m, w in zip(levels, weights, strict=True))
        return cls(kernel, tuple(levels), weights, steps)

    def pull(self, level: int, values: Stack, rest: Stack | None = None) -> Stack:
        """By how much the neighbours pull each unknown cell from its value, and `rest`."""
        found = functional.conv2d(values, self.kernel, padding=1, groups=values.shape[1])
        found = found if rest is None else found.add_(rest)
        found.addcmul_(self.weights[level], values, value=-1)
        return found.mul_(self.unknown[level])

    def relaxed(self, level: int, values: Stack, rest: Stack | None = None) -> Stack:
        """The values after one damped Jacobi sweep."""
        found = functional.conv2d(values, self.kernel, padding=1, groups=values.shape[1])
        found = found if rest is None else found.add_(rest)
        found.addcmul_(self.weights[level], values, value=-1)
        return torch.addcmul(values, found, self.steps[level])

    def cycle(self, level: int, rest: Stack) -> Stack:
        """One V-cycle from 0: the correction that `rest` asks for, about."""
        values = rest * self.steps[level]
        if max(rest.shape[2:]) <= _COARSEST:
            for _ in range(_SWEEPS - 1):
                values = self.relaxed(level, values, rest)
            return values
        if level + 1 < len(self.unknown):
            above = functional.avg_pool2d(
                self.pull(level, values, rest), 2, ceil_mode=True, divisor_override=1
            )
            coarse = self.cycle(level + 1, above * self.unknown[level + 1])
            values = values.addcmul(_spread(coarse, values), self.unknown[level])
        return self.relaxed(level, values, rest)

    def guess(self, level: int, values: Stack) -> Stack:
        """The values with unknown cells filled from the levels above, relaxed once a level."""
        unknown = self.unknown[level]
        known = 1 - unknown
        if max(values.shape[2:]) <= _COARSEST:
            mean = _over_plane(values * known) / _over_plane(known).clamp(min=1)
            values = torch.lerp(values, mean.expand_as(values), unknown)
            for _ in range(_SWEEPS):
                values = self.relaxed(level, values)
            return values
        share = _means(known)
        coarse = _means(values * known).div_(share.clamp(min=0.1))
        if level + 1 < len(self.unknown):
            coarse = self.guess(level + 1, coarse)
        return self.relaxed(level, torch.lerp(values, _spread(coarse, values), unknown))


def _means(values: Stack) -> Stack:
    """Every two by two cells' mean; at a border of odd length of fewer."""
    return functional.avg_pool2d(values, 2, ceil_mode=True, count_include_pad=False)


def _spread(coarse: Stack, like: Stack) -> Stack:
    """The coarse level's values between its cells' centres, on the level below."""
    fine = functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    return fine[..., : like.shape[2], : like.shape[3]]
