"""Functions that are written in another way, recognised by what they do.

A ReLU is a ReLU as `x * (x > 0)`, `torch.max(x, zeros)`, `x[x < 0] = 0` or `(x + |x|) / 2`, too.
Each entry looks at one call and gives the steps that it stands for, or None.
"""

from collections.abc import Callable
from functools import partial, reduce
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.explainers.backward import functions
from xai_exp.explainers.backward.calls import tracked
from xai_exp.explainers.backward.functions import refusal
from xai_exp.explainers.backward.marks import Stacked, hidden, same, zero

Steps = Callable[[], Any]
Args = tuple[Any, ...]
Kwargs = dict[str, Any]


class Extremes(NamedTuple):
    """What max() along an axis gives."""

    values: Tensor
    indices: Tensor


def recognised(name: str, args: Args, kwargs: Kwargs) -> Steps | None:
    """The steps that a call stands for; None: the call itself.

    Raises:
        InputError: for a maximum over all values, other images' among them.
    """
    found = _FORMS.get(name)
    return None if found is None else found(args, kwargs)


def _positive(value: Tensor) -> Tensor:
    return torch.relu(value)


def _negative(value: Tensor) -> Tensor:
    found = torch.neg(torch.relu(torch.neg(value)))
    found._below = value  # pyright: ignore[reportAttributeAccessIssue]
    return found


def _part(value: Tensor, *, above: bool) -> Steps:
    return partial(_positive if above else _negative, value)


def _both(args: Args, kwargs: Kwargs) -> tuple[Any, Any]:
    first = args[0] if args else kwargs.get("input")
    other = args[1] if len(args) > 1 else kwargs.get("other", kwargs.get("value"))
    return first, other


def _masked(args: Args, kwargs: Kwargs) -> Steps | None:
    """X * (x > 0); x * sigmoid(x)."""
    first, other = _both(args, kwargs)
    for value, mask in ((first, other), (other, first)):
        found = hidden(mask)
        if found is not None and found.tells_sign_of(value):
            return _part(value, above=found.above)
        whole = getattr(mask, "_gate", None)
        if whole is not None and same(whole[0], value):
            return partial(whole[1], value)
    return None


def _chosen(args: Args, kwargs: Kwargs) -> Steps | None:
    """where(x > 0, x, 0), and where(x > 0, x, a * x)."""
    call = dict(zip(("condition", "input", "other"), args, strict=False)) | kwargs
    values = [call.get(key) for key in ("condition", "input", "other")]
    if isinstance(values[0], Tensor) and values[0].dtype != torch.bool:
        values = [values[1], values[0], values[2]]  # x.where(mask, other)
    mask, kept, other = values
    found = hidden(mask)
    if found is None:
        return None
    if found.tells_sign_of(kept) and zero(other):
        return _part(kept, above=found.above)  # pyright: ignore[reportArgumentType]
    if found.tells_sign_of(other) and zero(kept):
        return _part(other, above=not found.above)  # pyright: ignore[reportArgumentType]
    above, below = (kept, other) if found.above else (other, kept)
    return _leaky(above, below) if found.tells_sign_of(above) else None


def _leaky(value: Any, below: Any) -> Steps | None:  # noqa: ANN401
    """The value above zero, and below it the value by a number, or by one for each channel."""
    scaled: tuple[Any, Any] = getattr(below, "_scaled", (None, None))
    source, slope = scaled
    if source is None or not same(source, value):
        return None
    if not isinstance(slope, Tensor):
        return partial(functional.leaky_relu, value, slope)
    slopes = slope.detach()
    if slopes.numel() == 1:
        return partial(functional.leaky_relu, value, float(slopes))
    shape = [1] * (value.dim() - slopes.dim()) + list(slopes.shape)
    if len(shape) != value.dim() or not slopes.numel() == shape[1] == value.shape[1]:
        return None
    return partial(functional.prelu, value, slopes.flatten())


