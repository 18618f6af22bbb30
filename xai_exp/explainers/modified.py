"""Backpropagation whose way back is changed.

All start from 1. Deconvolution, guided backpropagation and smoothed ReLUs change the activations
alone and leave every other known function its gradient (one that is not known is refused), so the
heatmap is in units of logit per grey level. The first two hardly depend on the class (Nie et al.
2018) nor, guided backpropagation least of all, on the later layers (Sixt et al. 2020): they are
here to be compared.
"""

import math
from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import Range, configured
from xai_exp.explainers.backward.engine import backpropagate
from xai_exp.explainers.backward.rules import Activate, Activated, Rules
from xai_exp.explainers.cost import Cost
from xai_exp.types import Heatmaps, Images, Labels

At = Literal["relu", "every"]


@configured
class _Rectifying(ABC):
    """The gradient but for ReLUs, which cut off what comes back where it is negative."""

    version: ClassVar[int] = 2

    at: At = "relu"
    start: Literal["one", "logit"] = "one"

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return Cost(forward=1, backward=1)

    @property
    @abstractmethod
    def _rules(self) -> Rules:
        """How activations go back."""

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """What comes back at every pixel, summed over channels."""
        from_logit = self.start == "logit"
        back = backpropagate(model, images, targets, self._rules, from_logit=from_logit)
        return ops.channel_sum(back)


@configured
class DeconvNet(_Rectifying):
    """Deconvolution: at each ReLU the ReLU is applied to what comes back.

    R_in = max(R_out, 0), whether the ReLU itself was active or not (Zeiler and Fergus 2014).

    Cost: one forward and one backward pass.

    Args:
        at: relu (however it is written; other activations keep their gradient, as in captum, zennit
            and iNNvestigate), or every activation.
        start: what is sent back from the target's logit: one, or logit for its own value, as
            iNNvestigate does, which reverses the signs that a negative logit sends back.
    """

    @property
    def _rules(self) -> Rules:
        return _DECONVOLVED[self.at]


@configured
class GuidedBackprop(_Rectifying):
    """Guided backpropagation: the gradient, of which each ReLU lets only positive parts back.

    R_in = [x > 0] max(R_out, 0) (Springenberg et al. 2015); at other activations, if they are asked
    for, f'(x) max(R_out, 0).

    Cost: one forward and one backward pass.

    Args:
        at: relu (however it is written; other activations keep their gradient, as in captum, zennit
            and iNNvestigate), or every activation.
        start: what is sent back from the target's logit: one, or logit for its own value, as
            iNNvestigate does, which reverses the signs that a negative logit sends back.
    """

    @property
    def _rules(self) -> Rules:
        return _GUIDED[self.at]


@configured
class BetaSmooth:
    """The gradient of the network as if its ReLUs were softplus functions, in the backward pass.

    R_in = sigmoid(beta x) R_out at every ReLU: no kinks, so a neighbourhood of the image has about
    one heatmap (Dombrowski et al. 2019, Explanations can be manipulated and geometry is to blame,
    sec. 4). Other activations keep their slope.

    Cost: one forward and one backward pass.

    Args:
        beta: how sharply the slope steps from 0 to 1, per unit of activation; infinite: a ReLU's.
    """

    beta: Annotated[float, Range(0, math.inf, exclusive_low=True)] = 10.0

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return Cost(forward=1, backward=1)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The smoothed gradient at every pixel, summed over channels."""
        return ops.channel_sum(backpropagate(model, images, targets, Rules(activation=self._slope)))

    def _slope(self, relevance: Tensor, gradient: Activated) -> Tensor:
        if gradient.name != "relu":
            return gradient(relevance)
        return relevance * torch.sigmoid(self.beta * gradient.before.detach())


@configured
class RectGrad:
    """RectGrad: the gradient through the units that contribute most (Kim et al. 2019, sec. 4).

    R_in = f'(x) [a R_out > tau] R_out at every activation a = f(x), where tau is a quantile of a
    R_out over the layer's units, image by image; so of each layer only the largest contributions go
    on. Quantile 0 is the gradient.

    Cost: one forward and one backward pass; finding each layer's quantile takes as long again.

    Args:
        quantile: the share of units that is cut off.
        times_input: multiply by the pixels, as the authors do.
    """

    quantile: Annotated[float, Range(0, 1, exclusive_high=True)] = 0.9
    times_input: bool = False

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return Cost(forward=1, backward=1)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The rectified gradient at every pixel, summed over channels."""
        found = backpropagate(model, images, targets, Rules(activation=self._rectified))
        return ops.channel_sum(images * found if self.times_input else found)

    def _rectified(self, relevance: Tensor, gradient: Activated) -> Tensor:
        contributions = (gradient.after.detach() * relevance).flatten(1)
        cut = int(self.quantile * contributions.shape[1])
        if not cut or not len(contributions):
            return gradient(relevance)
        threshold = contributions.kthvalue(cut, 1, keepdim=True).values
        kept = (contributions > threshold).view_as(relevance)
        return gradient(relevance * kept)


def _positive(relevance: Tensor, _gradient: Activated) -> Tensor:
    return relevance.clamp(min=0)


def _guided(relevance: Tensor, gradient: Activated) -> Tensor:
    return gradient(relevance.clamp(min=0))


def _at(rule: Activate) -> dict[At, Rules]:
    def only_relu(relevance: Tensor, gradient: Activated) -> Tensor:
        return rule(relevance, gradient) if gradient.name == "relu" else gradient(relevance)

    return {"relu": Rules(activation=only_relu), "every": Rules(activation=rule)}


_DECONVOLVED, _GUIDED = _at(_positive), _at(_guided)
