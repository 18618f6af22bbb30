"""Operators that move, choose and make values, and those that reduce along axes."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.formats.onnx.node import Node, places, room, whole

Operator = Callable[..., Any]

# The numbers of TensorProto.DataType that torch calculates with.
TYPES: Mapping[int, torch.dtype] = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 4: torch.uint16, 5: torch.int16,
    6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64,
    12: torch.uint32, 13: torch.uint64, 16: torch.bfloat16,
}  # fmt: skip


def _type(node: Node, code: int) -> torch.dtype:
    if code not in TYPES:
        raise node.cannot(f"data of type {code}")
    return TYPES[code]


def _cast(node: Node, value: Tensor) -> Tensor:
    return _as(node, value, _type(node, node.get("to")))


def _as(node: Node, value: Tensor, to: torch.dtype) -> Tensor:
    if value.is_floating_point() and to in (torch.uint8, torch.int8, torch.uint16, torch.int16):
        raise node.cannot("floats to small whole numbers, undefined where they are too large")
    return value.to(to)


def _cast_like(node: Node, value: Tensor, like: Tensor) -> Tensor:
    return _as(node, value, like.dtype)


def _reshape(node: Node, value: Tensor, shape: Tensor) -> Tensor:
    wanted = whole(shape)
    if not node.get("allowzero", 0):
        if any(one == 0 and place >= value.dim() for place, one in enumerate(wanted)):
            raise node.cannot("a length 0 where there is none to copy")
        wanted = [value.shape[place] if one == 0 else one for place, one in enumerate(wanted)]
    if torch.onnx.is_in_onnx_export():
        # Lengths that follow from the pictures stay so in what is written.
        wanted = [shape[i] if whole(shape)[i] > 1 else one for i, one in enumerate(wanted)]
    return torch.reshape(value, wanted)  # pyright: ignore[reportArgumentType]


def _flatten(node: Node, value: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    axis = axis + value.dim() if axis < 0 else axis
    if axis == 1 and value.dim() > 1:
        return torch.flatten(value, 1)
    return torch.reshape(value, (math.prod(value.shape[:axis]), math.prod(value.shape[axis:])))


def _axes(node: Node, given: Tensor | None, since: int) -> list[int] | None:
    """Axes, an attribute in older versions and an input in newer ones."""
    if node.version < since:
        return node.get("axes")
    return None if given is None else whole(given)


def _squeeze(node: Node, value: Tensor, given: Tensor | None = None) -> Tensor:
    axes = _axes(node, given, 13)
    if axes is None:
        axes = [place for place, length in enumerate(value.shape) if length == 1]
    axes = places(axes, value.dim())
    if any(value.shape[axis] != 1 for axis in axes):
        raise node.cannot("an axis longer than 1")
    return torch.squeeze(value, tuple(axes)) if axes else value


def _unsqueeze(node: Node, value: Tensor, given: Tensor | None = None) -> Tensor:
    axes = _axes(node, given, 13) or []
    for axis in sorted(places(axes, value.dim() + len(axes))):
        value = torch.unsqueeze(value, axis)
    return value


def _transpose(node: Node, value: Tensor) -> Tensor:
    return torch.permute(value, node.get("perm") or list(range(value.dim()))[::-1])


def _concat(node: Node, *values: Tensor) -> Tensor:
    return torch.cat(values, node.get("axis"))


def _split(node: Node, value: Tensor, given: Tensor | None = None) -> Any:  # noqa: ANN401
    axis = node.get("axis", 0)
    lengths = node.get("split") if node.version < 13 else whole(given)
    if not lengths:
        parts = len(node.outputs)
        step = -(-value.shape[axis] // parts)
        if node.version < 18 and value.shape[axis] % parts:
            raise node.cannot("parts of unequal length")
        lengths = [step] * (parts - 1)
        lengths.append(value.shape[axis] - sum(lengths))
    if min(lengths) < 0 or sum(lengths) != value.shape[axis]:
        raise node.cannot(f"parts of {lengths} of a length {value.shape[axis]}")
    return torch.split(value, list(lengths), axis)


def _slice(node: Node, value: Tensor, *given: Tensor | None) -> Tensor:
    if node.version < 10:
        starts, ends, axes = node.get("starts"), node.get("ends"), node.get("axes")
        steps = None
    else:
        starts, ends = whole(given[0]), whole(given[1])
        rest = [None if one is None else whole(one) for one in (*given[2:], None, None)]
        axes, steps = rest[0], rest[1]
    axes = places(axes if axes is not None else list(range(len(starts))), value.dim())
    for axis, start, end, step in zip(axes, starts, ends, steps or [1] * len(axes), strict=True):
        if step == 0:
            raise node.cannot("a step of 0")
        first, last, stride = slice(start, end, step).indices(value.shape[axis])
        if stride > 0:
            index = (slice(None),) * axis + (slice(first, max(first, last), stride),)
            value = value[index]
        else:
            chosen = torch.tensor(list(range(first, last, stride)), device=value.device)
            value = torch.index_select(value, axis, chosen.long())
    return value


def _gather(node: Node, value: Tensor, index: Tensor) -> Tensor:
    axis = node.get("axis", 0) % max(value.dim(), 1)
    length = value.shape[axis]
    room(*value.shape[:axis], *index.shape, *value.shape[axis + 1 :])
    flat = index.reshape(-1).long()
    if flat.numel() and (int(flat.max()) >= length or int(flat.min()) < -length):
        raise node.cannot(f"a place out of 0..{length - 1}")
    if index.dim() == 0:
        return torch.select(value, axis, int(flat[0]) % length)
    found = torch.index_select(value, axis, torch.remainder(flat, length))
    return torch.reshape(found, (*value.shape[:axis], *index.shape, *value.shape[axis + 1 :]))


def _gather_elements(node: Node, value: Tensor, index: Tensor) -> Tensor:
    axis = node.get("axis", 0)
    return torch.gather(value, axis, torch.remainder(index.long(), value.shape[axis]))


def _scatter_nd(node: Node, value: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    how = node.get("reduction", "none")
    if how not in ("none", "add"):
        raise node.cannot(f"reduction {how!r}")
    return torch.index_put(value, tuple(index.unbind(-1)), updates, accumulate=how == "add")


def _expand(_node: Node, value: Tensor, shape: Tensor) -> Tensor:
    wanted = torch.broadcast_shapes(value.shape, tuple(whole(shape)))
    room(*wanted)
    return torch.broadcast_to(value, wanted)


def _tile(_node: Node, value: Tensor, times: Tensor) -> Tensor:
    many = whole(times)
    room(*(a * b for a, b in zip(value.shape, many, strict=True)))
    return torch.tile(value, many)


def _shape(node: Node, value: Tensor) -> Tensor:
    part = slice(node.get("start", 0), node.get("end"))
    if torch.onnx.is_in_onnx_export():
        return torch.stack([torch.as_tensor(one) for one in value.shape])[part].to(torch.int64)
    kept = list(value.shape)[part]
    return torch.tensor(kept, dtype=torch.int64, device=value.device)


def _size(_node: Node, value: Tensor) -> Tensor:
    return torch.tensor(value.numel(), dtype=torch.int64, device=value.device)


def _constant_of_shape(node: Node, shape: Tensor) -> Tensor:
    room(*whole(shape))
    held = node.get("value")
    held = torch.zeros(1) if held is None else held
    if held.numel() != 1:
        raise node.cannot("a value of several numbers")
    return held.to(shape.device).reshape(()).expand(whole(shape)).clone()


_CONSTANTS = ("value", "value_float", "value_floats", "value_int", "value_ints")


def _constant(node: Node) -> Tensor:
    for name in _CONSTANTS:
        held = node.get(name)
        if held is not None:
            kind = torch.float32 if "float" in name else torch.int64
            return held if isinstance(held, Tensor) else torch.tensor(held, dtype=kind)
    raise node.cannot("a constant that is no tensor of numbers")


def _range(node: Node, start: Tensor, limit: Tensor, step: Tensor) -> Tensor:
    first, last, by = (one.item() for one in (start, limit, step))
    if by == 0:
        raise node.cannot("a step of 0")
    many = max(math.ceil((last - first) / by), 0)
    room(many)
    count = torch.arange(many, device=start.device).to(start.dtype)
    return start + count * step


def _one_hot(node: Node, index: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    many = int(number_of(depth))
    room(*index.shape, many)
    place = index.to(torch.int64)
    place = torch.where(place < 0, place + many, place)
    hot = place.unsqueeze(-1) == torch.arange(many, device=index.device)
    found = torch.where(hot, values[1], values[0])
    return torch.movedim(found, -1, node.get("axis", -1))


def number_of(value: Tensor) -> float:
    """The one number in a value."""
    return float(value.reshape(-1)[0].item())


def _pad(node: Node, value: Tensor, *given: Tensor | None) -> Tensor:
    if node.version < 11:
        pads, level, axes = node.get("pads"), node.get("value", 0.0), None
    else:
        pads = whole(given[0])
        level = 0 if len(given) < 2 or given[1] is None else given[1].item()
        axes = whole(given[2]) if len(given) > 2 and given[2] is not None else None
    axes = places(axes, value.dim()) if axes is not None else list(range(value.dim()))
    both = [(0, 0)] * value.dim()
    for place, axis in enumerate(axes):
        both[axis] = (pads[place], pads[place + len(axes)])
    room(*(length + a + b for length, (a, b) in zip(value.shape, both, strict=True)))
    mode = node.get("mode", "constant")
    if mode == "constant":
        flat = [one for pair in reversed(both) for one in pair]
        return functional.pad(value, flat, value=level)
    return _mirrored(node, value, both, mode)


def _mirrored(node: Node, value: Tensor, both: list[tuple[int, int]], mode: str) -> Tensor:
    """Padding with the value's own numbers, axis by axis, by choosing places."""
    for axis, (before, after) in enumerate(both):
        if (before, after) == (0, 0):
            continue
        length = value.shape[axis]
        index = torch.arange(-before, length + after, device=value.device)
        if mode == "edge":
            index = index.clamp(0, length - 1)
        elif mode == "wrap":
            index = torch.remainder(index, length)
        elif mode == "reflect" and length > 1:
            round_trip = torch.remainder(index, 2 * (length - 1))
            index = torch.minimum(round_trip, 2 * (length - 1) - round_trip)
        else:
            raise node.cannot(f"mode={mode}")
        value = torch.index_select(value, axis, index)
    return value


