"""Parameters of a scene: what each is, how it is read off and how it is set."""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_exp.data.scenes.scene import Scene
from xai_exp.insight.parameters.changes import numbered, objects, placed, resized
from xai_exp.types import Keep, Scores

Members = Callable[[Scene], Keep]  # which objects are of a kind
_SEED = 20_011  # of where objects are put that did not fit


@dataclass(frozen=True, kw_only=True)
class Parameter(ABC):
    """One number of every scene; NaN where a scene has none (the size of no object)."""

    name: str
    unit: str = ""
    ordered: ClassVar[bool] = True  # whether values between two values mean anything

    @abstractmethod
    def read(self, scene: Scene) -> Scores:
        """The value in every scene."""

    @abstractmethod
    def write(self, scene: Scene, values: Scores) -> Scene:
        """The same scenes with these values."""

    @property
    def whole(self) -> bool:
        """Whether only whole numbers make sense."""
        return False


@dataclass(frozen=True, kw_only=True)
class Number(Parameter):
    """How many objects of a kind there are."""

    members: Members
    donors: Scene

    @property
    def whole(self) -> bool:
        """Yes."""
        return True

    def read(self, scene: Scene) -> Scores:
        return self.members(scene).sum(1).float()

    def write(self, scene: Scene, values: Scores) -> Scene:
        return numbered(scene, self.members(scene), values.round().long(), self.donors, _SEED)


@dataclass(frozen=True, kw_only=True)
class Size(Parameter):
    """The mean radius of the objects; all are scaled alike."""

    def read(self, scene: Scene) -> Scores:
        there = objects(scene)["sides"] > 0
        return (objects(scene)["radii"] * there).sum(1) / there.sum(1)

    def write(self, scene: Scene, values: Scores) -> Scene:
        factor = (values / self.read(scene)).nan_to_num(1.0)
        return resized(scene, objects(scene)["radii"] * factor[:, None], _SEED)


@dataclass(frozen=True, kw_only=True)
class Place(Parameter):
    """Where the one object of a scene lies, from the left (axis 0) or from the top (1)."""

    axis: int

    def read(self, scene: Scene) -> Scores:
        return scene.centres[:, 0, self.axis]

    def write(self, scene: Scene, values: Scores) -> Scene:
        centres = scene.centres.clone()
        centres[:, 0, self.axis] = values
        return dataclasses.replace(scene, centres=centres)


@dataclass(frozen=True, kw_only=True)
class Places(Parameter):
    """Where all objects lie: a name of an arrangement, of which all but one's own are drawn."""

    ordered: ClassVar[bool] = False

    def read(self, scene: Scene) -> Scores:
        return torch.arange(len(scene)).float()

    def write(self, scene: Scene, values: Scores) -> Scene:
        there = objects(scene)["sides"] > 0
        moved = torch.ones(len(scene), dtype=torch.bool)
        return placed(scene, torch.zeros_like(there), moved, int(values.sum()) % 2**31)


@dataclass(frozen=True, kw_only=True)
class Angle(Parameter):
    """By how many degrees the one polygon is turned, up to its symmetry."""

    def read(self, scene: Scene) -> Scores:
        turn = 2 * math.pi / scene.sides[:, 0].clamp(min=1)
        return torch.rad2deg(scene.angles[:, 0] % turn)

    def write(self, scene: Scene, values: Scores) -> Scene:
        angles = scene.angles.clone()
        angles[:, 0] = torch.deg2rad(values)
        return dataclasses.replace(scene, angles=angles)


@dataclass(frozen=True, kw_only=True)
class Kind(Parameter):
    """How many corners the one object has (1: a disc)."""

    @property
    def whole(self) -> bool:
        """Yes."""
        return True

    def read(self, scene: Scene) -> Scores:
        return scene.sides[:, 0].float()

    def write(self, scene: Scene, values: Scores) -> Scene:
        sides = scene.sides.clone()
        sides[:, 0] = values.round().long()
        return dataclasses.replace(scene, sides=sides)


@dataclass(frozen=True, kw_only=True)
class Tag(Parameter):
    """Whether the planted tag is there (1) or not (0)."""

    @property
    def whole(self) -> bool:
        """Yes."""
        return True

    def read(self, scene: Scene) -> Scores:
        return (scene.sides[:, -1] > 0).float()

    def write(self, scene: Scene, values: Scores) -> Scene:
        sides = scene.sides.clone()
        sides[:, -1] = torch.where(values > 0.5, 4, 0)
        return dataclasses.replace(scene, sides=sides)


@dataclass(frozen=True, kw_only=True)
class Background(Parameter):
    """The background's grey level; objects keep the least contrast that there is."""

    least: float

    def read(self, scene: Scene) -> Scores:
        background = scene.background
        return background.mean(1) if background.ndim > 1 else background

    def write(self, scene: Scene, values: Scores) -> Scene:
        filled = (
            values[:, None].expand_as(scene.background) if scene.background.ndim > 1 else values
        )
        changed = dataclasses.replace(scene, background=filled.clone())
        if scene.background.ndim > 1 or scene.levels.ndim > 2:
            return changed
        levels = away(scene.levels, values[:, None], self.least)
        return dataclasses.replace(changed, levels=levels)


@dataclass(frozen=True, kw_only=True)
class ObjectGrey(Parameter):
    """The objects' common grey level, the tag's too; the background keeps the least contrast."""

    least: float

    def read(self, scene: Scene) -> Scores:
        return scene.levels[:, 0]

    def write(self, scene: Scene, values: Scores) -> Scene:
        levels = values[:, None].expand_as(scene.levels).clone()
        background = away(scene.background, values, self.least)
        return dataclasses.replace(scene, levels=levels, background=background)


def away(levels: Tensor, others: Tensor, least: float) -> Tensor:
    """Grey levels at least `least` away from others, on their own side where it has the room.

    >>> away(torch.tensor([0.5, 0.5, 0.9]), torch.tensor([0.4, 0.8, 0.1]), 0.5)
    tensor([0.9000, 0.3000, 0.9000])
    """
    side = torch.where(levels >= others, 1.0, -1.0)
    moved = others + side * torch.maximum((levels - others).abs(), levels.new_tensor(least))
    flipped = others - side * least
    fits = (moved >= 0) & (moved <= 1)
    return torch.where(fits, moved, flipped).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class Contrast(Parameter):
    """Objects minus background; both move about their middle, which gives way at the ends."""

    def read(self, scene: Scene) -> Scores:
        return scene.levels[:, 0] - scene.background

    def write(self, scene: Scene, values: Scores) -> Scene:
        half = values / 2
        middle = (scene.levels[:, 0] + scene.background) / 2
        middle = torch.minimum(torch.maximum(middle, half.abs()), 1 - half.abs())
        levels = (middle + half)[:, None].expand_as(scene.levels).clone()
        return dataclasses.replace(scene, levels=levels, background=middle - half)
