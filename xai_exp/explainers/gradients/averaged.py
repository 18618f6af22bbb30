"""Gradients under noise: what many noisy copies of the image say together.

Conventions: as in gradients.py; the statistic over the copies is taken channel by channel, then
summed over channels. An image draws the same noise alone and in a batch, and the same for every
statistic.
"""

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import Range, configured
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.pullback import gradients_at
from xai_exp.types import Heatmaps, Images, Labels

Share = Annotated[float, Range(0, 10)]


@configured
class SmoothGrad:
    r"""A statistic of the gradients g at noisy copies of the image: $x + \sigma n$, n normal.

    mean: $E[g]$, SmoothGrad (Smilkov et al. 2017, sec. 3), signed. squared: $E[g^2]$, SmoothGrad
    squared (Hooker et al. 2019). variance: $E[(g - E[g])^2]$, VarGrad (Adebayo et al.
    2018), over the copies drawn, not corrected for their number; on a linear network it is zero.

    Cost: `samples` forward and backward passes.

    Args:
        statistic: mean, squared or variance.
        samples: noisy copies of each image.
        sigma: the noise's standard deviation, as a share of the scale.
        scale: range: the image's own, from its darkest to its brightest value, as in the papers;
            unit: 1, all that a grey level can be.
        absolute: whether absolute gradients are averaged, as where a library smooths sensitivity.
        seed: of the noise.
    """

    statistic: Literal["mean", "squared", "variance"] = "mean"
    samples: Annotated[int, Range(1, 100_000)] = 32
    sigma: Share = 0.15
    scale: Literal["range", "unit"] = "range"
    absolute: bool = False
    seed: Annotated[int, Range(0)] = 0

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return Cost(forward=1, backward=1) * self.samples

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The statistic at every pixel, summed over channels."""
        strength = self.sigma * self._scale(images)
        keys = ops.image_keys(images, self.seed)

        def noisy(group: range) -> Tensor:
            return images + strength * noise(keys, group, images, "smoothgrad")

        count, mean, spread = 0, torch.zeros_like(images), torch.zeros_like(images)
        for group, found in gradients_at(model, images, targets, self.samples, noisy):
            values = found.abs() if self.absolute else found
            # Chan et al.'s update: a difference of large sums would lose small variances.
            centre = values.mean(0)
            step, weight = centre - mean, len(group) / (count + len(group))
            spread += ((values - centre) ** 2).sum(0) + step**2 * (count * weight)
            mean += weight * step
            count += len(group)
        by_statistic = {
            "mean": lambda: mean,
            "squared": lambda: spread / count + mean**2,
            "variance": lambda: spread / count,
        }
        return ops.channel_sum(by_statistic[self.statistic]())

    def _scale(self, images: Images) -> Tensor:
        """What `sigma` is a share of, an image each."""
        if self.scale == "unit":
            return torch.ones_like(images[:, :1, :1, :1])
        return images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True)


def noise(keys: Tensor, group: range, images: Images, name: str) -> Tensor:
    """Standard normal noise for each image, one draw for each number of the group.

    Args:
        keys: of the images.
        group: the numbers of the draws; a draw is the same in whichever group it is made.
        images: what the noise is shaped like.
        name: the purpose, so that two of them are independent.
    """
    of_each = torch.cat([ops.named_keys(keys, f"{name} {number}") for number in group])
    drawn = ops.keyed_normal(of_each, images[0].numel())
    return drawn.view(len(group), *images.shape).to(images)
