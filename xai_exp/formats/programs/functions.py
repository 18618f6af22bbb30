"""What `run_decompositions` took apart or renamed, as the functions that it was."""

import operator
from collections.abc import Callable
from functools import partial
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


def _sliced(x: Node, dim: int, start: Any, end: Any, step: int) -> Call | None:  # noqa: ANN401
    if dim < 0:
        return None
    return operator.getitem, (x, (*([slice(None)] * dim), slice(start, end, step)))


def _batch_norm(x: Node, weight: Any, bias: Any, mean: Any, var: Any, *rest: Any) -> Call:  # noqa: ANN401
    training, momentum, eps, _ = rest
    return functional.batch_norm, (x, mean, var, weight, bias, training, momentum, eps)


def _instance_norm(
    x: Node, weight: Any, bias: Any, training: bool, momentum: float, eps: float  # noqa: ANN401
) -> Call | None:  # fmt: skip
    """Batch norm by its own statistics of what was laid into a batch of one."""
    if not training or x.meta["val"].shape[0] != 1:
        return None
    return functional.instance_norm, (x, None, None, weight, bias, True, momentum, eps)


def _strided(x: Node, size: Any, *_rest: Any) -> Call | None:  # noqa: ANN401
    """What only gives a value strides."""
    same = len(x.meta["val"].shape) == len(size)
    return (aten.view.default, (x, size)) if same else None


def _copied(x: Node, dtype: Any, *_rest: Any) -> Call:  # noqa: ANN401
    return (torch.clone, (x,)) if dtype is None else (torch.Tensor.to, (x, dtype))


def _resized(mode: str, x: Node, size: Any, *rest: Any) -> Call:  # noqa: ANN401
    *corners, scales = rest
    aligned = corners[0] if corners else None
    return functional.interpolate, (x, size, scales, mode, aligned)


def _softmax(mask: Node, blank: Any, weights: Any) -> Call | None:  # noqa: ANN401
    """A softmax that would be 0 where all are -inf; whoever puts it here looks whether any is."""
    path, at = [], mask
    while isinstance(at, Node) and len(path) < len(_SAFE):
        path.append(at)
        at = at.args[0] if at.args else None  # pyright: ignore[reportAssignmentType]
    if [one.target for one in path] != _SAFE or weights.target not in _SOFT:
        return None
    safe = (
        path[-1].args == (weights.args[0], float("-inf")) and blank.target is aten.full_like.default
    )
    return (torch.clone, (weights,)) if safe else None


def _where(mask: Node, one: Any, other: Any) -> Call | None:  # noqa: ANN401
    """A softmax that is safe, or a ReLU that leaks."""
    if not isinstance(other, Node):
        return None
    if mask.target is not aten.gt.Scalar or mask.args != (one, 0):
        return _softmax(mask, one, other)
    if other.target is not aten.mul.Tensor or one not in other.args:
        return None
    slope: Any = next((arg for arg in other.args if arg is not one), None)
    if isinstance(slope, int | float):
        return functional.leaky_relu, (one, slope)
    if not isinstance(slope, Node) or slope.target is not aten.view.default:
        return None
    weight: Any = slope.args[0]
    flat = weight.meta["val"].dim() == 1
    return (functional.prelu, (one, weight)) if flat else None


def _first_alone(node: Node) -> bool:
    return all(user.target is operator.getitem and user.args[1] == 0 for user in node.users)


_FIRST: dict[Any, Callable[..., Call | None]] = {
    aten._native_batch_norm_legit.no_stats: _instance_norm,
    aten._native_batch_norm_legit_no_training.default: _norm,
    aten.native_layer_norm.default: lambda x, shape, weight, bias, eps: (
        functional.layer_norm, (x, shape, weight, bias, eps)),
    aten.native_group_norm.default: _group_norm,
    aten.max_pool2d_with_indices.default: lambda x, *rest: (functional.max_pool2d, (x, *rest)),
}  # fmt: skip


_SAFE = [
    aten.logical_not.default, aten.any.dim, aten.logical_not.default, aten.eq.Scalar,
]  # fmt: skip
_SOFT = (aten._softmax.default, aten.softmax.int, functional.softmax)
_SINGLE: dict[Any, Callable[..., Call | None]] = {
    aten.as_strided.default: _strided,
    aten._to_copy.default: _copied,
    aten.upsample_nearest2d.vec: partial(_resized, "nearest"),
    aten.upsample_bilinear2d.vec: partial(_resized, "bilinear"),
    aten.upsample_bicubic2d.vec: partial(_resized, "bicubic"),
    aten.where.self: _where,
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