def _filled(args: Args, kwargs: Kwargs) -> Steps | None:
    """x.masked_fill(x < 0, 0), x[x < 0] = 0."""
    call = dict(zip(("input", "mask", "value"), args, strict=False)) | kwargs
    found = hidden(call.get("mask"))
    if found is None or not found.tells_sign_of(call["input"]) or not zero(call.get("value")):
        return None
    return _part(call["input"], above=not found.above)


def _put(args: Args, kwargs: Kwargs) -> Steps | None:
    """x.index_put_((x < 0,), 0)."""
    call = dict(zip(("input", "indices", "values", "accumulate"), args, strict=False)) | kwargs
    indices = call.get("indices") or ()
    if len(indices) != 1 or call.get("accumulate", False):
        return None
    return _filled((call["input"], indices[0], call.get("values")), {})


def _doubled(args: Args, kwargs: Kwargs) -> Steps | None:
    """X + |x|."""
    first, other = _both(args, kwargs)
    for value, size in ((first, other), (other, first)):
        source = getattr(size, "_absolute", None)
        if source is not None and same(source, value) and kwargs.get("alpha", 1) == 1:
            return lambda value=value: torch.mul(torch.relu(value), 2)
    return None


def _without_below(args: Args, kwargs: Kwargs) -> Steps | None:
    """X - min(x, 0)."""
    first, other = _both(args, kwargs)
    source = getattr(other, "_below", None)
    if source is None or not same(source, first) or kwargs.get("alpha", 1) != 1:
        return None
    return partial(_positive, first)


def _larger(args: Args, kwargs: Kwargs) -> Steps | None:
    """max(x, 0), and any constant as a bound; of two values: the larger one, place by place."""
    first, other = _both(args, kwargs)
    if tracked(first) and tracked(other):
        return None
    value, bound = (first, other) if tracked(first) else (other, first)
    if hidden(bound) is not None:
        return None
    if zero(bound) and bound.dim() <= value.dim():
        return _part(value, above=True)
    return lambda: torch.clamp(value, min=bound)


def _smaller(args: Args, kwargs: Kwargs) -> Steps | None:
    first, other = _both(args, kwargs)
    if hidden(first) is not None or hidden(other) is not None:
        return None
    for value, bound in ((first, other), (other, first)):
        if tracked(value) and zero(bound) and bound.dim() <= value.dim():
            return _part(value, above=False)
    return lambda: torch.neg(torch.maximum(torch.neg(first), torch.neg(other)))


def _bounded(args: Args, kwargs: Kwargs) -> Steps | None:
    """A bound of zero from above, x.clamp(max=0)."""
    call = dict(zip(("input", "min", "max"), args, strict=False)) | kwargs
    if call.get("min") is None and zero(call.get("max")):
        return _part(call["input"], above=False)
    if isinstance(call.get("min"), Tensor) and call.get("max") is None and zero(call["min"]):
        return _part(call["input"], above=True)
    return None


def _bounded_above(args: Args, kwargs: Kwargs) -> Steps | None:
    call = dict(zip(("input", "max"), args, strict=False)) | kwargs
    return _part(call["input"], above=False) if zero(call.get("max")) else None


def _axis(args: Args, kwargs: Kwargs) -> Any:  # noqa: ANN401
    return args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis"))


def _maximum(args: Args, kwargs: Kwargs) -> Steps | None:
    """max(x, y), or along an axis."""
    if isinstance(_both(args, kwargs)[1], Tensor):
        first, other = _both(args, kwargs)
        return lambda: torch.maximum(first, other)
    return _extreme("max", args, kwargs)


def _minimum(args: Args, kwargs: Kwargs) -> Steps | None:
    first, other = _both(args, kwargs)
    if isinstance(other, Tensor):
        return lambda: torch.minimum(first, other)
    if _axis(args, kwargs) is None:
        raise refusal("min", "of all values, those of other images among them")

    def steps() -> Extremes:
        values, indices = torch.max(torch.neg(first), *args[1:], **kwargs)
        return Extremes(torch.neg(values), indices)

    return steps


