"""DeepLIFT: what makes the output differ from that of a baseline.

The baseline goes through the network first, and what every non-linear function got and gave is
kept; then the image, which takes the same steps. On the way back every non-linear function passes a
multiplier, the ratio of its output's difference to its input's; linear functions pass their
gradient, which is the same ratio. So the heatmap sums to the difference of the logits (Shrikumar et
al. 2017). It is made on torch's functions: networks written
with functions and reused modules are explained as any other.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import InputError, Range, configured
from xai_exp.explainers.backward.engine import ModifiedBackward, refuse_hidden_functions
from xai_exp.explainers.backward.watching import watched
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.deeplift.rescale import Tape, rescale_rules
from xai_exp.explainers.deeplift.reveal_cancel import reveal_cancel
from xai_exp.explainers.gradients.baselines import uniform
from xai_exp.explainers.promises import Promises, evenness, value
from xai_exp.explainers.pullback import forward
from xai_exp.types import Heatmaps, Images, Labels, Scores

Rule = Literal["rescale", "reveal_cancel"]
Pooling = Literal["rescale", "gradient"]


@configured
class DeepLIFT(Promises):
    r"""DeepLIFT: each pixel's contribution to the difference of the logits.

    $(x - x') m$, where multipliers chain like gradients. By the rescale rule the multiplier m of an
    activation is $(y - y') / (z - z')$ (the slope at z where the inputs differ by rounding alone;
    Shrikumar et al. 2017, eq. 3; Ancona et al. 2018). By reveal-cancel the positive and the
    negative part of $z - z'$ have multipliers of their own (sec. 3.5.3), so that inputs which
    cancel each other are seen: of min(a, b) both get half, where rescale gives one of them all.

    It sums to $f_t(x) - f_t(x')$. By rescale a product of two values that both depend on the image
    gives each its difference times the mean of the other one; norms are such products of simpler
    functions, softmax has one rule as a whole (`rescale.py`). By reveal-cancel products and norms
    are refused. A function without a rule is refused by its name, so the sum holds up to rounding.

    Cost: two forward passes and one backward pass; four and four by reveal-cancel.

    Args:
        rule: rescale, or reveal_cancel.
        baseline: the grey level of the uniform baseline x', or `border`: each image's own, the
            median of the pixels on its border, which is the background of rendered scenes.
        pooling: what max pooling passes back. rescale: the difference of its outputs goes to the
            pixels that were the largest in the image and in the baseline, so that the sum holds;
            gradient: to the largest in the image, as in DeepExplain, which where several are equal
            but for rounding (a plain background) is any of them.

    Raises:
        InputError: for a network with a step that has no rule, by its name.
    """

    version: ClassVar[int] = 4

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
    return Cost(forward=2, backward=1) if rule == "rescale" else Cost(forward=4, backward=4)


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
    names = {id(parameter): name for name, parameter in model.named_parameters()}

    def chunk(part: Tensor, base: Tensor, wanted: Tensor) -> Tensor:
        tape = Tape()
        rules = rescale_rules(tape, pooling)
        forward(model, base, wanted, lambda: ModifiedBackward(rules, names))
        tape.rewind()
        pixels, chosen = forward(model, part, wanted, lambda: ModifiedBackward(rules, names))
        refuse_hidden_functions(chosen)
        slopes = torch.autograd.grad(chosen.sum(), pixels)[0]
        return (part - base) * slopes

    with watched(model):
        size = max(1, ops.chunk_size(images) // 2)
        return ops.in_chunks(chunk, images, start.to(images), targets, size=size).detach()
