"""Activations that a program has in pieces, found by the function that the pieces calculate."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, fx
from torch.fx import Node
from torch.fx.node import map_arg
from torch.nn import functional

from xai_exp.formats.onnx.simplify import POINTS, calculates
from xai_exp.formats.programs.functions import aten

_MOST = 10
_TANH = {"approximate": "tanh"}
_KNOWN: Sequence[tuple[Callable[..., Any], Mapping[str, Any]]] = (
    (functional.hardswish, {}), (functional.silu, {}), (functional.gelu, {}),
    (functional.gelu, _TANH), (functional.mish, {}), (functional.hardsigmoid, {}),
    (functional.relu6, {}),
)  # fmt: skip
_PIECES = frozenset(
    [
        aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.neg.default,
        aten.add.Scalar, aten.sub.Scalar, aten.mul.Scalar, aten.div.Scalar, aten.clamp.default,
        aten.clamp_min.default, aten.clamp_max.default, aten.relu.default, aten.hardtanh.default,
        aten.hardsigmoid.default, aten.relu6.default, aten.sigmoid.default, aten.tanh.default,
        aten.erf.default, aten.exp.default, aten.log1p.default, aten.softplus.default,
        aten.sqrt.default, aten.pow.Tensor_Scalar, aten.reciprocal.default, aten.rsub.Scalar,
        aten.gt.Scalar, aten.where.self,
    ]
)  # fmt: skip


def with_activations(graph: fx.Graph) -> None:
    """Put each activation in the place of its pieces."""
    order = {node: place for place, node in enumerate(graph.nodes)}
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and node.target in _PIECES and node.users:
            found = _activation(node, order)
            if found is not None:
                node.target, (source, kwargs) = found
                node.args, node.kwargs = (source,), kwargs


def _activation(
    node: Node, order: Mapping[Node, int]
) -> tuple[Callable[..., Any], tuple[Node, dict[str, Any]]] | None:
    for pieces, source in _expressions(node, order):
        if len(pieces) < 2:
            continue
        for function, kwargs in _KNOWN:
            if _same(partial(function, **kwargs), pieces, source):
                return function, (source, dict(kwargs))
    return None


def _expressions(node: Node, order: Mapping[Node, int]) -> Iterator[tuple[list[Node], Node]]:
    """Growing sets of pieces, in order, that end in a node and begin with a single value."""
    pieces = [node]
    while len(pieces) <= _MOST:
        free = {one for piece in pieces for one in piece.all_input_nodes} - set(pieces)
        if len(free) == 1:
            yield sorted(pieces, key=lambda one: order[one]), next(iter(free))
        # The latest first: what it was made of may be the value that the others share.
        latest = max(free, key=lambda one: order.get(one, -1), default=None)
        if latest is None or latest.target not in _PIECES:
            return
        pieces.append(latest)


def _same(function: Callable[[Tensor], Tensor], pieces: Sequence[Node], source: Node) -> bool:
    """Whether pieces calculate this function."""
    known = {source: POINTS}
    for piece in pieces:
        target: Any = piece.target
        known[piece] = target(
            *map_arg(piece.args, known.__getitem__), **map_arg(piece.kwargs, known.__getitem__)
        )
    return calculates(known[pieces[-1]], function)
