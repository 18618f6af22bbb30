"""Integrated gradients along other ways than the straight one.

Conventions: as in gradients.py. Along any way the sum of a heatmap is the logit at its end less
that at its beginning, up to the error of the sum that stands for the integral; a network of linear
functions has none, since each step's gradient is multiplied by how far the step truly goes.
"""

from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.config import Added, InputError, Range, configured
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.gradients.baselines import Baseline, Share, baseline_images
from xai_exp.explainers.promises import Integral, Promises, value
from xai_exp.explainers.pullback import gradients_at, in_fewer_steps, pullback
from xai_exp.types import Heatmaps, Images, Labels, Rows, Scores

# Gradients as near as this (by their share) are alike, lest rounding choose which pixels move.
_NEAR = 1e-6


@configured
class BlurIG(Integral):
    r"""Gradients integrated along the way from a blurred image to the sharp one.

    $\int \partial f_t(L(x, s)) / \partial x \cdot \partial L(x, s) / \partial s \, ds$, s from
    `sigma` to 0, where $L(x, s)$ is the image under a Gaussian of standard deviation s (Xu et al.
    2020, sec. 3). No baseline of another colour comes in, and each step adds detail of one scale.
    It sums to $f_t(x) - f_t(L(x, \sigma))$. At the border the Gaussian's weights are normalised to
    the image, where the authors' code adds black.

    Cost: `steps` forward and backward passes; with `most`, two forward passes and twice as many
    points again, and again, for the images whose sum is still off.

    Args:
        steps: of equal width in s; each has its gradient in its middle.
        most: steps up to which they are doubled for each image whose sum is off by more than 1 %;
            null: as many as `steps`, whatever the sum.
        sigma: the strongest blur's standard deviation, as a share of the image's longer side.
    """

    steps: Annotated[int, Range(1, 10_000)] = 32
    most: Annotated[int | None, Range(1, 10_000), Added(None)] = None
    sigma: Share = 0.2

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return Cost(forward=1, backward=1) * self.steps

    def summed(self, model: nn.Module, images: Images, targets: Labels, steps: int) -> Heatmaps:
        """The sum over so many points on the way, and over channels."""
        strongest = self.sigma * max(images.shape[2:])  # in pixels
        total = torch.zeros_like(images)

        def points(group: range) -> Tensor:
            return scale_space(images, [strongest * (i + 0.5) / steps for i in group])

        for group, found in gradients_at(model, images, targets, steps, points):
            ends = [strongest * i / steps for i in range(group.start, group.stop + 1)]
            total += (-scale_space(images, ends).diff(dim=0) * found).sum(0)
        return ops.channel_sum(total)

    def promised(self, model: nn.Module, images: Images, targets: Labels) -> Scores:
        """f(x) - f(the blurred image)."""
        start = scale_space(images, [self.sigma * max(images.shape[2:])])[0]
        return value(model, images, targets) - value(model, start, targets)


def scale_space(images: Images, sigmas: list[float]) -> Tensor:
    """The images under Gaussians: (sigma, batch, channel, height, width); 0 leaves them as is.

    As products with one matrix for each axis, which on small images is faster than convolutions
    with kernels as large as they.

    >>> scale_space(torch.full((1, 1, 2, 3), 0.5), [0.0, 1.0]).unique()
    tensor([0.5000])
    """
    down, across = (_blurring(images, size, sigmas) for size in images.shape[2:])
    return down @ images @ across.mT


def _blurring(images: Images, size: int, sigmas: list[float]) -> Tensor:
    """The matrices that blur one axis: (sigma, 1, 1, size, size)."""
    place = torch.arange(size, device=images.device, dtype=images.dtype)
    apart = (place[:, None] - place) ** 2
    width = images.new_tensor(sigmas).view(-1, 1, 1, 1, 1)
    # A Gaussian far narrower than a pixel is the identity, also where it would divide by zero.
    weights = (-apart / (2 * width**2).clamp_min(1e-4)).exp()
    return weights / weights.sum(-1, keepdim=True)