def _least(args: Args, kwargs: Kwargs) -> Steps:
    first = args[0] if args else kwargs["input"]
    rest = {key: value for key, value in kwargs.items() if key != "input"}
    return lambda: torch.neg(torch.amax(torch.neg(first), *args[1:], **rest))


def _extreme(name: str, args: Args, kwargs: Kwargs) -> Steps | None:
    """The largest of what was stacked along this axis is a maximum place by place."""
    values = args[0] if args else kwargs["input"]
    axis = _axis(args, kwargs)
    axes = axis if isinstance(axis, tuple | list) else () if axis is None else (axis,)
    axes = [one % values.dim() for one in axes]
    if not axes or (0 in axes and getattr(values, "_stacked", None) is None):
        raise refusal(name, "over the images of a batch")
    stacked: Stacked | None = getattr(values, "_stacked", None)
    if stacked is None or axes != [stacked.axis] or all(map(tracked, stacked.members)):
        return None
    keep = args[2] if len(args) > 2 else kwargs.get("keepdim", False)

    def steps() -> Any:  # noqa: ANN401
        moving = [one for one in stacked.members if tracked(one)]
        found = moving[0] if len(moving) == 1 else torch.stack(moving).amax(0)
        found = reduce(torch.maximum, [one for one in stacked.members if not tracked(one)], found)
        found = found.unsqueeze(stacked.axis) if keep else found
        if name == "amax":
            return found
        return Extremes(found, values.data.max(stacked.axis, keep).indices)

    return steps


def _product(args: Args, kwargs: Kwargs) -> Steps | None:
    """A product with a constant matrix, x @ w or w @ x, is a linear layer without bias."""
    first = args[0] if args else kwargs["input"]
    second: Any = args[1] if len(args) > 1 else kwargs.get("other", kwargs.get("mat2"))
    if _matrix(first, second):
        return partial(functional.linear, first, second.t())
    if _matrix(second, first) and second.dim() > 2:
        return lambda: functional.linear(second.transpose(-1, -2), first).transpose(-1, -2)
    return None


def _einsum(args: Args, kwargs: Kwargs) -> Steps | None:
    """Of one value a sum; of a value and a constant a linear layer without bias."""
    equation, *values = args
    if len(values) == 1 and isinstance(values[0], list | tuple):
        values = [*values[0]]
    if not isinstance(equation, str) or "->" not in equation or kwargs:
        return None
    told, out = equation.replace(" ", "").split("->")
    names = told.split(",")
    plain = all(name.isalpha() and len({*name}) == len(name) for name in [*names, out or "."])
    if not plain or len(names) != len(values):
        return None
    if len(values) == 1:
        return _summed(names[0], out, values[0])
    if len(values) != 2 or sum(map(tracked, values)) != 1:
        return None
    place = int(tracked(values[1]))
    if hidden(values[1 - place]) is not None:
        return None
    return _contracted((names[place], names[1 - place], out), values[place], values[1 - place])


def _summed(name: str, out: str, value: Tensor) -> Steps | None:
    gone = [place for place, letter in enumerate(name) if letter not in out]
    left = [letter for letter in name if letter in out]
    if 0 in gone:
        return None
    order = [left.index(letter) for letter in out]
    return lambda: (value.sum(gone) if gone else value).permute(order)


def _contracted(names: tuple[str, str, str], value: Tensor, constant: Tensor) -> Steps | None:
    """The value's letters, the constant's, the result's: those that both share are summed over."""
    name, other, out = names
    shared = [letter for letter in name if letter in other]
    kept = [letter for letter in name if letter not in other]
    new = [letter for letter in other if letter not in name]
    whole = not {*shared} & {*out} and {*out} == {*kept, *new}
    if not shared or not whole or name[0] in shared:
        return None
    matrix = constant.detach().permute([other.index(letter) for letter in [*new, *shared]])
    wide = [matrix.shape[place] for place in range(len(new))]
    matrix = matrix.reshape(prod(wide), -1)
    rows = [value.shape[name.index(letter)] for letter in kept]
    order = [[*kept, *new].index(letter) for letter in out]

    def steps() -> Tensor:
        moved = value.permute([name.index(letter) for letter in [*kept, *shared]])
        found = functional.linear(moved.reshape(*rows, -1), matrix)
        return found.reshape(*rows, *wide).permute(order)

    return steps


