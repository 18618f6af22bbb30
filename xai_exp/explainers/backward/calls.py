"""One call of a torch function: does it depend on the image, and which way does it go backward."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.explainers.backward import functions
from xai_exp.explainers.backward.functions import bare

Back = Callable[[Tensor], Any]
_STABILIZER = 1e-9
_IN_PLACE_SUMS = {"__iadd__": "add", "__isub__": "sub", "__imul__": "mul", "__itruediv__": "div"}


def stabilized(values: Tensor, epsilon: float = _STABILIZER) -> Tensor:
    """`values` moved away from zero by `epsilon`, zero itself upward: a safe denominator.

    >>> stabilized(torch.tensor([-1.0, 0.0, 2.0]), 0.5)
    tensor([-1.5000,  0.5000,  2.5000])
    """
    return torch.copysign(values.new_tensor(epsilon), values).add_(values)


class Ruled(torch.autograd.Function):
    """A value computed elsewhere, whose backward pass is a given function."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, back: Back, *inputs: Tensor) -> Tensor:  # noqa: ANN401
        """The value; `inputs` are what relevance goes to."""
        ctx.back, ctx.count = back, len(inputs)
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *relevance: Tensor) -> Any:  # noqa: ANN401
        """What the function makes of the relevance, for each input."""
        given = ctx.back(relevance[0])
        return (None, None, *(given if ctx.count > 1 else (given,)))


class Graft(torch.autograd.Function):
    """Make `old` the tensor that `new` is, as work in place does, without touching old's memory."""

    @staticmethod
    def forward(ctx: Any, old: Tensor, new: Tensor) -> Tensor:  # noqa: ANN401
        """The old tensor, with what the new one holds."""
        old.data = new.data
        ctx.mark_dirty(old)
        return old

    @staticmethod
    def backward(ctx: Any, *relevance: Tensor) -> Any:  # noqa: ANN401, ARG004
        """All of it to the new tensor."""
        return None, relevance[0]


def ruled(value: Tensor, back: Back, *inputs: Tensor) -> Tensor:
    """`value`, from which the backward pass goes to `inputs` through `back`."""
    return Ruled.apply(value.detach(), back, *inputs)  # pyright: ignore[reportReturnType]


def tracked(value: object) -> bool:
    """Whether a value depends on the image: parameters are frozen, pixels are not."""
    return isinstance(value, Tensor) and value.requires_grad


def depends(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether any argument, or a member of one that is a list, depends on the image."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, list | tuple):
            if any(map(tracked, value)):
                return True
        elif tracked(value):
            return True
    return False


def out_of_place(
    func: Any,  # noqa: ANN401
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Any, tuple[Any, ...], dict[str, Any], bool]:
    """The same call without work in place, which would overwrite what rules need; was it so?"""
    in_place = bool(kwargs.get("inplace"))
    kwargs = {key: value for key, value in kwargs.items() if key != "inplace"}
    if bare(name) in functions.ACTIVATIONS and len(args) > 1 and isinstance(args[-1], bool):
        args, in_place = args[:-1], in_place or args[-1]
    if name in _IN_PLACE_SUMS:
        return getattr(torch, _IN_PLACE_SUMS[name]), args, kwargs, True
    if name != bare(name):
        plain = bare(name)
        func = getattr(functional, plain, None) or getattr(torch, plain)
        in_place = True
    return func, args, kwargs, in_place


def again(
    func: Any,  # noqa: ANN401
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Tensor, Tensor, Tensor]:
    """The first argument, a copy of it at the root of a graph of its own, and what comes of it."""
    inputs = args[0] if args else kwargs["input"]
    before = inputs.detach().requires_grad_()
    with torch.enable_grad():
        after = func(before, *args[1:], **kwargs) if args else func(**kwargs | {"input": before})
    return inputs, before, after
