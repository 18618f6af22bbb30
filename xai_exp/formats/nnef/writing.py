"""An ONNX graph as an NNEF folder, batch norm folded into the layer before it."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xai_exp.config import InputError
from xai_exp.files import write_whole
from xai_exp.formats.nnef import tensors
from xai_exp.formats.onnx.node import Node
from xai_exp.formats.onnx.reading import Graph, graph_of
from xai_exp.formats.onnx.simplify import norms_folded, simplified


def write(model: Any, folder: Path, shape: tuple[int, ...]) -> Graph:  # noqa: ANN401
    """Write a ModelProto as a folder for one picture of this shape (1, channel, height, width).

    Raises:
        InputError: for an operator that NNEF has not, by its name.
    """
    graph = norms_folded(simplified(graph_of(model)))
    made = _Writer(graph, shape)
    text = made.text()
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in made.variables.items():
        tensors.write(folder / f"{name}.dat", values.numpy())
    write_whole(folder / "graph.nnef", text)
    write_whole(folder / "card.json", json.dumps(graph.card.words(), indent=1))
    return graph


class _Writer:
    """Lines and variables, as they come."""

    def __init__(self, graph: Graph, shape: tuple[int, ...]) -> None:
        self.graph, self.shape = graph, shape
        self.names: dict[str, str] = {graph.inputs[0].name: "images"}
        self.variables: dict[str, Tensor] = {}
        self.lines: list[str] = []

    def text(self) -> str:
        for node in self.graph.nodes:
            write = _WRITTEN.get(node.op)
            if write is None:
                raise refusal(node, "NNEF has no such operation")
            self.lines.append(f"{self.result(node)} = {write(self, node)};")
        out = self.names[self.graph.outputs[0]]
        declared = [
            f"{name} = variable<scalar>(shape = {list(value.shape)}, label = '{name}');"
            for name, value in self.variables.items()
        ]
        body = [f"images = external<scalar>(shape = {list(self.shape)});", *declared, *self.lines]
        lines = "\n".join(f"    {line}" for line in body)
        return f"version 1.0;\n\ngraph network( images ) -> ( {out} )\n{{\n{lines}\n}}\n"

    def result(self, node: Node) -> str:
        self.names[node.outputs[0]] = f"value{len(self.names)}"
        return self.names[node.outputs[0]]

    def value(self, name: str) -> str:
        if name in self.names:
            return self.names[name]
        constant = self.graph.constants[name]
        if constant.numel() == 1:
            return number(float(constant.reshape(-1)[0]))
        return self.variable(constant)

    def variable(self, values: Tensor) -> str:
        name = f"variable{len(self.variables)}"
        self.variables[name] = values.to(torch.float32)
        return name

    def constant(self, name: str) -> Tensor | None:
        return self.graph.constants.get(name)


def refusal(node: Node, why: str) -> InputError:
    """The error for an operator that can't be written."""
    return InputError(f"nnef: got {node.op} (node {node.name[:80]!r}): {why}; allowed: ONNX")


def number(value: int | float) -> str:
    """A number as NNEF reads it.

    >>> number(6), number(1e-5)
    ('6.0', '1e-05')
    """
    return repr(float(value))


def _call(op: str, *inputs: str, **named: Any) -> str:  # noqa: ANN401
    words = [*inputs, *(f"{key} = {_literal(value)}" for key, value in named.items())]
    return f"{op}({', '.join(words)})"


def _literal(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, float):
        return number(value)
    return str(value)


def _named(op: str) -> Callable[[_Writer, Node], str]:
    return lambda writer, node: _call(op, *(writer.value(one) for one in node.inputs if one))


def _binary(op: str) -> Callable[[_Writer, Node], str]:
    """NNEF broadcasts from the front on, ONNX from the end: constants get all of their axes."""

    def written(writer: _Writer, node: Node) -> str:
        found = []
        for name in node.inputs:
            constant = writer.constant(name)
            if constant is None or constant.numel() == 1:
                found.append(writer.value(name))
            elif constant.dim() == 4:
                found.append(writer.variable(constant))
            elif constant.dim() == 3:
                found.append(writer.variable(constant[None]))
            else:
                raise refusal(node, "a constant of fewer axes than a picture")
        return _call(op, *found)

    return written


def _pads(node: Node, dims: int) -> list[tuple[int, int]]:
    if node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise refusal(node, f"auto_pad={node.get('auto_pad')}")
    pads = node.get("pads") or [0] * 2 * dims
    return list(zip(pads[:dims], pads[dims:], strict=True))


