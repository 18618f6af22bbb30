"""DeepLIFT's reveal-cancel rule: what adds to a unit and what takes from it, told apart.

Image, baseline and a third row go through the network together, neighbours in one batch. The third
row is the positive part of each difference, D+; the negative part is what is left, D-. A linear
layer sorts its inputs' contributions by their signs; an activation's parts are the mean of what
each part changes alone and what it changes beside the other one (Shrikumar et al. 2017, sec. 3.5):

    D+y = (f(x' + D+x) - f(x') + f(x' + D+x + D-x) - f(x' + D-x)) / 2

and D-y likewise, so that two inputs which cancel each other are both seen. On the way back the
first row holds the multiplier of D+ and the second row that of D-. Sums, averages and batch norm
keep the parts as they are; max pooling gives what is larger in the image to its maximum (D+) and
the rest to the baseline's (D-).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xai_exp.explainers.backward import functions
from xai_exp.explainers.backward.calls import Refused, caller, ruled, tracked
from xai_exp.explainers.backward.engine import backpropagate
from xai_exp.explainers.backward.functions import arguments, bare, refusal
from xai_exp.explainers.backward.layer import Layer, convolution
from xai_exp.explainers.backward.marks import tensors
from xai_exp.explainers.backward.recognise import Extremes
from xai_exp.explainers.backward.rules import Other, Rules
from xai_exp.explainers.deeplift.ratios import larger, moved
from xai_exp.explainers.deeplift.ties import Maximum, values_of
from xai_exp.types import Images, Labels

_ASKING = frozenset(["to", "type", "type_as", "float", "double", "half", "bfloat16", "clone"])
_CONSTANT = frozenset(["__setitem__", "masked_fill", "where"])
_QUOTIENTS = ("div", "divide", "true_divide", "__truediv__", "__itruediv__")
_ROWS = 3

Function = Callable[..., Any]
Args = tuple[Any, ...]
Kwargs = dict[str, Any]


def reveal_cancel(model: nn.Module, images: Images, start: Images, targets: Labels) -> Images:
    """What each pixel contributes to the difference of the logits, by channel.

    Args:
        model: a network of linear functions, activations, pooling and sums.
        images: (batch, channel, height, width).
        start: the baseline of each.
        targets: the class of each.

    Raises:
        InputError: when a part of the model is not covered or can't be seen.
    """
    difference = images - start
    more, less = difference.clamp(min=0), difference.clamp(max=0)
    rows = targets.repeat_interleave(_ROWS)
    given = _rows(images, start, more)
    back = backpropagate(model, given, rows, _rules(), together=_ROWS)
    return more * back[0::_ROWS] + less * back[1::_ROWS]


def _rules() -> Rules:
    """A rule for every function: one that is none of these is refused by its name."""
    others: dict[str, Other] = {
        **dict.fromkeys(functions.ACTIVATIONS, _activation),
        **dict.fromkeys(functions.LINEAR, _linear),
        **dict.fromkeys(functions.BATCH_NORM, _batch_norm),
        **dict.fromkeys(functions.SCALES, _scale),
        **dict.fromkeys(functions.SUMS, _sum),
        **dict.fromkeys(functions.AVERAGES, _same),
        **dict.fromkeys(functions.STRUCTURE, _moved),
        **dict.fromkeys(functions.MAXIMA, _pool),
        **dict.fromkeys(_CONSTANT, _refused),
        **dict.fromkeys(("cat", "concat", "stack"), _joined),
        "pad": _padded,
    }
    return Rules(linear=lambda _, relevance: relevance, others=others)


def _activation(
    _mode: TorchFunctionMode, func: Function, _name: str, args: Args, kwargs: Kwargs
) -> Tensor:
    inputs = args[0] if args else kwargs["input"]
    image, base, more = _split(inputs)
    less = image - base - more
    call = caller(func, args, kwargs)
    with torch.enable_grad():
        before = image.clone().requires_grad_()
        after = call(before)
    with torch.no_grad():
        whole, empty = after.detach(), call(base)
        risen, fallen = call(base + more), call(base + less)
        up = (risen - empty + whole - fallen) / 2
        down = whole - empty - up
        before_size = larger(image, base, base + more, base + less)
        after_size = larger(whole, empty, risen, fallen)

    def ratio(change: Tensor, part: Tensor, slope: Tensor) -> Tensor:
        known = moved(part, before_size, change, after_size)
        return torch.where(known, change / torch.where(known, part, 1), slope)

    def back(relevance: Tensor) -> Tensor:
        slope = torch.autograd.grad(after, before, torch.ones_like(after), retain_graph=True)[0]
        return _rows(
            relevance[0::_ROWS] * ratio(up, more, slope),
            relevance[1::_ROWS] * ratio(down, less, slope),
        )

    return ruled(_rows(whole, empty, up), back, inputs)


def _linear(
    _mode: TorchFunctionMode, func: Function, name: str, args: Args, kwargs: Kwargs
) -> Tensor:
    given = arguments(name, args, kwargs)
    inputs, weight = given["input"], given["weight"]
    if tracked(weight) or tracked(given.get("bias")):
        raise refusal(name, "whose weights depend on the image")
    image, base, _ = _split(inputs)
    difference = image - base
    layer = Layer(
        name=name,
        index=0,
        inputs=difference,
        weight=weight.detach(),
        bias=None,
        output=difference,
        convolution=convolution(name, args, kwargs),
    )
    up, down = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
    with torch.no_grad():
        whole, empty = caller(func, args, kwargs)(torch.cat([image, base])).chunk(2)
        more = layer.apply(difference.clamp(min=0), up)
        more += layer.apply(difference.clamp(max=0), down)

    def back(relevance: Tensor) -> Tensor:
        adds, takes = relevance[0::_ROWS].contiguous(), relevance[1::_ROWS].contiguous()
        risen = layer.transpose(adds, up) + layer.transpose(takes, down)
        fallen = layer.transpose(adds, down) + layer.transpose(takes, up)
        found = torch.where(difference > 0, risen, fallen)
        found = torch.where(difference == 0, (risen + fallen) / 2, found)
        return _rows(found, found)

    return ruled(_rows(whole, empty, more), back, inputs)


def _batch_norm(
    mode: TorchFunctionMode, func: Function, name: str, args: Args, kwargs: Kwargs
) -> Tensor:
    given = arguments(name, args, kwargs)
    if given.get("training") or given["running_mean"] is None or given["running_var"] is None:
        raise refusal(name, "that takes its statistics from the batch")
    return _scale(mode, func, name, args, kwargs)


def _scale(
    _mode: TorchFunctionMode, func: Function, name: str, args: Args, kwargs: Kwargs
) -> Tensor:
    """A scale and a shift of each value: where the scale is negative the parts change places."""
    places = [i for i, value in enumerate(args) if tracked(value)]
    if len(places) + sum(map(tracked, kwargs.values())) > 1:
        raise refusal(name, "of two values that both depend on the image")
    place = places[0] if places else None
    if name in _QUOTIENTS and place != 0:
        raise refusal(name, "by a value that depends on the image")
    inputs = kwargs["input"] if place is None else args[place]
    with torch.enable_grad():
        before = inputs.detach().requires_grad_()
        after = caller(func, args, kwargs, place or 0)(before)
    if after.shape != inputs.shape:
        raise refusal(name, f"from shape {tuple(inputs.shape)} to {tuple(after.shape)}")
    scale = torch.autograd.grad(after.sum(), before)[0][0::_ROWS]
    image, base, more = _split(inputs)
    whole, empty, _ = _split(after)
    shown = scale * torch.where(scale > 0, more, image - base - more)

    def back(relevance: Tensor) -> Tensor:
        adds, takes = relevance[0::_ROWS] * scale, relevance[1::_ROWS] * scale
        kept = scale > 0
        return _rows(torch.where(kept, adds, takes), torch.where(kept, takes, adds))

    return ruled(_rows(whole, empty, shown), back, inputs)


def _sum(mode: TorchFunctionMode, func: Function, name: str, args: Args, kwargs: Kwargs) -> Tensor:
    if sum(map(tracked, (*args, *kwargs.values()))) < 2:
        return _scale(mode, func, name, args, kwargs)
    if kwargs.get("alpha", 1) != 1:
        raise refusal(name, f"with alpha={kwargs['alpha']}")
    if bare(name) not in functions.DIFFERENCES:
        return func(*args, **kwargs)
    second = args[1] if len(args) > 1 else kwargs["other"]
    first = args[0] if args else kwargs["input"]
    return torch.add(first, _scale(mode, torch.neg, "neg", (second,), {}))


def _pool(_mode: TorchFunctionMode, func: Function, _name: str, args: Args, kwargs: Kwargs) -> Any:  # noqa: ANN401
    inputs = args[0] if args else kwargs["input"]
    image, base, _ = _split(inputs)
    maximum = Maximum(caller(func, args, kwargs))
    found = maximum.call(image)
    whole, empty = values_of(found), values_of(maximum.call(base))
    rule = maximum.rule(image, whole, base, empty)
    more = torch.maximum(whole, empty) - empty

    def back(relevance: Tensor) -> Tensor:
        return _rows(*rule(relevance[0::_ROWS], relevance[1::_ROWS]))

    result = ruled(_rows(whole, empty, more), back, inputs)
    if isinstance(found, Tensor):
        return result
    return Extremes(result, found[1].repeat_interleave(_ROWS, 0))


def _moved(_mode: TorchFunctionMode, func: Function, name: str, args: Args, kwargs: Kwargs) -> Any:  # noqa: ANN401
    """What moves values may not move them from row to row: the rows' numbers show whether."""
    inputs = args[0] if args else kwargs.get("input")
    if isinstance(inputs, Tensor) and name not in _ASKING:
        numbers = torch.arange(len(inputs)).view(-1, *[1] * (inputs.dim() - 1))
        numbers = numbers.to(inputs).expand(inputs.shape)
        for one in tensors(caller(func, args, kwargs)(numbers)):
            rows = torch.arange(len(one)).view(-1, *[1] * (one.dim() - 1)).to(one)
            if len(one) != len(inputs) or not bool((one == rows).all()):
                raise refusal(name, "that moves values from one image's row to another's")
    return func(*args, **kwargs)


