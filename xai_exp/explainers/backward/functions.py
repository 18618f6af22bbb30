"""The families of torch functions that modified backpropagation tells apart, by their names.

A module, a function and a method that do the same thing carry the same name here (`nn.ReLU`,
`functional.relu` and `Tensor.relu` are all "relu"; in place they end in an underscore).
"""

import math
from functools import cache
from typing import Any

import torch
from torch import nn
from torch._ops import OpOverload

from xai_exp.config import InputError


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ACTIVATIONS = _words(
    "relu leaky_relu elu selu celu gelu silu mish tanh sigmoid softplus hardtanh relu6 hardswish "
    "hardsigmoid prelu rrelu clamp clamp_min clamp_max clip threshold _threshold softsign "
    "tanhshrink hardshrink softshrink logsigmoid"
)
"""Elementwise non-linearities."""

BOUNDED = _words("sigmoid hardsigmoid tanh erf erfc softsign relu6 hardtanh softmax")
"""Functions whose values can't grow: what comes of them opens and shuts a gate."""

ABSOLUTE = _words("abs absolute __abs__")
ELEMENTWISE = _words(
    "exp exp2 expm1 log log1p log2 log10 sqrt rsqrt square pow float_power __pow__ __rpow__ "
    "reciprocal __rdiv__ __rtruediv__ sin cos tan atan arctan sinh cosh asinh arcsinh erf erfc sinc"
)
"""Smooth functions of one value, which are no activations."""

CONVOLUTIONS = _words("conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d")
LINEAR = CONVOLUTIONS | {"linear"}
"""What a rule of layer-wise relevance propagation is for."""

BATCH_NORM = _words("batch_norm")

SUMS = _words("add __add__ __radd__ __iadd__ sub subtract __sub__ __rsub__ __isub__")
"""Sums and differences, of two branches (a residual sum) or with a constant."""

DIFFERENCES = _words("sub subtract __sub__ __isub__")
"""The first argument less the second."""

SCALES = _words(
    "mul multiply __mul__ __rmul__ __imul__ div divide true_divide __truediv__ __itruediv__ neg "
    "negative __neg__ positive"
)
MULTIPLIED = _words("mul multiply __mul__ __rmul__ __imul__")
DIVIDED = _words("div divide true_divide __truediv__ __itruediv__")
"""Multiplication by a constant: an output has one input, which takes all of its relevance."""

AVERAGES = _words(
    "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
    "mean sum cumsum fold interpolate upsample grid_sample grid_sampler"
)
"""Weighted sums with positive weights, which share relevance in proportion to what went in."""

MAXIMA = _words(
    "max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices "
    "max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d "
    "adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices "
    "adaptive_max_pool3d_with_indices amax max"
)
"""What keeps the largest of several values; max() along an axis only."""

DROPOUT = _words(
    "dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout"
)

QUESTIONS = _words(
    "size dim ndimension stride numel nelement element_size is_floating_point is_complex "
    "is_contiguous is_same_size storage_offset get_device __len__ __hash__ __repr__ __format__ "
    "requires_grad_ retain_grad register_hook data_ptr has_names zeros_like ones_like empty_like "
    "full_like rand_like randn_like new_zeros new_ones new_full new_empty new_tensor "
    "isnan isinf isfinite _assert _assert_async can_cast result_type broadcast_shapes "
    "sym_size sym_numel sym_stride sym_storage_offset _assert_tensor_metadata _assert_scalar"
)
"""What asks about a value, but not for what it holds."""

READ_OUT = _words("__bool__ __int__ __float__ __index__ __array__ item tolist numpy")
"""What makes numbers of Python out of a value, and with them steps that nobody sees."""

STEPWISE = _words(
    "gt __gt__ greater ge __ge__ greater_equal lt __lt__ less le __le__ less_equal eq __eq__ ne "
    "__ne__ not_equal equal isclose allclose sign sgn signbit heaviside round floor ceil trunc fix "
    "argmax argmin argsort nonzero any all count_nonzero logical_not logical_and logical_or "
    "logical_xor detach bincount searchsorted bucketize floor_divide __floordiv__ int long bool "
    "short byte char"
)
"""Functions whose slope is zero or unknown: what they saw of the image has no way back."""

_MOVES = _words(
    "flatten unflatten ravel reshape reshape_as view view_as permute transpose t swapaxes swapdims "
    "movedim moveaxis squeeze unsqueeze contiguous expand expand_as broadcast_to roll flip fliplr "
    "flipud rot90 pixel_shuffle pixel_unshuffle channel_shuffle unfold diagonal repeat tile clone "
    "repeat_interleave broadcast_tensors float double half bfloat16 to type type_as cpu cuda "
    "stochastic_depth identity"
)
_SELECTS = _words(
    "cat concat concatenate stack hstack vstack dstack chunk split split_with_sizes tensor_split "
    "hsplit vsplit unbind narrow select __getitem__ __setitem__ __iter__ __get__ pad "
    "constant_pad_nd index_select gather take_along_dim masked_fill masked_select where"
)
STRUCTURE = _MOVES | _SELECTS | MAXIMA | DROPOUT
"""What moves or selects values: the gradient is relevance's way back, too."""

