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
- attention as a gate: its weights, a softmax, get nothing and values all (Arras et al. 2017; Ali et
  al. 2022): V_ip gets sum_j A_ji V_ip R_jp / (O_jp + epsilon). Whoever else asks a softmax for its
  relevance is refused.
- layer norm y (prop. 3.4): the division by the standard deviation passes relevance through; what
  is left is linear and has the epsilon rule: x_i gets sum_j x_i (d_ij - 1/N) w_j / std R_j / (y_j +
  epsilon). RMS norm and `normalize`, which are a division only, pass all of it through.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from xai_exp.explainers.backward import functions
from xai_exp.explainers.backward.calls import Refused, multiplied, ruled, stabilized, tracked
from xai_exp.explainers.backward.functions import refusal
from xai_exp.explainers.backward.rules import Other
from xai_exp.explainers.backward.steps import Norm, attention, multi_head

Softmax = Literal["taylor", "constant"]
Multiply = Callable[[Tensor, Tensor], Tensor]
Share = Callable[[Multiply, Tensor, Tensor], Tensor]
Soften = Callable[[Tensor, int], Tensor]


def attention_rules(epsilon: float, softmax: Softmax = "taylor") -> dict[str, Other]:
    """A handler for each function that transformers are made of, by the function's name."""
    soften = softened if softmax == "taylor" else _constant
    half = partial(multiplied, epsilon=epsilon)
    # Weights that count as constant are no layer, as other constants would make one.
    share = half if softmax == "constant" else _both_depend(half)
    return {
        **dict.fromkeys(functions.PRODUCTS | functions.EINSUM, partial(_product, share)),
        **dict.fromkeys(functions.SOFTMAX, partial(_softmax, soften)),
        **norm_rules(epsilon),
        **dict.fromkeys(functions.PRODUCT_ATTENTION, partial(_attention, half, half, soften)),
        **dict.fromkeys(functions.MULTI_HEAD, _multi_head),
    }


def gate_rules(share: Share, apart: Share) -> dict[str, Other]:
    """A handler for each function of attention, whose weights are a gate.

    Args:
        share: (product, gate, signal) -> their product, with its way back to the signal.
        apart: the same for two factors neither of which is a gate.
    """

    def told(multiply: Multiply, first: Tensor, second: Tensor) -> Tensor:
        gates = [bool(getattr(value, "_bounded", False)) for value in (first, second)]
        if gates[0] == gates[1]:
            return apart(multiply, first, second)
        if gates[0]:
            return share(multiply, first.detach(), second)
        return share(lambda gate, signal: multiply(signal, gate), second.detach(), first)

    product = partial(_product, _both_depend(told))
    return {
        **dict.fromkeys(functions.PRODUCTS | functions.EINSUM, product),
        **dict.fromkeys(functions.SOFTMAX, partial(_softmax, _gate)),
        **dict.fromkeys(functions.PRODUCT_ATTENTION, partial(_attention, apart, share, _constant)),
        **dict.fromkeys(functions.MULTI_HEAD, _multi_head),
    }


def norm_rules(epsilon: float) -> dict[str, Other]:
    """A handler for each norm that takes its statistics from the image, by its name."""
    return {
        **dict.fromkeys(functions.NORMS, partial(_norm, epsilon)),
        **dict.fromkeys(functions.DIVISIONS, identity),
    }


def softened(scores: Tensor, dim: int) -> Tensor:
    """A softmax whose scores get relevance by its first Taylor expansion."""
    with torch.no_grad():
        weights = scores.softmax(dim)
    finite = torch.where(weights > 0, scores.detach(), 0)  # masked scores are minus infinity

    def back(relevance: Tensor) -> Tensor:
        return finite * (relevance - weights * relevance.sum(dim, keepdim=True))

    return ruled(weights, back, scores)


def _both_depend(share: Share) -> Share:
    """The same, where relevance has no way back by a constant factor other than a matrix.

    That makes a layer, whose rule is another. What it gives may be part of a gate all the same.
    """

    def shared(multiply: Multiply, first: Tensor, second: Tensor) -> Tensor:
        if tracked(first) and tracked(second):
            return share(multiply, first, second)
        with torch.no_grad():
            output = multiply(first, second)
        error = refusal("matmul", "with a constant other than x @ w, w a matrix")
        return ruled(output, Refused(error), first if tracked(first) else second)

    return shared


def _product(share: Share, _mode: Any, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
    values = [*args, *kwargs.values()]
    multiply = func
    if values and isinstance(values[0], str):
        multiply = partial(func, values[0])
        values = [*values[1]] if isinstance(values[1], list | tuple) else values[1:]
    if len(values) != 2 or not all(isinstance(value, Tensor) for value in values):
        raise refusal(name, "of other than two tensors")
    return share(multiply, *values)


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


def _gate(scores: Tensor, dim: int) -> Tensor:
    with torch.no_grad():
        weights = scores.softmax(dim)
    return ruled(weights, Refused(refusal("softmax", "that is not a factor of a product")), scores)


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
    compare: Share,
    share: Share,
    soften: Soften,
    _mode: Any,  # noqa: ANN401
    _func: Any,  # noqa: ANN401
    name: str,
    args: Any,  # noqa: ANN401
    kwargs: Any,  # noqa: ANN401
) -> Tensor:
    """softmax(Q K^T scale + mask) V, step by step."""
    call = attention(name, args, kwargs)
    product = compare(torch.matmul, call.queries, call.keys.mT)
    scores = ruled(product * call.scale, lambda relevance: relevance, product)
    return share(torch.matmul, soften(call.masked(scores), -1), call.values)


def _multi_head(mode: Any, _func: Any, name: str, args: Any, kwargs: Any) -> Any:  # noqa: ANN401
    """`nn.MultiheadAttention` of tokens with themselves, as the functions that it is made of."""
    with mode:
        return multi_head(name, args, kwargs)
