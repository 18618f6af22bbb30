"""Holes filled from their border inwards, ring by ring."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.config import Range, configured
from xai_exp.types import Copies, Images, Keys, Removal, Scenes, StepMasks


@configured
class Inpaint:
    r"""Lost pixels filled from the border of the hole inwards, each ring from what is known.

    After Telea 2004 (J. Graphics Tools 9(1)), which SHAP's image masker takes (`inpaint_telea`): a
    pixel gets the mean of the known pixels within `radius`, weighed by $1 / d^2$. Telea's weights
    of direction and level and his gradient term are left out, and pixels of a ring are filled at
    once instead of by distance, so that all masks are filled together on the device. A hole's
    middle takes the colour of its border, so a hole inside an object is filled with the object. An
    image without any pixel left is filled with its mean.

    A hole of n pixels across costs n / 2 convolutions of the image.

    Args:
        radius: of the neighbourhood, in pixels.
    """

    random: ClassVar[bool] = False
    radius: Annotated[int, Range(1, 16)] = 3

    def __call__(self, images: Images, scenes: Scenes | None, keys: Keys) -> Removal:  # noqa: ARG002
        """Make the images ready to lose pixels."""
        return _Rings(images, _weights(self.radius).to(images))


@dataclass(frozen=True, slots=True)
class _Rings:
    """The removal of `Inpaint`."""

    images: Tensor
    weights: Tensor

    def __call__(self, rows: slice, masks: StepMasks) -> Copies:
        """The images at `rows` with every step's holes filled, flat."""
        steps = masks.shape[1]
        images = self.images[rows].repeat_interleave(steps, 0)
        known = (~masks).flatten(0, 1)[:, None].to(images)
        empty = known.flatten(1).sum(1) == 0
        filled = images * known
        while True:
            reach = self.weights.shape[-1] // 2
            total = functional.conv2d(known, self.weights, padding=reach)
            beside = functional.max_pool2d(known, 3, stride=1, padding=1) > 0
            ring = beside & (known == 0) & (total > 0)  # a small radius reaches no corner
            if not bool(ring.any()):
                break
            sums = functional.conv2d(filled.flatten(0, 1)[:, None], self.weights, padding=reach)
            means = sums.view_as(filled) / total.clamp(min=1e-12)
            filled = torch.where(ring, means, filled)
            known = known + ring
        mean = images.mean((2, 3), keepdim=True)
        return torch.where(empty[:, None, None, None], mean, filled)


def _weights(radius: int) -> Tensor:
    """1 / d^2 within the radius, 0 in the middle: (1, 1, side, side)."""
    step = torch.arange(-radius, radius + 1, dtype=torch.float64)
    square = step[:, None] ** 2 + step**2
    inside = (square > 0) & (square <= radius**2)
    return torch.where(inside, 1 / square.clamp(min=1), 0)[None, None]
