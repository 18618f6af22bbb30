"""Deep Taylor decomposition (Montavon et al. 2017): relevance by Taylor expansion layer by layer.

Its rules are LRP's: z+ where inputs are not negative, and for the pixels z^B if they are bounded.
It decomposes a function that is not negative, so only a positive logit has an explanation.
"""

from typing import ClassVar, Literal

from xai_exp.config import InputError, configured
from xai_exp.explainers.backward.precision import Fragile
from xai_exp.explainers.backward.rules import Rules, passed_through
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.lrp.composites import Composite
from xai_exp.explainers.lrp.propagation import Propagation
from xai_exp.explainers.lrp.rules import AlphaBeta, ZBox


@configured
class DeepTaylor(Propagation):
    """The z+ rule in every layer, from max(logit, 0); with bounds the z^B rule in the first one.

    Where the target's logit is not positive the heatmap is zero everywhere. Equal to iNNvestigate
    2.1.2 and 1.0.9 (1.0.8: with `bias="both"`) with `average="gradient"`: average pooling and
    residual sums have their gradient there, which does not conserve relevance; by default they
    share it in proportion, as the paper does (sec. 5.1). Pixels without bounds get z+ with either
    sign of the input, as there. A product of a signal and its gate (squeeze and excitation) is
    expanded at the root where the signal is zero, which gives the signal all. Layer norm and its
    kin, whose outputs have either sign, have no such expansion and are refused.

    Cost: two forward passes and one backward pass.

    Args:
        low, high: the range of the values that the first layer sees; null: unbounded.
        bias: where biases stand in z+: ignore (nowhere, the paper), paper (their positive part in
            the denominator) or both (all of them).
        average: share (in proportion to what went in) or gradient, of average pooling, residual
            sums and constant factors.

    Raises:
        InputError: for a network with a step that no rule covers, by its name.
    """

    requires: ClassVar[str] = "positive logits"
    positive: ClassVar[bool] = True

    low: float | None = None
    high: float | None = None
    bias: Literal["ignore", "paper", "both"] = "ignore"
    average: Literal["share", "gradient"] = "share"

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise InputError(
                f"DeepTaylor.low: got low {self.low} and high {self.high}; allowed: both or neither"
            )
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise InputError(
                f"DeepTaylor.low: got {self.low:g}; allowed: below high = {self.high:g}"
            )

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap of a network of convolutions behind ReLUs."""
        return Cost(forward=2, backward=1)

    @property
    def conserving(self) -> bool:
        """Without biases all of max(logit, 0) reaches the pixels."""
        return self.bias == "ignore"

    @property
    def fragile(self) -> Fragile:
        """As z+ with all of the bias in its denominators is."""
        return "deep" if self.bias == "both" else "never"

    def rules(self) -> Rules:
        """z+ in every layer, and z^B in the first one if its inputs are bounded."""
        plus = AlphaBeta(1.0, 0.0, self.bias)
        bounded = self.low is not None and self.high is not None
        first = ZBox(self.low, self.high) if bounded else None  # pyright: ignore
        return Rules(
            activation=passed_through,
            linear=Composite(plus, plus, first),
            shares=self.average == "share",
            gates="signal",
        )
