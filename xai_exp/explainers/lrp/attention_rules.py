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
from typing import Any, Literal

import torch
from torch import Tensor

from xai_exp.explainers.backward import functions
from xai_exp.explainers.backward.calls import multiplied, ruled, stabilized
from xai_exp.explainers.backward.functions import refusal
from xai_exp.explainers.backward.rules import Other
from xai_exp.explainers.backward.steps import Norm, attention, multi_head

Softmax = Literal["taylor", "constant"]
Soften = Callable[[Tensor, int], Tensor]


def attention_rules(epsilon: float, softmax: Softmax = "taylor") -> dict[str, Other]:
    """A handler for each function that transformers are made of, by the function's name."""
    soften = softened if softmax == "taylor" else _constant
    return {
        **dict.fromkeys(functions.PRODUCTS, partial(_product, epsilon)),
        **dict.fromkeys(functions.SOFTMAX, partial(_softmax, soften)),
        **norm_rules(epsilon),
        **dict.fromkeys(functions.PRODUCT_ATTENTION, partial(_attention, epsilon, soften)),
        **dict.fromkeys(functions.MULTI_HEAD, _multi_head),
    }


def norm_rules(epsilon: float) -> dict[str, Other]:
    """A handler for each norm that takes its statistics from the image, by its name."""
    return {
        **dict.fromkeys(functions.NORMS, partial(_norm, epsilon)),
        **dict.fromkeys(functions.RMS_NORM, identity),
    }


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


def _norm(
    epsilon: float,
    mode: Any,  # noqa: ANN401
    _func: Any,  # noqa: ANN401
    name: str,
    args: Any,  # noqa: ANN401
    kwargs: Any,  # noqa: ANN401
) -> Tensor:
    norm = Norm.of(name, args, kwargs)
    if norm.fixed is not None:
        with mode:
            return norm.fixed()
    inputs = norm.inputs
    with torch.enable_grad():
        root = inputs.data.requires_grad_()
        output = norm(root, lambda variance: variance.detach())

    def back(relevance: Tensor) -> Tensor:
        share = relevance / stabilized(output.detach(), epsilon)
        return root.detach() * torch.autograd.grad(output, root, share, retain_graph=True)[0]

    return ruled(output, back, inputs)


def identity(_mode: Any, func: Any, _name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
    """All relevance of an output to the input in its place."""
    inputs = args[0] if args else kwargs["input"]
    with torch.no_grad():
        output = func(*args, **kwargs)
    return ruled(output, lambda relevance: relevance, inputs)


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
    call = attention(name, args, kwargs)
    product = multiplied(torch.matmul, call.queries, call.keys.mT, epsilon)
    scores = ruled(product * call.scale, lambda relevance: relevance, product)
    return multiplied(torch.matmul, soften(call.masked(scores), -1), call.values, epsilon)


def _multi_head(mode: Any, _func: Any, name: str, args: Any, kwargs: Any) -> Any:  # noqa: ANN401
    """`nn.MultiheadAttention` of tokens with themselves, as the functions that it is made of."""
    with mode:
        return multi_head(name, args, kwargs)
