"""Textures: planes in -1..1 that are drawn from a few numbers a scene, on any device.

A texture is a backdrop's (it lies behind all objects) or a skin (it shows on all of them); it is
scaled by its amplitude and added to a grey level or a colour.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.config import Range
from xai_exp.types import Heatmaps, Images, Keys, Scores

Kind = Literal["none", "stripes", "noise"]
Amplitude = Annotated[float, Range(0, 0.5)]


@runtime_checkable
class Texture(Protocol):
    """A plane for each scene."""

    def __getitem__(self, index: Any) -> "Texture":  # noqa: ANN401
        """The textures of the scenes at `index`."""
        ...

    def to(self, device: torch.device | str) -> "Texture":
        """The same on `device`."""
        ...

    def planes(self, size: tuple[int, int]) -> Images:
        """What is added to each pixel: (batch, 1 or channel, height, width)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Stripes:
    """Sinusoidal gratings: amplitude * sin(2 pi (x cos a + y sin a) / period + phase).

    Args:
        amplitudes: in 0..1.
        periods: in pixels.
        angles, phases: in radians.
    """

    amplitudes: Scores
    periods: Scores
    angles: Scores
    phases: Scores

    def __getitem__(self, index: Any) -> "Stripes":  # noqa: ANN401
        return self._mapped(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> "Stripes":
        """The same on `device`."""
        return self._mapped(lambda tensor: tensor.to(device))

    def _mapped(self, function: Callable[[Tensor], Tensor]) -> "Stripes":
        return Stripes(
            amplitudes=function(self.amplitudes),
            periods=function(self.periods),
            angles=function(self.angles),
            phases=function(self.phases),
        )

    def planes(self, size: tuple[int, int]) -> Images:
        """What is added to each pixel, at its centre."""
        y, x = (torch.arange(side, device=self.angles.device) + 0.5 for side in size)
        along, across = (
            (2 * math.pi / self.periods * direction)[:, None, None]
            for direction in (self.angles.cos(), self.angles.sin())
        )
        wave = along * x + across * y[:, None] + self.phases[:, None, None]
        return (self.amplitudes[:, None, None] * wave.sin())[:, None]


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Normal noise under a Gaussian blur, scaled to `amplitude` standard deviations.

    Args:
        keys: of each scene's draw, which is the same on every device.
        amplitude: the standard deviation of a pixel.
        sigma: of the blur, in pixels; 0 leaves white noise.
    """

    keys: Keys
    amplitude: float
    sigma: float

    def __getitem__(self, index: Any) -> "Noise":  # noqa: ANN401
        return Noise(keys=self.keys[index], amplitude=self.amplitude, sigma=self.sigma)

    def to(self, device: torch.device | str) -> "Noise":
        """The same on `device`."""
        return Noise(keys=self.keys.to(device), amplitude=self.amplitude, sigma=self.sigma)

    def planes(self, size: tuple[int, int]) -> Images:
        """What is added to each pixel."""
        return (self.amplitude * smooth_noise(self.keys, size, self.sigma))[:, None]


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """Planes that are given, such as pictures behind the objects.

    Args:
        given: (batch, channel, height, width).
    """

    given: Images

    def __getitem__(self, index: Any) -> "Fixed":  # noqa: ANN401
        return Fixed(given=self.given[index])

    def to(self, device: torch.device | str) -> "Fixed":
        """The same on `device`."""
        return Fixed(given=self.given.to(device))

    def planes(self, size: tuple[int, int]) -> Images:  # noqa: ARG002
        """What is added to each pixel."""
        return self.given


def smooth_noise(keys: Keys, size: tuple[int, int], sigma: float) -> Heatmaps:
    """Standard normal noise under a Gaussian blur of `sigma` pixels, of unit variance again."""
    reach = math.ceil(4 * sigma)
    height, width = size[0] + 2 * reach, size[1] + 2 * reach
    planes = ops.keyed_normal(keys, height * width).view(-1, 1, height, width)
    if not reach:
        return planes[:, 0]
    offsets = torch.arange(-reach, reach + 1, device=keys.device, dtype=planes.dtype)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights = weights / weights.square().sum().sqrt()
    planes = functional.conv2d(planes, weights[None, None, :, None])
    return functional.conv2d(planes, weights[None, None, None, :])[:, 0]


def backdrop(kind: str, amplitude: float, count: int, generator: torch.Generator) -> Texture | None:
    """Textures of one kind for `count` scenes, or none."""
    if kind == "none":
        return None
    if kind == "noise":
        keys = torch.randint(2**62, (count,), generator=generator)
        return Noise(keys=keys, amplitude=amplitude / 2, sigma=1.5)
    return stripes(amplitude, (4.0, 12.0), count, generator)


def stripes(
    amplitude: float, periods: tuple[float, float], count: int, generator: torch.Generator
) -> Stripes:
    """Gratings of any angle and phase, and of periods in a range."""
    draws = torch.rand(3, count, generator=generator)
    return Stripes(
        amplitudes=torch.full((count,), amplitude),
        periods=periods[0] + (periods[1] - periods[0]) * draws[0],
        angles=math.pi * draws[1],
        phases=2 * math.pi * draws[2],
    )
