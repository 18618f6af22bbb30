"""Layer-wise relevance propagation (Bach et al. 2015) as a family of rules.

Relevance starts as the target's logit and is sent back layer by layer. Conventions: activations
pass relevance through; max pooling gives it to the winner; average pooling and residual sums share
it in proportion to what went in; a batch norm is one layer with the linear layer before it; a batch
norm that stands alone and arithmetic with constants pass it through, since an output there has one
input. Where a rule has no bias term, relevance is conserved from layer to layer.

With rule z a network of ReLUs without biases gives input x gradient and nothing else (Kindermans et
al. 2016; Ancona et al. 2018): LRP's merits lie in the other rules.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor, nn

from xai_exp import ops
from xai_exp.config import InputError, Range, configured
from xai_exp.explainers.backward import Account, Rules, backpropagate
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.layer import Layer
from xai_exp.explainers.lrp_rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Rule,
    WSquare,
    ZBox,
    ZPlusFast,
)
from xai_exp.types import Heatmaps, Images, Labels

RuleName = Literal[
    "z",
    "epsilon",
    "gamma",
    "alpha_beta",
    "z_plus",
    "z_plus_fast",
    "flat",
    "w_square",
    "z_box",
    "epsilon_plus",
    "epsilon_plus_flat",
    "epsilon_gamma_box",
    "epsilon_alpha2_beta1",
    "epsilon_alpha2_beta1_flat",
    "epsilon_alpha1_beta0",
    "sequential_preset_a",
    "sequential_preset_b",
]


@dataclass(frozen=True)
class Composite:
    """Rules by the position of a layer.

    Args:
        convolution, linear: the rule of convolutions and of matrix products.
        first: the rule of the first layer; None: the same as further on.
    """

    convolution: Rule
    linear: Rule
    first: Rule | None = None

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back by the rule of the layer's place."""
        rule = self.convolution if layer.kind == "convolution" else self.linear
        if layer.index == 0 and self.first is not None:
            rule = self.first
        return rule(layer, relevance)


