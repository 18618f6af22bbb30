"""Layer-wise relevance propagation (Bach et al. 2015) as a family of rules.

Relevance starts as the target's logit and is sent back layer by layer. Conventions: activations
pass relevance through; max pooling gives it to the winner; average pooling and residual sums share
it in proportion to what went in; a batch norm is folded into the layer before it. Where a rule
has no bias term, relevance is conserved from layer to layer.

With rule z a network of ReLUs without biases gives input x gradient and nothing else (Kindermans et
al. 2016; Ancona et al. 2018): LRP's merits lie in the other rules.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from torch import Tensor, nn

from xai_exp import ops
from xai_exp.config import InputError, Range, configured
from xai_exp.explainers.backward import Account, Layer, Rules, backpropagate
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

Choose = Callable[[Layer], Rule]


@configured
class LRP:
    """Relevance of each pixel for the target's logit.

    Uniform rules use one rule in every layer (z_box: in the first one, with z_plus above it).
    Composites choose by position (Kohlbrenner et al. 2020): epsilon in linear layers, and in
    convolutions z+ with the bias's positive part (epsilon_plus = epsilon_alpha1_beta0), gamma with
    the box rule first (epsilon_gamma_box), or alpha 2 beta 1 (epsilon_alpha2_beta1); `_flat` puts
    the flat rule first. sequential_preset_a and _b are iNNvestigate's (epsilon 0.1, its biases).

    Cost: one forward pass and, by rule, 1 (z, epsilon), 2 (z_plus, flat, w_square), 4 (gamma,
    alpha_beta) or 6 (z_box) passes through the linear layers.

    Args:
        rule: the name of a rule or composite.
        epsilon: of the epsilon rule, where it is used.
        gamma: of the gamma rule.
        alpha, beta: of alpha_beta; alpha - beta must be 1.
        bias: where alpha_beta and epsilon see biases: positive (as in the papers), both (as in
            iNNvestigate's alpha-beta), ignore.
        low, high: the range of pixel values, for the box rule.

    Raises:
        InputError: for a network with a step that no rule covers.
    """

    rule: Literal[
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
    ] = "epsilon_plus"
    epsilon: Annotated[float, Range(0, exclusive_low=True)] = 1e-6
    gamma: Annotated[float, Range(0)] = 0.25
    alpha: Annotated[float, Range(1)] = 2.0
    beta: Annotated[float, Range(0)] = 1.0
    bias: Literal["positive", "both", "ignore"] = "positive"
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if abs(self.alpha - self.beta - 1) > 1e-9:
            raise InputError(
                f"LRP.alpha: got alpha {self.alpha:g} and beta {self.beta:g}; allowed: alpha - "
                "beta = 1, or relevance is not conserved"
            )
        if self.low >= self.high:
            raise InputError(
                f"LRP.low: got {self.low:g}; allowed: below high = {self.high:g}, the pixels' range"
            )

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """Relevance of every pixel, summed over channels."""
        return ops.channel_sum(self._relevance(model, images, targets, None))

    def account(
        self, model: nn.Module, images: Images, targets: Labels
    ) -> list[tuple[str, Tensor, Tensor]]:
        """What each linear layer got and passed on, image by image, from the output backward."""
        books = Account()
        with ops.evaluating(model):
            self._relevance(model, images, targets, books)
        return books.rows

    def _relevance(
        self, model: nn.Module, images: Images, targets: Labels, books: Account | None
    ) -> Images:
        choose = self._choice()
        rules = Rules(
            activation=lambda _after, _before, relevance, _gradient: relevance,
            linear=lambda layer, relevance: choose(layer)(layer, relevance),
            proportional=True,
            strict=True,
        )
        return backpropagate(model, images, targets, rules, from_logit=True, account=books)

    def _choice(self) -> Choose:
        uniform = self._uniform()
        if self.rule in uniform:
            only = uniform[self.rule]
            return lambda _: only
        first, convolution, linear = self._composites()[self.rule]

        def choose(layer: Layer) -> Rule:
            if layer.index == 0 and first is not None:
                return first
            return convolution if layer.kind == "conv" else linear

        return choose

    def _uniform(self) -> Mapping[str, Rule]:
        return {
            "z": Epsilon(0.0, self.bias),
            "epsilon": Epsilon(self.epsilon, self.bias),
            "gamma": Gamma(self.gamma),
            "alpha_beta": AlphaBeta(self.alpha, self.beta, self.bias),
            "z_plus": AlphaBeta(1.0, 0.0, "ignore"),
            "z_plus_fast": ZPlusFast(),
            "flat": Flat(),
            "w_square": WSquare(),
        }

    def _composites(self) -> Mapping[str, tuple[Rule | None, Rule, Rule]]:
        """The rules of the first layer, of convolutions and of linear layers."""
        epsilon, box = Epsilon(self.epsilon), ZBox(self.low, self.high)
        one, two = AlphaBeta(1.0, 0.0), AlphaBeta(2.0, 1.0)
        ignorant = AlphaBeta(1.0, 0.0, "ignore")
        return {
            "z_box": (box, ignorant, ignorant),
            "epsilon_plus": (None, one, epsilon),
            "epsilon_plus_flat": (Flat(), one, epsilon),
            "epsilon_alpha1_beta0": (None, one, epsilon),
            "epsilon_gamma_box": (box, Gamma(self.gamma), epsilon),
            "epsilon_alpha2_beta1": (None, two, epsilon),
            "epsilon_alpha2_beta1_flat": (Flat(), two, epsilon),
            "sequential_preset_a": (None, AlphaBeta(1.0, 0.0, "both"), Epsilon(0.1)),
            "sequential_preset_b": (None, AlphaBeta(2.0, 1.0, "both"), Epsilon(0.1)),
        }
