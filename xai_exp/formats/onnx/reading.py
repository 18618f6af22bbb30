"""An ONNX file read as data that nobody vouches for: whole, in order, and within its own folder."""

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_exp.config import InputError
from xai_exp.formats.card import Card
from xai_exp.formats.card import read as card_of
from xai_exp.formats.needed import library
from xai_exp.formats.onnx.moving import TYPES
from xai_exp.formats.onnx.node import MOST, Node, UnconvertedError

NEWEST = 28  # the opset up to which operators were compared with their definition
_MOST_NODES = 50_000
_LARGEST = 2**31 - 1  # bytes that the format's encoding allows
_OURS = ("", "ai.onnx")
_FIELDS: Mapping[str, tuple[int, ...]] = {
    "float_data": (1,), "int32_data": (2, 3, 4, 5, 6, 9, 10, 16), "int64_data": (7,),
    "double_data": (11,), "uint64_data": (12, 13),
}  # fmt: skip
_ENDS = {"Softmax": "softmax", "LogSoftmax": "log-softmax", "Sigmoid": "sigmoid"}


@dataclass(frozen=True, kw_only=True)
class Value:
    """An input: its name, its type, and its shape, None where a length is free."""

    name: str
    type: torch.dtype | None
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A network as operators in an order in which they can be calculated.

    Args:
        nodes: each after those that it needs.
        constants: values that are in the file.
        inputs: what it is asked with.
        outputs: names of what it answers.
        card: what the file says of preprocessing and classes.
        notes: what was changed.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, Tensor]
    inputs: tuple[Value, ...]
    outputs: tuple[str, ...]
    card: Card
    notes: tuple[str, ...] = ()

    def noted(self, note: str, **changes: Any) -> "Graph":  # noqa: ANN401
        """With changes, and what is said of them."""
        return replace(self, **changes, notes=(*self.notes, note) if note else self.notes)


def parsed(path: Path) -> Any:  # noqa: ANN401
    """The file as a ModelProto that holds all of its numbers itself.

    Raises:
        InputError: for a file that is no ONNX, is cut off, or has numbers outside its folder.
    """
    model = _read(path)
    total = path.stat().st_size
    for tensor in _tensors(model.graph):
        total += _brought_in(tensor, path)
        if total > _LARGEST:
            raise InputError(f"model.path: got {path} with 2 GiB of numbers or more; allowed: less")
        _refuse_other_size(tensor)
    return model


def beside(path: Path) -> list[Path]:
    """The files in which numbers lie outside of the ONNX file.

    Raises:
        InputError: for a file that is no ONNX, or with numbers outside its folder.
    """
    named = {_place(one, path) for one in _tensors(_read(path).graph) if one.data_location == 1}
    return sorted(named)


def _read(path: Path) -> Any:  # noqa: ANN401
    if not path.is_file():
        raise InputError(f"model.path: got {path}, which is no file; allowed: an ONNX file")
    if path.stat().st_size > _LARGEST:
        raise InputError(f"model.path: got {path} of 2 GiB or more; allowed: less")
    model = library("onnx").ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:
        raise InputError(
            f"model.path: got {path}, which can't be read as ONNX ({type(error).__name__}: "
            "damaged, cut off, or of another kind); allowed: an ONNX file"
        ) from error
    if not model.HasField("graph") or not model.graph.node or not model.graph.output:
        raise InputError(f"model.path: got {path} without a network in it; allowed: an ONNX file")
    if len(model.graph.node) > _MOST_NODES:
        raise InputError(
            f"model.path: got {path} of {len(model.graph.node)} operators; allowed: {_MOST_NODES}"
        )
    return model


def _tensors(graph: Any) -> Iterator[Any]:  # noqa: ANN401
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _tensors(inner)


