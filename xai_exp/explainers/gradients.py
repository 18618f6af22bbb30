"""Methods that need nothing but gradients of the target's logit."""

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn

from xai_exp import ops
from xai_exp.config import Range, configured
from xai_exp.types import Heatmaps, Images, Labels


def gradients(model: nn.Module, images: Images, targets: Labels) -> Images:
    """The gradient of each image's target logit with respect to its pixels, in chunks."""

    def chunk(part: Tensor, wanted: Tensor) -> Tensor:
        pixels = part.detach().clone().requires_grad_()
        with torch.enable_grad():
            chosen = ops.pick(model(pixels), wanted)
        return torch.autograd.grad(chosen.sum(), pixels)[0]

    with ops.evaluating(model):
        return ops.in_chunks(chunk, images, targets)


@configured
class Gradient:
    r"""The gradient of the target's logit: $\partial f_t / \partial x$.

    With `absolute` it is sensitivity analysis (Simonyan et al. 2014): the absolute gradient, which
    says how much a pixel matters but not in which direction.

    Cost: one forward and one backward pass.

    Args:
        absolute: whether to take absolute values before channels are summed.
    """

    absolute: bool = False

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The gradient at every pixel, summed over channels."""
        found = gradients(model, images, targets)
        return ops.channel_sum(found.abs() if self.absolute else found)


@configured
class InputXGradient:
    r"""Input times gradient: $x \cdot \partial f_t / \partial x$ (Shrikumar et al. 2016).

    On a network of ReLUs without biases it sums to the logit, and LRP-0 is the same thing.

    Cost: one forward and one backward pass.
    """

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """Input times gradient at every pixel, summed over channels."""
        return ops.channel_sum(images * gradients(model, images, targets))


@configured
class IntegratedGradients:
    r"""Gradients averaged along the straight way from a baseline to the image, times the way.

    $(x - x') \int_0^1 \partial f_t(x' + a (x - x')) / \partial x \, da$ (Sundararajan et al. 2017,
    eq. 1). It sums to $f_t(x) - f_t(x')$, up to the error of the sum that stands for the integral.

    Cost: `steps` forward and backward passes.

    Args:
        steps: points on the way.
        method: how the integral is summed: gauss_legendre (most exact), midpoint, trapezoid, left
            (as iNNvestigate has it) or right (as DeepExplain).
        baseline: the grey level of the uniform baseline x'.
    """

    steps: Annotated[int, Range(1, 10_000)] = 32
    method: Literal["gauss_legendre", "midpoint", "trapezoid", "left", "right"] = "gauss_legendre"
    baseline: float = 0.0

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """Integrated gradients at every pixel, summed over channels."""
        start = torch.full_like(images, self.baseline)
        return ops.channel_sum(path_integral(model, images, start, targets, *self._points()))

    def _points(self) -> tuple[list[float], list[float]]:
        """Where on the way (0..1), and the weight of each point."""
        return _SUMS[self.method](self.steps)


def path_integral(
    model: nn.Module,
    images: Images,
    start: Images,
    targets: Labels,
    places: list[float],
    weights: list[float],
) -> Images:
    """The weighted sum of gradients on the way from `start` to `images`, times the way."""
    way = images - start
    total = torch.zeros_like(images)
    for place, weight in zip(places, weights, strict=True):
        total += weight * gradients(model, start + place * way, targets)
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
