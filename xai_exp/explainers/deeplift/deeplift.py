"""DeepLIFT: what makes the output differ from that of a baseline.

Image and baseline go through the network together, as neighbouring rows of one batch. On the way
back every non-linear function passes a multiplier, the ratio of its output's difference to its
input's; linear functions pass their gradient, which is the same ratio. So the heatmap sums to the
difference of the logits (Shrikumar et al. 2017). It is made on torch's functions: networks written
with functions and reused modules are explained as any other.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xai_exp.compute import ops
from xai_exp.config import InputError, Range, configured
from xai_exp.explainers.backward.calls import again, ruled
from xai_exp.explainers.backward.engine import backpropagate
from xai_exp.explainers.backward.rules import Activated, Other, Rules
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.deeplift.reveal_cancel import reveal_cancel
from xai_exp.explainers.gradients.baselines import uniform
from xai_exp.explainers.promises import Promises, evenness, value
from xai_exp.types import Heatmaps, Images, Labels, Scores

_POOLS = ("max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool2d")
_NEAR = 1e-6
Rule = Literal["rescale", "reveal_cancel"]
Pooling = Literal["rescale", "gradient"]


@configured
class DeepLIFT(Promises):
    r"""DeepLIFT: each pixel's contribution to the difference of the logits.

    $(x - x') m$, where multipliers chain like gradients. By the rescale rule the multiplier m of an
    activation is $(y - y') / (z - z')$ (the slope at z where the inputs differ by less than 1e-6;
    Shrikumar et al. 2017, eq. 3; Ancona et al. 2018). By reveal-cancel the positive and the
    negative part of $z - z'$ have multipliers of their own (sec. 3.5.3), so that inputs which
    cancel each other are seen: of min(a, b) both get half, where rescale gives one of them all.

    It sums to $f_t(x) - f_t(x')$ on networks of linear functions, activations and max pooling. By
    rescale a product of two values that both depend on the image keeps its gradient, which breaks
    the sum; by reveal-cancel it is refused.

    Cost: two forward and two backward passes; four and four by reveal-cancel.

    Args:
        rule: rescale, or reveal_cancel.
        baseline: the grey level of the uniform baseline x', or `border`: each image's own, the
            median of the pixels on its border, which is the background of rendered scenes.
        pooling: what max pooling passes back. rescale: the difference of its outputs goes to the
            pixels that were the largest in the image and in the baseline, so that the sum holds;
            gradient: to the largest in the image, as in DeepExplain.

    Raises:
        InputError: by reveal-cancel for a network with a step that has no rule, by its name.
    """

    rule: Rule = "rescale"
    baseline: Annotated[float, Range(-1e6, 1e6)] | Literal["border"] = 0.0
    pooling: Pooling = "rescale"

    def __post_init__(self) -> None:
        """Only the rescale rule has two ways through max pooling."""
        checked(self.rule, self.pooling)

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return passes(self.rule)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """DeepLIFT at every pixel, summed over channels."""
        start = uniform(images, self.baseline)
        found = contributions(model, images, start, targets, rule=self.rule, pooling=self.pooling)
        return ops.channel_sum(found)

    def promised(self, model: nn.Module, images: Images, targets: Labels) -> Scores:
        """f(x) - f(x')."""
        start = uniform(images, self.baseline)
        return value(model, images, targets) - value(model, start, targets)

    def gaps(
        self, model: nn.Module, images: Images, targets: Labels, heatmaps: Heatmaps
    ) -> Mapping[str, Scores]:
        """The gap of the sum, and how even the first image's heatmap is."""
        found = super().gaps(model, images, targets, heatmaps)
        return {**found, **evenness(self, model, images, targets)}


def checked(rule: Rule, pooling: Pooling) -> None:
    """Refuse what does not go together.

    Raises:
        InputError: for reveal-cancel with the gradient of max pooling.
    """
    if rule == "reveal_cancel" and pooling != "rescale":
        raise InputError(
            f"DeepLIFT.pooling: got {pooling} with rule=reveal_cancel; allowed: pooling=rescale"
        )


def passes(rule: Rule) -> Cost:
    """The passes for one image and one baseline."""
    return Cost(forward=2, backward=2) * (1 if rule == "rescale" else 2)


def contributions(
    model: nn.Module,
    images: Images,
    start: Images,
    targets: Labels,
    *,
    rule: Rule,
    pooling: Pooling,
) -> Images:
    """What each pixel contributes to the difference of the logits, by channel.

    Args:
        model: the network.
        images: (batch, channel, height, width).
        start: the baseline of each.
        targets: the class of each.
        rule: of activations.
        pooling: the rule of max pooling.
    """
    if rule == "reveal_cancel":
        return reveal_cancel(model, images, start, targets)
    pools: dict[str, Other] = dict.fromkeys(_POOLS, _pooled) if pooling == "rescale" else {}
    rules = Rules(activation=_rescaled, others=pools)
    pairs = torch.stack([images, start], 1).flatten(0, 1)
    back = backpropagate(model, pairs, targets.repeat_interleave(2), rules, together=2)
    return (images - start) * back[0::2]


def _rescaled(relevance: Tensor, gradient: Activated) -> Tensor:
    before, after = gradient.before.detach(), gradient.after.detach()
    difference = before[0::2] - before[1::2]
    moved = difference.abs() > _NEAR
    slope = (after[0::2] - after[1::2]) / torch.where(moved, difference, 1)
    back = torch.zeros_like(relevance)
    back[0::2] = torch.where(moved, slope * relevance[0::2], gradient(relevance)[0::2])
    return back


def _pooled(
    _mode: TorchFunctionMode,
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
