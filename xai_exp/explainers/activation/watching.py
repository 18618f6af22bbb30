"""Watching a network run: which of its values are maps of the image, and what made them."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xai_exp.config import InputError
from xai_exp.explainers.backward import functions
from xai_exp.explainers.backward.calls import steps_before, tracked
from xai_exp.explainers.backward.functions import bare, called
from xai_exp.explainers.backward.marks import was_seen
from xai_exp.explainers.lrp.attention import grid
from xai_exp.types import Images

_NORMS = frozenset(["group_norm", "instance_norm", "layer_norm", "rms_norm", "local_response_norm"])
_JOINS = frozenset(["cat", "concat", "concatenate", "where", "stochastic_depth"])
_PARTS = frozenset(["split", "chunk", "tensor_split", "narrow", "__getitem__"])
_SAME = functions.ACTIVATIONS | functions.BATCH_NORM | functions.SUMS | functions.SCALES
_SAME |= _NORMS | _JOINS | _PARTS | functions.ABSOLUTE | functions.ELEMENTWISE
_LARGER = frozenset(["maximum", "minimum", "fmax", "fmin"])
_WRITTEN = frozenset(["masked_fill", "index_put", "where", "__setitem__", "clone", "contiguous"])
_WRITTEN |= {"to", "type_as", "float", "double", "half", "bfloat16"}
_SAME |= _LARGER | _WRITTEN
_EXTREMES = frozenset(["max", "min", "amax", "amin"])
_PRODUCTS = functions.PRODUCTS | {"einsum", "baddbmm"}
_MIXERS = functions.PRODUCT_ATTENTION | functions.MULTI_HEAD
_SLENDER = 2.0  # how far a map's shape may be from the image's, as a ratio


@runtime_checkable
class Watch(Protocol):
    """What sees a network run, as a context, and then knows the maps."""

    tokens: bool

    def __enter__(self) -> object:
        """Begin to watch."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """No more."""
        ...

    def maps(self, chosen: Tensor) -> list[Tensor]:
        """The maps that were looked for, as the network had them; `chosen` are logits."""
        ...


def as_maps(value: Tensor, size: tuple[int, int]) -> Tensor:
    """A value as (batch, map, rows, columns), be its channels last or its places one row of tokens.

    >>> as_maps(torch.zeros(1, 5, 6), (4, 4)).shape, as_maps(torch.zeros(1, 2, 2, 9), (8, 8)).shape
    (torch.Size([1, 6, 2, 2]), torch.Size([1, 9, 2, 2]))

    Args:
        value: of three axes (batch, token, map), or of four.
        size: of the image, which tells channels from places.

    Raises:
        InputError: when so many tokens are no grid.
    """
    if value.dim() == 3:
        rows, columns = grid(value.shape[1], *size)
        places = value[:, value.shape[1] - rows * columns :]
        return places.mT.unflatten(2, (rows, columns))
    last = not _like(value.shape[2:], size) and _like(value.shape[1:3], size)
    return value.movedim(-1, 1) if last else value


def _like(shape: Iterable[int], size: tuple[int, int]) -> bool:
    """Whether a map has about the shape of the image."""
    rows, columns = shape
    ratio = rows * size[1] / (columns * size[0])
    return 1 / _SLENDER < ratio < _SLENDER


def is_map(value: object, size: tuple[int, int]) -> bool:
    """Whether a value that depends on the image has places."""
    if not tracked(value) or value.dim() not in (3, 4):  # pyright: ignore
        return False
    if value.dim() == 4:  # pyright: ignore
        return True
    try:
        as_maps(value, size)  # pyright: ignore
    except InputError:
        return False
    return True


def _spatial(value: object) -> bool:
    """Whether a value is a stack of maps of more than one cell that depends on the image."""
    return tracked(value) and value.dim() == 4 and value.shape[2] * value.shape[3] > 1  # pyright: ignore


class _Functions(TorchFunctionMode):
    """Sees every function that depends on the image, with its name and the number of its call."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = False
        self.calls: Counter[str] = Counter()

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one function, and look at its result."""
        name = bare(called(func))
        self.given(name, args)  # before work in place changes how they were made
        result = func(*args, **(kwargs or {}))
        first: Any = result[0] if isinstance(result, tuple) and result else result
        first = args[0] if name == "__setitem__" else first
        if not tracked(first) or first.grad_fn is None:
            return result
        call = f"{name}.{self.calls[name]}"
        self.calls[name] += 1
        given = self.seen(name, call, args, first)
        return given if first is result else result

    def given(self, name: str, args: tuple[Any, ...]) -> None:
        """What one function is about to be called with."""

    @abstractmethod
    def seen(self, name: str, call: str, args: tuple[Any, ...], result: Tensor) -> Tensor:
        """One function, its call's own name and its result; what the network gets for that."""


