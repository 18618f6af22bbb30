"""Gradients whose way back through activations is changed.

Both methods leave every other function its gradient and start from 1, so the heatmap is in units of
logit per grey level. They hardly depend on the class (Nie et al. 2018) nor, guided backpropagation
least of all, on the later layers (Sixt et al. 2020): they are here to be compared.
"""

from typing import Literal

from torch import Tensor, nn

from xai_exp import ops
from xai_exp.config import configured
from xai_exp.explainers.backward import Back, Rules, backpropagate
from xai_exp.explainers.cost import Cost
from xai_exp.types import Heatmaps, Images, Labels


@configured
class DeconvNet:
    """Deconvolution: at each activation the ReLU is applied to what comes back.

    R_in = max(R_out, 0), wherever the activation itself was active or not (Zeiler and Fergus 2014).

    Cost: one forward and one backward pass.

    Args:
        start: what is sent back from the target's logit: one, or logit for its own value, as
            iNNvestigate does, which reverses the signs that a negative logit sends back.
    """

    start: Literal["one", "logit"] = "one"

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return Cost(forward=1, backward=1)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The deconvolution at every pixel, summed over channels."""
        from_logit = self.start == "logit"
        back = backpropagate(model, images, targets, _POSITIVE, from_logit=from_logit)
        return ops.channel_sum(back)


@configured
class GuidedBackprop:
    """Guided backpropagation: the gradient, of which each activation lets only positive parts back.

    R_in = f'(x) max(R_out, 0), for a ReLU [x > 0] max(R_out, 0) (Springenberg et al. 2015).

    Cost: one forward and one backward pass.

    Args:
        start: what is sent back from the target's logit: one, or logit for its own value, as
            iNNvestigate does, which reverses the signs that a negative logit sends back.
    """

    start: Literal["one", "logit"] = "one"

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return Cost(forward=1, backward=1)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The guided gradient at every pixel, summed over channels."""
        from_logit = self.start == "logit"
        back = backpropagate(model, images, targets, _GUIDED, from_logit=from_logit)
        return ops.channel_sum(back)


def _positive(relevance: Tensor, _gradient: Back) -> Tensor:
    return relevance.clamp(min=0)


def _guided(relevance: Tensor, gradient: Back) -> Tensor:
    return gradient(relevance.clamp(min=0))


_POSITIVE, _GUIDED = Rules(activation=_positive), Rules(activation=_guided)
