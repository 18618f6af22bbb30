"""What layer-wise relevance propagation has in common, however its rules are chosen."""

from abc import abstractmethod
from functools import partial
from typing import Annotated, ClassVar, Literal

from xai_exp.config import Added, InputError, Range, configured
from xai_exp.explainers.backward.calls import multiplied
from xai_exp.explainers.backward.precision import Fragile
from xai_exp.explainers.backward.rules import Other, Rules, passed_through
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.lrp.attention_rules import attention_rules, gate_rules, norm_rules
from xai_exp.explainers.lrp.composites import Composite
from xai_exp.explainers.lrp.propagation import Propagation
from xai_exp.explainers.lrp.rules import Rule


@configured
class ByPlace(Propagation):
    """Relevance by the rules of a composite, which a subclass gives; the numbers that rules take.

    Args:
        epsilon: of the epsilon rule, in units of a layer's output.
        gamma: of the gamma rule; 0 is the z rule, infinite gamma the z+ rule.
        alpha: of alpha_beta, whose beta is alpha - 1.
        bias: where biases stand in z, epsilon and alpha_beta; see `LRP`.
        low, high: the range of the values that the first layer sees, for the box rule.
        until: the last layer to have the rule of the first one, counted from 0.
        gates: what the factors of a product get, of which both depend on the image.
    """

    version: ClassVar[int] = 3
    epsilon: Annotated[float, Range(0, exclusive_low=True)] = 1e-6
    gamma: Annotated[float, Range(0)] = 0.25
    alpha: Annotated[float, Range(1)] = 2.0
    bias: Literal["paper", "both", "ignore"] = "paper"
    low: float = 0.0
    high: float = 1.0
    until: Annotated[int, Range(0)] = 0
    gates: Annotated[Literal["signal", "half"], Added("signal")] = "signal"

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise InputError(
                f"{type(self).__name__}.low: got {self.low:g}; allowed: below high = "
                f"{self.high:g}, the pixels' range"
            )

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap of a network of convolutions behind ReLUs."""
        forward, backward = self._composite().convolution.cost
        return Cost(forward=1 + forward, backward=backward)

    @property
    def conserving(self) -> bool:
        """Whether every rule shares out all that it gets among inputs."""
        return all(rule.conserving for rule in self._rules())

    @property
    def fragile(self) -> Fragile:
        """As the rule of the convolutions is."""
        return self._composite().convolution.fragile

    def _rules(self) -> list[Rule]:
        made = self._composite()
        return [rule for rule in (made.first, made.convolution, made.linear) if rule is not None]

    def rules(self) -> Rules:
        """The composite's rules for linear layers; activations pass relevance through."""
        return Rules(
            activation=passed_through,
            linear=self._composite(),
            others=self._attention() | norm_rules(self.epsilon),
            gates=self.gates,
        )

    def _attention(self) -> dict[str, Other]:
        if self.gates == "half":
            return attention_rules(self.epsilon)
        share = partial(multiplied, epsilon=self.epsilon)
        return gate_rules(share, share)

    @abstractmethod
    def _composite(self) -> Composite:
        """Which rule stands where."""
