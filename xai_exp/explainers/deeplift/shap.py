"""DeepLIFT SHAP: DeepLIFT from many images instead of one made-up baseline.

The references are images of the training split, so that what is explained is the difference from
what the network usually sees (Lundberg and Lee 2017; Chen et al. 2022, Explaining a series of
models by propagating Shapley values). Each image is compared with each reference, many pairs in one
pass.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import InputError, Range, configured
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.deeplift.deeplift import Pooling, Rule, checked, contributions, passes
from xai_exp.explainers.promises import Promises, value
from xai_exp.types import Heatmaps, Images, Labels, Scores


@configured
class DeepLIFTSHAP:
    r"""DeepLIFT in the mean over reference images.

    $\frac1R \sum_r (x - x_r) m_r$ (Lundberg and Lee 2017, Deep SHAP): an estimate of the Shapley
    values of the pixels where those that are absent come from the references. It sums to $f_t(x) -
    \frac1R \sum_r f_t(x_r)$. It must be bound to references first (`fit`).

    Cost: two forward passes and one backward pass for each reference; four and four by
    reveal-cancel.

    Args:
        references: how many of the images that it is bound to are drawn.
        rule: rescale, or reveal_cancel.
        pooling: what max pooling passes back; see DeepLIFT.
        seed: of the draw.
    """

    version: ClassVar[int] = 4

    references: Annotated[int, Range(1, 10_000)] = 16
    rule: Rule = "rescale"
    pooling: Pooling = "rescale"
    seed: Annotated[int, Range(0)] = 0

    def __post_init__(self) -> None:
        """Only the rescale rule has two ways through max pooling."""
        checked(self.rule, self.pooling)

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return passes(self.rule) * self.references

    def fit(self, model: nn.Module, images: Images) -> "BoundDeepLIFTSHAP":  # noqa: ARG002
        """This explainer with references drawn from `images`; all of them if they are fewer."""
        source = torch.Generator().manual_seed(self.seed)
        drawn = torch.randperm(len(images), generator=source)[: self.references]
        return BoundDeepLIFTSHAP(explainer=self, references=images[drawn.to(images.device)])

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """Refused: there is nothing to compare with.

        Raises:
            InputError: always.
        """
        raise InputError(
            "deeplift_shap: got no reference images; allowed: fit(model, images) with some first"
        )


@dataclass(frozen=True, kw_only=True)
class BoundDeepLIFTSHAP(Promises):
    """DeepLIFT SHAP with its references."""

    explainer: DeepLIFTSHAP
    references: Images

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return passes(self.explainer.rule) * len(self.references)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The mean of DeepLIFT's heatmaps at every pixel, summed over channels."""
        count = len(self.references)

        def chunk(part: Tensor, wanted: Tensor) -> Tensor:
            found = contributions(
                model,
                part.repeat_interleave(count, 0),
                self.references.to(part).repeat(len(part), 1, 1, 1),
                wanted.repeat_interleave(count),
                rule=self.explainer.rule,
                pooling=self.explainer.pooling,
            )
            return ops.channel_sum(found).unflatten(0, (-1, count)).mean(1)

        size = max(1, ops.chunk_size(images) // count)
        return ops.in_chunks(chunk, images, targets, size=size)

    def promised(self, model: nn.Module, images: Images, targets: Labels) -> Scores:
        """f(x) less the mean of f over the references."""
        with ops.evaluating(model):
            empty = ops.logits(model, self.references.to(images)).mean(0)
        return value(model, images, targets) - empty[targets]
