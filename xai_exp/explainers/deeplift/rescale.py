r"""DeepLIFT's rescale rule for every kind of function: multipliers whose sum is right.

Of a function y = f(x) and a baseline x' with y' a multiplier m is such that m . (x - x') = y - y':

- of one value, (y - y') / (x - x'), and the slope where that is rounding (`ratios.py`); where a
  closed form of the ratio is known (square, root, reciprocal, ReLU), that.
- of a product a b, which is linear in each, the mean of the other one: a gets (b + b') / 2 and b
  gets (a + a') / 2, which are the Shapley values of the two factors. So a gate written in pieces
  has the multiplier of the whole: of x s(x) it is the ratio of the differences.
- of a quotient y = a / b, from a = y b: a gets 1 / m and b gets -(y + y') / 2 m, m = (b + b') / 2.
  It stays small where one divisor is nearly zero, as that of a norm is on a black image.
- of a softmax s, m_ij = L_i (d_ij - L_j / sum_k L_k) with L_i = (s_i - s'_i) / log(s_i / s'_i), the
  logarithmic mean: the Jacobian of the softmax with L in place of s. From log(s_i / s'_i) = (x_i -
  x'_i) - c for every i, with c the difference of the normalisers, and from sum_i (s_i - s'_i) = 0.
- of a maximum, what is larger in the image goes to its winner, the rest to the baseline's winner;
  of winners that differ by rounding alone, the first (`ties.py`).
- of a norm and of attention those of the functions that they are made of.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xai_exp.config import InputError
from xai_exp.explainers.backward import functions
from xai_exp.explainers.backward.calls import again, caller, ruled, tracked
from xai_exp.explainers.backward.functions import refusal
from xai_exp.explainers.backward.rules import Activated, Other, Rules
from xai_exp.explainers.backward.steps import Norm, attention, multi_head
from xai_exp.explainers.deeplift.ratios import larger, moved
from xai_exp.explainers.deeplift.ties import Maximum, values_of

Mode = TorchFunctionMode
Args = tuple[Any, ...]
Kwargs = dict[str, Any]


class Tape:
    """What each call got and gave for the baseline, in the order of the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Tensor, ...]]] = []
        self.place: int | None = None

    def rewind(self) -> None:
        """From now on calls are those of the image."""
        self.place = 0

    def met(self, name: str, *values: Tensor) -> tuple[Tensor, ...] | None:
        """The baseline's values of this call; None while the baseline itself is recorded.

        Raises:
            InputError: when image and baseline take different steps.
        """
        if self.place is None:
            self.calls.append((name, values))
            return None
        known, kept = self.calls[self.place] if self.place < len(self.calls) else ("", ())
        self.place += 1
        if known != name or [one.shape for one in kept] != [one.shape for one in values]:
            raise InputError(
                f"DeepLIFT: got a network that calls {name}() for the image where it calls "
                f"{known}() for the baseline; allowed: the same steps for every image"
            )
        return kept


def rescale_rules(tape: Tape, pooling: Literal["rescale", "gradient"]) -> Rules:
    """A rule for every function that is not linear: one that has none is refused by its name."""
    single = functions.ACTIVATIONS | functions.ELEMENTWISE | functions.ABSOLUTE
    products = functions.PRODUCTS | functions.EINSUM
    others: dict[str, Other] = {
        **dict.fromkeys(single, partial(_single, tape)),
        **{name: partial(_closed, tape, slope) for name, slope in _CLOSED.items()},
        **dict.fromkeys(("rsqrt", "reciprocal"), partial(_inverse, tape)),
        **dict.fromkeys(functions.SCALES, partial(_scaled, tape)),
        **dict.fromkeys(products, partial(_product, tape)),
        **dict.fromkeys(functions.LINEAR, _linear),
        **dict.fromkeys(("softmax", "log_softmax"), partial(_softmax, tape)),
        **dict.fromkeys(functions.NORMS, _norm),
        **dict.fromkeys(functions.PRODUCT_ATTENTION, _attention),
        **dict.fromkeys(functions.MULTI_HEAD, _multi_head),
        **dict.fromkeys(("maximum", "fmax"), _larger),
        **dict.fromkeys(("var", "std"), _spread),
        **dict.fromkeys(("norm", "linalg_vector_norm", "linalg_norm", "vector_norm"), _length),
        "normalize": _normalized,
        "logsumexp": partial(_logsumexp, tape),
    }
    if pooling == "rescale":
        others |= dict.fromkeys(functions.MAXIMA, partial(_pooled, tape))
    return Rules(others=others, free=functions.LINEAR_MAPS)


