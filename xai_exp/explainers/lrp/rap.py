"""Relative attributing propagation (Nam et al. 2020): relevance by the size of contributions."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_exp.config import InputError, configured
from xai_exp.explainers.backward import functions
from xai_exp.explainers.backward.layer import Layer
from xai_exp.explainers.backward.rules import Rules, passed_through
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.lrp.attention_rules import identity
from xai_exp.explainers.lrp.propagation import Propagation
from xai_exp.explainers.lrp.rules import Epsilon, ZBox

_LINEAR = Epsilon(0.0, "ignore")


@configured
class RAP(Propagation):
    r"""Relative attributing propagation: how much a unit counts, then which way (Nam et al. 2020).

    With contributions $z_{jk} = x_j w_{jk}$, biases left out, relevance goes back in three steps:

    - last layer: $\bar R_j = \sum_k z_{jk} R_k / \sum_j z_{jk}$, then by size alone,
      $R_j = |\bar R_j| \sum_i \bar R_i / \sum_i |\bar R_i|$: all units have the logit's sign.
    - layers between: $\bar R_j = \sum_k \left(\frac{z^+_{jk}}{\sum_j z^+_{jk}} + \frac{|z^-_{jk}|}
      {\sum_j |z_{jk}|}\right) R_k$, then what is too much, $\sum_j \bar R_j - \sum_k R_k$, is taken
      from all units with relevance in equal parts: those that were reached little become negative.
      In convolutions negative $R_k$ goes by $|z^-_{jk}| / \sum_j |z^-_{jk}|$ in the first term.
    - pixels: the box rule z^B.

    Every step keeps the sum, so a heatmap adds up to the logit. Which pixels are negative is a
    matter of rank ('less than average'), not of what speaks against the class: negative weights
    count as positive ones do. A single linear layer gives $|x_j w_j|$.

    Written from the formulas of the authors' published code. Differences, on purpose: a batch norm
    is folded into the layer before it; contributions count by their own sign where inputs may be
    negative (there both signs of the input get all relevance, so that its sum doubles); norms pass
    all on, of a signal and its gate the signal gets all.

    Cost: three forward and two backward passes.

    Args:
        low, high: the range of the values that the first layer sees, for the box rule; null: each
            image's own, as the authors have it, for which an image of one level has no heatmap.

    Raises:
        InputError: for a network with a step that no rule covers, by its name.
    """

    version: ClassVar[int] = 2
    low: float | None = 0.0
    high: float | None = 1.0

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise InputError(
                f"RAP.low: got low {self.low} and high {self.high}; allowed: both or neither"
            )
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise InputError(f"RAP.low: got {self.low:g}; allowed: below high = {self.high:g}")

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap of a network of convolutions behind ReLUs."""
        return Cost(forward=3, backward=2)

    @property
    def conserving(self) -> bool:
        """All of the logit reaches the pixels."""
        return True

    def rules(self) -> Rules:
        """A rule for each place, for one way back."""
        return Rules(
            activation=passed_through,
            linear=_ByPlace(self.low, self.high),
            others=dict.fromkeys(functions.NORMS, identity),
            gates="signal",
        )


@dataclass(frozen=True)
class _ByPlace:
    """The rule of a layer's place."""

    low: float | None
    high: float | None

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back."""
        if layer.place.last:
            return by_size(_LINEAR(layer, relevance))
        return self._boxed(layer, relevance) if layer.place.first else relative(layer, relevance)

    def _boxed(self, layer: Layer, relevance: Tensor) -> Tensor:
        if self.low is not None and self.high is not None:
            return ZBox(self.low, self.high)(layer, relevance)
        every = tuple(range(1, layer.inputs.dim()))
        low, high = (some(every, keepdim=True) for some in (layer.inputs.amin, layer.inputs.amax))
        return ZBox(low, high)(layer, relevance)


def by_size(relevance: Tensor) -> Tensor:
    """The same sum, shared by absolute values: each row's first axis is the image."""
    sizes, total = relevance.abs(), _sums(relevance)
    return sizes * _share(total, _sums(sizes))


def relative(layer: Layer, relevance: Tensor) -> Tensor:
    """Relevance by the size of contributions, evenly lowered so that the sum is kept."""
    up, down = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
    above, below = layer.inputs.clamp(min=0), layer.inputs.clamp(max=0)
    plus, minus = layer.apply(above, up), -layer.apply(above, down)
    if layer.signed:
        plus, minus = plus + layer.apply(below, down), minus - layer.apply(below, up)
    for_plus, for_minus = relevance, torch.zeros_like(relevance)
    if layer.kind == "convolution":
        for_plus, for_minus = relevance.clamp(min=0), relevance.clamp(max=0)
    to_plus = _share(for_plus, plus)
    to_minus = _share(for_minus, minus) + _share(relevance, plus + minus)
    found = above * (layer.transpose(to_plus, up) - layer.transpose(to_minus, down))
    if layer.signed:
        found = found + below * (layer.transpose(to_plus, down) - layer.transpose(to_minus, up))
    reached = (found != 0).to(found)
    extra = _share(_sums(found) - _sums(relevance, found.dim()), _sums(reached))
    return found - extra * reached


def _share(values: Tensor, whole: Tensor) -> Tensor:
    """Values / whole, nothing where the whole is."""
    return torch.where(whole > 0, values / whole, 0)


def _sums(values: Tensor, dimensions: int = 0) -> Tensor:
    """Each image's sum, shaped to go with its values or with those of so many dimensions."""
    rest = [1] * ((dimensions or values.dim()) - 1)
    return values.flatten(1).sum(1).view(-1, *rest)
