"""The same images but for something that does not decide their label."""

import dataclasses
from typing import Literal

import torch

from xai_exp.config import InputError
from xai_exp.data.scenes.scene import Scene
from xai_exp.types import Images, Index, Split

Factor = Literal["ignored", "tag"]


def changed(split: Split, index: Index, factor: str, generator: torch.Generator) -> Images:
    """The images at `index` with another state of a factor that their labels do not depend on.

    - ignored: objects that do not decide the label; each is left out with probability 1/2.
    - tag: a planted tag; it is there where it was not, and the other way round.

    Raises:
        InputError: when the data have no such factor.
    """
    scenes = split.scenes(index)
    if not isinstance(scenes, Scene) or not _has(scenes, factor):
        raise InputError(
            f"trainer.invariance: got {factor} on data without it; allowed: ignored on typed or "
            "weighted counting, one of each and parity pairs, tag on data with a shortcut"
        )
    sides = scenes.sides.clone()
    if factor == "tag":
        sides[:, -1] = torch.where(sides[:, -1] == 0, 4, 0)
    elif scenes.ignored is not None:
        luck = torch.rand(sides.shape, generator=generator).to(sides.device) < 0.5
        sides[scenes.ignored & luck] = 0
    return dataclasses.replace(scenes, sides=sides).render()


def _has(scenes: Scene, factor: str) -> bool:
    return scenes.tagged if factor == "tag" else scenes.ignored is not None
