"""Tetrominoes in noise: scenes whose parts are added to a background, or scale it (XAI-TRIS)."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.data.scenes.cells import objects_or_patches
from xai_exp.data.scenes.drawing import Layered
from xai_exp.types import Drawing, Flags, Images, Keep, Keys, Layers, Parts, Scenes

DIVISIONS = ("objects", "grid", "pixels")


@dataclass(frozen=True, kw_only=True)
class Tetrominoes:
    """A batch of scenes of up to two tetrominoes on a background of normal noise.

    With p the pattern of a tetromino (1 inside, 0 outside), b the background and s its sign, the
    image is (1 + v) / 2, cut to 0..1, with

        additive        v = sum of kept s * signal * p + noise * b
        multiplicative  v = noise * b * prod of kept (1 - signal * s * p).

    Args:
        patterns: the tetrominoes that there can be, in the upper left corner, 1 inside and 0
            outside: (pattern, height, width).
        chosen: which pattern each object is: (batch, object).
        places: the row and column of its upper left pixel: (batch, object, 2).
        signs: 1 or -1, or 0 for none: (batch, object).
        keys: of each scene's noise.
        smoothing: how noise is smoothed along an axis, its variance being one on average:
            (side, side).
        soft: how patterns are, likewise.
        signal, noise: the two strengths.
        multiplicative: whether tetrominoes scale the noise.
        fewest: how many objects the generator puts into an image.
    """

    patterns: Tensor
    chosen: Tensor
    places: Tensor
    signs: Tensor
    keys: Keys
    smoothing: Tensor
    soft: Tensor
    signal: float
    noise: float
    multiplicative: bool
    fewest: int
    division: str = "objects"

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: Any) -> "Tetrominoes":  # noqa: ANN401
        return self._mapped(lambda tensor: tensor[index])

    def _mapped(self, function: Callable[[Tensor], Tensor]) -> "Tetrominoes":
        return dataclasses.replace(
            self,
            chosen=function(self.chosen),
            places=function(self.places),
            signs=function(self.signs),
            keys=function(self.keys),
        )

    def to(self, device: torch.device | str) -> "Tetrominoes":
        """The same scenes on `device`."""
        moved = self._mapped(lambda tensor: tensor.to(device))
        return dataclasses.replace(
            moved,
            patterns=self.patterns.to(device),
            smoothing=self.smoothing.to(device),
            soft=self.soft.to(device),
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return (self.patterns.shape[1], self.patterns.shape[2])

    @property
    def divisions(self) -> tuple[str, ...]:
        """The ways these scenes can be divided."""
        return DIVISIONS

    def divided(
        self,
        division: str,
        depth: float | None = None,  # noqa: ARG002
        cells: int | None = None,
    ) -> Scenes:
        """The same scenes with other parts.

        Raises:
            InputError: when there is no such division.
        """
        return objects_or_patches(self, self.size, division, cells)

    @property
    def part_names(self) -> tuple[str, ...]:
        """The tetrominoes."""
        return tuple(f"tetromino {number + 1}" for number in range(self.chosen.shape[1]))

    @property
    def present(self) -> Keep:
        """Which tetrominoes each scene has."""
        return self.signs != 0

    @cached_property
    def _background(self) -> Tensor:
        height, width = self.size
        white = ops.keyed_normal(self.keys, height * width).view(-1, height, width)
        return self.noise * (self.smoothing @ white @ self.smoothing.T)

    @cached_property
    def _planes(self) -> Tensor:
        """The pattern of every object in its place: (batch, object, height, width)."""
        planes = self.patterns[self.chosen]
        for axis, side in enumerate(self.size):
            back = torch.arange(side, device=planes.device) - self.places[..., axis, None]
            shape = (*back.shape, 1) if axis == 0 else (*back.shape[:2], 1, side)
            moved = planes.gather(2 + axis, back.clamp(min=0).view(shape).expand_as(planes))
            planes = moved * (back >= 0).view(shape)
        return self.soft @ planes @ self.soft.T

    @cached_property
    def _signed(self) -> Tensor:
        return self._planes * self.signs[..., None, None]

    def render(self, keep: Keep | None = None) -> Images:
        """Draw the scenes, without the tetrominoes that `keep` leaves out."""
        keep = torch.ones_like(self.present) if keep is None else keep
        shown = self._signed * keep[..., None, None]
        if self.multiplicative:
            drawn = self._background * (1 - self.signal * shown).prod(1)
        else:
            drawn = self._background + self.signal * shown.sum(1)
        return ((1 + drawn) / 2).clamp(0, 1)[:, None]

    def layers(self) -> tuple[Images, Layers]:
        """The background, and what each tetromino adds: their places are disjoint."""
        nothing = torch.zeros_like(self.present)
        base = self.render(nothing)
        numbers = torch.arange(self.chosen.shape[1], device=nothing.device)
        alone = [self.render((numbers == part).expand_as(nothing)) - base for part in numbers]
        return base, torch.stack(alone, 1)

    def drawing(self) -> Drawing:
        """The scenes ready to be drawn with many subsets of their tetrominoes."""
        base, layers = self.layers()
        return Layered(base=base, layers=layers)

    def parts(self) -> Parts:
        """The exact place of every tetromino, 1 wherever it shows at all (5 % of its height)."""
        return ((self._planes >= 0.05) & self.present[..., None, None]).float()

    def drawable(self, keep: Keep) -> Flags:
        """Whether the generator draws such an image: it leaves out no tetromino."""
        return (keep & self.present).sum(1) >= self.fewest

    def redrawn(self, keep: Keep, generator: torch.Generator) -> "Tetrominoes":  # noqa: ARG002
        """Never: tetrominoes do not lie in an image by themselves."""
        raise InputError(
            "conditional truth: got tetrominoes; allowed: objects of typed or weighted counting, "
            "one of each, parity pairs"
        )
