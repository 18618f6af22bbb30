"""Scenes divided by where things are, not by what they are: patches of a grid, or pixels.

A cell that is left out shows the scene without any object there. Cells without content (where
the image and the empty scene agree) are no parts: they are worth nothing by definition.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.config import InputError
from xai_exp.data.scenes.drawing import Patched
from xai_exp.types import Cells, Drawing, Flags, Images, Keep, Layers, Parts, Scenes

CELLS_OF_A_GRID = 4  # patches of a grid's side, unless told otherwise


@dataclass(frozen=True, kw_only=True)
class Patches:
    """Scenes whose parts are the cells of a grid.

    Args:
        scenes: divided into objects.
        rows, columns: how many cells there are; as many as pixels makes each pixel a part.
        division: how this is called.
    """

    scenes: Scenes
    rows: int
    columns: int
    division: str = "grid"

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: Any) -> "Patches":  # noqa: ANN401
        return replace(self, scenes=self.scenes[index])

    def to(self, device: torch.device | str) -> "Patches":
        """The same scenes on `device`."""
        return replace(self, scenes=self.scenes.to(device))

    @property
    def divisions(self) -> tuple[str, ...]:
        """The ways these scenes can be divided."""
        return self.scenes.divisions

    def divided(
        self, division: str, depth: float | None = None, cells: int | None = None
    ) -> Scenes:
        """The same scenes with other parts."""
        cells = self.rows if cells is None and division == self.division == "grid" else cells
        return self.scenes.divided(division, depth, cells)

    @property
    def part_names(self) -> tuple[str, ...]:
        """Row and column of each cell, from 1."""
        return tuple(
            f"{'pixel' if self.division == 'pixels' else 'patch'} {row + 1}, {column + 1}"
            for row in range(self.rows)
            for column in range(self.columns)
        )

    @cached_property
    def _both(self) -> tuple[Images, Images]:
        """The empty scenes and the whole images."""
        nothing = torch.zeros_like(self.scenes.present)
        return self.scenes.render(nothing), self.scenes.render()

    @cached_property
    def _places(self) -> Cells:
        """The cell of each pixel: (1, height, width)."""
        height, width = self._both[0].shape[2:]
        device = self._both[0].device
        row, column = (
            torch.arange(side, device=device) * count // side
            for side, count in ((height, self.rows), (width, self.columns))
        )
        return (row[:, None] * self.columns + column)[None]

    def _in_cells(self, content: Tensor) -> Keep:
        """Which cells have any of the content, which is (batch, pixel)."""
        found = torch.zeros(len(content), self.rows * self.columns, device=content.device)
        places = self._places.flatten(1).expand(len(content), -1)
        return found.scatter_reduce(1, places, content.to(found), "amax") > 0

    @property
    def present(self) -> Keep:
        """Which cells have content."""
        return self._present

    @cached_property
    def _present(self) -> Keep:
        empty, whole = self._both
        return self._in_cells((empty != whole).any(1).flatten(1))

    def render(self, keep: Keep | None = None) -> Images:
        """Draw the scenes, without the cells that `keep` leaves out."""
        empty, whole = self._both
        if keep is None:
            return whole
        kept = keep.gather(1, self._places.flatten(1).expand(len(keep), -1))
        return torch.where(kept.view(len(keep), 1, *whole.shape[2:]), whole, empty)

    def parts(self) -> Parts:
        """Each cell with content: one inside and zero outside."""
        count = self.rows * self.columns
        planes = functional.one_hot(self._places[0], count).permute(2, 0, 1).to(self._both[0])
        return planes * self.present[..., None, None]

    def layers(self) -> tuple[Images, Layers]:
        """The empty scene, and what each cell adds to it: large for cells as small as pixels."""
        empty, whole = self._both
        return empty, self.parts()[:, :, None] * (whole - empty)[:, None]

    def drawing(self) -> Drawing:
        """The scenes ready to be drawn with many subsets of their cells."""
        empty, whole = self._both
        places = self._places.expand(len(empty), -1, -1)
        return Patched(base=empty, shown=whole, places=places, count=self.rows * self.columns)

    def drawable(self, keep: Keep) -> Flags:
        """Whether these cells are what some objects fill, which the generator draws alone.

        Each object has to be there whole or not at all.
        """
        touched = self._touched
        there, kept = touched.sum(2), (touched & keep[:, None]).sum(2)
        whole = kept == there
        return (whole | (kept == 0)).all(1) & self.scenes.drawable(whole & self.scenes.present)

    def redrawn(self, keep: Keep, generator: torch.Generator) -> Scenes:  # noqa: ARG002
        """Never: what lies in a cell is not drawn by itself."""
        raise InputError(
            f"conditional truth: got the division {self.division}; allowed: objects, whose "
            "generator can draw the others anew"
        )

    @cached_property
    def _touched(self) -> Tensor:
        """The cells (batch, object, cell) that each object reaches."""
        covered = self.scenes.parts().flatten(2) > 0
        batch, objects, pixels = covered.shape
        return self._in_cells(covered.view(-1, pixels)).view(batch, objects, -1)


def objects_or_patches(
    scenes: Scenes, size: tuple[int, int], division: str, cells: int | None
) -> Scenes:
    """Scenes that have no parts but objects, a grid's cells and pixels, divided into one of these.

    Raises:
        InputError: when there is no such division, or no such grid.
    """
    if division not in scenes.divisions:
        allowed = ", ".join(scenes.divisions)
        raise InputError(f"division of a scene: got {division!r}; allowed: {allowed}")
    return scenes if division == "objects" else patched(scenes, size, division, cells)


def patched(scenes: Scenes, size: tuple[int, int], division: str, cells: int | None) -> Patches:
    """Scenes in their objects, cut into a grid or into pixels.

    Raises:
        InputError: when a grid's side has no such number of cells.
    """
    if cells is not None and not 1 <= cells <= min(size):
        raise InputError(f"cells of a scene's grid: got {cells}; allowed: 1 to {min(size)}")
    side = cells or CELLS_OF_A_GRID
    rows, columns = size if division == "pixels" else (side, side)
    return Patches(scenes=scenes, rows=rows, columns=columns, division=division)
