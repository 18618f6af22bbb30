"""Controls: heatmaps that know nothing of the network, or nothing but the truth.

A measure that cannot tell these from an explanation measures something else.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.config import InputError, Range, configured
from xai_exp.explainers.cost import Cost
from xai_exp.types import Heatmaps, Images, Labels, Parts

_NOTHING = Cost(forward=0, backward=0)


@configured
class Random:
    """Uniform noise in -1..1, its own for each image; the same whenever an image comes again.

    Cost: none.
    """

    seed: Annotated[int, Range(0)] = 0
    cost: ClassVar[Cost] = _NOTHING

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """Noise at every pixel."""
        height, width = images.shape[-2:]
        noise = ops.keyed_uniform(ops.image_keys(images, self.seed), height * width)
        return (2 * noise - 1).view(-1, height, width).to(images.dtype)


@configured
class Sobel:
    """The strength of edges in the image: the norm of the Sobel filters' answers.

    Adebayo et al. (2018) found that some explanations hardly differ from it. Cost: none.
    """

    cost: ClassVar[Cost] = _NOTHING

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """Edge strength at every pixel, summed over channels."""
        across = images.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
        filters = torch.stack([across, across.T])[:, None]
        planes = functional.pad(images.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
        strength = functional.conv2d(planes, filters).norm(dim=1)
        return strength.view(images.shape).sum(1)


@configured
class Laplacian:
    """The strength of edges in the image: the absolute value of the Laplacian's answer.

    |4 x - its four neighbours|, which answers on both sides of an edge and, unlike `sobel`, to
    single pixels. Cost: none.
    """

    cost: ClassVar[Cost] = _NOTHING

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """Edge strength at every pixel, summed over channels."""
        wide = functional.pad(images, (1, 1, 1, 1), mode="replicate")
        across = wide[..., 1:-1, :-2] + wide[..., 1:-1, 2:]
        down = wide[..., :-2, 1:-1] + wide[..., 2:, 1:-1]
        return (4 * images - across - down).abs().sum(1)


@configured
class ImageItself:
    """The image's own pixels, summed over channels: what is bright counts as relevant.

    A measure that holds it above the exact mask rewards brightness. Cost: none.
    """

    cost: ClassVar[Cost] = _NOTHING

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """The image."""
        return images.sum(1)


@configured
class Constant:
    """The same value at every pixel: an explanation that says nothing at all.

    A measure that lets it win, or lose, against noise goes by where pixels lie. Cost: none.
    """

    cost: ClassVar[Cost] = _NOTHING

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """One everywhere."""
        return torch.ones_like(images[:, 0])


@configured
class Tied:
    """Noise of few values, so that most pixels are tied with many others.

    Heatmaps of ReLU networks have such ties: dead units, uniform background. A measure that breaks
    ties by the position of pixels finds an order in it that is not there. Cost: none.

    Args:
        levels: how many values there are, evenly spaced in -1..1.
        seed: of the noise.
    """

    levels: Annotated[int, Range(2)] = 3
    seed: Annotated[int, Range(0)] = 0
    cost: ClassVar[Cost] = _NOTHING

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """Noise at every pixel, cut into levels of equal share."""
        height, width = images.shape[-2:]
        keys = ops.named_keys(ops.image_keys(images, self.seed), "tied")
        noise = ops.keyed_uniform(keys, height * width)
        steps = (noise * self.levels).floor() / (self.levels - 1)
        return (2 * steps - 1).view(-1, height, width).to(images.dtype)


@configured
class Difference:
    """|x - b|, summed over channels: how far each pixel is from what counts as nothing.

    It knows no network. Methods that start from the background of rendered scenes know where
    objects are by the same difference, so what they are worth shows beside this. Cost: none.

    Args:
        baseline: b, a grey level, or each image's and channel's own border (the median of its
            border pixels) or mean.
        noise: multiply by noise in 0..1, its own for each image, so that no object is shown evenly.
        seed: of the noise.
    """

    baseline: Annotated[float, Range(0, 1)] | Literal["border", "mean"] = "border"
    noise: bool = False
    seed: Annotated[int, Range(0)] = 0
    cost: ClassVar[Cost] = _NOTHING

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """The difference at every pixel."""
        level: Tensor | float = 0.0
        if self.baseline == "border":
            level = ops.border_level(images)
        elif self.baseline == "mean":
            level = images.mean((2, 3), keepdim=True)
        else:
            level = float(self.baseline)
        apart = (images - level).abs().sum(1)
        if not self.noise:
            return apart
        keys = ops.named_keys(ops.image_keys(images, self.seed), "difference")
        return apart * ops.keyed_uniform(keys, apart[0].numel()).view(apart.shape).to(apart)


@configured
class EqualShares:
    """One share for every part of the scene, spread evenly over its pixels.

    It knows where the parts are and nothing of the network: an explanation that is no nearer to the
    exact truth says nothing of what parts are worth. Skill is measured against it. It must be bound
    to ground truth first (`with_parts`). Cost: none.
    """

    cost: ClassVar[Cost] = _NOTHING

    def with_parts(self, images: Images, parts: Parts) -> "BoundMask":
        """This explainer for these images and their parts."""
        areas = parts.sum((2, 3), keepdim=True)
        spread = torch.where(areas > 0, parts / areas.clamp(min=1e-12), 0).sum(1)
        count = (areas > 0).sum(1).clamp(min=1)
        return BoundMask(images=images, masks=spread / count[:, 0, :, None])

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """Refused: there are no parts to share between.

        Raises:
            InputError: always.
        """
        raise InputError("equal_shares: got no parts; allowed: data with masks of what is in them")


@configured
class ExactMask:
    """The exact mask of what is in the image: the heatmap of one who knows the truth.

    It must be bound to ground truth first (`with_parts`); an image that is not among those it is
    bound to gets the mask of the nearest one, so that slightly changed images work. Cost: none.

    Args:
        inverted: whether to give the background instead, the worst that localisation can be.
    """

    inverted: bool = False
    cost: ClassVar[Cost] = _NOTHING

    def with_parts(self, images: Images, parts: Parts) -> "BoundMask":
        """This explainer for these images and their parts."""
        masks = parts.sum(1).clamp(max=1)
        return BoundMask(images=images, masks=1 - masks if self.inverted else masks)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """Refused: there is no truth to give.

        Raises:
            InputError: always.
        """
        raise InputError("exact_mask: got no masks; allowed: data with masks of what is in them")


@dataclass(frozen=True, kw_only=True)
class BoundMask:
    """Masks, found by the image.

    `only_known_images` tells metrics that an image which is moved or turned has no mask here.
    """

    only_known_images: ClassVar[bool] = True
    images: Images
    masks: Heatmaps

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """The mask of the nearest image that this is bound to."""
        return self.masks[ops.nearest(images, self.images)].to(images.dtype)
