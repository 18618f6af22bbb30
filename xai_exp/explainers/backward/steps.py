"""Norms and attention as the simpler functions that they are made of."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.explainers.backward.functions import all_told, refusal

_MULTI_HEAD = signature(functional.multi_head_attention_forward)
_UNUSUAL = "bias_k bias_v attn_mask key_padding_mask static_k static_v use_separate_proj_weight"
_SIGNATURES = {
    "layer_norm": "input normalized_shape weight bias eps",
    "rms_norm": "input normalized_shape weight eps",
    "group_norm": "input num_groups weight bias eps",
    "instance_norm": "input running_mean running_var weight bias use_input_stats momentum eps",
    "torch.instance_norm": (
        "input weight bias running_mean running_var use_input_stats momentum eps cudnn_enabled"
    ),
}


@dataclass(frozen=True)
class Norm:
    """A norm that takes its statistics from each image: (x - mean) / sqrt(variance + eps).

    Args:
        inputs: what is normed.
        shape: the inputs' shape in which `axes` are normed.
        axes: over which mean and variance are taken.
        centred: whether the mean is taken away.
        eps: what is added to the variance.
        weight, bias: shaped so that they fit the inputs.
        fixed: the call that it is instead, where statistics are stored and not the image's.
    """

    inputs: Tensor
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    centred: bool
    eps: float
    weight: Tensor | None
    bias: Tensor | None
    fixed: Callable[[], Tensor] | None = None

    @classmethod
    def of(cls, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "Norm":
        """The norm that is called by `name`."""
        own = name == "instance_norm" and all_told(args, kwargs)
        order = _SIGNATURES["torch.instance_norm" if own else name].split()
        call = dict(zip(order, args, strict=False)) | kwargs
        inputs, weight, bias = call["input"], call.get("weight"), call.get("bias")
        eps = call.get("eps", 1e-5 if name != "rms_norm" else None)
        eps = torch.finfo(inputs.dtype).eps if eps is None else eps
        if name in ("layer_norm", "rms_norm"):
            axes = tuple(range(-len(call["normalized_shape"]), 0))
            return cls(inputs, tuple(inputs.shape), axes, name == "layer_norm", eps, weight, bias)
        groups = call["num_groups"] if name == "group_norm" else inputs.shape[1]
        shape = (inputs.shape[0], groups, inputs.numel() // max(1, len(inputs)) // groups)
        spread = (-1, *[1] * (inputs.dim() - 2))
        weight = None if weight is None else weight.view(spread)
        bias = None if bias is None else bias.view(spread)
        fixed = None
        if name == "instance_norm" and not call.get("use_input_stats", True):
            keys = ["input", "running_mean", "running_var", "weight", "bias"]
            stored = {key: call.get(key) for key in keys}
            fixed = partial(functional.batch_norm, **stored, training=False, eps=eps)
        return cls(inputs, shape, (-1,), True, eps, weight, bias, fixed)

    def __call__(
        self, inputs: Tensor, variance: Callable[[Tensor], Tensor] = lambda value: value
    ) -> Tensor:
        """The normed inputs; `variance` is what is done with the variance on the way."""
        values = inputs.reshape(self.shape)
        if self.centred:
            values = values - values.mean(self.axes, keepdim=True).expand(self.shape)
        spread = variance(values.square().mean(self.axes, keepdim=True))
        values = values * (spread + self.eps).rsqrt()
        values = values.reshape(inputs.shape)
        if self.weight is not None:
            values = values * self.weight.detach()
        return values if self.bias is None else values + self.bias.detach()


@dataclass(frozen=True)
class Attention:
    """softmax(scale Q K^T + mask) V."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    mask: Tensor | None
    scale: float

    def masked(self, scores: Tensor) -> Tensor:
        """The scores where they count; elsewhere minus infinity, or what the mask adds."""
        if self.mask is None:
            return scores
        if self.mask.dtype == torch.bool:
            return scores.masked_fill(~self.mask, -torch.inf)
        return scores + self.mask

    def __call__(self) -> Tensor:
        """Its steps."""
        scores = torch.matmul(self.queries, self.keys.mT) * self.scale
        return torch.matmul(self.masked(scores).softmax(-1), self.values)


_ATTENTION = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


def attention(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Attention:
    """A call of fused attention.

    Raises:
        InputError: with dropout or grouped queries.
    """
    call = dict(zip(_ATTENTION, args, strict=False)) | kwargs
    queries, keys, values, mask = (call.get(key) for key in _ATTENTION[:4])
    assert isinstance(queries, Tensor)
    assert isinstance(keys, Tensor)
    assert isinstance(values, Tensor)
    if call.get("dropout_p") or call.get("enable_gqa"):
        raise refusal(name, "with dropout or grouped queries")
    scale = call.get("scale") or queries.shape[-1] ** -0.5
    if call.get("is_causal"):
        mask = torch.ones(queries.shape[-2], keys.shape[-2], device=queries.device).tril().bool()
    return Attention(queries, keys, values, mask, scale)


def multi_head(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, None]:
    """`nn.MultiheadAttention` of tokens with themselves; call it where its steps are seen.

    Raises:
        InputError: for any other form of it.
    """
    bound = _MULTI_HEAD.bind(*args, **kwargs)
    bound.apply_defaults()
    call = bound.arguments
    tokens, heads = call["query"], call["num_heads"]
    plain = all(call[key] is None or call[key] is False for key in _UNUSUAL.split())
    alone = call["key"] is tokens and call["value"] is tokens
    if not (plain and alone and tokens.dim() == 3) or call["add_zero_attn"]:
        raise refusal(name, "other than of tokens with themselves, all of them")
    count, batch, width = tokens.shape
    # Images come first in every step, as everywhere else.
    given = tokens.transpose(0, 1)
    split = functional.linear(given, call["in_proj_weight"], call["in_proj_bias"])
    split = split.view(batch, count, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    attended = functional.scaled_dot_product_attention(split[0], split[1], split[2])
    merged = attended.permute(0, 2, 1, 3).reshape(batch, count, width)
    found = functional.linear(merged, call["out_proj_weight"], call["out_proj_bias"])
    return found.transpose(0, 1), None
