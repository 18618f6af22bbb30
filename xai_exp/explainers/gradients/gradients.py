"""Methods that need nothing but gradients of the target's logit.

Conventions: the gradient is that of the logit, not of the probability; it is signed and summed over
channels; heatmaps are in units of logit per grey level (gradient) or of logit (all others).
"""

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import Added, Range, configured
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.gradients.baselines import Baseline, Share, baseline_images, several
from xai_exp.explainers.promises import Integral, value
from xai_exp.explainers.pullback import gradients_at, pullback
from xai_exp.types import Heatmaps, Images, Labels, Scores

_ONCE = Cost(forward=1, backward=1)


@configured
class Gradient:
    r"""The gradient of the target's logit: $\partial f_t / \partial x$ (Simonyan et al. 2014).

    With `absolute` it is sensitivity analysis: the absolute gradient, which says how much a pixel
    matters but not in which direction.

    Cost: one forward and one backward pass.

    Args:
        absolute: whether to take absolute values before channels are summed.
    """

    absolute: bool = False

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return _ONCE

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The gradient at every pixel, summed over channels."""
        found = pullback(model, images, targets)
        return ops.channel_sum(found.abs() if self.absolute else found)


@configured
class InputXGradient:
    r"""Input times gradient: $x \cdot \partial f_t / \partial x$ (Shrikumar et al. 2016).

    On a network of ReLUs without biases it sums to the logit, and LRP-0 is the same thing.

    Cost: one forward and one backward pass.
    """

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return _ONCE

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """Input times gradient at every pixel, summed over channels."""
        return ops.channel_sum(images * pullback(model, images, targets))


@configured
class IntegratedGradients(Integral):
    r"""Gradients averaged along the straight way from a baseline to the image, times the way.

    $(x - x') \int_0^1 \partial f_t(x' + a (x - x')) / \partial x \, da$ (Sundararajan et al. 2017,
    eq. 1). It sums to $f_t(x) - f_t(x')$, up to the error of the sum that stands for the integral.
    Over several baselines it is the mean (Sturmfels et al. 2020), and so is what it sums to.

    Cost: `steps` forward and backward passes for each baseline; with `most`, two forward passes and
    twice as many points again, and again, for the images whose sum is still off.

    Args:
        steps: points on the way.
        most: points up to which they are doubled for each image whose sum is off by more than 1 %
            of $|f_t(x) - f_t(x')|$; null: as many as `steps`, whatever the sum.
        method: how the integral is summed: gauss_legendre (exact for smooth ways), midpoint,
            trapezoid, left (as iNNvestigate has it) or right (as DeepExplain).
        baseline: x', or a list of several. A grey level gives a uniform image; `border` each
            image's own, the median of the pixels on its border, which is the background of rendered
            scenes; `mean` that of the image's channels; `blur` the image under a Gaussian.
        blur: the Gaussian's standard deviation, as a share of the image's longer side.
    """

    steps: Annotated[int, Range(1, 10_000)] = 32
    most: Annotated[int | None, Range(1, 10_000), Added(None)] = None
    method: Literal["gauss_legendre", "midpoint", "trapezoid", "left", "right"] = "gauss_legendre"
    baseline: Baseline | tuple[Baseline, ...] = 0.0
    blur: Share = 0.2

    def __post_init__(self) -> None:
        """A list of baselines must hold one."""
        several("IntegratedGradients.baseline", self.baseline)

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return _ONCE * self.steps * len(self._baselines)

    @property
    def _baselines(self) -> tuple[float | str, ...]:
        return several("IntegratedGradients.baseline", self.baseline)

    def summed(self, model: nn.Module, images: Images, targets: Labels, steps: int) -> Heatmaps:
        """The sum over so many points on the way, and over channels."""
        places, weights = _SUMS[self.method](steps)
        total = torch.zeros_like(images)
        for baseline in self._baselines:
            start = baseline_images(images, baseline, self.blur)
            total += path_integral(model, images, start, targets, places, weights)
        return ops.channel_sum(total / len(self._baselines))

    def promised(self, model: nn.Module, images: Images, targets: Labels) -> Scores:
        """f(x) - f(x'), in the mean over the baselines."""
        starts = [baseline_images(images, one, self.blur) for one in self._baselines]
        empty = sum(value(model, start, targets) for start in starts) / len(starts)
        return value(model, images, targets) - empty


def path_integral(
    model: nn.Module,
    images: Images,
    start: Images,
    targets: Labels,
    places: list[float],
    weights: list[float],
) -> Images:
    """The weighted sum of gradients on the way from `start` to `images`, times the way.

    Args:
        model: the network.
        images: where the way ends.
        start: where it begins.
        targets: the class of each image.
        places: points on the way, 0 at its beginning and 1 at its end.
        weights: of the points in the sum; they add up to 1.
    """
    way = images - start
    total = torch.zeros_like(images)
    place, weight = (images.new_tensor(row).view(-1, 1, 1, 1, 1) for row in (places, weights))

    def points(group: range) -> Tensor:
        return start + place[group.start : group.stop] * way

    for group, found in gradients_at(model, images, targets, len(places), points):
        total += (weight[group.start : group.stop] * found).sum(0)
    return way * total


def _gauss_legendre(steps: int) -> tuple[list[float], list[float]]:
    places, weights = np.polynomial.legendre.leggauss(steps)
    return list((places + 1) / 2), list(weights / 2)


def _trapezoid(steps: int) -> tuple[list[float], list[float]]:
    if steps == 1:
        return _even(0.5)(1)
    inner = [1 / (steps - 1)] * (steps - 2)
    ends = 0.5 / (steps - 1)
    return [i / (steps - 1) for i in range(steps)], [ends, *inner, ends]


def _even(offset: float) -> Callable[[int], tuple[list[float], list[float]]]:
    return lambda steps: ([(i + offset) / steps for i in range(steps)], [1 / steps] * steps)


_SUMS: dict[str, Callable[[int], tuple[list[float], list[float]]]] = {
    "gauss_legendre": _gauss_legendre,
    "trapezoid": _trapezoid,
    "left": _even(0.0),
    "midpoint": _even(0.5),
    "right": _even(1.0),
}