def _added(combine: Callable[[Any, Any], Tensor], args: Args, kwargs: Kwargs) -> Steps:
    """addcmul(x, y, z) is x + y z, addcdiv(x, y, z) is x + y / z."""
    call = dict(zip(("input", "tensor1", "tensor2"), args, strict=False)) | kwargs

    def steps() -> Tensor:
        change = combine(call["tensor1"], call["tensor2"])
        if call.get("value", 1) != 1:
            change = torch.mul(change, call["value"])
        return torch.add(call["input"], change)

    return steps


def _between(args: Args, kwargs: Kwargs) -> Steps:
    """lerp(x, y, w) is (1 - w) x + w y."""
    call = dict(zip(("input", "end", "weight"), args, strict=False)) | kwargs
    start, end, weight = (call[key] for key in ("input", "end", "weight"))
    return lambda: torch.add(torch.mul(start, 1 - weight), torch.mul(end, weight))


def _affine(args: Args, kwargs: Kwargs) -> Steps | None:
    """addmm(b, x, w) is a linear layer with a bias."""
    call = dict(zip(("input", "mat1", "mat2"), args, strict=False)) | kwargs
    bias, first, second = call["input"], call["mat1"], call["mat2"]
    plain = call.get("alpha", 1) == call.get("beta", 1) == 1
    if not plain or not _matrix(first, second) or tracked(bias) or hidden(bias) is not None:
        return None
    return lambda: torch.add(functional.linear(first, second.t()), bias)


def _rounded(_args: Args, kwargs: Kwargs) -> None:
    """A quotient that is rounded has steps and no slope."""
    if kwargs.get("rounding_mode") is not None:
        raise refusal("div", "with rounding")


def _sampled(args: Args, kwargs: Kwargs) -> None:
    """Sampling a grid is an average as long as the grid is a constant."""
    if tracked(args[1] if len(args) > 1 else kwargs.get("grid")):
        raise refusal("grid_sample", "at places that depend on the image")


def _matrix(first: Any, second: Any) -> bool:  # noqa: ANN401
    constant = isinstance(second, Tensor) and not tracked(second) and hidden(second) is None
    return constant and tracked(first) and first.dim() > 1 and second.dim() == 2


def _halves(args: Args, kwargs: Kwargs) -> Steps:
    """glu(x) is the first half of x times the sigmoid of the second."""
    call = dict(zip(("input", "dim"), args, strict=False)) | kwargs

    def steps() -> Tensor:
        signal, gate = torch.chunk(call["input"], 2, call.get("dim", -1))
        return torch.mul(signal, torch.sigmoid(gate))

    return steps


_FORMS: dict[str, Callable[[Args, Kwargs], Steps | None]] = {
    **dict.fromkeys(functions.MULTIPLIED, _masked),
    **dict.fromkeys(("add", "__add__", "__radd__"), _doubled),
    **dict.fromkeys(("sub", "subtract", "__sub__"), _without_below),
    **dict.fromkeys(("clamp", "clip"), _bounded),
    **dict.fromkeys(("maximum", "fmax"), _larger),
    **dict.fromkeys(("minimum", "fmin"), _smaller),
    **dict.fromkeys(("matmul", "__matmul__", "mm"), _product),
    "addmm": _affine,
    "addcmul": partial(_added, torch.mul),
    "addcdiv": partial(_added, torch.div),
    "lerp": _between,
    "einsum": _einsum,
    **dict.fromkeys(functions.DIVIDED, _rounded),
    **dict.fromkeys(("grid_sample", "grid_sampler"), _sampled),
    "glu": _halves,
    "where": _chosen,
    "masked_fill": _filled,
    "index_put": _put,
    "__setitem__": _filled,
    "clamp_max": _bounded_above,
    "max": _maximum,
    "min": _minimum,
    "amax": partial(_extreme, "amax"),
    "amin": _least,
}