def _brought_in(tensor: Any, path: Path) -> int:  # noqa: ANN401
    """Numbers from a file beside it, put into the tensor; how many bytes they are."""
    if tensor.data_location != 1:
        return 0
    told = {entry.key: entry.value for entry in tensor.external_data}
    place, named = _place(tensor, path), told.get("location", "")
    try:
        start, length = int(told.get("offset", 0)), int(told.get("length", -1))
    except ValueError as error:
        raise InputError(
            f"onnx: got {tensor.name!r} with numbers at no place in {named[:80]!r}; allowed: an "
            "offset and a length"
        ) from error
    size = place.stat().st_size if place.is_file() else -1
    length = size - start if length < 0 else length
    if start < 0 or length < 0 or start + length > size or length > _LARGEST:
        raise InputError(
            f"onnx: got {tensor.name!r} with {length} bytes from {start} in {named[:80]!r}, which "
            f"{'is missing' if size < 0 else f'has {size}'}; allowed: the whole file, beside it"
        )
    with place.open("rb") as file:
        file.seek(start)
        tensor.raw_data = file.read(length)
    tensor.data_location = 0
    del tensor.external_data[:]
    return length


def _place(tensor: Any, path: Path) -> Path:  # noqa: ANN401
    """Where a tensor's numbers lie, within the file's own folder."""
    named = next((one.value for one in tensor.external_data if one.key == "location"), "")
    folder = path.parent.resolve()
    try:
        place = (folder / named).resolve()
    except (ValueError, OSError, RuntimeError):
        place = folder
    if not named or Path(named).is_absolute() or folder not in place.parents:
        raise InputError(
            f"onnx: got {tensor.name!r} with numbers in {named[:80]!r}, outside the file's own "
            "folder, which isn't read; allowed: a file beside it"
        )
    return place


def _refuse_other_size(tensor: Any) -> None:  # noqa: ANN401
    """As many numbers as the shape says; strings and narrow types are left to their operators."""
    dims, kind = list(tensor.dims), tensor.data_type
    if kind not in TYPES:
        return
    many = math.prod(dims)
    wanted, found = many, 0
    if tensor.HasField("raw_data"):
        wanted, found = many * TYPES[kind].itemsize, len(tensor.raw_data)
    else:
        field = next(name for name, kinds in _FIELDS.items() if kind in kinds)
        found = len(getattr(tensor, field))
    if min(dims, default=1) < 0 or many > MOST * 8 or wanted != found:
        raise InputError(
            f"onnx: got {tensor.name!r} of shape {'x'.join(map(str, dims))} with {found} "
            f"{'bytes' if tensor.HasField('raw_data') else 'numbers'}; allowed: {max(wanted, 0)}"
        )


