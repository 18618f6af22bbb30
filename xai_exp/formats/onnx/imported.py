"""A graph of operators as a torch network: its functions are torch's, so that rules see them."""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xai_exp.formats.onnx import elementwise, layers, moving
from xai_exp.formats.onnx.node import MOST, Node
from xai_exp.formats.onnx.reading import Graph

OPERATORS: Mapping[str, tuple[int, Callable[..., Any]]] = {
    **elementwise.OPERATORS,
    **moving.OPERATORS,
    **layers.OPERATORS,
}
"""Name: (oldest version that is understood, function)."""


def function_of(node: Node) -> Callable[..., Any]:
    """What calculates a node.

    Raises:
        UnconvertedError: when nothing does.
    """
    oldest, function = OPERATORS.get(node.op, (0, None))
    if function is None:
        raise node.cannot("no torch function is known for it")
    if node.version < oldest:
        raise node.cannot(f"its definition before version {oldest} is another")
    return function


def calculated(node: Node, values: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    """What a node makes of values.

    Raises:
        UnconvertedError: when torch can't do it so.
    """
    function = function_of(node)
    try:
        result = function(node, *values)
    except (RuntimeError, TypeError, IndexError, ArithmeticError, NotImplementedError) as error:
        why = " ".join(str(error).split())[:120]
        raise node.cannot(f"torch can't calculate it ({type(error).__name__}: {why})") from error
    result = result if isinstance(result, tuple | list) else (result,)
    return tuple(result)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One calculation: a node, the layer that does it if it has one, and what is done with then."""

    node: Node
    layer: str
    used: tuple[str, ...]
    done: tuple[str, ...]


class Imported(nn.Module):
    """A network of a file. Layers with weights are torch's modules, all else functions."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.inputs = tuple(one.name for one in graph.inputs)
        self.outputs = graph.outputs
        self.held: dict[str, str] = {}
        names: set[str] = set()
        last = {name: place for place, node in enumerate(graph.nodes) for name in node.inputs}
        steps = []
        for place, node in enumerate(graph.nodes):
            function_of(node)
            layer = module_of(node, graph.constants)
            name = _free(node, names) if layer is not None else ""
            used = node.inputs[:1] if layer is not None else node.inputs
            if layer is not None:
                self.add_module(name, layer)
            for one in used:
                if one in graph.constants and one not in self.held:
                    self._hold(one, graph.constants[one])
            done = [one for one in {*node.inputs, *node.outputs} if last.get(one, -1) <= place]
            done = [one for one in done if one not in graph.outputs and one not in self.held]
            steps.append(Step(node=node, layer=name, used=used, done=tuple(done)))
        for one in graph.outputs:
            if one in graph.constants and one not in self.held:
                self._hold(one, graph.constants[one])
        self.steps = tuple(steps)
        self.requires_grad_(False).eval()

    def _hold(self, name: str, value: Tensor) -> None:
        self.held[name] = f"constant_{len(self.held)}"
        self.register_buffer(self.held[name], value)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Imported":
        same = type(self).__new__(type(self))
        memo[id(self)] = same
        for key, value in vars(self).items():  # steps hold no tensors that change
            kept = key in ("steps", "held", "inputs", "outputs")
            vars(same)[key] = value if kept else copy.deepcopy(value, memo)
        return same

    def values(self, *given: Tensor) -> tuple[Tensor, ...]:
        """All outputs, of all inputs."""
        known: dict[str, Any] = dict(zip(self.inputs, given, strict=True))
        known |= {name: getattr(self, place) for name, place in self.held.items()}
        known[""] = None
        for step in self.steps:
            values = [known[name] for name in step.used]
            if step.layer:
                made: tuple[Tensor, ...] = (getattr(self, step.layer)(values[0]),)
            else:
                made = calculated(step.node, values)
            known.update(zip(step.node.outputs, made, strict=False))
            for name in step.done:
                if name:
                    known.pop(name, None)
        return tuple(known[name] for name in self.outputs)

    def forward(self, images: Tensor) -> Tensor:
        """The first output."""
        return self.values(images)[0]


def _free(node: Node, names: set[str]) -> str:
    """A name for a layer: that of its weights in the file, or of the node."""
    weights = [name for name in node.inputs[1:2] if name]
    raw = re.sub(r"[._/]?(weight|kernel|W|w)$", "", weights[0]) if weights else node.name
    name = re.sub(r"\W+", "_", raw or node.name).strip("_") or node.op.lower()
    name = f"{node.op.lower()}_{name}" if not weights or name[0].isdigit() else name
    while name in names or hasattr(Imported, name):
        name = f"{name}_"
    names.add(name)
    return name


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_PLAIN: Mapping[str, type[nn.Module]] = {"Relu": nn.ReLU, "Sigmoid": nn.Sigmoid}
_SOFT: Mapping[str, type[nn.Module]] = {"Softmax": nn.Softmax, "LogSoftmax": nn.LogSoftmax}


def module_of(node: Node, constants: Mapping[str, Tensor]) -> nn.Module | None:
    """The torch module that does what a node does to its first input; None: a function does."""
    if node.inputs and node.inputs[0] in constants:
        return None
    if node.op in _PLAIN:
        return _PLAIN[node.op]()
    if node.op in _SOFT and node.version >= 13:
        return _SOFT[node.op](dim=node.get("axis", -1))
    make = {"Conv": _conv, "Gemm": _linear, "MatMul": _linear, "BatchNormalization": _norm}
    others = node.inputs[1:]
    if node.op not in make or not all(name in constants for name in others if name):
        return None
    return make[node.op](node, [constants[name] if name else None for name in others])


def _given(layer: nn.Module, **values: Tensor | None) -> nn.Module:
    for name, value in values.items():
        if value is not None:
            setattr(layer, name, nn.Parameter(value, requires_grad=False))
    return layer


def _conv(node: Node, held: Sequence[Tensor | None]) -> nn.Module | None:
    weight, bias = held[0], held[1] if len(held) > 1 else None
    if weight is None or not 3 <= weight.dim() <= 5 or weight.dtype != torch.float32:
        return None
    dims, group = weight.dim() - 2, node.get("group", 1)
    pads = node.get("pads") or [0] * 2 * dims
    if node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or pads[:dims] != pads[dims:]:
        return None
    if node.get("auto_pad") == "VALID":
        pads = [0] * 2 * dims
    inside, outside = weight.shape[1] * group, weight.shape[0]
    if min(pads) < 0 or max(pads) > MOST or group < 1 or outside % group or min(weight.shape) < 1:
        raise node.cannot("weights that don't fit its groups or padding")
    if bias is not None and tuple(bias.shape) != (outside,):
        raise node.cannot("a bias that doesn't fit its weights")
    made: Any = _CONVOLUTIONS[dims - 1]
    layer = nn.utils.skip_init(
        made, inside, outside, tuple(weight.shape[2:]),
        stride=tuple(node.get("strides") or [1] * dims), padding=tuple(pads[:dims]),
        dilation=tuple(node.get("dilations") or [1] * dims), groups=group, bias=bias is not None,
    )  # fmt: skip
    return _given(layer, weight=weight, bias=bias)


def _linear(node: Node, held: Sequence[Tensor | None]) -> nn.Module | None:
    weight, bias = held[0], held[1] if len(held) > 1 else None
    if weight is None or weight.dim() != 2 or weight.dtype != torch.float32:
        return None
    if node.get("transA", 0) or node.get("alpha", 1.0) != 1 or node.get("beta", 1.0) != 1:
        return None
    weight = weight if node.get("transB", 0) else weight.T.contiguous()
    outside, inside = weight.shape
    if bias is not None and (bias.numel() != outside or bias.shape[-1] != outside):
        return None
    bias = None if bias is None else bias.reshape(-1)
    layer = nn.utils.skip_init(nn.Linear, inside, outside, bias=bias is not None)
    return _given(layer, weight=weight, bias=bias)


def _norm(node: Node, held: Sequence[Tensor | None]) -> nn.Module | None:
    fixed = node.get("training_mode", 0) == 0 and node.version >= 9
    if (
        not fixed
        or len([one for one in node.outputs if one]) > 1
        or any(one is None for one in held)
    ):
        return None
    scale, bias, mean, var = held
    assert scale is not None
    assert mean is not None
    assert var is not None
    if any(one is None or one.shape != scale.shape or one.dtype != torch.float32 for one in held):
        raise node.cannot("numbers of different shapes or types")
    layer = _Norm(len(scale), eps=node.get("epsilon", 1e-5))
    layer.running_mean, layer.running_var = mean.clone(), var.clone()
    return _given(layer, weight=scale, bias=bias).eval()


class _Norm(nn.BatchNorm2d):
    """Batch norm of as many axes as come."""

    def _check_input_dim(self, input: Tensor) -> None:
        """All are right."""
