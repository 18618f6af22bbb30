"""Excitation backpropagation: LRP's z+ rule, read as probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import configured
from xai_exp.explainers.backward import functions
from xai_exp.explainers.backward.calls import Refused, ruled, stabilized
from xai_exp.explainers.backward.engine import backpropagate
from xai_exp.explainers.backward.functions import refusal
from xai_exp.explainers.backward.layer import Layer
from xai_exp.explainers.backward.rules import Rules, passed_through
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.lrp.attention_rules import Multiply, gate_rules, identity
from xai_exp.explainers.lrp.rules import AlphaBeta
from xai_exp.explainers.promises import Promises, evenness
from xai_exp.types import Heatmaps, Images, Labels, Scores

_TINY = 1e-30
_PLUS = AlphaBeta(1.0, 0.0, "ignore")


def _excited(multiply: Multiply, gate: Tensor, signal: Tensor) -> Tensor:
    """A product with attention, whose pairs of equal signs excite, as those of layers do."""
    root = signal.detach().requires_grad_()
    with torch.enable_grad():
        pairs = multiply(gate.clamp(min=0), root.clamp(min=0))
        pairs = pairs + multiply(gate.clamp(max=0), root.clamp(max=0))
    whole = pairs.detach()

    def back(relevance: Tensor) -> Tensor:
        share = relevance / stabilized(whole)
        return root.detach() * torch.autograd.grad(pairs, root, share, retain_graph=True)[0]

    return ruled(multiply(gate, signal.detach()), back, signal)


def _without_gate(multiply: Multiply, first: Tensor, second: Tensor) -> Tensor:
    product = multiply(first.detach(), second.detach())
    why = refusal("matmul", "of two values of which none is a gate")
    return ruled(product, Refused(why), first, second)


_EXCITATION = Rules(
    activation=passed_through,
    linear=_PLUS,
    others={
        **dict.fromkeys(functions.NORMS | functions.DIVISIONS, identity),
        **gate_rules(_excited, _without_gate),
    },
    gates="signal",
)


@configured
class ExcitationBackprop(Promises):
    """Excitation backpropagation: how probably a winner is reached from the target by excitation.

    P_j = sum_k x_j w+_jk / (sum_j x_j w+_jk) P_k from P = 1 at the target (Zhang et al. 2016, Top-
    down neural attention by excitation backprop, eq. 2 and 5): LRP's z+ rule without biases, so
    that the heatmap adds up to 1 behind ReLUs. Of a signal and its gate the signal wins, so of
    attention and values the values; norms pass all on. The contrastive form is not included.

    The paper's probabilities are of activations that are not negative (its assumption A1). Where a
    layer behind the first one gets negative ones (SiLU, GELU, linear bottlenecks) a pair of equal
    signs excites here, as in LRP's z+ rule, which is no longer the paper's method; the guard
    `negative_activations` says how much of a layer's input that is, and marks it. Pixels may have
    either sign.

    Cost: two forward passes and one backward pass.
    """

    version: ClassVar[int] = 3

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap of a network of convolutions behind ReLUs."""
        return Cost(forward=2, backward=1)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The winning probability of every pixel, summed over channels."""
        return ops.channel_sum(backpropagate(model, images, targets, _EXCITATION))

    def promised(self, model: nn.Module, images: Images, targets: Labels) -> Scores:  # noqa: ARG002
        """One: a probability is shared out."""
        return images.new_ones(len(images))

    def gaps(
        self, model: nn.Module, images: Images, targets: Labels, heatmaps: Heatmaps
    ) -> Mapping[str, Scores]:
        """The gap of the sum, negative activations, how even the first image's heatmap is."""
        found = super().gaps(model, images, targets, heatmaps)
        noting = _Noting()
        backpropagate(model, images, targets, replace(_EXCITATION, linear=noting))
        negative = {"negative_activations": noting.most(images)}
        return {**found, **negative, **evenness(self, model, images, targets)}


@dataclass(frozen=True)
class _Noting:
    """The rule, which notes what share of each layer's input is negative."""

    shares: dict[int, list[Tensor]] = field(default_factory=dict)

    def __call__(self, layer: Layer, relevance: Tensor) -> Tensor:
        """Send excitation back."""
        if not layer.place.first:
            size = layer.inputs.flatten(1).abs().sum(1)
            below = layer.inputs.flatten(1).clamp(max=0).abs().sum(1)
            self.shares.setdefault(layer.index, []).append(below / size.clamp(min=_TINY))
        return _PLUS(layer, relevance)

    def most(self, images: Images) -> Scores:
        """The largest share of any layer but the first, image by image; rows may be windows."""
        found = images.new_zeros(len(images))
        for parts in self.shares.values():
            rows = torch.cat(parts)
            if len(rows) and len(rows) % len(images) == 0:
                found = torch.maximum(found, rows.view(len(images), -1).amax(1).to(found))
        return found
