"""Which rule of layer-wise relevance propagation stands where: uniform rules and composites.

iNNvestigate and zennit name them; the two agree where the names agree. What zennit calls
epsilon_plus, others call LRP-CMP or "preset A with epsilon 1e-6" (Kohlbrenner et al. 2020, Towards
best practice in explaining neural network decisions with LRP).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from xai_exp.explainers.backward.layer import Layer
from xai_exp.explainers.lrp.rules import (
    AlphaBeta,
    Bias,
    Epsilon,
    Flat,
    Gamma,
    Rule,
    WSquare,
    ZBox,
    ZPlusFast,
)

UniformName = Literal[
    "z",
    "epsilon",
    "gamma",
    "alpha_beta",
    "alpha2_beta1",
    "alpha1_beta0",
    "z_plus",
    "z_plus_fast",
    "flat",
    "w_square",
]
RuleName = Literal[
    UniformName,
    "z_box",
    "epsilon_plus",
    "epsilon_plus_flat",
    "epsilon_gamma_box",
    "epsilon_alpha2_beta1",
    "epsilon_alpha2_beta1_flat",
    "epsilon_alpha1_beta0",
    "sequential_preset_a",
    "sequential_preset_b",
    "sequential_preset_a_flat",
    "sequential_preset_b_flat",
]


@runtime_checkable
class Settings(Protocol):
    """The numbers that rules take, as `LRP` has them."""

    @property
    def epsilon(self) -> float:
        """Of the epsilon rule."""
        ...

    @property
    def gamma(self) -> float:
        """Of the gamma rule."""
        ...

    @property
    def alpha(self) -> float:
        """Of the rule alpha_beta, whose beta is one less."""
        ...

    @property
    def bias(self) -> Bias:
        """Where the bias stands in uniform rules."""
        ...

    @property
    def low(self) -> float:
        """The least value of a pixel."""
        ...

    @property
    def high(self) -> float:
        """The largest value of a pixel."""
        ...

    @property
    def until(self) -> int:
        """The last layer that has the rule of the first one."""
        ...


@dataclass(frozen=True)
class Composite:
    """Rules by the position of a layer.

    Args:
        convolution, linear: the rule of convolutions and of matrix products.
        first: the rule of the first layers, of each that sees the pixels; None: the same as further
            on.
        until: the last of the first layers, counted from 0 in the order of the forward pass.
    """

    convolution: Rule
    linear: Rule
    first: Rule | None = None
    until: int = 0

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send relevance back by the rule of the layer's place."""
        rule = self.convolution if layer.kind == "convolution" else self.linear
        first = layer.place.first or layer.index <= self.until
        if first and self.first is not None:
            rule = self.first
        return rule(layer, relevance)


Make = Callable[[Settings], Rule]


def _uniform(make: Make) -> Callable[[Settings], Composite]:
    def composite(settings: Settings) -> Composite:
        rule = make(settings)
        return Composite(rule, rule)

    return composite


def _by_place(
    convolution: Make, linear: Make, first: Make | None = None
) -> Callable[[Settings], Composite]:
    def composite(settings: Settings) -> Composite:
        given = None if first is None else first(settings)
        return Composite(convolution(settings), linear(settings), given, settings.until)

    return composite


def _epsilon(settings: Settings) -> Rule:
    return Epsilon(settings.epsilon)


def _preset_epsilon(_: Settings) -> Rule:
    return Epsilon(0.1)


def _flat(_: Settings) -> Rule:
    return Flat()


def _box(settings: Settings) -> Rule:
    return ZBox(settings.low, settings.high)


def _gamma(settings: Settings) -> Rule:
    return Gamma(settings.gamma)


def _z_plus(_: Settings) -> Rule:
    return AlphaBeta(1.0, 0.0, "ignore")


def _alpha(alpha: float, bias: Bias | None = None) -> Make:
    return lambda settings: AlphaBeta(alpha, alpha - 1, bias or settings.bias)


_PLUS, _TWO = _alpha(1.0, "paper"), _alpha(2.0, "paper")
_PRESET_A, _PRESET_B = _alpha(1.0, "both"), _alpha(2.0, "both")
RULES: dict[str, Make] = {
    "z": lambda settings: Epsilon(0.0, settings.bias),
    "epsilon": lambda settings: Epsilon(settings.epsilon, settings.bias),
    "gamma": _gamma,
    "alpha_beta": lambda settings: AlphaBeta(settings.alpha, settings.alpha - 1, settings.bias),
    "alpha2_beta1": _alpha(2.0),
    "alpha1_beta0": _alpha(1.0),
    "z_plus": _z_plus,
    "z_plus_fast": lambda _: ZPlusFast(),
    "flat": _flat,
    "w_square": lambda _: WSquare(),
}
COMPOSITES: dict[str, Callable[[Settings], Composite]] = {
    **{name: _uniform(make) for name, make in RULES.items()},
    "z_box": _by_place(_z_plus, _z_plus, _box),
    "epsilon_plus": _by_place(_PLUS, _epsilon),
    "epsilon_plus_flat": _by_place(_PLUS, _epsilon, _flat),
    "epsilon_gamma_box": _by_place(_gamma, _epsilon, _box),
    "epsilon_alpha2_beta1": _by_place(_TWO, _epsilon),
    "epsilon_alpha2_beta1_flat": _by_place(_TWO, _epsilon, _flat),
    "epsilon_alpha1_beta0": _by_place(_PLUS, _epsilon),
    "sequential_preset_a": _by_place(_PRESET_A, _preset_epsilon),
    "sequential_preset_b": _by_place(_PRESET_B, _preset_epsilon),
    "sequential_preset_a_flat": _by_place(_PRESET_A, _preset_epsilon, _flat),
    "sequential_preset_b_flat": _by_place(_PRESET_B, _preset_epsilon, _flat),
}


def composed(convolution: str, linear: str, first: str, settings: Settings) -> Composite:
    """Any uniform rule in each place; `first` may also be z_box, or same: none of its own."""
    made = {**RULES, "z_box": _box}
    own = None if first == "same" else made[first](settings)
    return Composite(made[convolution](settings), made[linear](settings), own, settings.until)