def _same(
    _mode: TorchFunctionMode, func: Function, _name: str, args: Args, kwargs: Kwargs
) -> Tensor:
    """An average takes each row, and so each part, for itself."""
    return func(*args, **kwargs)


def _joined(
    _mode: TorchFunctionMode, func: Function, name: str, args: Args, kwargs: Kwargs
) -> Tensor:
    members = args[0] if args else kwargs["tensors"]
    axis = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0))
    result = func(*args, **kwargs)
    if all(map(tracked, members)):
        if axis % result.dim() == 0:
            raise refusal(name, "along the first axis, which tells images apart")
        return result
    # A maximum with a constant is recognised later, and does without this value.
    moving = [value for value in members if tracked(value)]
    return ruled(result, Refused(refusal(name, "with a constant")), *moving)


def _padded(
    _mode: TorchFunctionMode, func: Function, name: str, args: Args, kwargs: Kwargs
) -> Tensor:
    value = kwargs.get("value", args[3] if len(args) > 3 else 0)
    if value:
        raise refusal(name, f"with value={value}")
    return func(*args, **kwargs)


def _refused(
    _mode: TorchFunctionMode, _func: Function, name: str, _args: Args, _kwargs: Kwargs
) -> Tensor:
    raise refusal(name)


def _rows(first: Tensor, second: Tensor, third: Tensor | None = None) -> Tensor:
    """Three rows for every image."""
    third = torch.zeros_like(first) if third is None else third
    return torch.stack([first, second, third], 1).flatten(0, 1)


def _split(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    values = values.detach()
    return values[0::_ROWS], values[1::_ROWS], values[2::_ROWS]