def _recorded(value: Tensor, *inputs: Tensor) -> Tensor:
    """A value of the baseline's pass, from which there is no way back."""
    return ruled(value, lambda relevance: (relevance,) * len(inputs), *inputs)


def _single(
    tape: Tape,
    _mode: Mode,
    func: Any,  # noqa: ANN401
    name: str,
    args: Args,
    kwargs: Kwargs,
) -> Tensor:
    inputs, before, after = again(func, args, kwargs)
    if after.shape != before.shape:
        raise refusal(name, f"from shape {tuple(before.shape)} to {tuple(after.shape)}")
    base = tape.met(name, before.detach(), after.detach())
    if base is None:
        return _recorded(after, inputs)
    gradient = Activated(name, before, after)

    def back(relevance: Tensor) -> Tensor:
        start, end = before.detach(), after.detach()
        difference, change = start - base[0], end - base[1]
        known = moved(difference, larger(start, base[0]), change, larger(end, base[1]))
        ratio = change / torch.where(known, difference, 1)
        return torch.where(known, ratio * relevance, gradient(relevance))

    return ruled(after, back, inputs)


def _rectified(x: Tensor, y: Tensor, base: Tensor, start: Tensor) -> Tensor:
    """On one side of 0 the ratio is the slope to the last bit, on two it is no rounding."""
    difference = x - base
    ratio = (y - start).div_(difference)
    return torch.where(difference == 0, y.sign(), ratio)


Slope = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
_CLOSED: dict[str, Slope] = {  # of x, f(x), x' and f(x')
    "relu": _rectified,
    "square": lambda x, _, base, __: x + base,
    "reciprocal": lambda _, y, __, base: -y * base,
    "rsqrt": lambda x, y, base, start: -(y * start) / (x.sqrt() + base.sqrt()),
    "sqrt": lambda _, y, __, base: torch.where(y + base > 0, 1 / (y + base), 0),
}


def _closed(
    tape: Tape,
    slope: Slope,
    _mode: Mode,
    func: Any,  # noqa: ANN401
    name: str,
    args: Args,
    kwargs: Kwargs,
) -> Tensor:
    inputs = args[0] if args else kwargs["input"]
    with torch.no_grad():
        before, after = inputs.data, func(*args, **kwargs)
    base = tape.met(name, before, after)
    if base is None:
        return _recorded(after, inputs)
    return ruled(after, lambda relevance: relevance * slope(before, after, *base), inputs)


def _inverse(
    tape: Tape,
    mode: Mode,
    func: Any,  # noqa: ANN401
    name: str,
    args: Args,
    kwargs: Kwargs,
) -> Tensor:
    """A product with it is a quotient."""
    inputs = args[0] if args else kwargs["input"]
    result = _closed(tape, _CLOSED[name], mode, func, name, args, kwargs)

    def divisor() -> Tensor:
        return inputs if name == "reciprocal" else torch.sqrt(inputs)

    result._divisor = divisor  # pyright: ignore[reportAttributeAccessIssue]
    return result


def _product(
    tape: Tape,
    _mode: Mode,
    func: Any,  # noqa: ANN401
    name: str,
    args: Args,
    kwargs: Kwargs,
) -> Tensor:
    """A function that is linear in each of two values."""
    if name in functions.EINSUM and len(args) == 2 and isinstance(args[1], list | tuple):
        args = (args[0], *args[1])
    places = [place for place, value in enumerate(args) if tracked(value)]
    keys = [key for key, value in kwargs.items() if tracked(value)]
    if len(places) + len(keys) < 2:
        return func(*args, **kwargs)
    if len(places) + len(keys) > 2:
        raise refusal(name, "of more than two values that depend on the image")
    inputs = [*(args[place] for place in places), *(kwargs[key] for key in keys)]

    def multiply(*factors: Tensor) -> Tensor:
        given = list(args)
        for place, value in zip(places, factors, strict=False):
            given[place] = value
        named = dict(zip(keys, factors[len(places) :], strict=True))
        return func(*given, **kwargs | named)

    with torch.no_grad():
        output = multiply(*inputs)
    values = [value.data for value in inputs]
    base = tape.met(name, *values)
    if base is None:
        return _recorded(output, *inputs)

    def back(relevance: Tensor) -> tuple[Tensor, ...]:
        means = [((one + other) / 2).requires_grad_() for one, other in zip(values, base)]  # noqa: B905
        with torch.enable_grad():
            between = multiply(*means)
        return torch.autograd.grad(between, means, relevance)

    return ruled(output, back, *inputs)


