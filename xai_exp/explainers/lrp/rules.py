r"""The rules of layer-wise relevance propagation, one small class each.

A rule sends the relevance R_k of a layer's outputs back to its inputs x_j. With weights w_jk,
biases b_k and outputs z_k = sum_j x_j w_jk + b_k every rule has the form
$R_j = \sum_k \frac{q_{jk}}{\sum_j q_{jk}} R_k$ and differs in what q is. Superscripts + and - are
the positive and negative parts. Denominators are kept from zero by a stabiliser. `cost` counts the
passes through the layer that a rule needs beside the forward pass of the network.

- Bach et al. 2015, On pixel-wise explanations ..., PLoS ONE: z, epsilon, alpha-beta.
- Montavon et al. 2017, Explaining nonlinear classification decisions with deep Taylor
  decomposition, Pattern Recognition: z+, w^2, z^B (box).
- Montavon et al. 2019, Layer-wise relevance propagation: an overview: gamma, epsilon.
- Andeol et al. 2021, Learning domain invariant representations by joint Wasserstein distance
  minimization: gamma for inputs of either sign.
- Lapuschkin et al. 2019, Unmasking Clever Hans predictors, Nature Communications: flat.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from xai_exp.explainers.backward.calls import stabilized
from xai_exp.explainers.backward.layer import Layer
from xai_exp.explainers.backward.precision import Fragile
from xai_exp.explainers.cost import Cost

Bias = Literal["paper", "both", "ignore"]


@runtime_checkable
class Rule(Protocol):
    """(layer, relevance of its outputs) -> relevance of its inputs."""

    @property
    def cost(self) -> Cost:
        """Passes through the layer, for inputs that are not negative."""
        ...

    @property
    def conserving(self) -> bool:
        """Whether inputs get all relevance, as they do where no bias or epsilon takes a share."""
        ...

    @property
    def fragile(self) -> Fragile:
        """On which networks rounding may decide what becomes of its shares; see `precision`."""
        ...

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back."""
        ...


@dataclass(frozen=True)
class Epsilon:
    """q = x w, the denominator z + epsilon sign(z) (Bach et al. 2015, eq. 58).

    The bias stands in z and its share is lost; `bias="ignore"` leaves it out of z. With epsilon 0
    it is the z rule (LRP-0, eq. 56), for which z = 0 passes nothing on.
    """

    epsilon: float = 1e-6
    bias: Bias = "paper"

    @property
    def cost(self) -> Cost:
        """The outputs are known already, unless the bias is to be left out."""
        return Cost(forward=int(self.bias == "ignore"), backward=1)

    @property
    def conserving(self) -> bool:
        """See `Rule`."""
        return self.bias == "ignore" and not self.epsilon

    @property
    def fragile(self) -> Fragile:
        """See `Rule`."""
        return "always" if self.bias == "ignore" else "deep"

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back."""
        z = layer.output
        if self.bias == "ignore":
            z = layer.apply(layer.inputs, layer.weight)
        if self.epsilon:
            share = relevance / stabilized(z, self.epsilon)
        else:
            share = torch.where(z == 0, 0, relevance / z)
        return layer.transpose(share, layer.weight).mul_(layer.inputs)


@dataclass(frozen=True)
class AlphaBeta:
    """alpha times the positive contributions' shares, minus beta times the negative ones'.

    Contributions are positive where input and weight agree in sign (Bach et al. 2015, eq. 60).
    alpha - beta = 1 keeps the sum where both parts are present.

    Args:
        alpha, beta: the weights of the two parts.
        bias: paper: b+ stands with the positive part and b- with the negative one; both: all of b
            stands with either part, as iNNvestigate has it; ignore: nowhere.
    """

    alpha: float = 2.0
    beta: float = 1.0
    bias: Bias = "paper"

    @property
    def cost(self) -> Cost:
        """One pass each way for each part that counts."""
        return Cost(forward=1, backward=1) * (2 if self.beta else 1)

    @property
    def conserving(self) -> bool:
        """See `Rule`."""
        return self.bias == "ignore"

    @property
    def fragile(self) -> Fragile:
        """See `Rule`."""
        return "deep" if self.bias == "both" else "never"

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back."""
        up, down = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
        back = _share(layer, self.alpha * relevance, up, down, self._bias(layer, 1))
        if self.beta:
            lost = _share(layer, self.beta * relevance, down, up, self._bias(layer, -1))
            back = back - lost
        return back

    def _bias(self, layer: Layer, sign: int) -> Tensor | None:
        if layer.bias is None or self.bias == "ignore":
            return None
        if self.bias == "both":
            return layer.bias
        return layer.bias.clamp(min=0) if sign > 0 else layer.bias.clamp(max=0)


