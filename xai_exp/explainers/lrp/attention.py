"""Explainers for transformers: relevance through attention, and attention itself.

Attention weights are found by tracing the functions that the network calls, so it does not matter
whether attention is written with products and a softmax, with `scaled_dot_product_attention` or
with `nn.MultiheadAttention`.
"""

from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from xai_exp.compute import ops
from xai_exp.config import Added, InputError, Range, configured
from xai_exp.explainers.backward.rules import Rules, passed_through
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.lrp.attention_rules import attention_rules
from xai_exp.explainers.lrp.composites import Composite
from xai_exp.explainers.lrp.propagation import Propagation
from xai_exp.explainers.lrp.rules import Epsilon, Gamma, Rule
from xai_exp.types import Heatmaps, Images, Labels

_OWN = 8  # the most tokens that are no patch: class, distillation, registers


@configured
class AttnLRP(Propagation):
    """Layer-wise relevance propagation through attention (Achtibat et al. 2024, AttnLRP).

    Products give each factor half of the relevance (prop. 3.3), the softmax follows its first
    Taylor expansion (prop. 3.1), a layer norm's division passes relevance through (prop. 3.4),
    activations too; linear layers and means have the epsilon rule (eq. 8) or, against noise in
    vision transformers, linear layers the gamma rule. Relevance that reaches a class token's own
    parameters, biases or the constant of a softmax is lost, so the heatmap need not add up to the
    logit; `diagnostics` says by how much. On a network without attention it is LRP.

    Cost: two forward passes and one backward pass; three and two with gamma, whose layers have
    inputs of either sign.

    Args:
        epsilon: of the epsilon rule and of products, in units of a layer's output.
        convolution_gamma, linear_gamma: of the gamma rule in convolutions (patches) and in linear
            layers; 0: the epsilon rule.
        softmax: taylor, or constant: attention weights get no relevance and values all of it
            (Ali et al. 2022).
        gates: what the factors of other products get: half each (the paper), or the signal all, as
            in `LRP`.

    Raises:
        InputError: for a network with a step that no rule covers, by its name.
    """

    epsilon: Annotated[float, Range(0, exclusive_low=True)] = 1e-6
    convolution_gamma: Annotated[float, Range(0)] = 0.25
    linear_gamma: Annotated[float, Range(0)] = 0.05
    softmax: Literal["taylor", "constant"] = "taylor"
    gates: Annotated[Literal["half", "signal"], Added("half")] = "half"

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        gamma = self.convolution_gamma or self.linear_gamma
        return Cost(forward=3, backward=2) if gamma else Cost(forward=2, backward=1)

    def rules(self) -> Rules:
        """Of linear layers as the settings say; of attention, softmax and norms the paper's."""
        return Rules(
            activation=passed_through,
            linear=Composite(self._rule(self.convolution_gamma), self._rule(self.linear_gamma)),
            others=attention_rules(self.epsilon, self.softmax),
            gates=self.gates,
        )

    def _rule(self, gamma: float) -> Rule:
        return Gamma(gamma) if gamma else Epsilon(self.epsilon)


@configured
class AttentionRollout:
    """Attention rollout: how much of each patch flows through all layers' attention.

    The product over layers of r I + (1 - r) A, A the mean attention over heads (Abnar and Zuidema
    2020, Quantifying attention flow in transformers, sec. 3); of it the row of the class token, or
    the mean of all rows if there is none. Not negative, adds up to at most 1 over patches (exactly
    1 without a class token), the same for every class. Each pixel has its patch's value divided by
    the patch's number of pixels.

    Cost: one forward pass.

    Args:
        residual: r, the share of the residual path around attention.

    Raises:
        InputError: for a network without attention over patches of the whole image.
    """

    requires: ClassVar[str] = "attention"

    residual: Annotated[float, Range(0, 1)] = 0.5

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return Cost(forward=1, backward=0)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """The rollout of every patch, spread over its pixels."""
        with torch.inference_mode(False), ops.evaluating(model):
            return ops.in_chunks(lambda part: self._chunk(model, part), images)

    def _chunk(self, model: nn.Module, images: Images) -> Heatmaps:
        if not len(images):
            return images.new_empty(images[:, 0].shape)
        flow: Tensor | None = None
        for weights in attention_of(model, images):
            one = torch.eye(weights.shape[-1], dtype=weights.dtype, device=weights.device)
            step = self.residual * one + (1 - self.residual) * weights
            flow = step if flow is None else step @ flow
        assert flow is not None
        height, width = images.shape[2:]
        rows, columns = grid(flow.shape[-1], height, width)
        extra = flow.shape[-1] - rows * columns
        share = flow[:, 0] if extra else flow.mean(1)
        patches = share[:, extra:].view(-1, rows, columns) * (rows * columns / (height * width))
        high, wide = height // rows, width // columns
        return patches.repeat_interleave(high, 1).repeat_interleave(wide, 2)


def attention_of(model: nn.Module, images: Images) -> list[Tensor]:
    """The attention of every layer, a matrix (batch, token, token) each: the mean over its heads.

    Raises:
        InputError: when there is none, or not of one set of tokens for each image.
    """
    seen = _Softmaxes()
    # With gradients torch takes no shortcuts through fused layers, whose softmax can't be seen.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), seen:
        model(images.detach().clone().requires_grad_())
    batch, found = len(images), []
    for weights in seen.weights:
        if weights.dim() == 3 and len(weights) % batch == 0:
            weights = weights.view(batch, -1, *weights.shape[1:])
        if len(weights) == batch and weights.dim() == 4:
            found.append(weights.mean(1))
    if not found or len({one.shape for one in found}) > 1 or len(found) < len(seen.weights):
        got = [tuple(weights.shape) for weights in seen.weights]
        raise InputError(
            "attention_rollout needs the same tokens attending to each other in every layer: got "
            f"{f'attention of shapes {got}' if got else 'a network without attention'}; allowed: "
            "vision transformers such as model=vit"
        )
    return found


def grid(tokens: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of square patches: as many as there are tokens, but for a few of their own.

    >>> grid(64, 64, 64), grid(65, 64, 64), grid(7, 12, 8)
    ((8, 8), (8, 8), (3, 2))

    Raises:
        InputError: when no grid of the image's shape has that many.
    """
    sides = [
        side for side in range(1, min(height, width) + 1) if height % side == width % side == 0
    ]
    fitting = [(height // side, width // side) for side in sides]
    fitting = [found for found in fitting if 0 <= tokens - found[0] * found[1] <= _OWN]
    fitting = [found for found in fitting if found != (1, 1)]
    if not fitting:
        raise InputError(
            f"attention_rollout: got {tokens} tokens for images of {height}x{width} pixels; "
            "allowed: a token for each square patch"
        )
    return fitting[0]


class _Softmaxes(TorchDispatchMode):
    """Within it the results of softmaxes that weigh tokens by tokens are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one operation and keep its result if it is attention."""
        result = func(*args, **(kwargs or {}))
        if "softmax" in func.__name__ and result.dim() > 2 and result.shape[-1] == result.shape[-2]:
            self.weights.append(result.detach())
        return result