def _scaled(
    tape: Tape,
    mode: Mode,
    func: Any,  # noqa: ANN401
    name: str,
    args: Args,
    kwargs: Kwargs,
) -> Tensor:
    """A constant factor is linear; else it is a product, or one with a reciprocal."""
    if name not in functions.MULTIPLIED | functions.DIVIDED:
        return func(*args, **kwargs)
    first, other = args[0], args[1] if len(args) > 1 else kwargs["other"]
    if name in functions.MULTIPLIED:
        for value, inverse in ((first, other), (other, first)):
            divisor = getattr(inverse, "_divisor", None)
            if divisor is not None and tracked(value):
                with mode:
                    return torch.div(value, divisor())
        return _product(tape, mode, func, name, args, kwargs)
    if not tracked(other):
        return func(*args, **kwargs)
    if tracked(first):
        return _quotient(tape, func, name, first, other)
    with mode:
        return torch.mul(torch.reciprocal(other), first)


def _quotient(tape: Tape, func: Any, name: str, first: Tensor, other: Tensor) -> Tensor:  # noqa: ANN401
    with torch.no_grad():
        output = func(first, other)
    above, below = first.data, other.data
    base = tape.met(name, above, below, output)
    if base is None:
        return _recorded(output, first, other)

    def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
        # Where the divisor changes its sign, the mean of the reciprocals.
        kept, middle = below * base[1] > 0, (below + base[1]) / 2
        inverse = torch.where(kept, 1 / middle, (1 / below + 1 / base[1]) / 2)
        slope = torch.where(
            kept,
            -(output + base[2]) / 2 / middle,
            -(above + base[0]) / 2 / (below * base[1]),
        )
        given = relevance * inverse, relevance * slope
        return given[0].sum_to_size(first.shape), given[1].sum_to_size(other.shape)

    return ruled(output, back, first, other)


def _linear(_mode: Mode, func: Any, name: str, args: Args, kwargs: Kwargs) -> Tensor:  # noqa: ANN401
    if sum(map(tracked, (*args, *kwargs.values()))) > 1:
        raise refusal(name, "whose weights depend on the image")
    return func(*args, **kwargs)


def _axis(name: str, args: Args, kwargs: Kwargs) -> int:
    axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if isinstance(axis, tuple | list) and len(axis) == 1:
        axis = axis[0]
    if not isinstance(axis, int):
        raise refusal(name, "other than along one axis that is named")
    return axis


def _logarithmic_mean(logs: Tensor, base: Tensor) -> Tensor:
    """(s - s') / log(s / s') of two positive values by their logarithms; s where they are equal."""
    larger, apart = torch.maximum(logs, base), -(logs - base).abs()
    ratio = torch.where(apart == 0, 1, torch.expm1(apart) / apart)
    return torch.where(larger == -torch.inf, 0, larger.exp() * ratio)


def _softmax(
    tape: Tape,
    _mode: Mode,
    func: Any,  # noqa: ANN401
    name: str,
    args: Args,
    kwargs: Kwargs,
) -> Tensor:
    axis, inputs = _axis(name, args, kwargs), args[0] if args else kwargs["input"]
    with torch.no_grad():
        output, logs = func(*args, **kwargs), inputs.data.log_softmax(axis)
    base = tape.met(name, logs)
    if base is None:
        return _recorded(output, inputs)

    def back(relevance: Tensor) -> Tensor:
        means = _logarithmic_mean(logs, base[0])
        shares = means / means.sum(axis, keepdim=True)
        given = relevance if name == "log_softmax" else relevance * means
        return given - shares * given.sum(axis, keepdim=True)

    return ruled(output, back, inputs)