@dataclass(frozen=True)
class Gamma:
    """q = x (w + gamma w+): positive contributions count more (Montavon et al. 2019, sec. 10.2.1).

    For inputs and outputs of either sign (Andeol et al. 2021): where z > 0,
    q = x+ (w + gamma w+) + x- (w + gamma w-); elsewhere the mirror image. The bias is treated as
    the weight of an input that is 1.
    """

    gamma: float = 0.25

    @property
    def cost(self) -> Cost:
        """Twice as much if relevance reaches negative outputs, as none does behind a ReLU."""
        return Cost(forward=1, backward=1)

    @property
    def conserving(self) -> bool:
        """See `Rule`."""
        return False

    @property
    def fragile(self) -> Fragile:
        """See `Rule`."""
        return "never"

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back."""
        up = layer.weight + self.gamma * layer.weight.clamp(min=0)
        down = layer.weight + self.gamma * layer.weight.clamp(max=0)
        given = (layer.output > 0).to(relevance.dtype).mul_(relevance)
        back = _share(layer, given, up, down, self._bias(layer, 1))
        rest = relevance - given
        if rest.any():
            back = back + _share(layer, rest, down, up, self._bias(layer, -1))
        return back

    def _bias(self, layer: Layer, sign: int) -> Tensor | None:
        if layer.bias is None:
            return None
        extra = layer.bias.clamp(min=0) if sign > 0 else layer.bias.clamp(max=0)
        return layer.bias + self.gamma * extra


def _share(
    layer: Layer, relevance: Tensor, first: Tensor, second: Tensor, bias: Tensor | None
) -> Tensor:
    """Q = x+ first + x- second, with `bias` in the denominator."""
    if not layer.signed:  # as behind a ReLU: half of the work is saved
        total = layer.apply(layer.inputs, first, bias)
        return layer.transpose(relevance / stabilized(total), first).mul_(layer.inputs)
    high, low = layer.inputs.clamp(min=0), layer.inputs.clamp(max=0)
    total = layer.apply(high, first, bias) + layer.apply(low, second)
    share = relevance / stabilized(total)
    back = layer.transpose(share, first).mul_(high)
    return back.addcmul_(layer.transpose(share, second), low)


@dataclass(frozen=True)
class ZPlusFast:
    """q = x w+, without bias: the z+ rule for inputs that are not negative (iNNvestigate)."""

    @property
    def cost(self) -> Cost:
        """One pass each way."""
        return Cost(forward=1, backward=1)

    @property
    def conserving(self) -> bool:
        """See `Rule`."""
        return True

    @property
    def fragile(self) -> Fragile:
        """See `Rule`."""
        return "never"

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back."""
        up = layer.weight.clamp(min=0)
        share = relevance / stabilized(layer.apply(layer.inputs, up))
        return layer.transpose(share, up).mul_(layer.inputs)


@dataclass(frozen=True)
class WSquare:
    """q = w^2: by the weights alone, whatever the input (Montavon et al. 2017, eq. 12)."""

    @property
    def cost(self) -> Cost:
        """The denominator is that of a single image."""
        return Cost(forward=0, backward=1)

    @property
    def conserving(self) -> bool:
        """See `Rule`."""
        return True

    @property
    def fragile(self) -> Fragile:
        """See `Rule`."""
        return "deep"

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back."""
        return _by_weight(layer, relevance, layer.weight.square())


@dataclass(frozen=True)
class Flat:
    """q = 1: evenly over all inputs that a unit sees (Lapuschkin et al. 2019)."""

    @property
    def cost(self) -> Cost:
        """The denominator is that of a single image."""
        return Cost(forward=0, backward=1)

    @property
    def conserving(self) -> bool:
        """See `Rule`."""
        return True

    @property
    def fragile(self) -> Fragile:
        """See `Rule`."""
        return "deep"

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back."""
        return _by_weight(layer, relevance, torch.ones_like(layer.weight))


def _by_weight(layer: Layer, relevance: Tensor, weight: Tensor) -> Tensor:
    """Q = weight; the denominator is that of one image for all, smaller where padding begins."""
    total = layer.apply(torch.ones_like(layer.inputs[:1]), weight)
    return layer.transpose(relevance / stabilized(total), weight)


@dataclass(frozen=True)
class ZBox:
    """q = x w - low w+ - high w-, for pixels in low..high (Montavon et al. 2017, eq. 13).

    It is written as (x - low) w+ + (x - high) w-, whose terms have one sign: none cancel.
    """

    low: float | Tensor = 0.0  # a number, or one an image
    high: float | Tensor = 1.0

    @property
    def cost(self) -> Cost:
        """One pass each way for either end of the box."""
        return Cost(forward=2, backward=2)

    @property
    def conserving(self) -> bool:
        """See `Rule`."""
        return True

    @property
    def fragile(self) -> Fragile:
        """See `Rule`."""
        return "never"

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back."""
        up, down = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
        above, below = layer.inputs - self.low, layer.inputs - self.high
        share = relevance / stabilized(layer.apply(above, up) + layer.apply(below, down))
        return above * layer.transpose(share, up) + below * layer.transpose(share, down)
