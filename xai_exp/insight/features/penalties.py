"""What an optimised image is not to be: one number an image, weighed and taken off its score."""

from abc import ABC, abstractmethod
from typing import Annotated

from torch.nn import functional

from xai_exp.config import Range, configured
from xai_exp.types import Images, Scores

Weight = Annotated[float, Range(0)]


class Penalty(ABC):
    """A function of the images alone."""

    weight: float

    @abstractmethod
    def __call__(self, images: Images) -> Scores:
        """How bad each image is, 0 or more."""


@configured
class TotalVariation(Penalty):
    """The mean absolute difference of neighbouring pixels: smooth images have little."""

    weight: Weight = 1.0

    def __call__(self, images: Images) -> Scores:
        """Of each image."""
        down = images.diff(dim=2).abs().flatten(1).mean(1)
        return down + images.diff(dim=3).abs().flatten(1).mean(1)


@configured
class L1(Penalty):
    """The mean distance from a grey level."""

    weight: Weight = 1.0
    level: Annotated[float, Range(0, 1)] = 0.5

    def __call__(self, images: Images) -> Scores:
        """Of each image."""
        return (images - self.level).abs().flatten(1).mean(1)


@configured
class L2(Penalty):
    """The root of the mean squared distance from a grey level."""

    weight: Weight = 1.0
    level: Annotated[float, Range(0, 1)] = 0.5

    def __call__(self, images: Images) -> Scores:
        """Of each image."""
        return ((images - self.level).pow(2).flatten(1).mean(1) + 1e-12).sqrt()


@configured
class Blur(Penalty):
    """The root mean squared difference from the blurred image (3x3), which itself stays fixed."""

    weight: Weight = 1.0

    def __call__(self, images: Images) -> Scores:
        """Of each image."""
        smooth = functional.avg_pool2d(
            functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1
        ).detach()
        return ((images - smooth).pow(2).flatten(1).mean(1) + 1e-12).sqrt()


@configured
class BoundaryComplexity(Penalty):
    """How much differs from grey near the border, where nothing is seen whole: Lucid's `w` margin.

    The mean squared distance from a grey level over a frame, and the variation along it.

    Args:
        frame: its width in pixels.
        level: the grey level.
        weight: of the penalty.
    """

    frame: Annotated[int, Range(1)] = 4
    level: Annotated[float, Range(0, 1)] = 0.5
    weight: Weight = 1.0

    def __call__(self, images: Images) -> Scores:
        """Of each image."""
        inner = images[:, :, self.frame : -self.frame, self.frame : -self.frame]
        filled = functional.pad(inner, [self.frame] * 4, value=self.level)
        frame = images - filled
        along = frame.diff(dim=2).abs().flatten(1).mean(1) + frame.diff(dim=3).abs().flatten(
            1
        ).mean(1)
        return frame.pow(2).flatten(1).mean(1) + along