def _logsumexp(
    tape: Tape,
    _mode: Mode,
    func: Any,  # noqa: ANN401
    name: str,
    args: Args,
    kwargs: Kwargs,
) -> Tensor:
    axis, inputs = _axis(name, args, kwargs), args[0] if args else kwargs["input"]
    kept = kwargs.get("keepdim", args[2] if len(args) > 2 else False)
    with torch.no_grad():
        output, logs = func(*args, **kwargs), inputs.data.log_softmax(axis)
    base = tape.met(name, logs)
    if base is None:
        return _recorded(output, inputs)

    def back(relevance: Tensor) -> Tensor:
        means = _logarithmic_mean(logs, base[0])
        spread = relevance if kept else relevance.unsqueeze(axis)
        return spread * means / means.sum(axis, keepdim=True)

    return ruled(output, back, inputs)


class _Largest(NamedTuple):
    values: Tensor
    indices: Tensor


def _pooled(
    tape: Tape,
    _mode: Mode,
    func: Any,  # noqa: ANN401
    name: str,
    args: Args,
    kwargs: Kwargs,
) -> Any:  # noqa: ANN401
    inputs, before, found = again(func, args, kwargs)
    after = values_of(found).detach()
    base = tape.met(name, before.detach(), after)
    if base is None:
        given = _recorded(after, inputs)
    else:
        rule = Maximum(caller(func, args, kwargs)).rule(before.detach(), after, *base)
        given = ruled(after, lambda relevance: rule(relevance, relevance)[0], inputs)
    return given if isinstance(found, Tensor) else _Largest(given, found[1])


def _norm(mode: Mode, _func: Any, name: str, args: Args, kwargs: Kwargs) -> Tensor:  # noqa: ANN401
    norm = Norm.of(name, args, kwargs)
    with mode:
        return norm.fixed() if norm.fixed is not None else norm(norm.inputs)


def _attention(mode: Mode, _func: Any, name: str, args: Args, kwargs: Kwargs) -> Tensor:  # noqa: ANN401
    call = attention(name, args, kwargs)
    with mode:
        return call()


def _multi_head(mode: Mode, _func: Any, name: str, args: Args, kwargs: Kwargs) -> Any:  # noqa: ANN401
    with mode:
        return multi_head(name, args, kwargs)


def _larger(mode: Mode, _func: Any, _name: str, args: Args, kwargs: Kwargs) -> Tensor:  # noqa: ANN401
    first, other = args[0], args[1] if len(args) > 1 else kwargs["other"]
    with mode:
        return torch.stack(torch.broadcast_tensors(first, other)).amax(0)


def _spread(mode: Mode, _func: Any, name: str, args: Args, kwargs: Kwargs) -> Tensor:  # noqa: ANN401
    """Variance and standard deviation along named axes."""
    call = dict(zip(("input", "dim", "unbiased", "keepdim"), args, strict=False)) | kwargs
    inputs, axes, keep = call["input"], call.get("dim"), call.get("keepdim", False)
    if axes is None or isinstance(axes, bool):
        raise refusal(name, "without named axes")
    axes = (axes,) if isinstance(axes, int) else tuple(axes)
    fewer = call.get("correction", int(call.get("unbiased", True)))
    count = 1
    for axis in axes:
        count *= inputs.shape[axis]
    with mode:
        apart = inputs - inputs.mean(axes, keepdim=True)
        found = apart.square().sum(axes, keepdim=keep) / (count - (1 if fewer is None else fewer))
        return found if name == "var" else found.sqrt()


def _length(mode: Mode, _func: Any, name: str, args: Args, kwargs: Kwargs) -> Tensor:  # noqa: ANN401
    """The Euclidean norm along named axes."""
    call = dict(zip(("input", "p", "dim", "keepdim"), args, strict=False)) | kwargs
    order, axes = call.get("p", call.get("ord", 2)), call.get("dim")
    inputs = call.get("input", call.get("x", call.get("A")))
    if order not in (2, "fro", None) or axes is None or inputs is None:
        raise refusal(name, "other than the Euclidean norm along named axes")
    with mode:
        return inputs.square().sum(axes, keepdim=call.get("keepdim", False)).sqrt()


def _normalized(mode: Mode, _func: Any, name: str, args: Args, kwargs: Kwargs) -> Tensor:  # noqa: ANN401
    call = dict(zip(("input", "p", "dim", "eps"), args, strict=False)) | kwargs
    inputs = call["input"]
    if call.get("p", 2.0) != 2:
        raise refusal(name, "other than by the Euclidean norm")
    with mode:
        length = inputs.square().sum(call.get("dim", 1), keepdim=True).sqrt()
        return inputs / length.clamp(min=call.get("eps", 1e-12))
