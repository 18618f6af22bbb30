"""Rows of LXT, the library of AttnLRP's authors: our transformer written with its functions."""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from equals.common import TINY, Row, Setting
from xai_exp.explainers.lrp import LRP, AttnLRP

EPSILON: dict[str, Any] = {"convolution_gamma": 0.0, "linear_gamma": 0.0, "epsilon": TINY}


def of_lxt(weigh: Callable[[Any, Tensor], Tensor]) -> Callable[[Setting], Tensor]:
    """Relevance by its functions; `weigh` makes the weights of attention of its scores."""

    def compute(one: Setting) -> Tensor:
        functions: Any = importlib.import_module("lxt.explicit.functional")
        pixels = one.images.clone().requires_grad_()
        logits = _Written(one.network, functions, weigh)(pixels)
        chosen = logits.gather(1, one.targets[:, None])
        chosen.backward(chosen.detach())
        assert pixels.grad is not None
        return pixels.grad.sum(1)

    return compute


class _Written:
    """The forward pass of our transformer, step by step in LXT's functions."""

    def __init__(self, network: Any, functions: Any, weigh: Any) -> None:  # noqa: ANN401
        self.network, self.functions, self.weigh = network, functions, weigh

    def __call__(self, images: Tensor) -> Tensor:
        network, embed = self.network, self.network.patches
        side = embed.kernel_size[0]
        cells = torch.nn.functional.unfold(images, side, stride=side).mT
        tokens = self.functions.linear_epsilon(cells, embed.weight.flatten(1), embed.bias, TINY)
        # Positions are constants: a sum with them has one input, as in a layer with that bias.
        tokens = _PassedThrough.apply(tokens, network.positions)
        for block in network.blocks:
            tokens = self.functions.add2(tokens, self.attended(block.attend, tokens), False, TINY)
            thought = self.linear(block.think[1], self.norm(block.think[0], tokens))
            thought = _Activated.apply(block.think[2], thought)
            tokens = self.functions.add2(tokens, self.linear(block.think[3], thought), False, TINY)
        pooled = self.functions.mean(self.norm(network.norm, tokens), 1, False, TINY)
        return self.linear(network.head, pooled)

    def linear(self, layer: Any, values: Tensor) -> Tensor:  # noqa: ANN401
        return self.functions.linear_epsilon(values, layer.weight, layer.bias, TINY)

    def norm(self, layer: Any, values: Tensor) -> Tensor:  # noqa: ANN401
        norm = self.functions.layer_norm_grad_fn  # `layer_norm`, whose stabiliser can be chosen
        return norm.apply(values, layer.weight, layer.bias, layer.eps, TINY)

    def attended(self, attend: Any, tokens: Tensor) -> Tensor:  # noqa: ANN401
        inner = attend[1]
        batch, count, width = tokens.shape
        size = width // inner.heads
        split = self.linear(inner.queries_keys_values, self.norm(attend[0], tokens))
        split = split.view(batch, count, 3, inner.heads, size).permute(2, 0, 3, 1, 4)
        queries, keys, values = split.unbind(0)
        scores = self.functions.matmul(queries, keys.mT, False, TINY)
        scores = self.functions.mul2(scores, torch.full_like(scores, size**-0.5).detach())
        weights = self.weigh(self.functions, scores)
        if weights.requires_grad:
            found = self.functions.matmul(weights, values, False, TINY)
        else:
            epsilon: Any = importlib.import_module("lxt.explicit.rules").epsilon_lrp
            found = epsilon(partial(torch.matmul, weights), TINY, values)
        return self.linear(inner.out, found.transpose(1, 2).reshape(batch, count, width))


class _PassedThrough(torch.autograd.Function):
    """A sum with a constant."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, constant: Tensor) -> Tensor:  # noqa: ANN401, ARG004
        return values + constant

    @staticmethod
    def backward(ctx: Any, *relevance: Tensor) -> Any:  # noqa: ANN401, ARG004
        return relevance[0], None


class _Activated(torch.autograd.Function):
    """LXT's identity rule, which takes a module there."""

    @staticmethod
    def forward(ctx: Any, function: Any, values: Tensor) -> Tensor:  # noqa: ANN401, ARG004
        return function(values)

    @staticmethod
    def backward(ctx: Any, *relevance: Tensor) -> Any:  # noqa: ANN401, ARG004
        return None, relevance[0]


def rows() -> list[Row]:
    """Every statement about it."""
    row = partial(Row, library="lxt", change="a transformer")
    taylor = of_lxt(lambda functions, scores: functions.softmax(scores, -1))
    constant = of_lxt(lambda _, scores: scores.detach().softmax(-1))
    note = "stabilisers of 1e-12, which it adds without the sign"
    return [
        row(
            ours="`attn_lrp convolution_gamma=0 linear_gamma=0`",
            explainer=AttnLRP(**EPSILON),
            theirs="LXT AttnLRP",
            compute=taylor,
            note=note,
        ),
        row(
            ours="`lrp rule=epsilon gates=half`",
            explainer=LRP(rule="epsilon", gates="half", epsilon=TINY),
            theirs="LXT AttnLRP",
            compute=taylor,
            note=note,
        ),
        row(
            ours="`attn_lrp convolution_gamma=0 linear_gamma=0 softmax=constant`",
            explainer=AttnLRP(**EPSILON, softmax="constant"),
            theirs="LXT CP-LRP",
            compute=constant,
            note=note,
        ),
        row(
            ours="`lrp rule=epsilon`",
            explainer=LRP(rule="epsilon", epsilon=TINY),
            theirs="LXT CP-LRP",
            compute=constant,
            note=note,
        ),
    ]