class Deciding(_Functions):
    """Finds the last maps on every way from the images to the logits."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.made: dict[Any, Tensor] = {}
        self.stacks: set[Any] = set()
        self.mixed: set[Any] = set()
        self.norms: list[Tensor] = []
        self.names: dict[Any, str] = {}

    def given(self, name: str, args: tuple[Any, ...]) -> None:
        """Remember what a step gave that was not seen: a map, since no pooling made it."""
        for value in filter(_spatial, _flat(args)):
            if self._is_hidden(value):
                self.made[value.grad_fn] = value
                self.names[value.grad_fn] = f"before {name}.{self.calls[name]}"

    def seen(self, name: str, call: str, args: tuple[Any, ...], result: Tensor) -> Tensor:
        """Remember maps, what mixes tokens, and norms of tokens."""
        step = result.grad_fn
        self.names[step] = call
        if _spatial(result) and self._keeps_places(name, args, result):
            self.made[step] = result
        elif name == "stack" and any(self._is_made(one) for one in _flat(args)):
            self.stacks.add(step)
        elif _mixes(name, args, result):
            self.mixed.add(step)
        if name in functions.LAYER_NORM:
            self.norms.append(result)
        return result

    def _keeps_places(self, name: str, args: tuple[Any, ...], result: Tensor) -> bool:
        """Whether it is a convolution, or works on maps, maybe in place, and keeps their places."""
        given = _flat(args)
        if name in _EXTREMES:
            if self._is_stacked(args, result):
                return True
            if not (len(args) > 1 and isinstance(args[1], Tensor)):
                return False  # pooling
        elif name not in _SAME:
            return name in functions.CONVOLUTIONS or name == "convolution"  # as ATen names it
        known = (self.made.get(v.grad_fn) for v in given if tracked(v))
        if any(one is not None and one.shape[2:] == result.shape[2:] for one in known):
            return True
        return any(one is result for one in self.made.values())  # what was worked on in place

    def _is_hidden(self, value: Tensor) -> bool:
        """Whether no function that was seen gave it (but scripted code), nor is it the image."""
        return not was_seen(value) and value.grad_fn not in self.names

    def _is_made(self, value: object) -> bool:
        return isinstance(value, Tensor) and value.grad_fn in self.made

    def _is_stacked(self, args: tuple[Any, ...], result: Tensor) -> bool:
        """Whether it is the largest of maps that were stacked, place by place."""
        stack = args[0] if args else None
        if not isinstance(stack, Tensor) or stack.grad_fn not in self.stacks:
            return False
        return stack.dim() == 5 and stack.shape[3:] == result.shape[2:]

    def maps(self, chosen: Tensor) -> list[Tensor]:
        """The maps that the logits depend on by a way without another one."""
        last, mixed = [], []
        for step in steps_before([chosen.grad_fn], (self.made.keys() | self.mixed).__contains__):
            if step in self.mixed:
                mixed.append(step)
            elif step in self.made:
                last.append(step)
        self.tokens = bool(mixed)
        # What is mixed further on is no map any more, though it may go round that as well.
        lost = set(steps_before(mixed))
        found = [self.made[step] for step in last if step not in lost]
        # One tensor may be several steps' result, if these worked in place.
        unique = list({id(one): one for one in found}.values())
        return unique[::-1] if unique or not self.tokens else self._of_tokens(chosen)

    def _of_tokens(self, chosen: Tensor) -> list[Tensor]:
        """The last norm of tokens whose patches the logits depend on."""
        for norm in reversed(self.norms):
            if not is_map(norm, self.size) or len(norm) != len(chosen):
                continue
            slopes = torch.autograd.grad(chosen.sum(), norm, retain_graph=True, allow_unused=True)[
                0
            ]
            if slopes is not None and (as_maps(slopes, self.size).any() or not len(norm)):
                return [norm] if _like(as_maps(norm, self.size).shape[2:], self.size) else []
        return []

    def name_of(self, maps: Tensor) -> str:
        """The call that made it."""
        return self.names[maps.grad_fn]


def _flat(args: tuple[Any, ...]) -> list[Any]:
    """The arguments and the members of those that are lists."""
    return [v for arg in args for v in (arg if isinstance(arg, list | tuple) else [arg])]


def _mixes(name: str, args: tuple[Any, ...], result: Tensor) -> bool:
    """Whether a function works on tokens: attention, or a linear layer for each of them."""
    if name == "linear":
        return result.dim() == 3
    return name in _MIXERS or (name in _PRODUCTS and sum(map(tracked, args)) > 1)


class Called(_Functions):
    """Finds the result of a function by its name and the number of its call."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.results: dict[str, Tensor] = {}

    def seen(self, name: str, call: str, args: tuple[Any, ...], result: Tensor) -> Tensor:
        """Remember it; the network gets a copy, so that later work in place leaves it alone."""
        if self.name and self.name not in (name, call):
            return result
        self.results[call] = result
        return result if not self.name or any(one is result for one in args) else result.clone()

    def maps(self, chosen: Tensor) -> list[Tensor]:  # noqa: ARG002
        """The last of its results."""
        found = [one for one in self.results.values() if one.dim() in (3, 4)]
        return found[-1:]

    def with_maps(self, part: Images) -> list[str]:
        """The calls whose results are maps."""
        size = (part.shape[2], part.shape[3])
        return [call for call, one in self.results.items() if is_map(one, size)]


