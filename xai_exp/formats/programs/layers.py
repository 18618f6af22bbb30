"""Convolutions, linear layers and batch norm of a program, as modules under their own names."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx import Node
from torch.nn import functional

from xai_exp.formats.programs.functions import aten, given

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def layer_of(module: fx.GraphModule, node: Node) -> tuple[str, nn.Module, Node] | None:
    """The module that a call with weights of its own is, and the name that they have."""
    if node.op != "call_function" or node.target not in _LAYERS:
        return None
    held = _LAYERS[node.target](module, node)
    if held is None:
        return None
    path, made, weights, x = held
    at = module.get_submodule(path)
    free = type(at) is nn.Module or _alike(at, made)
    more = at._parameters.keys() | at._buffers.keys()
    more -= made._parameters.keys() | made._buffers.keys()
    if not free or more or next(at.children(), None) is not None:
        return None
    for name, value in weights.items():
        if value is None or name in made._buffers:
            setattr(made, name, value)
        else:
            setattr(made, name, nn.Parameter(value, requires_grad=value.requires_grad))
    return path, made.eval(), x


def _alike(one: nn.Module, other: nn.Module) -> bool:
    """Whether two calls of the same weights are one layer called twice."""
    return type(one) is type(other) and one.extra_repr() == other.extra_repr()


Layer = tuple[str, nn.Module, dict[str, Tensor | None], Node]


def _held(module: fx.GraphModule, nodes: Sequence[Any]) -> tuple[str, list[Tensor | None]] | None:
    """The values of weights, and the one place where they all are."""
    places, values = set(), []
    for node in nodes:
        if node is None:
            values.append(None)
            continue
        if not isinstance(node, Node) or node.op != "get_attr":
            return None
        path, _, name = str(node.target).rpartition(".")
        places.add(path)
        values.append(getattr(module.get_submodule(path), name))
    path = next(iter(places), "")
    return (path, values) if len(places) == 1 and path else None


def _conv(module: fx.GraphModule, node: Node) -> Layer | None:
    written: list[Any] = list(node.args)  # a function of torch.nn, as it was put here
    arguments = given(node) if isinstance(node.target, torch._ops.OpOverload) else written
    x, weight, bias, stride, padding, dilation, groups = arguments
    found = _held(module, (weight, bias))
    if found is None:
        return None
    path, (kernel, shift) = found
    assert kernel is not None
    dims = kernel.dim() - 2

    def each(value: Any) -> Any:  # noqa: ANN401
        some = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        return value if isinstance(value, str) else tuple(some) * (dims // len(some))

    made = nn.utils.skip_init(
        _CONVOLUTIONS[dims - 1], kernel.shape[1] * groups, kernel.shape[0], tuple(kernel.shape[2:]),
        stride=each(stride), padding=each(padding), dilation=each(dilation), groups=groups,
        bias=shift is not None,
    )  # fmt: skip
    return path, made, {"weight": kernel, "bias": shift}, x


def _transposed(node: Any) -> Any:  # noqa: ANN401
    """What a matrix is the transposed of, if it is."""
    if not isinstance(node, Node):
        return None
    turned = node.target is aten.permute.default and list(node.args[1]) == [1, 0]  # pyright: ignore[reportArgumentType]
    return node.args[0] if turned or node.target is aten.t.default else None


def _linear(module: fx.GraphModule, node: Node) -> Layer | None:
    bias: Any = None
    if node.target is aten.addmm.default:
        bias, x, weight = node.args[:3]
        weight = None if node.kwargs else _transposed(weight)
    elif node.target is aten.mm.default:
        x, weight = node.args[0], _transposed(node.args[1])
    else:
        x, weight, bias, *_ = (*node.args, None)
    found = None if weight is None else _held(module, (weight, bias))
    if found is None or not isinstance(x, Node):
        return None
    path, (matrix, shift) = found
    assert matrix is not None
    made = nn.utils.skip_init(nn.Linear, *reversed(matrix.shape), bias=shift is not None)
    return path, made, {"weight": matrix, "bias": shift}, x


def _norm_layer(module: fx.GraphModule, node: Node) -> Layer | None:
    x, mean, var, weight, bias, training, momentum, eps = node.args
    value = node.meta.get("val")
    found = _held(module, (mean, var, weight, bias))
    if training or found is None or not (isinstance(value, Tensor) and isinstance(x, Node)):
        return None
    path, (middle, spread, scale, shift) = found
    assert middle is not None
    made = _NORMS[value.dim()](
        len(middle), eps=eps, momentum=momentum, affine=scale is not None  # pyright: ignore[reportArgumentType]
    )  # fmt: skip
    held = {"running_mean": middle, "running_var": spread, "weight": scale, "bias": shift}
    return path, made, held, x


_LAYERS: dict[Any, Callable[[fx.GraphModule, Node], Layer | None]] = {
    aten.conv1d.default: _conv, aten.conv2d.default: _conv, aten.conv3d.default: _conv,
    aten.conv1d.padding: _conv, aten.conv2d.padding: _conv, aten.conv3d.padding: _conv,
    functional.conv1d: _conv, functional.conv2d: _conv, functional.conv3d: _conv,
    aten.linear.default: _linear, aten.addmm.default: _linear, aten.mm.default: _linear,
    functional.batch_norm: _norm_layer,
}  # fmt: skip
