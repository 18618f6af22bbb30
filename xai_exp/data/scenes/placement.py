"""Where objects lie: at random, no two of them nearer than a gap, or overlapping so far."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from xai_exp.config import InputError, Range

Overlap = Annotated[float, Range(0, 0.5)]  # above a half objects could hide one another whole
_CANDIDATES = 16
_ROUNDS = 200
_LEAST = 0.01  # with fewer successes a round, many scenes would remain after all rounds
_ENOUGH = 200  # scenes that tell so
_DENSEST = math.pi / math.sqrt(12)  # the share of the plane that equal discs can cover (Thue 1892)


def anywhere(candidates: Tensor, outer: Tensor) -> Tensor:
    """All candidates are free."""
    return torch.ones_like(candidates[..., 0] + outer, dtype=torch.bool)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Objects placed one by one, each at the first of some random candidates that is free.

    Args:
        pixels: height and width of the image.
        gap: the least distance between two objects' circumcircles, in pixels.
        overlap: by which share of the sum of two circumradii objects may overlap; above 0 there is
            no gap.
        free: which candidates (scene, candidate, 2) of circumradius (scene, 1) are free otherwise.
        name: of the setting to blame if the objects do not fit.
    """

    pixels: int
    gap: float
    overlap: float = 0.0
    free: Callable[[Tensor, Tensor], Tensor] = anywhere
    name: str = "max_objects"

    def placed(
        self,
        outer: Tensor,
        there: Tensor,
        generator: torch.Generator,
        held: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Centres (scene, object, 2) for the objects of circumradii `outer` that are `there`.

        A scene in which an object finds no free candidate starts again from its first object.
        `held` are objects that stay where they are: which (scene, object), and all centres.

        Raises:
            InputError: when the objects do not fit: at once, from a trial on the fullest scenes.
        """
        if len(outer) and held is None:
            counts = there.sum(1)
            fullest = (counts == counts.max()).nonzero()[:, 0]
            self._tried(outer[fullest], there[fullest])
        centres = torch.full((*outer.shape, 2), self.pixels / 2)
        todo = torch.arange(len(outer))
        for _ in range(_ROUNDS):
            mine = held and (held[0][todo], held[1][todo])
            placed, fits = self._one_round(outer[todo], there[todo], generator, mine)
            centres[todo[fits]] = placed[fits]
            todo = todo[~fits]
            if len(todo) == 0:
                return centres
        raise self._refusal(outer, there)

    def _tried(self, outer: Tensor, there: Tensor) -> None:
        """Refuse the fullest scenes if hardly any of them can be placed."""
        few = torch.arange(_ENOUGH) % len(outer)
        own = torch.Generator().manual_seed(0)  # so that the scenes that do fit stay as they are
        fits = self._one_round(outer[few], there[few], own)[1]
        if float(fits.float().mean()) < _LEAST:
            raise self._refusal(outer, there)

    def _refusal(self, outer: Tensor, there: Tensor) -> InputError:
        return refusal(self.name, int(there.sum(1).max()), float(outer.max()), self.pixels)

    def _one_round(
        self,
        outer: Tensor,
        there: Tensor,
        generator: torch.Generator,
        held: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        scenes, slots = outer.shape
        fixed = torch.zeros_like(there) if held is None else held[0] & there
        centres = torch.full((scenes, slots, 2), self.pixels / 2)
        if held is not None:
            centres = torch.where(fixed[..., None], held[1], centres)
        fits = torch.ones(scenes, dtype=torch.bool)
        for slot in range(slots):
            draws = torch.rand(scenes, _CANDIDATES, 2, generator=generator)
            mine = outer[:, slot, None, None]
            candidates = mine + (self.pixels - 2 * mine).clamp(min=0) * draws
            others = slice(slot) if held is None else slice(None)
            lies = fixed[:, others].clone()
            lies[:, :slot] = there[:, :slot]
            lies[:, slot : slot + 1] = False
            apart = torch.cdist(candidates, centres[:, others])
            needed = self._needed(outer[:, slot, None], outer[:, others])[:, None]
            free = ((apart >= needed) | ~lies[:, None]).all(2) & (2 * mine[..., 0] <= self.pixels)
            free &= self.free(candidates, mine[..., 0])
            chosen = candidates[torch.arange(scenes), free.int().argmax(1)]
            stays = fixed[:, slot]
            centres[:, slot] = torch.where(stays[:, None], centres[:, slot], chosen)
            fits &= free.any(1) | ~there[:, slot] | stays
        return centres, fits

    def _needed(self, mine: Tensor, others: Tensor) -> Tensor:
        together = mine + others
        return together * (1 - self.overlap) if self.overlap else together + self.gap


def refusal(name: str, objects: int, radius: float, pixels: int) -> InputError:
    """Too many objects for the image, in a line."""
    return InputError(
        f"{name}: got {objects} objects of radius up to {radius:.1f} in {pixels} pixels; allowed: "
        "fewer or smaller ones, so that they fit without overlap"
    )


def crowded(objects: int, radius: float, gap: float, pixels: int) -> bool:
    """Whether so many discs can't lie in the image in any order, for want of area.

    With half of the gap around each they lie in a square that is a gap wider than the image, of
    which equal discs cover at most pi / sqrt(12).
    """
    area = objects * math.pi * (radius + gap / 2) ** 2
    return area > _DENSEST * (pixels + gap) ** 2