def tensor_of(proto: Any) -> Tensor | None:  # noqa: ANN401
    """A tensor of the file; None for types that torch does not calculate with."""
    if proto.data_type not in TYPES:
        return None
    found = np.array(library("onnx.numpy_helper").to_array(proto))
    if proto.data_type == 16:
        return torch.from_numpy(found.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(found)


def without_end(model: Any) -> str:  # noqa: ANN401
    """Replace a softmax or sigmoid at the end by nothing, in place; what it was, if any."""
    graph = model.graph
    by_output = {name: node for node in graph.node for name in node.output}
    name, seen = graph.output[0].name, 0
    node = by_output.get(name)
    while node is not None and node.op_type == "Identity" and seen < len(graph.node):
        node, seen = by_output.get(node.input[0]), seen + 1
    if node is None or node.op_type not in _ENDS or node.domain not in _OURS:
        return ""
    if sum(node.output[0] in other.input for other in graph.node) + (node.output[0] != name) > 1:
        return ""
    kind = node.op_type
    node.op_type = "Identity"
    del node.attribute[:]
    return _ENDS[kind]


def refuse_disorder(model: Any) -> None:  # noqa: ANN401
    """Refuse a graph with a circle, or with values from nowhere, whatever its operators are.

    Raises:
        InputError: for such a graph.
    """
    known = {one.name for one in (*model.graph.initializer, *model.graph.input)}
    nodes = [
        Node(
            op=one.op_type, version=0, name=one.name or f"{one.op_type}_{place}",
            inputs=tuple(one.input), outputs=tuple(one.output), attributes={},
        )
        for place, one in enumerate(model.graph.node)
    ]  # fmt: skip
    ordered(nodes, known)


def graph_of(model: Any) -> Graph:  # noqa: ANN401
    """The operators, ordered, with the version of the definition that each follows.

    Raises:
        UnconvertedError: for an operator that is not ONNX's own or newer than is known.
        InputError: for a graph with a circle, or with values from nowhere.
    """
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    opset = next((opsets[domain] for domain in _OURS if domain in opsets), 0)
    if not 1 <= opset <= NEWEST:
        raise UnconvertedError(f"onnx: got operators of opset {opset}; allowed: 1 to {NEWEST}")
    constants: dict[str, Tensor] = {}
    for proto in model.graph.initializer:
        held = tensor_of(proto)
        if held is None:
            raise UnconvertedError(
                f"onnx: got {proto.name!r} with numbers of type {proto.data_type}; allowed: floats "
                "and whole numbers of whole bytes"
            )
        constants[proto.name] = held
    inputs = tuple(value_of(one) for one in model.graph.input if one.name not in constants)
    nodes = [_node(one, place, opset) for place, one in enumerate(model.graph.node)]
    known = {*constants, *(one.name for one in inputs)}
    return Graph(
        nodes=tuple(ordered(nodes, known)),
        constants=constants,
        inputs=inputs,
        outputs=tuple(one.name for one in model.graph.output),
        card=card_of({entry.key: entry.value for entry in model.metadata_props}),
    )


def value_of(info: Any) -> Value:  # noqa: ANN401
    """What the file says of an input."""
    kind = info.type.tensor_type
    if not info.type.HasField("tensor_type"):
        return Value(name=info.name, type=None, shape=None)
    shape = None
    if kind.HasField("shape"):
        lengths = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
        shape = tuple(n if n is not None and n > 0 else None for n in lengths)
    return Value(name=info.name, type=TYPES.get(kind.elem_type), shape=shape)


def _node(proto: Any, place: int, opset: int) -> Node:  # noqa: ANN401
    onnx = library("onnx")
    name = proto.name or f"{proto.op_type}_{place}"
    if proto.domain not in _OURS:
        raise UnconvertedError(
            f"onnx: got {proto.op_type} of {proto.domain!r} (node {name[:80]!r}); allowed: ONNX's "
            "own operators"
        )
    try:
        version = onnx.defs.get_schema(proto.op_type, opset, "").since_version
    except Exception as error:
        raise UnconvertedError(
            f"onnx: got {proto.op_type} (node {name[:80]!r}), which opset {opset} has not; "
            "allowed: ONNX's own operators"
        ) from error
    return Node(
        op=proto.op_type,
        version=version,
        name=name,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={one.name: _attribute(one) for one in proto.attribute},
    )


_READ: Mapping[int, Callable[[Any], Any]] = {
    1: lambda a: a.f,
    2: lambda a: a.i,
    3: lambda a: a.s.decode("utf-8", "replace"),
    4: lambda a: tensor_of(a.t),
    6: lambda a: list(a.floats),
    7: lambda a: list(a.ints),
    8: lambda a: [one.decode("utf-8", "replace") for one in a.strings],
}


def _attribute(proto: Any) -> Any:  # noqa: ANN401
    read = _READ.get(proto.type)
    return None if read is None else read(proto)


def ordered(nodes: list[Node], known: set[str]) -> list[Node]:
    """Nodes in an order in which they can be calculated.

    Raises:
        InputError: when there is none.
    """
    _refuse_twice(nodes, known)
    users, lacking = defaultdict[str, list[int]](list), []
    for place, node in enumerate(nodes):
        lacking.append({name for name in node.inputs if name and name not in known})
        for name in lacking[place]:
            users[name].append(place)
    ready = [place for place, names in enumerate(lacking) if not names]
    found: list[Node] = []
    while ready:
        node = nodes[heapq.heappop(ready)]
        found.append(node)
        for place in [one for name in node.outputs for one in users.pop(name, [])]:
            lacking[place] -= set(node.outputs)
            if not lacking[place] and place not in ready:
                heapq.heappush(ready, place)
    if len(found) < len(nodes):
        place = next(place for place, names in enumerate(lacking) if names)
        raise InputError(
            f"onnx: got {nodes[place].op} (node {nodes[place].name[:80]!r}) that needs "
            f"{min(lacking[place])[:80]!r}, which nothing before it makes; allowed: a graph "
            "without circles or gaps"
        )
    return found


def _refuse_twice(nodes: list[Node], known: set[str]) -> None:
    given = [name for node in nodes for name in node.outputs if name]
    if len(set(given)) < len(given) or set(given) & known:
        raise InputError("onnx: got a value that is made twice; allowed: each once")
