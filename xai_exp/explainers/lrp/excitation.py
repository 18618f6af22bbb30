"""Excitation backpropagation: LRP's z+ rule, read as probabilities."""

from collections.abc import Mapping

from torch import nn

from xai_exp.compute import ops
from xai_exp.config import configured
from xai_exp.explainers.backward import functions
from xai_exp.explainers.backward.engine import backpropagate
from xai_exp.explainers.backward.rules import Rules, passed_through
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.lrp.attention_rules import identity
from xai_exp.explainers.lrp.rules import AlphaBeta
from xai_exp.explainers.promises import Promises, evenness
from xai_exp.types import Heatmaps, Images, Labels, Scores

_EXCITATION = Rules(
    activation=passed_through,
    linear=AlphaBeta(1.0, 0.0, "ignore"),
    others=dict.fromkeys(functions.NORMS, identity),
    gates="signal",
)


@configured
class ExcitationBackprop(Promises):
    """Excitation backpropagation: how probably a winner is reached from the target by excitation.

    P_j = sum_k x_j w+_jk / (sum_j x_j w+_jk) P_k from P = 1 at the target (Zhang et al. 2016, Top-
    down neural attention by excitation backprop, eq. 2 and 5): LRP's z+ rule without biases, so
    that the heatmap adds up to 1 behind ReLUs. Of a signal and its gate the signal wins; norms pass
    all on. The contrastive form is not included.

    Cost: two forward passes and one backward pass.
    """

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
        """The gap of the sum, and how even the first image's heatmap is."""
        found = super().gaps(model, images, targets, heatmaps)
        return {**found, **evenness(self, model, images, targets)}
