"""Methods that need nothing but gradients of the target's logit.

Conventions: the gradient is that of the logit, not of the probability; it is signed and summed over
channels; heatmaps are in units of logit per grey level (gradient) or of logit (all others).
"""

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import torch
from torch import nn

from xai_exp import ops
from xai_exp.config import Range, configured
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.pullback import pullback
from xai_exp.types import Heatmaps, Images, Labels

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
class IntegratedGradients:
    r"""Gradients averaged along the straight way from a baseline to the image, times the way.

    $(x - x') \int_0^1 \partial f_t(x' + a (x - x')) / \partial x \, da$ (Sundararajan et al. 2017,
    eq. 1). It sums to $f_t(x) - f_t(x')$, up to the error of the sum that stands for the integral.

    Cost: `steps` forward and backward passes.

    Args:
        steps: points on the way.
        method: how the integral is summed: gauss_legendre (exact for smooth ways), midpoint,
            trapezoid, left (as iNNvestigate has it) or right (as DeepExplain).
        baseline: the grey level of the uniform baseline x', or `border`: each image's own, the
            median of the pixels on its border, which is the background of rendered scenes.
    """

    steps: Annotated[int, Range(1, 10_000)] = 32
    method: Literal["gauss_legendre", "midpoint", "trapezoid", "left", "right"] = "gauss_legendre"
    baseline: Annotated[float, Range(-1e6, 1e6)] | Literal["border"] = 0.0

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return _ONCE * self.steps

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """Integrated gradients at every pixel, summed over channels."""
        start = uniform(images, self.baseline)
        places, weights = _SUMS[self.method](self.steps)
        return ops.channel_sum(path_integral(model, images, start, targets, places, weights))


def uniform(images: Images, level: float | str) -> Images:
    """Images of one level: the one given, or for `border` each image's and channel's own."""
    if level != "border":
        return torch.full_like(images, float(level))
    return ops.border_level(images).expand_as(images).contiguous()


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
    # Few images take several points at once, so that a chunk is full.
    together = max(1, ops.chunk_size(images) // max(1, len(images)))
    for first in range(0, len(places), together):
        group = slice(first, first + together)
        place = images.new_tensor(places[group]).view(-1, 1, 1, 1, 1)
        weight = images.new_tensor(weights[group]).view(-1, 1, 1, 1, 1)
        points = (start + place * way).flatten(0, 1)
        found = pullback(model, points, targets.repeat(len(place)))
        total += (weight * found.view(len(place), *images.shape)).sum(0)
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
