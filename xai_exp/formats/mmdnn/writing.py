"""An ONNX graph as MMdnn's: channels last, batch norm folded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xai_exp.config import InputError
from xai_exp.files import whole
from xai_exp.formats.mmdnn import weights
from xai_exp.formats.mmdnn.schema import graph_message
from xai_exp.formats.onnx.imported import Imported
from xai_exp.formats.onnx.node import Node
from xai_exp.formats.onnx.reading import Graph, graph_of
from xai_exp.formats.onnx.simplify import norms_folded, simplified


def write(model: Any, path: Path, shape: tuple[int, ...]) -> None:  # noqa: ANN401
    """Write a ModelProto as NAME.pb and NAME.npy, for pictures (1, channel, height, width).

    Raises:
        InputError: for an operator that is not written, by its name.
    """
    made = _Writer(norms_folded(simplified(graph_of(model))), shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights.write(path.with_suffix(".npy"), made.weights)
    with whole(path) as part:
        part.write_bytes(made.message.SerializeToString())


class _Writer:
    """Layers and numbers, as they come."""

    def __init__(self, graph: Graph, shape: tuple[int, ...]) -> None:
        self.graph, self.message = graph, graph_message()()
        self.weights: dict[str, dict[str, np.ndarray]] = {}
        self.shapes = _shapes(graph, shape)
        source = graph.inputs[0].name
        self.shapes[source] = shape
        self.names = {source: "input"}
        layer = self.layer("DataInput", source, [])
        self.put(layer, "shape", shape=self.last(shape))
        for key, value in graph.card.words().items():
            self.put(layer, key, s=value.encode())
        for node in graph.nodes:
            write = _WRITTEN.get(node.op)
            if write is None:
                raise refusal(node, "it is not written")
            write(self, node)

    def last(self, shape: Sequence[int]) -> list[int]:
        """A shape with channels last and any number of pictures."""
        lengths = [*shape[2:], shape[1]] if len(shape) == 4 else list(shape[1:])
        return [-1, *lengths]

    def layer(self, op: str, value: str, inputs: Sequence[str]) -> Any:  # noqa: ANN401
        name = self.names.setdefault(value, f"layer{len(self.names)}")
        made = self.message.node.add(name=name, op=op, input=[self.names[one] for one in inputs])
        entry = made.attr.add(key="_output_shapes")
        shape = entry.value.list.shape.add()
        for length in self.last(self.shapes[value]):
            shape.dim.add(size=length)
        return made

    def put(self, layer: Any, key: str, shape: Sequence[int] = (), **value: Any) -> None:  # noqa: ANN401
        entry = layer.attr.add(key=key)
        for length in shape:
            entry.value.shape.dim.add(size=length)
        for kind, one in value.items():
            if isinstance(one, list):
                getattr(entry.value.list, kind).extend(one)
            else:
                setattr(entry.value, kind, one)

    def windows(self, layer: Any, node: Node, kernel: list[int]) -> None:  # noqa: ANN401
        pads = node.get("pads") or [0, 0, 0, 0]
        steps = node.get("dilations") or [1, 1]
        if node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or list(steps) != [1, 1]:
            raise refusal(node, "dilation, or padding by its result's size")
        self.put(layer, "kernel_shape", i=kernel)
        self.put(layer, "strides", i=[1, *(node.get("strides") or [1, 1]), 1])
        self.put(layer, "dilations", i=[1, 1, 1, 1])
        self.put(layer, "pads", i=[0, *pads[:2], 0, 0, *pads[2:], 0])
        self.put(layer, "auto_pad", s=b"NOTSET")

    def bias(self, node: Node) -> dict[str, np.ndarray]:
        named = node.input(2)
        return {"bias": self.graph.constants[named].reshape(-1).numpy()} if named else {}


def refusal(node: Node, why: str) -> InputError:
    """The error for an operator that can't be written."""
    return InputError(f"mmdnn: got {node.op} (node {node.name[:80]!r}): {why}; allowed: ONNX")


