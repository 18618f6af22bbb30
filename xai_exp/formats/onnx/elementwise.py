"""Operators that look at each number by itself, or at several in the same place."""

import math
from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.formats.onnx.node import Node, together

Operator = Callable[..., Any]


def unary(function: Callable[[Tensor], Tensor], _node: Node, value: Tensor) -> Tensor:
    """A function of one value."""
    return function(value)


def binary(
    function: Callable[[Tensor, Tensor], Tensor], _node: Node, one: Tensor, other: Tensor
) -> Tensor:
    """A function of two values that are broadcast."""
    together(one, other)
    return function(one, other)


def _divided(one: Tensor, other: Tensor) -> Tensor:
    """Whole numbers are cut towards zero."""
    if one.is_floating_point():
        return torch.div(one, other)
    return torch.div(one, other, rounding_mode="trunc")


def _power(one: Tensor, other: Tensor) -> Tensor:
    """The type of the first decides."""
    if not one.is_floating_point() and other.is_floating_point():
        return torch.pow(one.double(), other.double()).to(one.dtype)
    if other.numel() == 1 and not other.requires_grad:
        return (
            torch.pow(one, other.item())
            .to(one.dtype)
            .expand(torch.broadcast_shapes(one.shape, other.shape))
        )
    return torch.pow(one, other.to(one.dtype))


def _mod(node: Node, one: Tensor, other: Tensor) -> Tensor:
    together(one, other)
    if node.get("fmod", 0):
        return torch.fmod(one, other)
    if one.is_floating_point():
        raise node.cannot("fmod=0 of floats")
    return torch.remainder(one, other)


def several(function: Operator, _node: Node, *values: Tensor) -> Tensor:
    """A function of two values for any number of them."""
    together(*values)
    return reduce(function, values)


def _mean(node: Node, *values: Tensor) -> Tensor:
    return several(torch.add, node, *values) / len(values)


