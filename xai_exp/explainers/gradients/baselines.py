"""Baselines: the images that a method starts from, in which the network should see nothing.

None is neutral: a grey level may be the object's own; a blurred image still holds the object where
that is large. `border` is the known background of data with a uniform one, without their scenes.
"""

from typing import Annotated, Literal

import torch

from xai_exp.compute import ops
from xai_exp.config import InputError, Range
from xai_exp.removal.imputers import gaussian_blur
from xai_exp.types import Images

Level = Annotated[float, Range(-1e6, 1e6)]
Baseline = Level | Literal["border", "mean", "blur"]
Share = Annotated[float, Range(0, 10, exclusive_low=True)]


def baseline_images(images: Images, baseline: float | str, blur: float) -> Images:
    """The baseline of each image.

    Args:
        images: (batch, channel, height, width).
        baseline: a grey level, or each image's own: border, mean (by channel) or blur.
        blur: the standard deviation of the Gaussian, as a share of the longer side.
    """
    if baseline == "blur":
        return gaussian_blur(images, blur * max(images.shape[2:]))
    if baseline == "mean":
        return images.mean((2, 3), keepdim=True).expand_as(images).contiguous()
    return uniform(images, baseline)


def uniform(images: Images, level: float | str) -> Images:
    """Images of one level: the one given, or for `border` each image's and channel's own."""
    if level != "border":
        return torch.full_like(images, float(level))
    return ops.border_level(images).expand_as(images).contiguous()


def several(name: str, baseline: float | str | tuple[float | str, ...]) -> tuple[float | str, ...]:
    """The baselines of a field that holds one or a list of them.

    Raises:
        InputError: for an empty list.
    """
    found = baseline if isinstance(baseline, tuple) else (baseline,)
    if not found:
        raise InputError(f"{name}: got an empty list; allowed: one baseline or more")
    return found