class Modules:
    """Sees the outputs of modules, all or one; its hooks are gone afterwards."""

    def __init__(self, model: nn.Module, layer: str | None = None) -> None:
        self.model, self.layer, self.tokens = model, layer, False
        self.outputs: dict[str, Tensor] = {}
        self.handles: list[Any] = []

    def __enter__(self) -> "Modules":
        for name, module in self.model.named_modules():
            if name and self.layer in (None, name):
                self.handles.append(module.register_forward_hook(self._seeing(name)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self.handles:
            self.handles.pop().remove()

    def _seeing(self, name: str) -> Any:  # noqa: ANN401
        def seen(_module: nn.Module, _given: object, output: object) -> object:
            if not tracked(output) or output.dim() not in (3, 4):  # pyright: ignore
                return output
            self.outputs[name] = output  # pyright: ignore[reportArgumentType]
            if self.layer is None:
                return output
            return output.clone()  # pyright: ignore  # so that later work in place leaves it alone

        return seen

    def maps(self, chosen: Tensor) -> list[Tensor]:  # noqa: ARG002
        """The named module's last output."""
        return list(self.outputs.values())

    def with_maps(self, part: Images) -> list[str]:
        """The modules whose outputs are maps, those inside others last."""
        size = (part.shape[2], part.shape[3])
        names = [name for name, output in self.outputs.items() if is_map(output, size)]
        return sorted(names, key=lambda name: name.count("."))

    def name_of(self, maps: Tensor) -> str:
        """The module whose output it is, the outermost of several; empty if it is none's."""
        same = [n for n, one in self.outputs.items() if one is maps or one.grad_fn is maps.grad_fn]
        return min(same, key=lambda name: (name.count("."), len(name)), default="")