@configured
class GuidedIG(Promises):
    r"""Gradients integrated along a way that goes first where the network hardly answers.

    From the baseline each step moves the share `fraction` of the values whose gradients are the
    smallest in absolute value, further ones if these have arrived, until the step has gone its
    part of the distance $\sum_i |x_i - x'_i|$ (Kapishnikov et al. 2021, algorithm 1). So noise from
    regions of steep gradients, which the straight way crosses, is not gathered. Values with equal
    gradients move together. `anchors` points of the straight way must be visited, which bounds how
    far the two part: with `anchors = steps - 1`, or `fraction` 1, it is integrated gradients. On a
    smooth network it sums to $f_t(x) - f_t(x')$. The way is drawn to kinks of ReLUs, where slopes
    change sign from step to step, so that on networks with kinks some per cent of the sum may be
    missing however many steps there are: so steps are not doubled here, and the gap is stored.

    Cost: `steps` forward and backward passes, one more with trapezoid.

    Args:
        steps: on the way; a multiple of `anchors` + 1.
        method: what gradient a step is multiplied by. left: that of its beginning, as in the
            paper's algorithm; since it was chosen for being small, the sum falls short. trapezoid:
            the mean of those at both ends.
        fraction: the share of values that move together.
        anchors: points of the straight way that are visited, evenly spaced.
        baseline: x': a grey level, or each image's own: `border` (the background of rendered
            scenes), `mean` (by channel) or `blur`.
        blur: the Gaussian's standard deviation, as a share of the image's longer side.
    """

    steps: Annotated[int, Range(1, 10_000)] = 84
    method: Literal["trapezoid", "left"] = "trapezoid"
    fraction: Annotated[float, Range(0, 1, exclusive_low=True)] = 0.1
    anchors: Annotated[int, Range(0, 9_999)] = 20
    baseline: Baseline = 0.0
    blur: Share = 0.2

    def __post_init__(self) -> None:
        """Steps are the same between any two anchors."""
        if self.steps % (self.anchors + 1):
            raise InputError(
                f"GuidedIG.steps: got {self.steps} with {self.anchors} anchors; allowed: a "
                f"multiple of {self.anchors + 1}"
            )

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return Cost(forward=1, backward=1) * (self.steps + (self.method == "trapezoid"))

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The integral at every pixel, summed over channels."""
        start = baseline_images(images, self.baseline, self.blur)
        way = images - start
        distance = way.flatten(1).abs().sum(1)
        between = self.steps // (self.anchors + 1)
        behind = 0.5 if self.method == "trapezoid" else 0.0
        model = in_fewer_steps(model, images, self.steps)
        at, move, total = start, torch.zeros_like(way), torch.zeros_like(way)
        for step in range(self.steps):
            found = pullback(model, at, targets)
            total += behind * move * found
            visited, taken = divmod(step, between)
            anchor = start + way * ((visited + 1) / (self.anchors + 1))
            left = distance * ((between - 1 - taken) / self.steps)
            apart = (anchor - at).flatten(1).abs()
            share = shares(found.flatten(1), apart, left, self.fraction).view_as(at)
            move = (anchor - at) * share
            total += (1 - behind) * move * found
            # Exactly there, since a value that has arrived is not among those that can move.
            at = anchor.where(share == 1, at + move)
        if behind:
            total += behind * move * pullback(model, at, targets)
        return ops.channel_sum(total)

    def promised(self, model: nn.Module, images: Images, targets: Labels) -> Scores:
        """f(x) - f(x')."""
        start = baseline_images(images, self.baseline, self.blur)
        return value(model, images, targets) - value(model, start, targets)


def shares(slopes: Rows, apart: Rows, left: Scores, fraction: float) -> Rows:
    """Which share of its remaining way each value goes, flattest first, until `left` remains.

    Args:
        slopes: the gradient at every value.
        apart: how far every value has still to go.
        left: how far all together must be afterwards.
        fraction: of all values, those that move together.
    """
    count = slopes.shape[1]
    together = int(fraction * (count - 1)) + 1
    ranked, order = slopes.abs().where(apart > 0, torch.inf).sort(1)
    gone = functional.pad(apart.gather(1, order).cumsum(1), (1, 0))
    wanted = gone[:, -1:] - left[:, None]
    first = torch.zeros_like(order[:, :1])
    last = first
    # Groups of values one after another, each with all that are alike at its upper end; the first
    # that more than suffices goes a part of the way.
    for _ in range(-(-count // together)):
        upper = ranked.gather(1, (first + together - 1).clamp_max(count - 1))
        last = torch.searchsorted(ranked, upper * (1 + _NEAR), right=True)
        first = torch.where(gone.gather(1, last) < wanted, last, first)
    before, after = gone.gather(1, first), gone.gather(1, last)
    tiny = torch.finfo(apart.dtype).tiny
    partly = ((wanted - before) / (after - before).clamp_min(tiny)).clamp(0, 1)
    place = torch.arange(count, device=order.device)
    share = torch.where(place < first, 1.0, partly.where(place < last, 0.0))
    return torch.zeros_like(apart).scatter(1, order, share).where(left[:, None] > 0, 1.0)