def _conv(writer: _Writer, node: Node) -> str:
    weight = writer.constant(node.input(1))
    if weight is None or weight.dim() != 4:
        raise refusal(node, "weights that are no constants of four axes")
    bias = writer.constant(node.input(2))
    held = [writer.value(node.input(0)), writer.variable(weight)]
    held.append("0.0" if bias is None else writer.variable(bias.reshape(1, -1)))
    return _call(
        "conv", *held, border="constant", padding=_pads(node, 2),
        stride=list(node.get("strides") or [1, 1]), dilation=list(node.get("dilations") or [1, 1]),
        groups=node.get("group", 1),
    )  # fmt: skip


def _linear(writer: _Writer, node: Node) -> str:
    weight = writer.constant(node.input(1))
    plain = node.get("alpha", 1.0) == 1 == node.get("beta", 1.0) and not node.get("transA", 0)
    if weight is None or weight.dim() != 2 or not plain:
        raise refusal(node, "weights that are no constants of two axes, or scaled")
    weight = weight if node.get("transB", 0) else weight.T.contiguous()
    bias = writer.constant(node.input(2))
    if bias is not None and bias.numel() != len(weight):
        raise refusal(node, "a bias of another length")
    last = "0.0" if bias is None else writer.variable(bias.reshape(1, -1))
    return _call("linear", writer.value(node.input(0)), writer.variable(weight), last)


def _pool(writer: _Writer, node: Node) -> str:
    kernel = node.get("kernel_shape")
    steps = node.get("dilations") or [1] * len(kernel)
    if node.get("ceil_mode", 0) or len(kernel) != 2 or any(step != 1 for step in steps):
        raise refusal(node, "ceil_mode, dilated windows or other than 2 axes of space")
    inside = node.op == "AveragePool" and node.get("count_include_pad", 0)
    return _call(
        "max_pool" if node.op == "MaxPool" else "avg_pool", writer.value(node.input(0)),
        size=[1, 1, *kernel], border="constant" if inside else "ignore",
        padding=[(0, 0), (0, 0), *_pads(node, 2)],
        stride=[1, 1, *(node.get("strides") or [1, 1])], dilation=[1, 1, 1, 1],
    )  # fmt: skip


def _mean(writer: _Writer, node: Node) -> str:
    return _call("mean_reduce", writer.value(node.input(0)), axes=[2, 3])


def _flatten(writer: _Writer, node: Node) -> str:
    if node.get("axis", 1) != 1:
        raise refusal(node, "another axis than 1")
    return _call("reshape", writer.value(node.input(0)), shape=[0, -1])


def _reshape(writer: _Writer, node: Node) -> str:
    shape = writer.constant(node.input(1))
    if shape is None or node.get("allowzero", 0):
        raise refusal(node, "a shape that is no constant")
    return _call("reshape", writer.value(node.input(0)), shape=[int(one) for one in shape])


def _softmax(writer: _Writer, node: Node) -> str:
    if node.version < 13 or node.get("axis", -1) not in (1, -1):
        raise refusal(node, "another axis than 1")
    return _call("softmax", writer.value(node.input(0)), axes=[1])


def _leaky(writer: _Writer, node: Node) -> str:
    return _call("leaky_relu", writer.value(node.input(0)), alpha=node.get("alpha", 0.01))


def _clip(writer: _Writer, node: Node) -> str:
    if node.version < 11:
        low, high = node.get("min", -math.inf), node.get("max", math.inf)
    else:
        held = [writer.constant(name) if name else None for name in (*node.inputs[1:], "", "")]
        low = -math.inf if held[0] is None else float(held[0])
        high = math.inf if held[1] is None else float(held[1])
    if not math.isfinite(low) or not math.isfinite(high):
        raise refusal(node, "limits that are not finite")
    return _call("clamp", writer.value(node.input(0)), number(low), number(high))


def _concat(writer: _Writer, node: Node) -> str:
    values = f"[{', '.join(writer.value(one) for one in node.inputs)}]"
    return _call("concat", values, axis=node.get("axis"))


_WRITTEN: Mapping[str, Callable[[_Writer, Node], str]] = {
    "Conv": _conv, "Gemm": _linear, "MatMul": _linear, "MaxPool": _pool, "AveragePool": _pool,
    "GlobalAveragePool": _mean, "Flatten": _flatten, "Reshape": _reshape, "Softmax": _softmax,
    "LeakyRelu": _leaky, "Clip": _clip, "Concat": _concat, "Relu": _named("relu"),
    "Sigmoid": _named("sigmoid"), "Tanh": _named("tanh"), "Softplus": _named("softplus"),
    "Elu": _named("elu"), "Add": _binary("add"), "Sub": _binary("sub"), "Mul": _binary("mul"),
    "Div": _binary("div"),
}  # fmt: skip
