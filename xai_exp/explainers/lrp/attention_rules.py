"""Rules for what transformers do beside linear layers: AttnLRP (Achtibat et al. 2024).

Each handler runs one call of a torch function and says how relevance goes back through it. With
inputs x, outputs O and relevance R, and epsilon as a stabiliser with the sign of what it is added
to:

- product O = A V (prop. 3.3): A_ji gets sum_p A_ji V_ip R_jp / (2 O_jp + epsilon), and V likewise,
  so that each factor gets half of it; a factor that does not depend on the image gets nothing and
  leaves all to the other.
- softmax s (prop. 3.1): x_i gets x_i (R_i - s_i sum_j R_j), a first Taylor expansion; what its
  constant term stands for is lost. If attention counts as constant (Ali et al. 2022, XAI for
  transformers: better explanations through conservative propagation), scores get nothing and
  values all.
- layer norm y (prop. 3.4): the division by the standard deviation passes relevance through; what
  is left is linear and has the epsilon rule: x_i gets sum_j x_i (d_ij - 1/N) w_j / std R_j / (y_j +
  epsilon). RMS norm, which is a division only, passes all of it through.
"""

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.explainers.backward import functions
from xai_exp.explainers.backward.calls import ruled, stabilized, tracked
from xai_exp.explainers.backward.functions import refusal
from xai_exp.explainers.backward.rules import Other

Softmax = Literal["taylor", "constant"]
Soften = Callable[[Tensor, int], Tensor]
_MULTI_HEAD = signature(functional.multi_head_attention_forward)
_UNUSUAL = "bias_k bias_v attn_mask key_padding_mask static_k static_v use_separate_proj_weight"


def attention_rules(epsilon: float, softmax: Softmax = "taylor") -> dict[str, Other]:
    """A handler for each function that transformers are made of, by the function's name."""
    soften = softened if softmax == "taylor" else _constant
    return {
        **dict.fromkeys(functions.PRODUCTS, partial(_product, epsilon)),
        **dict.fromkeys(functions.SOFTMAX, partial(_softmax, soften)),
        **dict.fromkeys(functions.LAYER_NORM, partial(_layer_norm, epsilon)),
        **dict.fromkeys(functions.RMS_NORM, _identity),
        **dict.fromkeys(functions.PRODUCT_ATTENTION, partial(_attention, epsilon, soften)),
        **dict.fromkeys(functions.MULTI_HEAD, _multi_head),
    }


def multiplied(
    multiply: Callable[[Tensor, Tensor], Tensor], first: Tensor, second: Tensor, epsilon: float
) -> Tensor:
    """A product of two values, linear in each, that shares relevance equally between them."""
    with torch.enable_grad():
        roots = [value.detach().requires_grad_() for value in (first, second)]
        product = multiply(*roots)
    chosen = [(v, root) for v, root in zip((first, second), roots, strict=True) if tracked(v)]

    def back(relevance: Tensor) -> Any:  # noqa: ANN401
        whole = stabilized(len(chosen) * product.detach(), epsilon)
        leaves = [root for _, root in chosen]
        shares = torch.autograd.grad(product, leaves, relevance / whole, retain_graph=True)
        given = [leaf.detach() * share for leaf, share in zip(leaves, shares, strict=True)]
        return given if len(given) > 1 else given[0]

    return ruled(product, back, *(value for value, _ in chosen))


def softened(scores: Tensor, dim: int) -> Tensor:
    """A softmax whose scores get relevance by its first Taylor expansion."""
    with torch.no_grad():
        weights = scores.softmax(dim)
    finite = torch.where(weights > 0, scores.detach(), 0)  # masked scores are minus infinity

    def back(relevance: Tensor) -> Tensor:
        return finite * (relevance - weights * relevance.sum(dim, keepdim=True))

    return ruled(weights, back, scores)


