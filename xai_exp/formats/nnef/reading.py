"""An NNEF folder as an ONNX model; nothing outside of the folder is read."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xai_exp.config import InputError
from xai_exp.files import inside
from xai_exp.formats.card import read as card_of
from xai_exp.formats.needed import library
from xai_exp.formats.nnef import tensors
from xai_exp.formats.nnef.text import Name, Operation, Text, parse

_OPSET = 17
_LARGEST, _MOST_CARD = 2**31 - 1, 2**24  # bytes of all variables, of card.json


def files(path: Path) -> list[Path]:
    """The graph and its variables.

    Raises:
        InputError: for variables outside the folder.
    """
    text = parsed(path)
    folder = _folder(path)
    labels = [_label(folder, one) for one in text.operations if one.op == "variable"]
    card = folder / "card.json"
    return [folder / "graph.nnef", *sorted(set(labels)), *([card] if _is_card(card) else [])]


def parsed(path: Path) -> Text:
    """The graph's text, read.

    Raises:
        InputError: when there is none.
    """
    place = _folder(path) / "graph.nnef"
    if not place.is_file():
        raise InputError(f"nnef: got {path} without graph.nnef; allowed: a folder with one")
    if not inside(place.parent, place):
        raise InputError(
            f"nnef: got {path}, whose graph.nnef is a link to outside the folder; allowed: a file "
            "in it"
        )
    try:
        with place.open("rb") as file:
            return parse(file.read(2**26 + 1).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"nnef: got {place.name}, which is no text; allowed: NNEF 1.0") from error


def _folder(path: Path) -> Path:
    return path.parent if path.name == "graph.nnef" else path


def _label(folder: Path, operation: Operation) -> Path:
    """The file of a variable, within the folder."""
    label = operation.get("label")
    named = label if isinstance(label, str) else ""
    place = folder / f"{named}.dat"
    if not named or not inside(folder, place):
        raise InputError(
            f"nnef: got a variable in {named[:80]!r}, outside the folder, which isn't read; "
            "allowed: names of files in it"
        )
    return place.resolve()


def _is_card(path: Path) -> bool:
    return path.is_file() and path.stat().st_size < _MOST_CARD and inside(path.parent, path)


def model_of(path: Path) -> Any:  # noqa: ANN401
    """The network in a folder as a ModelProto.

    Raises:
        InputError: in one line, for a folder that can't be read.
    """
    onnx = library("onnx")
    reader = _Reader(parsed(path), _folder(path))
    graph = reader.graph(onnx)
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", _OPSET)], ir_version=8
    )
    card = _folder(path) / "card.json"
    if _is_card(card):
        try:
            told = json.loads(card.read_text("utf-8"))
            words = card_of({str(k): str(v) for k, v in told.items()}).words()
        except (ValueError, AttributeError, RecursionError):
            words = {}
        for key, value in words.items():
            model.metadata_props.add(key=key, value=value)
    return model


class _Reader:
    """Nodes and constants, as they come."""

    def __init__(self, text: Text, folder: Path) -> None:
        self.text, self.folder = text, folder
        self.constants: dict[str, np.ndarray] = {}
        self.nodes: list[Any] = []
        self.shape: list[Any] = []
        self.bytes = 0

    def graph(self, onnx: Any) -> Any:  # noqa: ANN401
        self.helper = onnx.helper
        if len(self.text.inputs) != 1:
            raise InputError(
                f"nnef: got {len(self.text.inputs)} inputs; allowed: one, a batch of pictures"
            )
        for one in self.text.operations:
            self.operation(one)
        kind = onnx.TensorProto.FLOAT
        shape = ["batch", *self.shape[1:]] if self.shape else None
        make = onnx.helper.make_tensor_value_info
        held = [onnx.numpy_helper.from_array(v, name) for name, v in self.constants.items()]
        inputs = [make(self.text.inputs[0], kind, shape)]
        outputs = [make(name, kind, None) for name in self.text.outputs[:1]]
        return onnx.helper.make_graph(self.nodes, "network", inputs, outputs, held)

    def operation(self, one: Operation) -> None:
        if one.op == "external":
            self.shape = list(one.get("shape") or [])
        elif one.op == "variable":
            self.variable(one)
        elif one.op in _READ:
            try:
                _READ[one.op](self, one)
            except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(
                    f"nnef: got {one.op} with arguments that it has not; allowed: those of NNEF 1.0"
                ) from error
        else:
            raise InputError(
                f"nnef: got the operation {one.op[:40]}; allowed: external, variable, "
                f"{', '.join(sorted(_READ))}"
            )

    def variable(self, one: Operation) -> None:
        place = _label(self.folder, one)
        self.bytes += place.stat().st_size if place.is_file() else 0
        if self.bytes > _LARGEST:
            raise InputError("nnef: got variables of 2 GiB or more; allowed: less")
        values = tensors.read(place)
        wanted = one.get("shape") or []
        if list(values.shape) != list(wanted):
            raise InputError(
                f"nnef: got {place.name[:80]} of shape {list(values.shape)} for {wanted}; allowed: "
                "the same"
            )
        self.constants[one.results[0]] = values

    def name(self, value: Any) -> str:  # noqa: ANN401
        if isinstance(value, Name):
            return value.text
        return self.constant(np.asarray(value, np.float32))

    def constant(self, values: np.ndarray) -> str:
        name = f"constant {len(self.constants)}"
        self.constants[name] = values
        return name

    def add(self, op: str, inputs: list[str], one: Operation, **attributes: Any) -> None:  # noqa: ANN401
        self.nodes.append(self.helper.make_node(op, inputs, list(one.results[:1]), **attributes))

    def bias(self, value: Any) -> list[str]:  # noqa: ANN401
        if not isinstance(value, Name):
            return (
                [] if value in (None, 0, 0.0) else [self.constant(np.asarray([value], np.float32))]
            )
        return [self.constant(self.constants[value.text].reshape(-1))]


def _flat(pads: Any, skip: int) -> dict[str, Any]:  # noqa: ANN401
    pairs = (pads or [])[skip:]
    if not pairs:
        return {"auto_pad": "SAME_UPPER"}  # NNEF's own meaning of no padding said
    return {"pads": [int(a) for a, _ in pairs] + [int(b) for _, b in pairs]}


def _conv(reader: _Reader, one: Operation) -> None:
    if one.get("border", 3, "constant") != "constant":
        raise InputError("nnef: got conv with another border than constant; allowed: constant")
    inputs = [reader.name(one.get("input", 0)), reader.name(one.get("filter", 1))]
    inputs += reader.bias(one.get("bias", 2))
    dims = reader.constants[inputs[1]].ndim - 2
    reader.add(
        "Conv", inputs, one, **_flat(one.get("padding", 4), 0),
        strides=one.get("stride", 5) or [1] * dims, dilations=one.get("dilation", 6) or [1] * dims,
        group=one.get("groups", 7, 1) or reader.constants[inputs[1]].shape[0],
    )  # fmt: skip


def _linear(reader: _Reader, one: Operation) -> None:
    inputs = [reader.name(one.get("input", 0)), reader.name(one.get("filter", 1))]
    reader.add("Gemm", [*inputs, *reader.bias(one.get("bias", 2))], one, transB=1)


def _pool(reader: _Reader, one: Operation) -> None:
    border, size = one.get("border", 2, "constant"), one.get("size", 1)
    if size[:2] != [1, 1] or border not in ("ignore", "constant"):
        raise InputError(
            "nnef: got pooling of batch or channels, or another border; allowed: space"
        )
    strides = (one.get("stride", 4) or [1] * len(size))[2:]
    steps = (one.get("dilation", 5) or [1] * len(size))[2:]
    shared = {"kernel_shape": size[2:], "strides": strides, **_flat(one.get("padding", 3), 2)}
    inputs = [reader.name(one.get("input", 0))]
    if one.op == "max_pool":
        if border != "ignore" and any(shared.get("pads", [1])):
            raise InputError("nnef: got max_pool with a border of 0; allowed: border = 'ignore'")
        reader.add("MaxPool", inputs, one, **shared, dilations=steps)
        return
    if any(step != 1 for step in steps):
        raise InputError("nnef: got avg_pool with dilation; allowed: none")
    reader.add("AveragePool", inputs, one, **shared, count_include_pad=int(border == "constant"))


def _mean(reader: _Reader, one: Operation) -> None:
    reader.add("ReduceMean", [reader.name(one.get("input", 0))], one, axes=one.get("axes", 1))


def _reshape(reader: _Reader, one: Operation) -> None:
    if one.get("axis_start", 2, 0) != 0 or one.get("axis_count", 3, -1) != -1:
        raise InputError("nnef: got reshape of some axes; allowed: of all")
    shape = reader.constant(np.asarray(one.get("shape", 1), np.int64))
    reader.add("Reshape", [reader.name(one.get("input", 0)), shape], one)


def _softmax(reader: _Reader, one: Operation) -> None:
    axes = one.get("axes", 1, [1])
    if len(axes) != 1:
        raise InputError("nnef: got softmax along several axes; allowed: one")
    reader.add("Softmax", [reader.name(one.get("x", 0))], one, axis=axes[0])


def _leaky(reader: _Reader, one: Operation) -> None:
    reader.add("LeakyRelu", [reader.name(one.get("x", 0))], one, alpha=float(one.get("alpha", 1)))


def _clamp(reader: _Reader, one: Operation) -> None:
    limits = [
        reader.constant(np.asarray(one.get(n, p), np.float32)) for n, p in (("a", 1), ("b", 2))
    ]
    reader.add("Clip", [reader.name(one.get("x", 0)), *limits], one)


def _concat(reader: _Reader, one: Operation) -> None:
    values = [reader.name(value) for value in one.get("values", 0)]
    reader.add("Concat", values, one, axis=one.get("axis", 1))


def _unary(op: str) -> Callable[[_Reader, Operation], None]:
    return lambda reader, one: reader.add(op, [reader.name(one.get("x", 0))], one)


def _binary(op: str) -> Callable[[_Reader, Operation], None]:
    """Constants must have all axes: NNEF broadcasts from the front on, ONNX from the end."""

    def read(reader: _Reader, one: Operation) -> None:
        names = [reader.name(one.get(key, place)) for place, key in enumerate("xy")]
        for name in names:
            held = reader.constants.get(name)
            if held is not None and held.size > 1 and held.ndim != 4:
                raise InputError(
                    f"nnef: got {one.op} of a constant of {held.ndim} axes; allowed: four"
                )
        reader.add(op, names, one)

    return read


_READ: Mapping[str, Callable[[_Reader, Operation], None]] = {
    "conv": _conv, "linear": _linear, "max_pool": _pool, "avg_pool": _pool, "mean_reduce": _mean,
    "reshape": _reshape, "softmax": _softmax, "leaky_relu": _leaky, "clamp": _clamp,
    "concat": _concat, "relu": _unary("Relu"), "sigmoid": _unary("Sigmoid"),
    "tanh": _unary("Tanh"), "softplus": _unary("Softplus"), "elu": _unary("Elu"),
    "add": _binary("Add"), "sub": _binary("Sub"), "mul": _binary("Mul"), "div": _binary("Div"),
}  # fmt: skip
