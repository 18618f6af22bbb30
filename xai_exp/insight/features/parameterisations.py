r"""What is optimised instead of pixels, so that the image is not noise.

Each begins from a seed and gives images in 0..1. A parameterisation decides how fast which pattern
can grow: in `Fourier` all frequencies alike, divided by their frequency as in natural images.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.config import Count, Range, configured
from xai_exp.types import Images

Shape = tuple[int, int, int, int]
# The square root of the covariance of ImageNet's colours, as Lucid has it, over its largest norm.
_COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """What is optimised, and the images that it stands for."""

    free: Sequence[Tensor]
    images: Callable[[], Images]


class Parameterisation(ABC):
    """A way to write images."""

    @abstractmethod
    def begin(self, shape: Shape, example: Images, source: torch.Generator) -> Canvas:
        """A canvas of this shape (image, channel, height, width); `example` are real images."""


def _normal(shape: Sequence[int], scale: float, source: torch.Generator, like: Tensor) -> Tensor:
    drawn = scale * torch.randn(tuple(shape), generator=source)
    return drawn.to(like.device).requires_grad_()


def coloured(values: Tensor) -> Tensor:
    """Decorrelated colours as red, green and blue; grey is left as it is."""
    if values.shape[1] != 3:
        return values
    matrix = values.new_tensor(_COLOURS)
    matrix = matrix / matrix.norm(dim=0).max()
    return torch.einsum("ck,nkhw->nchw", matrix, values)


@configured
class Pixels(Parameterisation):
    """Every pixel by itself, through a sigmoid: high frequencies grow fastest.

    Args:
        scale: the deviation of the logits at the start; 0 is grey.
    """

    scale: Annotated[float, Range(0)] = 0.1

    def begin(self, shape: Shape, example: Images, source: torch.Generator) -> Canvas:
        """A canvas of logits of pixels."""
        free = _normal(shape, self.scale, source, example)
        return Canvas(free=[free], images=lambda: free.sigmoid())


def frequencies(height: int, width: int) -> Tensor:
    """The length of each frequency of a real image's Fourier transform, in cycles a pixel."""
    y = torch.fft.fftfreq(height)[:, None]
    x = torch.fft.rfftfreq(width)[None]
    return (x**2 + y**2).sqrt()


def spectrum_scale(height: int, width: int, decay: float) -> Tensor:
    """What each frequency is multiplied by: 1 / frequency^decay, the mean as the lowest one."""
    least = 1 / max(height, width)
    return frequencies(height, width).clamp(min=least) ** -decay * math.sqrt(height * width) * least


@configured
class Fourier(Parameterisation):
    """A decorrelated Fourier transform (Olah et al. 2017), colours decorrelated, too.

    Args:
        scale: the deviation at the start.
        decay: of the spectrum: 1 as in natural images, 0 gives all frequencies alike.
    """

    scale: Annotated[float, Range(0)] = 0.01
    decay: Annotated[float, Range(0, 4)] = 1.0

    def begin(self, shape: Shape, example: Images, source: torch.Generator) -> Canvas:
        """A canvas of spectra."""
        count, channels, height, width = shape
        free = _normal((count, channels, height, width // 2 + 1, 2), self.scale, source, example)
        scale = spectrum_scale(height, width, self.decay).to(example.device)

        def images() -> Images:
            spectrum = torch.view_as_complex(free.contiguous()) * scale
            plain = torch.fft.irfft2(spectrum, s=(height, width), norm="ortho")
            return (4 * coloured(plain)).sigmoid()

        return Canvas(free=[free], images=images)


@configured
class LaplacianPyramid(Parameterisation):
    """A sum of images of halved sizes, so that coarse patterns move as easily as fine ones.

    Args:
        levels: sizes, from the image's own down.
        scale: the deviation at the start.
    """

    levels: Annotated[int, Range(1, 8)] = 4
    scale: Annotated[float, Range(0)] = 0.1

    def begin(self, shape: Shape, example: Images, source: torch.Generator) -> Canvas:
        """A canvas of several sizes."""
        count, channels, height, width = shape
        sizes = [(max(1, height >> k), max(1, width >> k)) for k in range(self.levels)]
        free = [_normal((count, channels, *one), self.scale, source, example) for one in sizes]

        def images() -> Images:
            look = {"size": (height, width), "mode": "bilinear", "align_corners": False}
            planes = [functional.interpolate(one, **look) for one in free]
            return coloured(torch.stack(planes).sum(0)).sigmoid()

        return Canvas(free=free, images=images)


@configured
class CPPN(Parameterisation):
    """A small network from a pixel's place to its colour (Mordvintsev et al. 2018; Stanley 2007).

    Its images are smooth and can be drawn at any size; each has a network of its own.

    Args:
        width: units of each of its layers.
        depth: layers.
    """

    width: Count = 16
    depth: Annotated[int, Range(1, 16)] = 4

    def begin(self, shape: Shape, example: Images, source: torch.Generator) -> Canvas:
        """A canvas of networks."""
        count, channels, height, width = shape
        steps = [torch.linspace(-math.sqrt(3), math.sqrt(3), side) for side in (height, width)]
        places = torch.stack(torch.meshgrid(*steps, indexing="ij")).flatten(1).to(example.device)
        sizes = [2, *[2 * self.width] * (self.depth - 1), 2 * self.width]
        free = [
            _normal((count, self.width, inside), 1 / math.sqrt(inside), source, example)
            for inside in sizes[:-1]
        ]
        free.append(_normal((count, channels, sizes[-1]), 0.01, source, example))

        def images() -> Images:
            values = places[None].expand(count, -1, -1)
            for weight in free[:-1]:
                angle = torch.atan(torch.bmm(weight, values))
                values = torch.cat([angle / 0.67, (angle**2) / 0.6], 1)  # of unit variance
            flat = torch.bmm(free[-1], values)
            return flat.unflatten(2, (height, width)).sigmoid()

        return Canvas(free=free, images=images)


@configured
class MaCo(Parameterisation):
    """Only the phases of the spectrum are free; magnitudes are those of real images (Fel 2023).

    So no image can be all high frequencies, whatever is optimised. Magnitudes are the mean over the
    example images, channel by channel; their mean colour stays.
    """

    def begin(self, shape: Shape, example: Images, source: torch.Generator) -> Canvas:
        """A canvas of phases."""
        count, channels, height, width = shape
        resized = example
        if tuple(example.shape[2:]) != (height, width):
            resized = functional.interpolate(example, size=(height, width), mode="bilinear")
        middle = resized.mean((0, 2, 3), keepdim=True)
        size = torch.fft.rfft2(resized - middle, norm="ortho").abs().mean(0, keepdim=True)
        phase = _normal((count, channels, height, width // 2 + 1), math.pi, source, example)

        def images() -> Images:
            spectrum = torch.polar(size.expand_as(phase).contiguous(), phase)
            plain = torch.fft.irfft2(spectrum, s=(height, width), norm="ortho")
            return _soft(plain + middle)

        return Canvas(free=[phase], images=images)


def _soft(values: Tensor) -> Tensor:
    """Values in 0..1; those beyond keep a small slope, so that they can come back."""
    kept = values.clamp(0, 1)
    return kept + 0.01 * (values - kept) - (0.01 * (values - kept)).detach()