def _trilu(node: Node, value: Tensor, k: Tensor | None = None) -> Tensor:
    diagonal = 0 if k is None else int(number_of(k))
    return torch.triu(value, diagonal) if node.get("upper", 1) else torch.tril(value, diagonal)


def _depth_to_space(node: Node, value: Tensor) -> Tensor:
    size, mode = node.get("blocksize"), node.get("mode", "DCR")
    if mode == "CRD":
        return functional.pixel_shuffle(value, size)
    batch, channels, height, width = value.shape
    apart = torch.reshape(value, (batch, size, size, channels // size**2, height, width))
    moved = torch.permute(apart, (0, 3, 4, 1, 5, 2))
    return torch.reshape(moved, (batch, channels // size**2, height * size, width * size))


def _space_to_depth(node: Node, value: Tensor) -> Tensor:
    if node.get("mode", "DCR") != "DCR":
        raise node.cannot("another mode than DCR")
    size = node.get("blocksize")
    batch, channels, height, width = value.shape
    apart = torch.reshape(value, (batch, channels, height // size, size, width // size, size))
    moved = torch.permute(apart, (0, 3, 5, 1, 2, 4))
    return torch.reshape(moved, (batch, channels * size**2, height // size, width // size))


def _einsum(node: Node, *values: Tensor) -> Tensor:
    lengths: dict[str, int] = {}
    equation = node.get("equation").replace(" ", "")
    for term, value in zip(equation.partition("->")[0].split(","), values, strict=True):
        if "." not in term:
            lengths |= dict(zip(term, value.shape, strict=True))
    room(*(lengths.get(one, 1) for one in equation.partition("->")[2]))
    return torch.einsum(equation, *values)


def _arg(function: Operator, node: Node, value: Tensor) -> Tensor:
    axis, keep = node.get("axis", 0), bool(node.get("keepdims", 1))
    if node.get("select_last_index", 0):
        found = function(torch.flip(value, (axis,)), dim=axis, keepdim=keep)
        return value.shape[axis] - 1 - found
    return function(value, dim=axis, keepdim=keep)


def _cumulated(node: Node, value: Tensor, axis: Tensor) -> Tensor:
    along = int(number_of(axis))
    value = torch.flip(value, (along,)) if node.get("reverse", 0) else value
    total = torch.cumsum(value, along, dtype=value.dtype)
    total = total - value if node.get("exclusive", 0) else total
    return torch.flip(total, (along,)) if node.get("reverse", 0) else total


def _top(node: Node, value: Tensor, many: Tensor) -> Any:  # noqa: ANN401
    if not node.get("sorted", 1):
        raise node.cannot("an order that is not defined (sorted=0)")
    axis, largest = node.get("axis", -1), bool(node.get("largest", 1))
    order = torch.argsort(value, stable=True, dim=axis, descending=largest)
    index = torch.narrow(order, axis, 0, int(number_of(many)))
    return torch.gather(value, axis, index), index


def reduce(
    function: Operator, since: int, node: Node, value: Tensor, given: Tensor | None = None
) -> Tensor:
    """A function along axes: an attribute before version `since`, an input from it on."""
    axes = _axes(node, given, since)
    if not axes and axes is not None and node.version < since:
        axes = None
    if not axes:
        if node.get("noop_with_empty_axes", 0):
            return function(value, ()) if function not in _PLAIN else value
        axes = list(range(value.dim()))
    axes = places(axes, value.dim())
    result = function(value, tuple(axes)) if axes else function(value.reshape(1), (0,))
    if not node.get("keepdims", 1):
        return result if axes else result.reshape(())
    for axis in sorted(axes):
        result = torch.unsqueeze(result, axis)
    return result if axes else result.reshape(())


def _sum(value: Tensor, axes: tuple[int, ...]) -> Tensor:
    return torch.sum(value, axes, dtype=value.dtype) if axes else value


def _average(value: Tensor, axes: tuple[int, ...]) -> Tensor:
    if value.is_floating_point():
        return torch.mean(value, axes)
    return torch.div(
        _sum(value, axes), math.prod(value.shape[a] for a in axes), rounding_mode="trunc"
    )


def _most(value: Tensor, axes: tuple[int, ...]) -> Tensor:
    if value.dtype == torch.bool:
        return _most(value.to(torch.uint8), axes).bool()
    if not all(value.shape[axis] for axis in axes):
        raise ArithmeticError("the largest of nothing")
    return torch.amax(value, axes)


def _least(value: Tensor, axes: tuple[int, ...]) -> Tensor:
    if value.dtype == torch.bool:
        return _least(value.to(torch.uint8), axes).bool()
    if not all(value.shape[axis] for axis in axes):
        raise ArithmeticError("the least of nothing")
    return torch.amin(value, axes)


def _product(value: Tensor, axes: tuple[int, ...]) -> Tensor:
    for axis in sorted(axes, reverse=True):
        value = torch.prod(value, axis, dtype=value.dtype)
    return value


def _l1(value: Tensor, axes: tuple[int, ...]) -> Tensor:
    return _sum(torch.abs(value), axes)


def _l2(value: Tensor, axes: tuple[int, ...]) -> Tensor:
    return torch.sqrt(_squares(value, axes))


def _squares(value: Tensor, axes: tuple[int, ...]) -> Tensor:
    return _sum(torch.square(value), axes)


def _log_sum(value: Tensor, axes: tuple[int, ...]) -> Tensor:
    return torch.log(_sum(value, axes))


def _log_sum_exp(value: Tensor, axes: tuple[int, ...]) -> Tensor:
    return torch.logsumexp(value, axes) if axes else value


_PLAIN = frozenset({_sum, _average, _most, _least, _product, _log_sum_exp})

OPERATORS: Mapping[str, tuple[int, Operator]] = {
    "Cast": (6, _cast), "CastLike": (15, _cast_like), "Reshape": (5, _reshape),
    "Flatten": (1, _flatten), "Squeeze": (1, _squeeze), "Unsqueeze": (1, _unsqueeze),
    "Transpose": (1, _transpose), "Concat": (4, _concat), "Split": (2, _split),
    "Slice": (1, _slice), "Gather": (1, _gather), "GatherElements": (11, _gather_elements),
    "ScatterND": (11, _scatter_nd),
    "Expand": (8, _expand), "Tile": (6, _tile), "Shape": (1, _shape), "Size": (1, _size),
    "ConstantOfShape": (9, _constant_of_shape), "Constant": (1, _constant),
    "Range": (11, _range), "OneHot": (11, _one_hot), "Pad": (2, _pad), "Trilu": (14, _trilu),
    "DepthToSpace": (1, _depth_to_space), "SpaceToDepth": (1, _space_to_depth),
    "Einsum": (12, _einsum), "ArgMax": (1, partial(_arg, torch.argmax)),
    "ArgMin": (1, partial(_arg, torch.argmin)), "CumSum": (11, _cumulated), "TopK": (11, _top),
    "ReduceSum": (1, partial(reduce, _sum, 13)), "ReduceMean": (1, partial(reduce, _average, 18)),
    "ReduceMax": (1, partial(reduce, _most, 18)), "ReduceMin": (1, partial(reduce, _least, 18)),
    "ReduceProd": (1, partial(reduce, _product, 18)), "ReduceL1": (1, partial(reduce, _l1, 18)),
    "ReduceL2": (1, partial(reduce, _l2, 18)),
    "ReduceSumSquare": (1, partial(reduce, _squares, 18)),
    "ReduceLogSum": (1, partial(reduce, _log_sum, 18)),
    "ReduceLogSumExp": (1, partial(reduce, _log_sum_exp, 18)),
}  # fmt: skip
"""Name: (oldest version that is understood, function)."""