def _clip(node: Node, value: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Any:  # noqa: ANN401
    if node.version < 11:
        return _bounded(value, node.get("min", -math.inf), node.get("max", math.inf))
    if (low is not None and low.requires_grad) or (high is not None and high.requires_grad):
        raise node.cannot("limits that depend on the picture")
    least = -math.inf if low is None else low.item()
    most = math.inf if high is None else high.item()
    return _bounded(value, least, most)


def _bounded(value: Tensor, low: float, high: float) -> Tensor:
    if value.is_floating_point():
        limits = torch.finfo(value.dtype)
        low = -math.inf if low <= limits.min else low
        high = math.inf if high >= limits.max else high
    if (low, high) == (0.0, math.inf) and value.is_floating_point():
        return functional.relu(value)
    if (low, high) == (0.0, 6.0) and value.is_floating_point():
        return functional.relu6(value)
    if low > high:
        return torch.full_like(value, high)
    kept = {"min": low if low > -math.inf else None, "max": high if high < math.inf else None}
    kept = {name: one for name, one in kept.items() if one is not None}
    return torch.clamp(value, **kept) if kept else value  # pyright: ignore[reportCallIssue, reportArgumentType]


def _leaky(node: Node, value: Tensor) -> Tensor:
    return functional.leaky_relu(value, node.get("alpha", 0.01))


def _elu(node: Node, value: Tensor) -> Tensor:
    return functional.elu(value, node.get("alpha", 1.0))


def _celu(node: Node, value: Tensor) -> Tensor:
    return functional.celu(value, node.get("alpha", 1.0))


def _selu(node: Node, value: Tensor) -> Tensor:
    alpha, gamma = node.get("alpha", 1.67326319217681884), node.get("gamma", 1.05070102214813232)
    if abs(alpha - 1.6732632) < 1e-6 and abs(gamma - 1.0507010) < 1e-6:
        return functional.selu(value)
    return gamma * functional.elu(value, alpha)


def _prelu(node: Node, value: Tensor, slope: Tensor) -> Tensor:
    if slope.requires_grad:
        raise node.cannot("a slope that depends on the picture")
    together(value, slope)
    if slope.numel() == 1:
        return functional.prelu(value, slope.reshape(1))
    lined = (1,) * (value.dim() - slope.dim()) + tuple(slope.shape)
    if value.dim() > 1 and lined[1] == slope.numel() == value.shape[1]:
        return functional.prelu(value, slope.reshape(-1))
    return functional.relu(value) - slope * functional.relu(-value)


def _hard_sigmoid(node: Node, value: Tensor) -> Tensor:
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return functional.hardsigmoid(value)
    return torch.clamp(value * alpha + beta, 0, 1)


def _gelu(node: Node, value: Tensor) -> Tensor:
    kind = node.get("approximate", "none")
    if kind not in ("none", "tanh"):
        raise node.cannot(f"approximate={kind}")
    return functional.gelu(value, approximate=kind)


def _thresholded(node: Node, value: Tensor) -> Tensor:
    alpha = node.get("alpha", 1.0)
    return functional.relu(value) if alpha == 0 else functional.threshold(value, alpha, 0.0)


def _swish(node: Node, value: Tensor) -> Tensor:
    alpha = node.get("alpha", 1.0)
    return functional.silu(value) if alpha == 1 else value * torch.sigmoid(alpha * value)


def _shrink(node: Node, value: Tensor) -> Tensor:
    bias, lambd = node.get("bias", 0.0), node.get("lambd", 0.5)
    if not value.is_floating_point():
        raise node.cannot("whole numbers")
    if bias == 0:
        return functional.hardshrink(value, lambd)
    if bias == lambd:
        return functional.softshrink(value, lambd)
    return torch.where(value < -lambd, value + bias, torch.where(value > lambd, value - bias, 0))


def _infinite(node: Node, value: Tensor) -> Tensor:
    found = torch.zeros_like(value, dtype=torch.bool)
    if node.get("detect_positive", 1):
        found |= value == math.inf
    return found | (value == -math.inf) if node.get("detect_negative", 1) else found


def _where(_node: Node, condition: Tensor, one: Tensor, other: Tensor) -> Tensor:
    together(condition, one, other)
    return torch.where(condition, one, other)


def _dropout(node: Node, value: Tensor, _ratio: Any = None, training: Tensor | None = None) -> Any:  # noqa: ANN401
    if training is not None and bool(training.item()):
        raise node.cannot("in training mode")
    if len(node.outputs) > 1:
        return value, torch.ones_like(value, dtype=torch.bool)
    return value


_UNARY: Mapping[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs, "Acos": torch.acos, "Acosh": torch.acosh, "Asin": torch.asin,
    "Asinh": torch.asinh, "Atan": torch.atan, "Atanh": torch.atanh, "Ceil": torch.ceil,
    "Cos": torch.cos, "Cosh": torch.cosh, "Erf": torch.erf, "Exp": torch.exp,
    "Floor": torch.floor, "IsNaN": torch.isnan, "Log": torch.log, "Neg": torch.neg,
    "Not": torch.logical_not, "Reciprocal": torch.reciprocal, "Relu": functional.relu,
    "Round": torch.round, "Sigmoid": torch.sigmoid, "Sign": torch.sign, "Sin": torch.sin,
    "Sinh": torch.sinh, "Softplus": partial(functional.softplus, threshold=50),
    "Softsign": functional.softsign, "Sqrt": torch.sqrt, "Tan": torch.tan, "Tanh": torch.tanh,
    "HardSwish": functional.hardswish, "Mish": functional.mish,
}  # fmt: skip
_BINARY: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": _divided, "Pow": _power,
    "And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor,
    "Equal": torch.eq, "Greater": torch.gt, "Less": torch.lt, "GreaterOrEqual": torch.ge,
    "LessOrEqual": torch.le, "BitwiseAnd": torch.bitwise_and, "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
}  # fmt: skip
OPERATORS: Mapping[str, tuple[int, Operator]] = {
    **{name: (1 if name == "Not" else 6, partial(unary, one)) for name, one in _UNARY.items()},
    **{name: (7, partial(binary, one)) for name, one in _BINARY.items()},
    "Max": (8, partial(several, torch.maximum)),
    "Min": (8, partial(several, torch.minimum)),
    "Sum": (8, partial(several, torch.add)),
    "Mean": (8, _mean),
    "Mod": (10, _mod),
    "Clip": (6, _clip),
    "LeakyRelu": (6, _leaky),
    "Elu": (6, _elu),
    "Celu": (12, _celu),
    "Selu": (6, _selu),
    "PRelu": (7, _prelu),
    "HardSigmoid": (6, _hard_sigmoid),
    "Gelu": (20, _gelu),
    "Swish": (24, _swish),
    "ThresholdedRelu": (10, _thresholded),
    "Shrink": (9, _shrink),
    "IsInf": (10, _infinite),
    "Where": (9, _where),
    "Dropout": (7, _dropout),
    "Identity": (1, lambda _node, value: value),
    "BitwiseNot": (18, partial(unary, torch.bitwise_not)),
}
"""Name: (oldest version that is understood, function)."""