def _product(epsilon: float, _mode: Any, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
    factors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    if len(factors) != 2 or len(args) + len(kwargs) != 2:
        raise refusal(name, "of other than two tensors")
    return multiplied(func, factors[0], factors[1], epsilon)


def _softmax(
    soften: Soften,
    _mode: Any,  # noqa: ANN401
    _func: Any,  # noqa: ANN401
    name: str,
    args: Any,  # noqa: ANN401
    kwargs: Any,  # noqa: ANN401
) -> Tensor:
    scores = args[0] if args else kwargs["input"]
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if dim is None:
        raise refusal(name, "without its axis")
    return soften(scores, dim)


def _constant(scores: Tensor, dim: int) -> Tensor:
    return scores.detach().softmax(dim)


def _layer_norm(
    epsilon: float,
    _mode: Any,  # noqa: ANN401
    _func: Any,  # noqa: ANN401
    _name: str,
    args: Any,  # noqa: ANN401
    kwargs: Any,  # noqa: ANN401
) -> Tensor:
    call = dict(zip(_NORM, args, strict=False)) | kwargs
    inputs, dims = call["input"], tuple(range(-len(call["normalized_shape"]), 0))
    with torch.enable_grad():
        root = inputs.detach().requires_grad_()
        centred = root - root.mean(dims, keepdim=True)
        variance = centred.detach().square().mean(dims, keepdim=True)
        output = centred * (variance + call.get("eps", 1e-5)).rsqrt()
        if call.get("weight") is not None:
            output = output * call["weight"].detach()
        if call.get("bias") is not None:
            output = output + call["bias"].detach()

    def back(relevance: Tensor) -> Tensor:
        share = relevance / stabilized(output.detach(), epsilon)
        return root.detach() * torch.autograd.grad(output, root, share, retain_graph=True)[0]

    return ruled(output, back, inputs)


_NORM = ("input", "normalized_shape", "weight", "bias", "eps")


def _identity(_mode: Any, func: Any, _name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
    inputs = args[0] if args else kwargs["input"]
    with torch.no_grad():
        output = func(*args, **kwargs)
    return ruled(output, lambda relevance: relevance, inputs)


_ATTENTION = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


def _attention(
    epsilon: float,
    soften: Soften,
    _mode: Any,  # noqa: ANN401
    _func: Any,  # noqa: ANN401
    name: str,
    args: Any,  # noqa: ANN401
    kwargs: Any,  # noqa: ANN401
) -> Tensor:
    """softmax(Q K^T scale + mask) V, step by step."""
    call = dict(zip(_ATTENTION, args, strict=False)) | kwargs
    queries, keys, values, mask = (call.get(key) for key in ("query", "key", "value", "attn_mask"))
    if call.get("dropout_p") or call.get("enable_gqa"):
        raise refusal(name, "with dropout or grouped queries")
    scale = call.get("scale") or queries.shape[-1] ** -0.5
    if call.get("is_causal"):
        mask = torch.ones(queries.shape[-2], keys.shape[-2], device=queries.device).tril().bool()
    product = multiplied(torch.matmul, queries, keys.mT, epsilon)
    scores = ruled(product * scale, lambda relevance: relevance, product)
    if mask is not None:
        masked = scores.masked_fill(~mask, -torch.inf)
        scores = masked if mask.dtype == torch.bool else scores + mask
    return multiplied(torch.matmul, soften(scores, -1), values, epsilon)


def _multi_head(mode: Any, _func: Any, name: str, args: Any, kwargs: Any) -> Any:  # noqa: ANN401
    """`nn.MultiheadAttention` of tokens with themselves, as the functions that it is made of."""
    bound = _MULTI_HEAD.bind(*args, **kwargs)
    bound.apply_defaults()
    call = bound.arguments
    tokens, heads = call["query"], call["num_heads"]
    plain = all(call[key] is None or call[key] is False for key in _UNUSUAL.split())
    alone = call["key"] is tokens and call["value"] is tokens
    if not (plain and alone and tokens.dim() == 3) or call["add_zero_attn"]:
        raise refusal(name, "other than of tokens with themselves, all of them")
    count, batch, width = tokens.shape
    with mode:
        split = functional.linear(tokens, call["in_proj_weight"], call["in_proj_bias"])
        split = split.view(count, batch, 3, heads, width // heads).permute(2, 1, 3, 0, 4)
        attended = functional.scaled_dot_product_attention(split[0], split[1], split[2])
        merged = attended.permute(2, 0, 1, 3).reshape(count, batch, width)
        return functional.linear(merged, call["out_proj_weight"], call["out_proj_bias"]), None