def _shapes(graph: Graph, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    names = tuple(node.outputs[0] for node in graph.nodes)
    network = Imported(replace(graph, outputs=names))
    with torch.no_grad():
        found = network.values(torch.zeros(shape))
    return {name: tuple(one.shape) for name, one in zip(names, found, strict=True)}


def _conv(writer: _Writer, node: Node) -> None:
    weight = writer.graph.constants.get(node.input(1))
    if weight is None or weight.dim() != 4 or node.get("group", 1) != 1:
        raise refusal(node, "groups, or weights that are no constants of four axes")
    layer = writer.layer("Conv", node.outputs[0], node.inputs[:1])
    turned = weight.permute(2, 3, 1, 0).numpy()
    writer.windows(layer, node, list(turned.shape))
    writer.put(layer, "group", i=1)
    held = {"weights": turned, **writer.bias(node)}
    writer.put(layer, "use_bias", b="bias" in held)
    writer.weights[layer.name] = held


def _linear(writer: _Writer, node: Node) -> None:
    weight = writer.graph.constants.get(node.input(1))
    plain = node.get("alpha", 1.0) == 1 == node.get("beta", 1.0) and not node.get("transA", 0)
    if weight is None or weight.dim() != 2 or not plain:
        raise refusal(node, "weights that are no constants of two axes, or scaled")
    turned = weight.T if node.get("transB", 0) else weight
    before = next((n for n in writer.graph.nodes if n.outputs[0] == node.input(0)), None)
    if before is not None and before.op == "Flatten":
        space = writer.shapes[before.inputs[0]]
        if len(space) == 4:  # rows in the order of channels last
            apart = turned.reshape(*space[1:], -1).permute(1, 2, 0, 3)
            turned = apart.reshape(turned.shape)
    layer = writer.layer("FullyConnected", node.outputs[0], node.inputs[:1])
    held = {"weights": turned.contiguous().numpy(), **writer.bias(node)}
    writer.put(layer, "units", i=turned.shape[1])
    writer.put(layer, "use_bias", b="bias" in held)
    writer.weights[layer.name] = held


def _flatten(writer: _Writer, node: Node) -> None:
    after = [n for n in writer.graph.nodes if node.outputs[0] in n.inputs]
    space = writer.shapes[node.input(0)]
    alike = len(space) == 2 or max(space[2:]) == 1
    if node.get("axis", 1) != 1 or not (alike or all(n.op in ("Gemm", "MatMul") for n in after)):
        raise refusal(node, "its order of values is seen by others than linear layers")
    writer.layer("Flatten", node.outputs[0], node.inputs[:1])


def _pool(writer: _Writer, node: Node) -> None:
    padded = any(node.get("pads") or [])
    if node.get("ceil_mode", 0) or (node.get("count_include_pad", 0) and padded):
        raise refusal(node, "ceil_mode, or a mean that counts padding")
    if len(node.get("kernel_shape")) != 2:
        raise refusal(node, "other than 2 axes of space")
    layer = writer.layer("Pool", node.outputs[0], node.inputs[:1])
    writer.put(layer, "pooling_type", s=b"MAX" if node.op == "MaxPool" else b"AVG")
    writer.put(layer, "global_pooling", b=False)
    writer.windows(layer, node, [1, *node.get("kernel_shape"), 1])


def _everywhere(writer: _Writer, node: Node) -> None:
    layer = writer.layer("Pool", node.outputs[0], node.inputs[:1])
    space = writer.shapes[node.input(0)][2:]
    writer.put(layer, "pooling_type", s=b"AVG")
    writer.put(layer, "global_pooling", b=True)
    writer.windows(layer, replace(node, attributes={}), [1, *space, 1])


def _plain(op: str) -> Callable[[_Writer, Node], None]:
    def written(writer: _Writer, node: Node) -> None:
        if any(name in writer.graph.constants for name in node.inputs):
            raise refusal(node, "of a constant")
        if node.op == "Softmax" and node.get("axis", -1) not in (1, -1):
            raise refusal(node, "another axis than 1")
        writer.layer(op, node.outputs[0], node.inputs)

    return written


_WRITTEN: Mapping[str, Callable[[_Writer, Node], None]] = {
    "Conv": _conv, "Gemm": _linear, "MatMul": _linear, "Flatten": _flatten, "MaxPool": _pool,
    "AveragePool": _pool, "GlobalAveragePool": _everywhere, "Relu": _plain("Relu"),
    "Tanh": _plain("Tanh"), "Sigmoid": _plain("Sigmoid"), "Softmax": _plain("Softmax"),
    "Add": _plain("Add"),
}  # fmt: skip
