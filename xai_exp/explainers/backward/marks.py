"""What is remembered of values while a network runs, so that disguised functions are recognised.

A mask `x > 0` has no gradient, but came of the image: whatever it is multiplied with depends on
the image in a way that no backward pass sees. So such values are marked as hidden. A hidden value
that comes back into a tracked one is either recognised (`x * (x > 0)` is a ReLU) or refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.explainers.backward import functions
from xai_exp.explainers.backward.calls import steps_before, tracked

_ABOVE = frozenset(["gt", "__gt__", "greater", "ge", "__ge__", "greater_equal"])
_BELOW = frozenset(["lt", "__lt__", "less", "le", "__le__", "less_equal"])
_INVERTED = frozenset(["logical_not", "bitwise_not", "__invert__"])
_KEPT = frozenset(
    ["float", "double", "half", "bfloat16", "to", "type", "type_as", "bool", "clone", "contiguous"]
)
_ALIASES = frozenset(["detach", "__get__"])


@dataclass(frozen=True, eq=False)
class Hidden:
    """How a value without gradient came of the image.

    Args:
        by: the function that made it.
        source: what was compared with zero, if that is what it tells.
        above: whether it tells where that is above zero, or else where it is below.
    """

    by: str
    source: Tensor | None = None
    above: bool = True

    def tells_sign_of(self, value: object) -> bool:
        """Whether it is a mask of where `value` is above (or below) zero."""
        return self.source is not None and same(self.source, value)


@dataclass(frozen=True, eq=False)
class Stacked:
    """What was stacked, and along which axis."""

    members: tuple[Tensor, ...]
    axis: int


def same(one: Tensor, other: object) -> bool:
    """Whether two values depend on the image and hold the same."""
    if one is other:
        return True
    if not (tracked(one) and isinstance(other, Tensor) and tracked(other)):
        return False
    return one.shape == other.shape and torch.equal(one, other)


def tensors(value: object) -> Iterator[Tensor]:
    """The tensors in an argument or result."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for member in value:
            yield from tensors(member)


def hidden(value: object) -> Hidden | None:
    """How a value came of the image, if that is hidden."""
    return getattr(value, "_hidden", None) if isinstance(value, Tensor) else None


