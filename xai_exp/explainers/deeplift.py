"""DeepLIFT: what makes the output differ from that of a baseline.

Image and baseline go through the network together, as neighbouring rows of one batch. On the way
back every non-linear function passes a multiplier, the ratio of its output's difference to its
input's; linear functions pass their gradient, which is the same ratio. So the heatmap sums to the
difference of the logits (Shrikumar et al. 2017). It is made on torch's functions: networks written
with functions and reused modules are explained as any other.
"""

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from xai_exp import ops
from xai_exp.config import Range, configured
from xai_exp.explainers.backward import (
    Activated,
    ModifiedBackward,
    Other,
    Rules,
    again,
    backpropagate,
    ruled,
)
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.gradients import uniform
from xai_exp.types import Heatmaps, Images, Labels

_POOLS = ("max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool2d")
_NEAR = 1e-6


@configured
class DeepLIFT:
    r"""DeepLIFT with the rescale rule.

    $(x - x') m$, where the multiplier m of an activation is $(y - y') / (z - z')$ (the slope at z
    where the inputs differ by less than 1e-6) and multipliers chain like gradients (Shrikumar et
    al. 2017, eq. 3 and the rescale rule; Ancona et al. 2018). It sums to $f_t(x) - f_t(x')$ on
    networks of linear functions, activations and max pooling; a product of two values that both
    depend on the image keeps its gradient, which breaks the sum.

    Cost: two forward and two backward passes.

    Args:
        baseline: the grey level of the uniform baseline x', or `border`: each image's own, the
            median of the pixels on its border, which is the background of rendered scenes.
        pooling: what max pooling passes back. rescale: the difference of its outputs goes to the
            pixels that were the largest in the image and in the baseline, so that the sum holds;
            gradient: to the largest in the image, as in DeepExplain.
    """

    baseline: Annotated[float, Range(-1e6, 1e6)] | Literal["border"] = 0.0
    pooling: Literal["rescale", "gradient"] = "rescale"

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return Cost(forward=2, backward=2)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """DeepLIFT at every pixel, summed over channels."""
        start = uniform(images, self.baseline)
        pools: dict[str, Other] = {}
        if self.pooling == "rescale":
            pools = dict.fromkeys(_POOLS, _pooled)
        rules = Rules(activation=_rescaled, others=pools)
        pairs = torch.stack([images, start], 1).flatten(0, 1)
        back = backpropagate(model, pairs, targets.repeat_interleave(2), rules, together=2)
        return ops.channel_sum((images - start) * back[0::2])


def _rescaled(relevance: Tensor, gradient: Activated) -> Tensor:
    before, after = gradient.before.detach(), gradient.after.detach()
    difference = before[0::2] - before[1::2]
    moved = difference.abs() > _NEAR
    slope = (after[0::2] - after[1::2]) / torch.where(moved, difference, 1)
    back = torch.zeros_like(relevance)
    back[0::2] = torch.where(moved, slope * relevance[0::2], gradient(relevance)[0::2])
    return back


def _pooled(
    _mode: ModifiedBackward,
    func: Any,  # noqa: ANN401
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Tensor:
    """Max pooling: what is larger in the image goes to its maximum, the rest to the baseline's."""
    inputs, before, after = again(func, args, kwargs)
    gradient = Activated(name, before, after)

    def back(relevance: Tensor) -> Tensor:
        image, base = after.detach()[0::2], after.detach()[1::2]
        larger = torch.maximum(image, base)
        shares = torch.zeros_like(relevance)
        shares[0::2] = relevance[0::2] * (larger - base)
        shares[1::2] = relevance[0::2] * (image - larger)
        given = gradient(shares)
        difference = before.detach()[0::2] - before.detach()[1::2]
        total = given[0::2] + given[1::2]
        found = torch.zeros_like(given)
        found[0::2] = torch.where(difference == 0, 0, total / difference.where(difference != 0, 1))
        return found

    return ruled(after, back, inputs)
