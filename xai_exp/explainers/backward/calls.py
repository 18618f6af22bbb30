"""One call of a torch function: does it depend on the image, and which way does it go backward."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from xai_exp.config import InputError
from xai_exp.explainers.backward import functions

Back = Callable[[Tensor], Any]
_STABILIZER = 1e-9


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
        return value.data

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


def graft(old: Tensor, new: Tensor) -> Tensor:
    """`old`, which now is `new`; what was kept of it before (`kept_apart`) is not changed by it."""
    keeping = torch.autograd._unsafe_preserve_version_counter  # pyright: ignore[reportPrivateImportUsage]
    with keeping(old):
        return Graft.apply(old, new)  # pyright: ignore[reportReturnType]


def kept_apart() -> AbstractContextManager[Any]:
    """Within it what functions keep for the way back is their own, whatever `old` becomes by graft.

    Memory that is overwritten all the same is an error on the way back, as ever.
    """
    return torch.autograd.graph.saved_tensors_hooks(_kept, _unchanged)


def _kept(value: Tensor) -> tuple[Tensor, int]:
    return value.detach(), value._version


def _unchanged(kept: tuple[Tensor, int]) -> Tensor:
    value, version = kept
    if value._version != version:
        raise RuntimeError("a value that is needed was modified by an inplace operation")
    return value


def ruled(value: Tensor, back: Back, *inputs: Tensor) -> Tensor:
    """`value`, from which the backward pass goes to `inputs` through `back`."""
    # `data` counts its versions apart: later work in place does not look like a change of what
    # rules have kept, and is none, since it goes to new memory.
    return Ruled.apply(value.data, back, *inputs)  # pyright: ignore[reportReturnType]


def steps_before(
    steps: Iterable[Any], until: Callable[[Any], object] = lambda _: False
) -> Iterator[Any]:
    """The steps of a graph that lead to `steps`, these first, up to where `until` is so."""
    waiting, done = list(steps), set()
    while waiting:
        step = waiting.pop()
        if step is None or step in done:
            continue
        done.add(step)
        yield step
        if not until(step):
            waiting += [parent for parent, _ in step.next_functions]


def tracked(value: object) -> bool:
    """Whether a value depends on the image: parameters are frozen, pixels are not."""
    return isinstance(value, Tensor) and value.requires_grad


def depending(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The arguments, and the members of those that are lists, that depend on the image."""
    found = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, list | tuple):
            found += filter(tracked, value)
        elif tracked(value):
            found.append(value)
    return found


def again(
    func: Any,  # noqa: ANN401
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Tensor, Tensor, Any]:
    """The first argument, a copy of it at the root of a graph of its own, and what comes of it.

    Raises:
        InputError: when another argument depends on the image, too.
    """
    inputs = args[0] if args else kwargs["input"]
    depending = sum(map(tracked, (*args, *kwargs.values())))
    if depending > 1 or not tracked(inputs):
        raise functions.refusal(
            functions.called(func),
            "of two values that both depend on the image" if depending > 1 else "written so",
        )
    before = inputs.data.requires_grad_()
    with torch.enable_grad():
        after = caller(func, args, kwargs)(before)
    return inputs, before, after


def caller(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], place: int = 0
) -> Callable[[Tensor], Any]:
    """The same call with another input."""
    if args:
        return lambda value: func(*args[:place], value, *args[place + 1 :], **kwargs)
    return lambda value: func(**kwargs | {"input": value})


def multiplied(
    multiply: Callable[[Tensor, Tensor], Tensor], first: Tensor, second: Tensor, epsilon: float
) -> Tensor:
    """A product of two values, linear in each, that shares relevance equally between them."""
    with torch.enable_grad():
        roots = [value.detach().requires_grad_() for value in (first, second)]
        product = multiply(*roots)
    chosen = [(v, root) for v, root in zip((first, second), roots, strict=True) if tracked(v)]

    def back(relevance: Tensor) -> Any:  # noqa: ANN401
        whole = stabilized(len(chosen) * product.detach(), epsilon)
        leaves = [root for _, root in chosen]
        shares = torch.autograd.grad(product, leaves, relevance / whole, retain_graph=True)
        given = [leaf.detach() * share for leaf, share in zip(leaves, shares, strict=True)]
        return given if len(given) > 1 else given[0]

    return ruled(product, back, *(value for value, _ in chosen))


class Refused:
    """The way back through a value for which there is none: an error once it is needed."""

    def __init__(self, error: InputError) -> None:
        self.error = error

    def __call__(self, relevance: Tensor) -> Tensor:  # noqa: ARG002
        """Refuse.

        Raises:
            InputError: always.
        """
        raise self.error
