"""Linear layers, norms, pooling and resizing."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.formats.onnx.node import Node, places, room, whole

Operator = Callable[..., Any]
_CONVOLUTIONS = (functional.conv1d, functional.conv2d, functional.conv3d)
_TRANSPOSED = (
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
)
_MAXIMA = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
_AVERAGES = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)
Pads = list[tuple[int, int]]


def same_pads(
    kind: str, lengths: Sequence[int], reach: Sequence[int], strides: Sequence[int]
) -> Pads:
    """Padding such that there are ceil(length / stride) windows, which reach so far.

    >>> same_pads("SAME_UPPER", [5], [2], [2])
    [(0, 1)]
    """
    found = []
    for length, far, stride in zip(lengths, reach, strides, strict=True):
        total = max((-(-length // stride) - 1) * stride + far - length, 0)
        small = total // 2
        found.append((small, total - small) if kind == "SAME_UPPER" else (total - small, small))
    return found


def pads_of(node: Node, lengths: Sequence[int], kernel: Sequence[int]) -> Pads:
    """The padding before and behind each axis of space."""
    dims = len(kernel)
    kind = node.get("auto_pad", "NOTSET")
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        strides = node.get("strides") or [1] * dims
        steps = node.get("dilations") or [1] * dims
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, steps, strict=True)]
        return same_pads(kind, lengths, reach, strides)
    if kind not in ("NOTSET", "VALID"):
        raise node.cannot(f"auto_pad={kind}")
    pads = None if kind == "VALID" else node.get("pads")
    pads = pads or [0] * 2 * dims
    if min(pads) < 0:
        raise node.cannot("padding below 0")
    return list(zip(pads[:dims], pads[dims:], strict=True))


def padded(value: Tensor, pads: Pads, level: float = 0.0) -> Tensor:
    """The value with this level around it."""
    if not any(map(any, pads)):
        return value
    lengths = [n + sum(pair) for n, pair in zip(value.shape[2:], pads, strict=True)]
    room(*value.shape[:2], *lengths)
    return functional.pad(value, [one for pair in reversed(pads) for one in pair], value=level)


def _even(pads: Pads) -> list[int] | None:
    return [one for one, _ in pads] if all(one == other for one, other in pads) else None


def _conv(node: Node, value: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    dims = weight.dim() - 2
    if dims not in (1, 2, 3):
        raise node.cannot(f"{dims} axes of space")
    pads = pads_of(node, value.shape[2:], weight.shape[2:])
    even = _even(pads)
    if even is None:
        value, even = padded(value, pads), [0] * dims
    room(len(value), len(weight), *(n + 2 * p for n, p in zip(value.shape[2:], even, strict=True)))
    strides, steps = node.get("strides") or [1] * dims, node.get("dilations") or [1] * dims
    function = _CONVOLUTIONS[dims - 1]
    return function(value, weight, bias, strides, even, steps, node.get("group", 1))


def _conv_transpose(node: Node, value: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:  # noqa: ANN401
    dims = weight.dim() - 2
    if dims not in (1, 2, 3):
        raise node.cannot(f"{dims} axes of space")
    strides, steps = node.get("strides") or [1] * dims, node.get("dilations") or [1] * dims
    more = node.get("output_padding") or [0] * dims
    kind, wanted = node.get("auto_pad", "NOTSET"), node.get("output_shape")
    lengths = [
        (n - 1) * s + (k - 1) * d + 1 + m
        for n, s, k, d, m in zip(
            value.shape[2:], strides, weight.shape[2:], steps, more, strict=True
        )
    ]
    if wanted is None and kind in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(value.shape[2:], strides, strict=True)]
    if wanted is not None:
        cut = [length - one for length, one in zip(lengths, wanted[-dims:], strict=True)]
        if min(cut) < 0:
            raise node.cannot("a larger output than there is")
        # Of an odd number the reference takes the larger part off the end only for SAME_UPPER.
        halves = [(c // 2, c - c // 2) for c in cut]
        pads = halves if kind == "SAME_UPPER" else [(b, a) for a, b in halves]
    else:
        pads = pads_of(node, value.shape[2:], weight.shape[2:])
    room(len(value), weight.shape[1] * node.get("group", 1), *lengths)
    even = _even(pads)
    group = node.get("group", 1)
    function = _TRANSPOSED[dims - 1]
    if even is not None and all(
        m < max(s, d) for m, s, d in zip(more, strides, steps, strict=True)
    ):
        return function(value, weight, bias, strides, even, more, group, steps)
    whole_one = function(value, weight, bias, strides, [0] * dims, more, group, steps)
    index = [slice(None)] * 2
    index += [slice(a, whole_one.shape[2 + p] - b) for p, (a, b) in enumerate(pads)]
    return whole_one[tuple(index)]


def _gemm(node: Node, one: Tensor, other: Tensor, bias: Tensor | None = None) -> Tensor:
    one = one.T if node.get("transA", 0) else one
    weight = other if node.get("transB", 0) else other.T
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    room(one.shape[0], weight.shape[0])
    if not one.is_floating_point():
        raise node.cannot("whole numbers")
    constant = not weight.requires_grad
    if constant and bias is not None and bias.dim() <= 1 and bias.numel() == len(weight):
        weight = weight if alpha == 1 else weight * alpha
        bias = bias.reshape(-1) if beta == 1 else bias.reshape(-1) * beta
        return functional.linear(one, weight, bias)
    product = functional.linear(one, weight) if constant else torch.matmul(one, weight.T)
    product = product if alpha == 1 else product * alpha
    if bias is None:
        return product
    return product + (bias if beta == 1 else bias * beta)


def _matmul(_node: Node, one: Tensor, other: Tensor) -> Tensor:
    if one.dim() > 1 and other.dim() > 1:
        outer = torch.broadcast_shapes(one.shape[:-2], other.shape[:-2])
        room(*outer, one.shape[-2], other.shape[-1])
    plain = other.dim() == 2 and one.dim() > 1 and one.is_floating_point()
    if plain and not other.requires_grad:
        return functional.linear(one, other.T)
    return torch.matmul(one, other)


def _batch_norm(node: Node, value: Tensor, *held: Tensor) -> Tensor:
    if node.get("training_mode", 0) or (node.version < 14 and node.get("spatial", 1) == 0):
        raise node.cannot("in training mode, or not spatial")
    if len([one for one in node.outputs if one]) > 1:
        raise node.cannot("outputs of training")
    scale, bias, mean, var = held
    return functional.batch_norm(
        value, mean, var, scale, bias, False, 0.0, node.get("epsilon", 1e-5)
    )


def _instance_norm(node: Node, value: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    epsilon = node.get("epsilon", 1e-5)
    return functional.instance_norm(value, weight=scale, bias=bias, eps=epsilon)


def _layer_norm(node: Node, value: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    if len([one for one in node.outputs if one]) > 1:
        raise node.cannot("outputs of training")
    axis = node.get("axis", -1) % value.dim()
    shape, epsilon = list(value.shape[axis:]), node.get("epsilon", 1e-5)
    if list(scale.shape) == shape and (bias is None or list(bias.shape) == shape):
        return functional.layer_norm(value, shape, scale, bias, epsilon)
    normal = functional.layer_norm(value, shape, None, None, epsilon) * scale
    return normal if bias is None else normal + bias


def _rms_norm(node: Node, value: Tensor, scale: Tensor) -> Tensor:
    shape = list(value.shape[node.get("axis", -1) % value.dim() :])
    if list(scale.shape) != shape:
        raise node.cannot("a scale of another shape")
    return functional.rms_norm(value, shape, scale, node.get("epsilon", 1e-5))


def _group_norm(node: Node, value: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups = node.get("num_groups")
    if node.version < 21:
        scale, bias = (torch.repeat_interleave(v, value.shape[1] // groups) for v in (scale, bias))
    return functional.group_norm(value, groups, scale, bias, node.get("epsilon", 1e-5))


def _lrn(node: Node, value: Tensor) -> Tensor:
    size = node.get("size")
    if size % 2 == 0:
        raise node.cannot("an even size")
    alpha, beta, bias = node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)
    return functional.local_response_norm(value, size, alpha, beta, bias)


def _lp_norm(node: Node, value: Tensor) -> Tensor:
    return functional.normalize(value, node.get("p", 2), node.get("axis", -1), eps=1e-30)


def _flat_softmax(function: Operator, node: Node, value: Tensor) -> Tensor:
    """Before version 13 all axes from the named one on are taken together."""
    if node.version >= 13:
        return function(value, dim=node.get("axis", -1))
    axis = places([node.get("axis", 1)], value.dim())[0]
    if axis == value.dim() - 1 or all(n == 1 for n in value.shape[axis + 1 :]):
        return function(value, dim=axis)
    flat = torch.reshape(value, (math.prod(value.shape[:axis]), -1))
    return torch.reshape(function(flat, dim=1), value.shape)


def _global(function: Operator, _node: Node, value: Tensor) -> Tensor:
    return function(value, 1) if value.dim() == 4 else _wide(function, value)


def _wide(function: Operator, value: Tensor) -> Tensor:
    reduce = torch.mean if function is functional.adaptive_avg_pool2d else torch.amax
    return reduce(value, tuple(range(2, value.dim())), keepdim=True)


def _windows(node: Node, value: Tensor) -> tuple[Pads, list[int], list[int], list[int]]:
    """Padding with what rounding up needs at the end, kernel, strides and dilations."""
    kernel = node.get("kernel_shape")
    dims = len(kernel)
    strides, steps = node.get("strides") or [1] * dims, node.get("dilations") or [1] * dims
    pads = pads_of(node, value.shape[2:], kernel)
    if not node.get("ceil_mode", 0):
        return pads, kernel, strides, steps
    longer = []
    for n, (a, b), k, s, d in zip(value.shape[2:], pads, kernel, strides, steps, strict=True):
        reach = (k - 1) * d + 1
        many = -(-(n + a + b - reach) // s) + 1
        many -= (many - 1) * s >= n + a  # a window that begins behind the value is none
        longer.append((a, max(b, (many - 1) * s + reach - n - a)))
    return longer, kernel, strides, steps


def _max_pool(node: Node, value: Tensor) -> Tensor:
    if len([one for one in node.outputs if one]) > 1:
        raise node.cannot("places of the maxima as an output")
    if not value.is_floating_point():
        raise node.cannot("whole numbers")
    pads, kernel, strides, steps = _windows(node, value)
    dims, even = len(kernel), _even(pads)
    if dims not in (1, 2, 3):
        raise node.cannot(f"{dims} axes of space")
    if even is None or any(2 * pad > k for pad, k in zip(even, kernel, strict=True)):
        value, even = padded(value, pads, -math.inf), [0] * dims
    return _MAXIMA[dims - 1](value, kernel, strides, even, steps)


def _average_pool(node: Node, value: Tensor) -> Tensor:
    pads, kernel, strides, steps = _windows(node, value)
    if any(step != 1 for step in steps) or len(kernel) not in (1, 2, 3):
        raise node.cannot("dilated windows, or more than 3 axes of space")
    function, even = _AVERAGES[len(kernel) - 1], _even(pads)
    inside, rounded = bool(node.get("count_include_pad", 0)), bool(node.get("ceil_mode", 0))
    fits = even is not None and all(2 * pad <= k for pad, k in zip(even, kernel, strict=True))
    if even is not None and fits and not (rounded and inside):
        return function(value, kernel, strides, even, count_include_pad=inside)
    counted = torch.ones_like(value[:1, :1])
    if inside:  # padding that was asked for counts, that which rounding up needs does not
        asked = pads_of(node, value.shape[2:], kernel)
        counted = padded(counted, asked, 1.0)
        rest = [(0, p[1] - q[1]) for p, q in zip(pads, asked, strict=True)]
        counted = padded(counted, rest)
    else:
        counted = padded(counted, pads)
    share = function(counted, kernel, strides)
    return function(padded(value, pads), kernel, strides) / share


Coordinates = Literal["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]


def _resize(node: Node, value: Tensor, *given: Tensor | None) -> Tensor:
    """Resizing as torch does it, and nothing else."""
    sizes, scales, same = _resized(node, value, given)
    if all(same):
        return value
    room(*sizes)
    if not all(same[:2]) or value.dim() not in (3, 4, 5):
        raise node.cannot("batch or channels resized, or more than 3 axes of space")
    mode, how = (
        node.get("mode", "nearest"),
        node.get("coordinate_transformation_mode", "half_pixel"),
    )
    if node.op == "Upsample" or node.version < 11:
        how = "asymmetric"
    if node.get("antialias", 0) or node.get("exclude_outside", 0):
        raise node.cannot("antialias or exclude_outside")
    if mode == "nearest":
        return _nearest(node, value, sizes, scales, how)
    return _smooth(node, value, sizes, scales, how)


def _smooth(node: Node, value: Tensor, sizes: list[int], scales: list[float], how: str) -> Tensor:
    mode, space = node.get("mode"), value.dim() - 2
    names = {"linear": ("linear", "bilinear", "trilinear")[space - 1]}
    name = (names | ({"cubic": "bicubic"} if space == 2 else {})).get(mode, "")
    usual = abs(node.get("cubic_coeff_a", -0.75) + 0.75) < 1e-6
    if not name or not usual:
        raise node.cannot(f"mode={mode}, or cubic_coeff_a other than -0.75")
    exact = all(abs(n * s - m) < 1e-6 for n, s, m in zip(value.shape, scales, sizes, strict=True))
    if how == "align_corners" and exact:
        return functional.interpolate(value, sizes[2:], mode=name, align_corners=True)
    single = any(m == 1 and n > 1 for n, m in zip(value.shape[2:], sizes[2:], strict=True))
    if how != "half_pixel" and (how != "pytorch_half_pixel" or single):
        raise node.cannot(f"coordinate_transformation_mode={how}")
    if exact:
        return functional.interpolate(value, sizes[2:], mode=name, align_corners=False)
    return functional.interpolate(
        value, scale_factor=scales[2:], mode=name, align_corners=False, recompute_scale_factor=False
    )


def _resized(
    node: Node, value: Tensor, given: Sequence[Tensor | None]
) -> tuple[list[int], list[float], list[bool]]:
    """Lengths, scales, and which axes stay as they are."""
    if node.op == "Upsample":
        scales = node.get("scales") if node.version < 9 else _floats(given[0])
        sizes: list[int] = []
    elif node.version < 11:
        scales, sizes = _floats(given[0]), []
    else:
        held = (*given, None, None, None)
        scales, sizes = _floats(held[1]), whole(held[2])
    axes, policy = node.get("axes"), node.get("keep_aspect_ratio_policy", "stretch")
    if node.get("coordinate_transformation_mode") == "tf_crop_and_resize" or policy != "stretch":
        raise node.cannot("crops, or another keep_aspect_ratio_policy than stretch")
    if axes is not None:
        chosen = places(axes, value.dim())
        lengths, factors = list(value.shape), [1.0] * value.dim()
        for place, axis in enumerate(chosen):
            if sizes:
                lengths[axis] = sizes[place]
            else:
                factors[axis] = scales[place]
        sizes, scales = (lengths, []) if sizes else ([], factors)
    if sizes:
        scales = [m / n for m, n in zip(sizes, value.shape, strict=True)]
    else:
        sizes = [math.floor(n * s) for n, s in zip(value.shape, scales, strict=True)]
    same = [m == n and s == 1 for m, n, s in zip(sizes, value.shape, scales, strict=True)]
    return sizes, scales, same


def _floats(value: Tensor | None) -> list[float]:
    return [] if value is None else [float(one) for one in value.reshape(-1).tolist()]


def _nearest(node: Node, value: Tensor, sizes: list[int], scales: list[float], how: str) -> Tensor:
    """By choosing places, axis by axis: rounding is the file's, not torch's."""
    kind = node.get("nearest_mode", "round_prefer_floor")
    if node.op == "Upsample" or node.version < 11:
        kind = "floor"
    for axis, (m, s) in enumerate(zip(sizes, scales, strict=True)):
        n = value.shape[axis]
        if m == n and s == 1:
            continue
        place = _origin(how, m, n, s, value.device)
        if place is None:
            raise node.cannot(f"coordinate_transformation_mode={how}")
        rounded = {
            "floor": torch.floor(place + 1e-9),
            "ceil": torch.ceil(place - 1e-9),
            "round_prefer_floor": torch.ceil(place - 0.5 - 1e-9),
            "round_prefer_ceil": torch.floor(place + 0.5 + 1e-9),
        }.get(kind)
        if rounded is None:
            raise node.cannot(f"nearest_mode={kind}")
        value = torch.index_select(value, axis, rounded.long().clamp(0, n - 1))
    return value


def _origin(how: str, m: int, n: int, s: float, device: torch.device) -> Tensor | None:
    """Where each of m places comes from among n, resized by s; None: not known."""
    place = torch.arange(m, dtype=torch.float64, device=device)
    if how == "half_pixel" or (how == "pytorch_half_pixel" and m > 1):
        return (place + 0.5) / s - 0.5
    if how == "pytorch_half_pixel" or (how == "align_corners" and m == 1):
        return place * 0
    if how == "align_corners":
        return place * (n - 1) / (m - 1)
    return place / s if how == "asymmetric" else None


OPERATORS: Mapping[str, tuple[int, Operator]] = {
    "Conv": (1, _conv),
    "ConvTranspose": (1, _conv_transpose),
    "Gemm": (7, _gemm),
    "MatMul": (1, _matmul),
    "BatchNormalization": (7, _batch_norm),
    "InstanceNormalization": (6, _instance_norm),
    "LayerNormalization": (17, _layer_norm),
    "RMSNormalization": (23, _rms_norm),
    "GroupNormalization": (18, _group_norm),
    "LRN": (1, _lrn),
    "LpNormalization": (1, _lp_norm),
    "Softmax": (1, partial(_flat_softmax, functional.softmax)),
    "LogSoftmax": (1, partial(_flat_softmax, functional.log_softmax)),
    "GlobalAveragePool": (1, partial(_global, functional.adaptive_avg_pool2d)),
    "GlobalMaxPool": (1, partial(_global, functional.adaptive_max_pool2d)),
    "MaxPool": (1, _max_pool),
    "AveragePool": (1, _average_pool),
    "Resize": (10, _resize),
    "Upsample": (7, _resize),
}
"""Name: (oldest version that is understood, function)."""