PRODUCTS = _words("matmul __matmul__ __rmatmul__ bmm mm")
SOFTMAX = _words("softmax")
LAYER_NORM = _words("layer_norm")
RMS_NORM = _words("rms_norm")
DIVISIONS = RMS_NORM | _words("normalize")
"""Norms that only divide."""
NORMS = LAYER_NORM | RMS_NORM | _words("group_norm instance_norm")
PRODUCT_ATTENTION = _words("scaled_dot_product_attention")
MULTI_HEAD = _words("multi_head_attention_forward")
ATTENTION = PRODUCTS | SOFTMAX | LAYER_NORM | RMS_NORM | PRODUCT_ATTENTION | MULTI_HEAD
"""What transformers are made of beside linear layers; rules for it are those of AttnLRP."""

EINSUM = _words("einsum")
SIZES = _words("norm vector_norm linalg_vector_norm std var")
"""How large or spread out values are: what others are multiplied or divided by."""
STATISTICS = _words(
    "norm vector_norm linalg_vector_norm normalize var std logsumexp log_softmax softmin prod "
    "local_response_norm"
)
"""Smooth functions of several values."""

LINEAR_MAPS = LINEAR | BATCH_NORM | SUMS | SCALES | AVERAGES | STRUCTURE
"""What is linear in the image once batch norm's statistics are fixed, or picks values."""

DIFFERENTIABLE = (
    LINEAR_MAPS | ELEMENTWISE | NORMS | ATTENTION | EINSUM | STATISTICS | _words("baddbmm addmm")
)
"""What a method that changes activations only leaves its gradient."""

_SIGNATURES = {
    "linear": "input weight bias",
    "conv": "input weight bias stride padding dilation groups",
    "conv_transpose": "input weight bias stride padding output_padding groups dilation",
    "batch_norm": "input running_mean running_var weight bias training momentum eps",
    "torch.batch_norm": (
        "input weight bias running_mean running_var training momentum eps cudnn_enabled"
    ),
}


def all_told(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a batch or instance norm is torch's own, which knows no defaults.

    Its weights come before its statistics; behind them in torch.nn.functional.
    """
    return len(args) + len(kwargs) == 9


@cache
def bare(name: str) -> str:
    """The name of a function without the mark of work in place."""
    return name if name.endswith("__") else name.rstrip("_")


def called(func: Any) -> str:  # noqa: ANN401
    """The name of a function; of one of torch.ops without its overload."""
    name = getattr(func, "__name__", str(func))
    return name.partition(".")[0] if isinstance(func, OpOverload) else name


def arguments(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a linear function or batch norm by their names."""
    family = name.rstrip("123d") if name.startswith("conv") else name
    if family == "batch_norm" and all_told(args, kwargs):
        family = "torch.batch_norm"
    return dict(zip(_SIGNATURES[family].split(), args, strict=False)) | kwargs


def rectifies(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call of an activation is a ReLU under another name.

    >>> rectifies("clamp", (None,), {"min": 0}), rectifies("clamp", (None, 0, 1), {})
    (True, False)
    """
    if name == "relu":
        return True
    signature = _BENT.get(name)
    if signature is None:
        return False
    call = dict(zip(signature.split(), args, strict=False)) | kwargs
    low, high = call.get("min", call.get("min_val")), call.get("max", call.get("max_val"))
    if name in ("threshold", "_threshold"):
        return call["threshold"] == call["value"] == 0
    if name in ("leaky_relu", "elu", "prelu"):
        return _is(call.get("slope", call.get("negative_slope", call.get("alpha", 1))), 0.0)
    return _is(low, 0.0) and (high is None or _is(high, math.inf))


_BENT = {
    "threshold": "input threshold value",
    "_threshold": "input threshold value",
    "leaky_relu": "input negative_slope",
    "elu": "input alpha",
    "prelu": "input slope",
    "hardtanh": "input min_val max_val",
    **dict.fromkeys(("clamp", "clip", "clamp_min"), "input min max"),
}


def _is(value: object, wanted: float) -> bool:
    """Whether a number, or every member of a constant tensor, is the wanted one."""
    if isinstance(value, torch.Tensor):
        return not value.requires_grad and bool((value == wanted).all())
    return value == wanted


def refusal(name: str, why: str = "") -> InputError:
    """The error that names a function which no rule covers, and says what can be done."""
    other = ", for transformers attn_lrp" if bare(name) in ATTENTION else ""
    return InputError(
        f"this explainer has no rule for {name}(){' ' if why else ''}{why}; allowed: networks of "
        "convolutions, linear layers, activations, pooling, batch norm and residual sums; write "
        f"that step with these, or use a gradient or perturbation method{other}"
    )


def refuse_hidden_modules(model: nn.Module) -> None:
    """Scripted and compiled modules do not show their functions."""
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule) or hasattr(module, "_orig_mod"):
            raise InputError(
                f"this explainer can't see into {name or 'the model'}: got a scripted or compiled "
                "module; allowed: the module that it was made of"
            )


def located(error: InputError, model: nn.Module) -> InputError:
    """The same error with the name of the layer in whose forward pass it arose, if any."""
    names = {id(module): name for name, module in model.named_modules() if name}
    found, step = "", error.__traceback__
    while step is not None:
        found = names.get(id(step.tb_frame.f_locals.get("self")), found)
        step = step.tb_next
    kind = type(model.get_submodule(found)).__name__
    return InputError(f"layer {found} ({kind}): {error}") if found else error
