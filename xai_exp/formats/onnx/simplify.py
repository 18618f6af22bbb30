"""Cleaning a graph up: constants calculated, what is in pieces put together, nothing changed.

What is put together is what rules know by name: a linear layer with its bias, an activation.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.formats.onnx.imported import calculated
from xai_exp.formats.onnx.node import MOST, Node
from xai_exp.formats.onnx.reading import Graph, ordered

_MOST_FOLDED = MOST  # numbers in all constants that are calculated here
_CLOSE = 1e-6
POINTS = torch.linspace(-12, 12, 481, dtype=torch.float64)


def simplified(graph: Graph) -> Graph:
    """The same network, written as rules understand it.

    Raises:
        UnconvertedError: for a constant that can't be calculated.
        InputError: for constants that are too large.
    """
    graph = folded(graph)
    for step in (
        _without_identities, _with_activations, _with_group_norms, _with_biases, _pruned,
    ):  # fmt: skip
        graph = step(graph)
    return graph


def folded(graph: Graph) -> Graph:
    """What does not depend on the input, calculated once."""
    constants, kept, seen, many = dict(graph.constants), [], Counter[str](), 0
    for node in graph.nodes:
        random = node.op.startswith(("Random", "Bernoulli", "Multinomial"))
        if random or not all(name in constants or not name for name in node.inputs):
            kept.append(node)
            continue
        with torch.no_grad():
            made = calculated(node, [constants[name] if name else None for name in node.inputs])
        many += sum(one.numel() for one in made)
        if many > _MOST_FOLDED:
            raise node.cannot("constants of more than 2^28 numbers")
        constants.update((name, one) for name, one in zip(node.outputs, made, strict=False) if name)
        seen[node.op] += 1
    words = ", ".join(f"{count} {op}" for op, count in sorted(seen.items()))
    note = f"constants calculated: {words}" if words else ""
    return graph.noted(note, nodes=tuple(kept), constants=constants)


def _renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    def final(name: str) -> str:
        while name in names:
            name = names[name]
        return name

    nodes = (replace(node, inputs=tuple(map(final, node.inputs))) for node in graph.nodes)
    return replace(graph, nodes=tuple(nodes), outputs=tuple(map(final, graph.outputs)))


def _without_identities(graph: Graph) -> Graph:
    passed: dict[str, str] = {}
    kept, seen = [], Counter[str]()
    for node in graph.nodes:
        idle = node.op == "Identity" or (node.op == "Dropout" and len(node.inputs) < 3)
        if idle and len([one for one in node.outputs if one]) == 1:
            passed[node.outputs[0]] = node.input(0)
            seen[node.op] += 1
        else:
            kept.append(node)
    words = ", ".join(f"{count} {op}" for op, count in sorted(seen.items()))
    graph = _renamed(replace(graph, nodes=tuple(kept)), passed)
    return graph.noted(f"left out: {words}" if words else "")


def _pruned(graph: Graph) -> Graph:
    """Without what no output needs."""
    needed, kept = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if needed & {one for one in node.outputs if one}:
            needed.update(node.inputs)
            kept.append(node)
    return replace(graph, nodes=tuple(reversed(kept)))


def _users(graph: Graph) -> Counter[str]:
    found = Counter(name for node in graph.nodes for name in node.inputs)
    found.update(graph.outputs)
    return found


_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "HardSwish": functional.hardswish,
    "Swish": functional.silu,
    "Gelu": functional.gelu,
    "GeluTanh": lambda value: functional.gelu(value, approximate="tanh"),
    "Mish": functional.mish,
}
_PIECES = frozenset(
    {"Add", "Sub", "Mul", "Div", "Neg", "Pow", "Clip", "Relu", "Sigmoid", "HardSigmoid", "Tanh"}
    | {"Erf", "Softplus", "Sqrt", "Min", "Max", "Exp"}
)
_FEWEST = 2  # pieces


def _with_activations(graph: Graph) -> Graph:
    """Activations in pieces, found by the function that the pieces calculate."""
    users, makers = _users(graph), {n.outputs[0]: n for n in graph.nodes if n.outputs}
    order = {id(node): place for place, node in enumerate(graph.nodes)}
    put, gone, seen = {}, set(), Counter[str]()
    for node in graph.nodes:
        found = _activation(node, graph.constants, makers, users, order)
        if found is None:
            continue
        kind, source, pieces = found
        approximate = {"approximate": "tanh"} if kind == "GeluTanh" else {}
        op = "Gelu" if kind == "GeluTanh" else kind
        put[id(node)] = Node(
            op=op, version=24, name=node.name, inputs=(source,), outputs=node.outputs,
            attributes=approximate,
        )  # fmt: skip
        gone |= {id(piece) for piece in pieces} - {id(node)}
        seen[op] += 1
    kept = [put.get(id(node), node) for node in graph.nodes if id(node) not in gone]
    words = ", ".join(f"{count} {op}" for op, count in sorted(seen.items()))
    return graph.noted(f"put together of pieces: {words}" if words else "", nodes=tuple(kept))


def _activation(
    node: Node,
    constants: Mapping[str, Tensor],
    makers: Mapping[str, Node],
    users: Counter[str],
    order: Mapping[int, int],
) -> tuple[str, str, list[Node]] | None:
    if node.op not in ("Mul", "Div"):
        return None
    for pieces, source in _expressions(node, constants, makers, order):
        inner = {one for piece in pieces for one in piece.outputs} - set(node.outputs)
        used = Counter(name for piece in pieces for name in piece.inputs)
        if len(pieces) < _FEWEST or any(users[name] != used[name] for name in inner):
            continue
        for kind, function in _ACTIVATIONS.items():
            if _same(function, pieces, source, constants, node):
                return kind, source, pieces
    return None


def _expressions(
    node: Node,
    constants: Mapping[str, Tensor],
    makers: Mapping[str, Node],
    order: Mapping[int, int],
) -> Iterator[tuple[list[Node], str]]:
    """Growing sets of pieces that end in a node and begin with a single value."""
    pieces = [node]
    for _ in range(10):
        free = _free(pieces, constants)
        if len(free) == 1:
            yield list(reversed(pieces)), next(iter(free))
        options = [makers[name] for name in free if name in makers]
        options = [one for one in options if one.op in _PIECES and one not in pieces]
        # The latest maker first: what it was made of may be the value that the others share.
        options.sort(key=lambda one: order[id(one)])
        if not options:
            return
        pieces.append(options[-1])


def _free(pieces: list[Node], constants: Mapping[str, Tensor]) -> set[str]:
    made = {name for piece in pieces for name in piece.outputs}
    names = {name for piece in pieces for name in piece.inputs if name}
    scalars = {name for name in names if name in constants and constants[name].numel() == 1}
    return names - made - scalars


def _same(
    function: Callable[[Tensor], Tensor],
    pieces: list[Node],
    source: str,
    constants: Mapping[str, Tensor],
    node: Node,
) -> bool:
    """Whether pieces calculate this function, at points from -12 to 12."""
    known: dict[str, Tensor] = {source: POINTS}
    places = {id(piece): piece for piece in pieces}
    try:
        for piece in ordered(list(places.values()), {source, *constants}):
            values = [
                known[n] if n in known else constants[n].double() if n else None
                for n in piece.inputs
            ]
            known[piece.outputs[0]] = calculated(piece, values)[0]
    except (ValueError, KeyError):
        return False
    return calculates(known[node.outputs[0]], function)


def calculates(found: Tensor, function: Callable[[Tensor], Tensor]) -> bool:
    """Whether values are those of a function at `POINTS`."""
    if found.shape != POINTS.shape or not found.is_floating_point():
        return False
    return bool(((found - function(POINTS)).abs() <= _CLOSE * (1 + POINTS.abs())).all())


def _with_group_norms(graph: Graph) -> Graph:
    """Group norm, which older opsets write as an instance norm of what is laid into groups."""
    users = _users(graph)
    makers = {n.outputs[0]: n for n in graph.nodes if n.outputs}
    put, gone, constants = {}, set(), dict(graph.constants)
    for node in graph.nodes:
        pieces = _group_norm(node, makers, constants)
        if pieces is None or any(users[piece.outputs[0]] != 1 for piece in pieces):
            continue
        multiplied, _, norm, laid = pieces
        names = [f"{one.name} of {node.name}" for one in (multiplied, node)]
        for name, one in zip(names, (multiplied, node), strict=True):
            constants[name] = _constant_of(one, constants)[0].reshape(-1)
        put[id(node)] = Node(
            op="GroupNormalization", version=24, name=node.name,
            inputs=(laid.inputs[0], *names), outputs=node.outputs,
            attributes={
                "num_groups": int(constants[laid.inputs[1]][1]),
                "epsilon": norm.get("epsilon", 1e-5),
            },
        )  # fmt: skip
        gone |= {id(piece) for piece in pieces}
    kept = [put.get(id(node), node) for node in graph.nodes if id(node) not in gone]
    note = f"put together of pieces: {len(put)} GroupNormalization" if put else ""
    return graph.noted(note, nodes=tuple(kept), constants=constants)


def _group_norm(
    node: Node, makers: Mapping[str, Node], constants: Mapping[str, Tensor]
) -> tuple[Node, Node, Node, Node] | None:
    """The pieces before the last sum, the last one first: factor, shape, norm, groups."""
    pieces, at = [], node
    for op in ("Mul", "Reshape", "InstanceNormalization", "Reshape"):
        value = _constant_of(at, constants)[1] if at.op in ("Add", "Mul") else at.input(0)
        found = makers.get(value)
        if node.op != "Add" or found is None or found.op != op:
            return None
        pieces.append(found)
        at = found
    multiplied, back, norm, laid = pieces
    shape, shaped = constants.get(laid.inputs[1]), makers.get(back.inputs[1])
    scale, shift = (constants.get(name) for name in norm.inputs[1:3])
    factor, added = (_constant_of(one, constants)[0] for one in (multiplied, node))
    if shape is None or shaped is None or scale is None or shift is None:
        return None
    grouped = [0, len(scale), -1] == shape.tolist() and not laid.get("allowzero", 0)
    returns = shaped.op == "Shape" and shaped.inputs == laid.inputs[:1] and not shaped.attributes
    plain = bool((scale == 1).all()) and bool((shift == 0).all())
    by_map = len(factor) == factor.numel() == len(added) == added.numel() and factor.dim() > 1
    same = by_map and factor.shape == added.shape
    return (multiplied, back, norm, laid) if grouped and returns and plain and same else None


def _constant_of(node: Node, constants: Mapping[str, Tensor]) -> tuple[Tensor, str]:
    """The constant of a sum or product, one number if it has none, and what it is joined with."""
    held = [name for name in node.inputs if name in constants]
    others = [name for name in node.inputs if name not in constants]
    if len(held) != 1 or len(others) != 1 or not constants[held[0]].dim():
        return torch.ones(1), ""
    return constants[held[0]], others[0]


def _with_biases(graph: Graph) -> Graph:
    """A constant added to a linear layer becomes its bias."""
    users, constants = _users(graph), dict(graph.constants)
    makers = {n.outputs[0]: n for n in graph.nodes if n.outputs}
    put, gone, many = {}, set(), 0
    for node in graph.nodes:
        if node.op != "Add" or not any(name in constants for name in node.inputs):
            continue
        bias, value = sorted(node.inputs, key=lambda name: name not in constants)
        layer = makers.get(value)
        if layer is None or users[value] != 1 or id(layer) in gone:
            continue
        length = _length(layer, constants)
        shape = list(constants[bias].shape)
        space = constants[layer.inputs[1]].dim() - 2 if layer.op == "Conv" and length else 0
        allowed = [1] * max(0, len(shape) - space - 1) + [length] + [1] * space
        if not length or shape != allowed or math.prod(shape) != length:
            continue
        name = f"{bias} of {node.name}"
        constants[name] = constants[bias].reshape(-1)
        op = "Conv" if layer.op == "Conv" else "Gemm"
        put[id(node)] = replace(
            layer, op=op, inputs=(*layer.inputs[:2], name), outputs=node.outputs,
            version=max(layer.version, 13) if op == "Gemm" else layer.version,
        )  # fmt: skip
        gone.add(id(layer))
        many += 1
    kept = [put.get(id(node), node) for node in graph.nodes if id(node) not in gone]
    note = f"{many} constants added to linear layers became their biases" if many else ""
    return graph.noted(note, nodes=tuple(kept), constants=constants)


def _length(layer: Node, constants: Mapping[str, Tensor]) -> int:
    """How many outputs a linear layer without a bias has; 0 if it is none."""
    weight = constants.get(layer.input(1))
    bare = len([name for name in layer.inputs if name]) == 2
    if weight is None or not bare or layer.input(0) in constants:
        return 0
    if layer.op == "Conv":
        return len(weight)
    if layer.op not in ("MatMul", "Gemm") or weight.dim() != 2:
        return 0
    plain = layer.get("alpha", 1.0) == 1 and not layer.get("transA", 0)
    return weight.shape[0 if layer.get("transB", 0) else 1] if plain else 0


def norms_folded(graph: Graph) -> Graph:
    """Batch norm as part of the convolution or linear layer before it.

    Raises:
        UnconvertedError: for one that has none before it alone.
    """
    constants, users = dict(graph.constants), _users(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        before = next((one for one in nodes if one.outputs[0] == node.inputs[0]), None)
        if node.op != "BatchNormalization":
            nodes.append(node)
            continue
        alone = before is not None and users[before.outputs[0]] == 1
        if before is None or not alone or not _constant(before, constants):
            raise node.cannot("batch norm without a layer of its own before it")
        nodes[nodes.index(before)] = _folded(before, node, constants)
    return graph.noted("", nodes=tuple(nodes), constants=constants)


def _constant(layer: Node, constants: Mapping[str, Tensor]) -> bool:
    plain = layer.op == "Conv" or (layer.op == "Gemm" and layer.get("transB", 0))
    return plain and all(name in constants for name in layer.inputs[1:] if name)


def _folded(layer: Node, norm: Node, constants: dict[str, Tensor]) -> Node:
    """The layer with the norm's scale and shift in its weights and bias."""
    scale, shift, mean, var = (constants[name].double() for name in norm.inputs[1:5])
    factor = scale / torch.sqrt(var + norm.get("epsilon", 1e-5))
    weight = constants[layer.input(1)].double()
    named = layer.input(2)
    bias = constants[named].double() if named else torch.zeros(len(weight), dtype=torch.float64)
    names = f"{layer.input(1)} of {norm.name}", f"bias of {norm.name}"
    constants[names[0]] = (weight * factor.view(-1, *[1] * (weight.dim() - 1))).float()
    constants[names[1]] = ((bias - mean) * factor + shift).float()
    return replace(layer, inputs=(layer.input(0), *names), outputs=norm.outputs)
