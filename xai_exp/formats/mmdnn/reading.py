"""MMdnn's graph as an ONNX model: channels first inside, its own order at linear layers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xai_exp.config import InputError
from xai_exp.formats.card import read as card_of
from xai_exp.formats.mmdnn import weights
from xai_exp.formats.mmdnn.schema import graph_message
from xai_exp.formats.needed import library

_OPSET, _MOST_BYTES = 17, 2**26


def files(path: Path) -> list[Path]:
    """The graph and its numbers."""
    return [path, path.with_suffix(".npy")]


def model_of(path: Path) -> Any:  # noqa: ANN401
    """The network in NAME.pb and NAME.npy as a ModelProto.

    Raises:
        InputError: in one line, for files that can't be read.
    """
    onnx = library("onnx")
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        raise InputError(f"mmdnn: got {path}, no file or above 64 MiB; allowed: a graph, NAME.pb")
    message = graph_message()()
    try:
        message.ParseFromString(path.read_bytes())
    except Exception as error:
        raise InputError(
            f"mmdnn: got {path.name}, which can't be read ({type(error).__name__}); allowed: "
            "MMdnn's graph as it is saved (not as text)"
        ) from error
    reader = _Reader(weights.read(path.with_suffix(".npy")), onnx)
    for layer in message.node:
        reader.layer(layer)
    if reader.shape is None or not reader.nodes:
        raise InputError(f"mmdnn: got {path.name} without an input of pictures; allowed: DataInput")
    return reader.model(onnx)


class _Reader:
    """Nodes and constants, as they come; `axes` says how many each value has."""

    def __init__(self, held: weights.Weights, onnx: Any) -> None:  # noqa: ANN401
        self.held, self.helper = held, onnx.helper
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.axes: dict[str, int] = {}
        self.shape: list[int | str] | None = None
        self.input = self.output = ""
        self.words: dict[str, str] = {}

    def model(self, onnx: Any) -> Any:  # noqa: ANN401
        make, kind = self.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
        held = [onnx.numpy_helper.from_array(v, name) for name, v in self.constants.items()]
        graph = self.helper.make_graph(
            self.nodes, "network", [make(self.input, kind, self.shape)],
            [make(self.output, kind, None)], held,
        )  # fmt: skip
        opsets = [self.helper.make_opsetid("", _OPSET)]
        made = self.helper.make_model(graph, opset_imports=opsets, ir_version=8)
        self.helper.set_model_props(made, self.words)
        return made

    def layer(self, layer: Any) -> None:  # noqa: ANN401
        read = _READ.get(layer.op)
        if read is None:
            raise InputError(
                f"mmdnn: got the layer {layer.op[:40]} ({layer.name[:60]!r}); allowed: "
                f"{', '.join(sorted(_READ))}"
            )
        attributes = {entry.key: _attribute(entry.value) for entry in layer.attr}
        try:
            axes = read(self, layer, attributes)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(
                f"mmdnn: got {layer.op} ({layer.name[:60]!r}) with numbers or attributes that are "
                f"missing or don't fit ({type(error).__name__}); allowed: those that it needs"
            ) from error
        self.axes[layer.name] = axes
        self.output = layer.name

    def numbers(self, layer: Any, name: str) -> np.ndarray:  # noqa: ANN401
        return np.asarray(self.held[layer.name][name], np.float32)

    def constant(self, values: np.ndarray) -> str:
        name = f"constant {len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(values)
        return name

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> None:  # noqa: ANN401
        self.nodes.append(self.helper.make_node(op, inputs, [output], **attributes))

    def flat(self, name: str) -> str:
        """A value as rows, in the order of channels last."""
        if self.axes[name] == 2:
            return name
        turned, flat = f"{name} channels last", f"{name} flat"
        self.add("Transpose", [name], turned, perm=[0, 2, 3, 1])
        self.add("Flatten", [turned], flat)
        return flat


def _attribute(value: Any) -> Any:  # noqa: ANN401
    kind = value.WhichOneof("value")
    if kind == "list":
        return next(
            (list(getattr(value.list, one)) for one in "ifb" if getattr(value.list, one)), []
        )
    if kind == "shape":
        return [dim.size for dim in value.shape.dim]
    found = getattr(value, kind) if kind else None
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else found


Attributes = Mapping[str, Any]


def _input(reader: _Reader, layer: Any, told: Attributes) -> int:  # noqa: ANN401
    if reader.input:
        raise InputError("mmdnn: got several inputs; allowed: one, a batch of pictures")
    _, height, width, channels = told["shape"]
    lengths = (channels, height, width)
    reader.shape = ["batch", *(n if n > 0 else f"length {i}" for i, n in enumerate(lengths))]
    reader.input = layer.name
    reader.words = card_of({k: v for k, v in told.items() if isinstance(v, str)}).words()
    return 4


def _windows(told: Attributes) -> dict[str, Any]:
    found: dict[str, Any] = {"strides": told["strides"][1:-1]}
    if told.get("dilations"):
        found["dilations"] = told["dilations"][1:-1]
    kind = told.get("auto_pad") or "NOTSET"
    if kind in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        return {**found, "auto_pad": kind}
    pads = told.get("pads") or [0] * 8
    half = len(pads) // 2
    return {**found, "pads": [*pads[1 : half - 1], *pads[half + 1 : -1]]}


def _conv(reader: _Reader, layer: Any, told: Attributes) -> int:  # noqa: ANN401
    weight = reader.numbers(layer, "weights")
    group = int(told.get("group") or 1)
    turned = weight.transpose(3, 2, 0, 1)
    if layer.op == "DepthwiseConv":
        group = weight.shape[2]
        turned = weight.transpose(2, 3, 0, 1).reshape(-1, 1, *weight.shape[:2])
    inputs = [layer.input[0], reader.constant(turned)]
    if told.get("use_bias"):
        inputs.append(reader.constant(reader.numbers(layer, "bias").reshape(-1)))
    reader.add("Conv", inputs, layer.name, group=group, **_windows(told))
    return 4


def _linear(reader: _Reader, layer: Any, told: Attributes) -> int:  # noqa: ANN401
    inputs = [reader.flat(layer.input[0]), reader.constant(reader.numbers(layer, "weights"))]
    if told.get("use_bias"):
        inputs.append(reader.constant(reader.numbers(layer, "bias").reshape(-1)))
    reader.add("Gemm", inputs, layer.name)
    return 2


def _flatten(reader: _Reader, layer: Any, told: Attributes) -> int:  # noqa: ANN401, ARG001
    if reader.axes[layer.input[0]] == 2:
        reader.add("Identity", list(layer.input[:1]), layer.name)
    else:
        turned = f"{layer.name} channels last"
        reader.add("Transpose", list(layer.input[:1]), turned, perm=[0, 2, 3, 1])
        reader.add("Flatten", [turned], layer.name)
    return 2


def _pool(reader: _Reader, layer: Any, told: Attributes) -> int:  # noqa: ANN401
    largest = told["pooling_type"] == "MAX"
    if told["pooling_type"] not in ("MAX", "AVG"):
        raise InputError(f"mmdnn: got pooling {told['pooling_type']}; allowed: MAX, AVG")
    inputs = [layer.input[0]]
    if told.get("global_pooling"):
        reader.add("GlobalMaxPool" if largest else "GlobalAveragePool", inputs, layer.name)
        return 4
    shared = {"kernel_shape": told["kernel_shape"][1:-1], **_windows(told)}
    if not largest:
        steps = shared.pop("dilations", [1])
        if any(step != 1 for step in steps):
            raise InputError("mmdnn: got a dilated mean; allowed: none")
    reader.add("MaxPool" if largest else "AveragePool", inputs, layer.name, **shared)
    return 4


def _norm(reader: _Reader, layer: Any, told: Attributes) -> int:  # noqa: ANN401
    mean = reader.numbers(layer, "mean").reshape(-1)
    held = reader.held[layer.name]
    scale = reader.numbers(layer, "scale") if "scale" in held else np.ones_like(mean)
    bias = reader.numbers(layer, "bias") if "bias" in held else np.zeros_like(mean)
    values = [scale.reshape(-1), bias.reshape(-1), mean, reader.numbers(layer, "var").reshape(-1)]
    inputs = [layer.input[0], *map(reader.constant, values)]
    reader.add("BatchNormalization", inputs, layer.name, epsilon=float(told.get("epsilon") or 1e-5))
    return reader.axes[layer.input[0]]


def _softmax(reader: _Reader, layer: Any, told: Attributes) -> int:  # noqa: ANN401, ARG001
    if reader.axes[layer.input[0]] != 2:
        raise InputError("mmdnn: got a softmax of planes; allowed: of rows")
    reader.add("Softmax", [layer.input[0]], layer.name, axis=1)
    return 2


def _leaky(reader: _Reader, layer: Any, told: Attributes) -> int:  # noqa: ANN401
    reader.add("LeakyRelu", [layer.input[0]], layer.name, alpha=float(told["alpha"]))
    return reader.axes[layer.input[0]]


def _relu6(reader: _Reader, layer: Any, told: Attributes) -> int:  # noqa: ANN401, ARG001
    limits = [reader.constant(np.asarray(one, np.float32)) for one in (0, 6)]
    reader.add("Clip", [layer.input[0], *limits], layer.name)
    return reader.axes[layer.input[0]]


def _concat(reader: _Reader, layer: Any, told: Attributes) -> int:  # noqa: ANN401
    axes = reader.axes[layer.input[0]]
    along = int(told["axis"]) % axes
    along = {1: 2, 2: 3, 3: 1}.get(along, along) if axes == 4 else along
    reader.add("Concat", list(layer.input), layer.name, axis=along)
    return axes


def _plain(op: str) -> Callable[[_Reader, Any, Attributes], int]:
    def read(reader: _Reader, layer: Any, told: Attributes) -> int:  # noqa: ANN401, ARG001
        reader.add(op, list(layer.input), layer.name)
        return reader.axes[layer.input[0]]

    return read


_READ: Mapping[str, Callable[[_Reader, Any, Attributes], int]] = {
    "DataInput": _input, "Conv": _conv, "DepthwiseConv": _conv, "FullyConnected": _linear,
    "Flatten": _flatten, "Pool": _pool, "BatchNorm": _norm, "Softmax": _softmax,
    "LeakyRelu": _leaky, "Relu6": _relu6, "Concat": _concat, "Dropout": _plain("Identity"),
    "Relu": _plain("Relu"), "Tanh": _plain("Tanh"), "Sigmoid": _plain("Sigmoid"),
    "Elu": _plain("Elu"), "Add": _plain("Add"), "Mul": _plain("Mul"), "Sub": _plain("Sub"),
}  # fmt: skip