def hiding(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hidden | None:
    """The first hidden value among arguments."""
    for value in (*args, *kwargs.values()):
        for one in tensors(value) if isinstance(value, list | tuple) else (value,):
            found = hidden(one)
            if found is not None and not tracked(one):
                return found
    return None


def hide(result: object, how: Hidden) -> None:
    """Mark what came of the image without a gradient."""
    for value in tensors(result):
        if not value.requires_grad:
            value._hidden = how  # pyright: ignore[reportAttributeAccessIssue]


def forget(value: Tensor) -> None:
    """Nothing that was remembered of a value holds after work in place."""
    for mark in (
        "_made_by",
        "_hidden",
        "_absolute",
        "_scaled",
        "_stacked",
        "_bounded",
        "_gate",
        "_below",
        "_raised",
    ):
        vars(value).pop(mark, None)


def got(value: Any, attribute: Any) -> None:  # noqa: ANN401
    """What an attribute (x.mT, x.data) of a value is: it may hide it, or be as bounded."""
    hide(attribute, Hidden("__get__"))
    if getattr(value, "_bounded", False) and tracked(attribute):
        attribute._bounded = True


def observed(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hidden:
    """What a function without gradient tells of the values that depend on the image."""
    first = args[0] if args else kwargs.get("input")
    other = args[1] if len(args) > 1 else kwargs.get("other", kwargs.get("values"))
    if name in _ABOVE | _BELOW and zero(other):
        return Hidden(name, first, name in _ABOVE)
    if name in _ABOVE | _BELOW and zero(first):
        return Hidden(name, other, name in _BELOW)
    if name == "signbit":
        return Hidden(name, first, above=False)
    if name == "heaviside":
        return Hidden(name, first)
    return Hidden(name)


def derived(how: Hidden, name: str, args: tuple[Any, ...]) -> Hidden:
    """What comes of a hidden value by a function of no tracked one."""
    if name in _INVERTED and how.source is not None:
        return Hidden(name, how.source, not how.above)
    alone = sum(1 for value in args if isinstance(value, Tensor)) <= 2
    if name in _KEPT and alone:
        return how
    return Hidden(how.by if how.by in _ALIASES else name)


def aliases(value: object) -> bool:
    """Whether a hidden value may share its memory with a tracked one."""
    found = hidden(value)
    return found is not None and found.by in _ALIASES


def note(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: object) -> None:
    """Remember of a result what may show later that it is part of a known function."""
    if not tracked(result):
        return
    if name in functions.ABSOLUTE:
        result._absolute = args[0] if args else kwargs["input"]  # pyright: ignore
    elif name in _WHOLES:
        result._gate = args[0] if args else kwargs["input"], _WHOLES[name]  # pyright: ignore
    elif name in _PRODUCTS:
        _note_scaled(args, result)
    elif name == "stack":
        call = dict(zip(("tensors", "dim"), args, strict=False)) | kwargs
        axis = call.get("dim", 0) % result.dim()  # pyright: ignore
        result._stacked = Stacked(tuple(call["tensors"]), axis)  # pyright: ignore


_WHOLES = {"sigmoid": functional.silu, "hardsigmoid": functional.hardswish}
_PRODUCTS = frozenset(["mul", "multiply", "__mul__", "__rmul__"])
NOTED = functions.ABSOLUTE | _WHOLES.keys() | _PRODUCTS | {"stack"}


def _note_scaled(args: tuple[Any, ...], result: Any) -> None:  # noqa: ANN401
    if len(args) == 2 and sum(map(tracked, args)) == 1:
        value, factor = args if tracked(args[0]) else args[::-1]
        if hidden(factor) is None:
            result._scaled = value, factor


def zero(value: object) -> bool:
    """Whether a value is a constant zero, as a number or as a tensor of zeros."""
    if isinstance(value, Tensor):
        constant = not value.requires_grad and hidden(value) is None
        return constant and not value.is_meta and not bool(value.any())
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


def joined_with_constants(value: Tensor) -> bool:
    """Whether constants were put beside the values on the way to `value`, by moving alone."""
    node = value.grad_fn
    while node is not None:
        parents = [parent for parent, _ in node.next_functions]
        if node.name().startswith(("CatBackward", "StackBackward")):
            return None in parents
        if node.name().startswith("ConstantPadNd"):
            return True
        if not node.name().startswith(_MOVES):
            return False
        node = parents[0] if parents else None
    return False


_MOVES = (
    "ViewBackward",
    "ReshapeAlias",
    "UnsafeView",
    "Permute",
    "Transpose",
    "TBackward",
    "Squeeze",
    "Unsqueeze",
    "Clone",
    "Alias",
    "Select",
    "Slice",
    "Expand",
)


def seen(result: Any) -> Any:  # noqa: ANN401
    """What a call gave, marked as something that was seen to be made."""
    if isinstance(result, Tensor):
        result._seen = True  # pyright: ignore[reportAttributeAccessIssue]
    elif isinstance(result, tuple | list):
        for one in result:
            seen(one)
    elif isinstance(result, Iterator):
        return iter(seen(list(result)))
    return result


def kept_before(value: Any) -> Any:  # noqa: ANN401
    """An argument, as a constant where the network kept it from an earlier pass with gradients.

    Such a value comes of parameters alone, which are frozen by now: pixels are not.
    """
    if isinstance(value, Tensor):
        if not tracked(value) or was_seen(value):
            return value
        leaves = (getattr(node, "variable", None) for node in steps_before([value.grad_fn]))
        moving = any(leaf is not None and leaf.requires_grad for leaf in leaves)
        return value if moving else value.detach()
    if type(value) in (list, tuple) and any(isinstance(one, Tensor) for one in value):
        return type(value)(map(kept_before, value))
    return value


def was_seen(value: Tensor) -> bool:
    """Whether a value is the image's pixels, or was seen to be made of them."""
    return value.is_leaf or getattr(value, "_seen", False)