@configured
class LRP:
    """Relevance of each pixel for the target's logit.

    Uniform rules use one rule in every layer (z_box: in the first one, with z_plus above it).
    Composites choose by position (Kohlbrenner et al. 2020): epsilon in linear layers, and in
    convolutions z+ with the bias's positive part (epsilon_plus = epsilon_alpha1_beta0), gamma with
    the box rule first (epsilon_gamma_box), or alpha 2 beta 1 (epsilon_alpha2_beta1); `_flat` puts
    the flat rule first. sequential_preset_a and _b are iNNvestigate's (epsilon 0.1, its biases).

    Cost: one forward and one backward pass (z, epsilon, flat, w_square); two forward passes and
    one backward (gamma, z_plus and their composites); three and two (alpha_beta).

    Args:
        rule: the name of a rule or composite.
        epsilon: of the epsilon rule, where it is used, in units of a layer's output.
        gamma: of the gamma rule; 0 is the z rule, infinite gamma the z+ rule.
        alpha, beta: of alpha_beta; alpha - beta must be 1.
        bias: where biases stand in the uniform rules z, epsilon and alpha_beta: paper (in the
            denominator, for alpha_beta each sign with its part), both (all of it in both parts, as
            iNNvestigate has it) or ignore (nowhere).
        low, high: the range of the values that the first layer sees, for the box rule.

    Raises:
        InputError: for a network with a step that no rule covers, by its name.
    """

    rule: RuleName = "epsilon_plus"
    epsilon: Annotated[float, Range(0, exclusive_low=True)] = 1e-6
    gamma: Annotated[float, Range(0)] = 0.25
    alpha: Annotated[float, Range(1)] = 2.0
    beta: Annotated[float, Range(0)] = 1.0
    bias: Literal["paper", "both", "ignore"] = "paper"
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if abs(self.alpha - self.beta - 1) > 1e-9:
            raise InputError(
                f"LRP.alpha: got alpha {self.alpha:g} and beta {self.beta:g}; allowed: alpha - "
                "beta = 1, or relevance is not conserved"
            )
        if not self.low < self.high:
            raise InputError(
                f"LRP.low: got {self.low:g}; allowed: below high = {self.high:g}, the pixels' range"
            )

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap of a network of convolutions behind ReLUs."""
        forward, backward = self._composite().convolution.cost
        return Cost(forward=1 + forward, backward=backward)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """Relevance of every pixel, summed over channels."""
        return ops.channel_sum(self._relevance(model, images, targets, None))

    def account(
        self, model: nn.Module, images: Images, targets: Labels
    ) -> list[tuple[str, Tensor, Tensor]]:
        """What each linear layer got and passed on, image by image, from the output backward."""
        account = Account()
        self._relevance(model, images, targets, account)
        return account.closed()

    def _relevance(
        self, model: nn.Module, images: Images, targets: Labels, account: Account | None
    ) -> Images:
        rules = Rules(activation=_pass, linear=self._composite())
        return backpropagate(model, images, targets, rules, from_logit=True, account=account)

    def _composite(self) -> Composite:
        return _COMPOSITES[self.rule](self)


def _pass(relevance: Tensor, _gradient: object) -> Tensor:
    return relevance


def _uniform(make: Callable[[LRP], Rule]) -> Callable[[LRP], Composite]:
    def composite(lrp: LRP) -> Composite:
        rule = make(lrp)
        return Composite(rule, rule)

    return composite


def _by_place(
    convolution: Callable[[LRP], Rule], first: Callable[[LRP], Rule] | None = None
) -> Callable[[LRP], Composite]:
    return lambda lrp: Composite(
        convolution(lrp), Epsilon(lrp.epsilon), None if first is None else first(lrp)
    )


def _preset(alpha: float) -> Callable[[LRP], Composite]:
    rule = AlphaBeta(alpha, alpha - 1, "both")
    return lambda _: Composite(rule, Epsilon(0.1))


def _box(lrp: LRP) -> Rule:
    return ZBox(lrp.low, lrp.high)


_Z_PLUS = AlphaBeta(1.0, 0.0, "ignore")
_COMPOSITES: dict[str, Callable[[LRP], Composite]] = {
    "z": _uniform(lambda lrp: Epsilon(0.0, lrp.bias)),
    "epsilon": _uniform(lambda lrp: Epsilon(lrp.epsilon, lrp.bias)),
    "gamma": _uniform(lambda lrp: Gamma(lrp.gamma)),
    "alpha_beta": _uniform(lambda lrp: AlphaBeta(lrp.alpha, lrp.beta, lrp.bias)),
    "z_plus": _uniform(lambda _: _Z_PLUS),
    "z_plus_fast": _uniform(lambda _: ZPlusFast()),
    "flat": _uniform(lambda _: Flat()),
    "w_square": _uniform(lambda _: WSquare()),
    "z_box": lambda lrp: Composite(_Z_PLUS, _Z_PLUS, _box(lrp)),
    "epsilon_plus": _by_place(lambda _: AlphaBeta(1.0, 0.0)),
    "epsilon_plus_flat": _by_place(lambda _: AlphaBeta(1.0, 0.0), lambda _: Flat()),
    "epsilon_gamma_box": _by_place(lambda lrp: Gamma(lrp.gamma), _box),
    "epsilon_alpha2_beta1": _by_place(lambda _: AlphaBeta(2.0, 1.0)),
    "epsilon_alpha2_beta1_flat": _by_place(lambda _: AlphaBeta(2.0, 1.0), lambda _: Flat()),
    "epsilon_alpha1_beta0": _by_place(lambda _: AlphaBeta(1.0, 0.0)),
    "sequential_preset_a": _preset(1.0),
    "sequential_preset_b": _preset(2.0),
}
