"""What `run_decompositions` took apart or renamed, as the functions that it was."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node
from torch.nn import functional

aten = torch.ops.aten
Call = tuple[Callable[..., Any], tuple[Any, ...]]


def given(node: Node) -> list[Any]:
    """All arguments of a function of ATen in their order, those not given too."""
    schema = node.target._schema  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]
    left = schema.arguments[len(node.args) :]
    return [*node.args, *(node.kwargs.get(one.name, one.default_value) for one in left)]


def called(node: Node) -> Call | None:
    """The usual function that does what one of ATen does."""
    if node.op != "call_function":
        return None
    if node.target in _FIRST:
        return _FIRST[node.target](*given(node)) if _first_alone(node) else None
    return _SINGLE[node.target](*given(node)) if node.target in _SINGLE else None


def _convolution(
    x: Node, weight: Node, bias: Any, stride: Any, padding: Any, dilation: Any,  # noqa: ANN401
    transposed: bool, output_padding: Any, groups: int,  # noqa: ANN401
) -> Call:  # fmt: skip
    dims = len(stride)
    if transposed:
        made = (functional.conv_transpose1d, functional.conv_transpose2d,
                functional.conv_transpose3d)[dims - 1]  # fmt: skip
        return made, (x, weight, bias, stride, padding, output_padding, groups, dilation)
    made = (functional.conv1d, functional.conv2d, functional.conv3d)[dims - 1]
    return made, (x, weight, bias, stride, padding, dilation, groups)


def _norm(x: Node, weight: Any, bias: Any, mean: Any, var: Any, *rest: Any) -> Call:  # noqa: ANN401
    momentum, eps = rest[-2:]
    return functional.batch_norm, (x, mean, var, weight, bias, False, momentum, eps)


def _group_norm(
    x: Node, weight: Any, bias: Any, _n: Any, _c: Any, _all: Any, groups: int, eps: float  # noqa: ANN401
) -> Call:  # fmt: skip
    return functional.group_norm, (x, groups, weight, bias, eps)


def _sliced(x: Node, dim: int, start: Any, end: Any, step: int) -> Call:  # noqa: ANN401
    at = (*([slice(None)] * dim), slice(start, end, step)) if dim >= 0 else None
    if at is None:
        return aten.slice.Tensor, (x, dim, start, end, step)
    return operator.getitem, (x, at)


def _batch_norm(x: Node, weight: Any, bias: Any, mean: Any, var: Any, *rest: Any) -> Call:  # noqa: ANN401
    training, momentum, eps, _ = rest
    return functional.batch_norm, (x, mean, var, weight, bias, training, momentum, eps)


_FIRST: dict[Any, Callable[..., Call]] = {
    aten._native_batch_norm_legit_no_training.default: _norm,
    aten.native_layer_norm.default: lambda x, shape, weight, bias, eps: (
        functional.layer_norm, (x, shape, weight, bias, eps)),
    aten.native_group_norm.default: _group_norm,
    aten.max_pool2d_with_indices.default: lambda x, *rest: (functional.max_pool2d, (x, *rest)),
}  # fmt: skip
_SINGLE: dict[Any, Callable[..., Call]] = {
    aten.convolution.default: _convolution,
    aten.batch_norm.default: _batch_norm,
    aten._softmax.default: lambda x, dim, _half: (functional.softmax, (x, dim)),
    aten._log_softmax.default: lambda x, dim, _half: (functional.log_softmax, (x, dim)),
    aten._adaptive_avg_pool2d.default: lambda x, size: (
        functional.adaptive_avg_pool2d, (x, size)),
    aten._unsafe_view.default: lambda x, shape: (aten.view.default, (x, shape)),
    aten.alias.default: lambda x: (torch.clone, (x,)),
    aten.lift_fresh_copy.default: lambda x: (torch.clone, (x,)),
    aten.slice.Tensor: _sliced,
    aten.constant_pad_nd.default: lambda x, pad, value: (
        functional.pad, (x, pad, "constant", value)),
}  # fmt: skip


def _first_alone(node: Node) -> bool:
    return all(user.target is operator.getitem and user.args[1] == 0 for user in node.users)
