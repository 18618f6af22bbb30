r"""The rules of layer-wise relevance propagation, one small class each.

A rule sends the relevance R_k of a layer's outputs back to its inputs x_j. With weights w_jk,
biases b_k and outputs z_k = sum_j x_j w_jk + b_k every rule has the form
$R_j = \sum_k \frac{q_{jk}}{\sum_j q_{jk}} R_k$ and differs in what q is. Superscripts + and - are
the positive and negative parts. Denominators are kept from zero by a stabiliser.

- Bach et al. 2015, On pixel-wise explanations ..., PLoS ONE: z, epsilon, alpha-beta.
- Montavon et al. 2017, Explaining nonlinear classification decisions with deep Taylor
  decomposition, Pattern Recognition: z+, w^2, z^B (box).
- Montavon et al. 2019, Layer-wise relevance propagation: an overview: gamma, epsilon.
- Lapuschkin et al. 2019, Unmasking Clever Hans predictors, Nature Communications: flat.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from xai_exp.explainers.backward import Layer, stabilized

Bias = Literal["positive", "both", "ignore"]
_TINY = 1e-9


class Rule(Protocol):
    """(layer, relevance of its outputs) -> relevance of its inputs."""

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back."""
        ...


@dataclass(frozen=True)
class Epsilon:
    """q = x w, the denominator z + epsilon sign(z) (Bach et al. 2015, eq. 58).

    The bias stands in z and its share is lost; `bias="ignore"` leaves it out of z. With epsilon 0
    it is the z rule (LRP-0), for which z = 0 passes nothing on.
    """

    epsilon: float = 1e-6
    bias: Bias = "positive"

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back."""
        z = layer.output
        if self.bias == "ignore":
            z = layer.apply(layer.inputs, layer.weight)
        denominator = stabilized(z, self.epsilon) if self.epsilon else torch.where(z == 0, 1, z)
        kept = relevance if self.epsilon else relevance * (z != 0)
        return layer.inputs * layer.transpose(kept / denominator, layer.weight)


@dataclass(frozen=True)
class AlphaBeta:
    """alpha times the positive contributions' shares, minus beta times the negative ones'.

    Contributions are positive where input and weight agree in sign (Bach et al. 2015, eq. 60).
    alpha - beta = 1 keeps the sum.

    Args:
        alpha, beta: the weights of the two parts.
        bias: positive: b+ stands with the positive part and b- with the negative one (the paper);
            both: all of b stands with either part, as iNNvestigate has it; ignore: nowhere.
    """

    alpha: float = 2.0
    beta: float = 1.0
    bias: Bias = "positive"

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back."""
        up, down = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
        high, low = layer.inputs.clamp(min=0), layer.inputs.clamp(max=0)
        signed = bool((layer.inputs < 0).any())
        back = self.alpha * self._part(layer, relevance, (high, low), (up, down), 1, signed)
        if self.beta:
            back = back - self.beta * self._part(
                layer, relevance, (high, low), (down, up), -1, signed
            )
        return back

    def _part(
        self,
        layer: Layer,
        relevance: Tensor,
        inputs: tuple[Tensor, Tensor],
        weights: tuple[Tensor, Tensor],
        sign: int,
        signed: bool,
    ) -> Tensor:
        total = layer.apply(inputs[0], weights[0], self._bias(layer, sign))
        if signed:  # after a ReLU there are no negative inputs, and half of the work is saved
            total = total + layer.apply(inputs[1], weights[1])
        share = relevance / stabilized(total, _TINY)
        back = inputs[0] * layer.transpose(share, weights[0])
        if signed:
            back = back + inputs[1] * layer.transpose(share, weights[1])
        return back

    def _bias(self, layer: Layer, sign: int) -> Tensor | None:
        if layer.bias is None or self.bias == "ignore":
            return None
        if self.bias == "both":
            return layer.bias
        return layer.bias.clamp(min=0) if sign > 0 else layer.bias.clamp(max=0)


@dataclass(frozen=True)
class Gamma:
    """q = x (w + gamma w+), for inputs of either sign (Montavon et al. 2019; Andeol et al. 2021).

    Where z > 0: q = x+ (w + gamma w+) + x- (w + gamma w-); where z < 0: the mirror image.
    """

    gamma: float = 0.25

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back."""
        up = layer.weight + self.gamma * layer.weight.clamp(min=0)
        down = layer.weight + self.gamma * layer.weight.clamp(max=0)
        high, low = layer.inputs.clamp(min=0), layer.inputs.clamp(max=0)
        signed = bool((layer.inputs < 0).any())
        bias = layer.bias if layer.bias is not None else layer.weight.new_zeros(1)
        back = torch.zeros_like(layer.inputs)
        for positive, first, second in ((True, up, down), (False, down, up)):
            chosen = layer.output > 0 if positive else layer.output < 0
            extra = bias.clamp(min=0) if positive else bias.clamp(max=0)
            lifted = layer.bias if layer.bias is None else bias + self.gamma * extra
            total = layer.apply(high, first, lifted)
            if signed:
                total = total + layer.apply(low, second)
            share = relevance * chosen / stabilized(total, _TINY)
            back = back + high * layer.transpose(share, first)
            if signed:
                back = back + low * layer.transpose(share, second)
        return back


@dataclass(frozen=True)
class ZPlusFast:
    """q = x w+, without bias: the z+ rule for inputs that are not negative."""

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back."""
        up = layer.weight.clamp(min=0)
        share = relevance / stabilized(layer.apply(layer.inputs, up), _TINY)
        return layer.inputs * layer.transpose(share, up)


@dataclass(frozen=True)
class WSquare:
    """q = w^2: by the weights alone, whatever the input (Montavon et al. 2017, eq. 12)."""

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back."""
        return _alone(layer, relevance, layer.weight.square())


@dataclass(frozen=True)
class Flat:
    """q = 1: evenly over all inputs that a unit sees (Lapuschkin et al. 2019)."""

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back."""
        return _alone(layer, relevance, torch.ones_like(layer.weight))


def _alone(layer: Layer, relevance: Tensor, weight: Tensor) -> Tensor:
    total = layer.apply(torch.ones_like(layer.inputs[:1]), weight)
    return layer.transpose(relevance / stabilized(total, _TINY), weight)


@dataclass(frozen=True)
class ZBox:
    """q = x w - low w+ - high w-, for pixels in low..high (Montavon et al. 2017, eq. 13)."""

    low: float = 0.0
    high: float = 1.0

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back."""
        up, down = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
        low = torch.full_like(layer.inputs, self.low)
        high = torch.full_like(layer.inputs, self.high)
        parts = ((layer.inputs, layer.weight, 1), (low, up, -1), (high, down, -1))
        total = sum(sign * layer.apply(value, weight) for value, weight, sign in parts)
        share = relevance / stabilized(torch.as_tensor(total), _TINY)
        back = [sign * value * layer.transpose(share, weight) for value, weight, sign in parts]
        return back[0] + back[1] + back[2]
