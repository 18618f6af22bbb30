"""The families of torch functions that modified backpropagation tells apart, by their names.

A module, a function and a method that do the same thing carry the same name here (`nn.ReLU`,
`functional.relu` and `Tensor.relu` are all "relu"; in place they end in an underscore).
"""

from typing import Any

import torch
from torch import nn

from xai_exp.config import InputError


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ACTIVATIONS = _words(
    "relu leaky_relu elu selu celu gelu silu mish tanh sigmoid softplus hardtanh relu6 hardswish "
    "hardsigmoid prelu rrelu clamp clamp_min clamp_max clip threshold _threshold softsign "
    "tanhshrink hardshrink softshrink logsigmoid"
)
"""Elementwise non-linearities."""

CONVOLUTIONS = _words("conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d")
LINEAR = CONVOLUTIONS | {"linear"}
"""What a rule of layer-wise relevance propagation is for."""

BATCH_NORM = _words("batch_norm")

SUMS = _words("add __add__ __radd__ __iadd__ sub subtract __sub__ __rsub__ __isub__")
"""Sums and differences, of two branches (a residual sum) or with a constant."""

SCALES = _words(
    "mul multiply __mul__ __rmul__ __imul__ div divide true_divide __truediv__ __itruediv__ neg "
    "negative __neg__ positive"
)
"""Multiplication by a constant: an output has one input, which takes all of its relevance."""

AVERAGES = _words(
    "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
    "mean sum interpolate upsample"
)
"""Weighted sums with positive weights, which share relevance in proportion to what went in."""

STRUCTURE = _words(
    "flatten unflatten ravel reshape view view_as permute transpose swapaxes movedim squeeze "
    "unsqueeze contiguous expand expand_as cat concat stack chunk split tensor_split unbind narrow "
    "select __getitem__ clone flip roll pad pixel_shuffle pixel_unshuffle channel_shuffle "
    "dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout "
    "max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices "
    "max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d "
    "adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices "
    "adaptive_max_pool3d_with_indices amax "
    "__get__ size dim ndimension stride numel shape type float double to type_as "
    "is_floating_point is_contiguous storage_offset __len__ __hash__ __bool__ __eq__ __int__ "
    "requires_grad_ retain_grad register_hook detach stochastic_depth identity"
)
"""What moves or selects values, or asks about them: the gradient is relevance's way back, too."""

PRODUCTS = _words("matmul __matmul__ bmm mm")
SOFTMAX = _words("softmax")
LAYER_NORM = _words("layer_norm")
RMS_NORM = _words("rms_norm")
PRODUCT_ATTENTION = _words("scaled_dot_product_attention")
MULTI_HEAD = _words("multi_head_attention_forward")
ATTENTION = PRODUCTS | SOFTMAX | LAYER_NORM | RMS_NORM | PRODUCT_ATTENTION | MULTI_HEAD
"""What transformers are made of beside linear layers; rules for it are those of AttnLRP."""

HIDDEN_ACTIVATIONS = _words("maximum fmax where heaviside sign masked_fill")
"""Ways to write a rectifier that no rule for activations can see."""

_SIGNATURES = {
    "linear": "input weight bias",
    "conv": "input weight bias stride padding dilation groups",
    "conv_transpose": "input weight bias stride padding output_padding groups dilation",
    "batch_norm": "input running_mean running_var weight bias training momentum eps",
}


def bare(name: str) -> str:
    """The name of a function without the mark of work in place."""
    return name if name.endswith("__") else name.rstrip("_")


def arguments(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a linear function or batch norm by their names."""
    family = name.rstrip("123d") if name.startswith("conv") else name
    return dict(zip(_SIGNATURES[family].split(), args, strict=False)) | kwargs


def rectifies(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call of an activation is a ReLU under another name.

    >>> rectifies("clamp", (None,), {"min": 0}), rectifies("clamp", (None, 0, 1), {})
    (True, False)
    """
    if name in ("threshold", "_threshold"):
        call = dict(zip(("input", "threshold", "value"), args, strict=False)) | kwargs
        return call["threshold"] == call["value"] == 0
    call = dict(zip(("input", "min", "max"), args, strict=False)) | kwargs
    return (
        name in ("clamp", "clip", "clamp_min") and call.get("min") == 0 and call.get("max") is None
    )


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
