"""Objects of several kinds, some of which decide the label: what all such data share.

A dataset says which numbers of each kind an image can have, how often, and what label they make;
here they are given places, sizes and levels. Zero objects are always among them, and so is every
subset of the objects of an image: each coalition of parts is an image that the generator draws.
"""

import dataclasses
import math
from abc import abstractmethod
from typing import Annotated, Literal

import torch
from torch import Tensor

from xai_exp.config import InputError, Range, configured
from xai_exp.data import loading
from xai_exp.data.loading import SceneSplit, Splits, grey_levels, levels_beside, stream
from xai_exp.data.scenes.placement import Overlap, Placement, crowded, refusal
from xai_exp.data.scenes.polygons import DISC, circumradii
from xai_exp.data.scenes.scene import Scene
from xai_exp.data.scenes.texture import Amplitude, Kind, backdrop
from xai_exp.types import Keep, Labels

By = Literal["shape", "color"]
Color = Literal["grey", "rgb"]
SHAPES = {"disc": DISC, "square": 4, "triangle": 3}
COLORS = {
    "red": (0.9, 0.15, 0.15),
    "green": (0.15, 0.8, 0.2),
    "blue": (0.2, 0.3, 0.95),
    "yellow": (0.95, 0.85, 0.15),
}
_JITTER = 0.1  # by which a coloured object's channels differ from its kind's
_BACKGROUND = (0.35, 0.6)  # grey levels that are far from all of those colours
Mixtures = tuple[Tensor, Tensor]  # numbers of each kind (mixture, kind), and their probabilities


@configured
class Kinds(Splits):
    """Objects of several kinds on a background.

    Args:
        count: images in all splits together.
        pixels: height and width of the images.
        by: what tells the kinds apart: shape (disc, square, triangle) or color (discs that are red,
            green, blue or yellow, on grey).
        color: grey or rgb images; kinds by color need rgb.
        min_radius, max_radius: size, as the radius of the disc of equal area; each object's own.
        gap: the least distance between two objects' circumcircles, in pixels.
        min_contrast: the least difference between the levels of objects and background.
        texture: of the background: none, stripes or noise.
        amplitude: the texture's, in grey levels.
        overlap: by which share of the sum of two circumradii objects may overlap, each then having
            a level of its own and hiding those drawn before it; 0: they keep the gap.
        validation_share, test_share: the share of images held out.
        seed: of the scenes; models of all seeds see the same images.
    """

    count: Annotated[int, Range(30)] = 60_000
    pixels: Annotated[int, Range(16, 512)] = 64
    by: By = "shape"
    color: Color = "grey"
    min_radius: Annotated[float, Range(1)] = 4.0
    max_radius: Annotated[float, Range(1)] = 6.0
    gap: Annotated[float, Range(1.5)] = 2.0
    min_contrast: Annotated[float, Range(0, 0.9)] = 0.2
    texture: Kind = "none"
    amplitude: Amplitude = 0.1
    overlap: Overlap = 0.0
    validation_share: Annotated[float, Range(0, 0.5, exclusive_low=True)] = 0.03
    test_share: Annotated[float, Range(0, 0.5, exclusive_low=True)] = 0.1
    seed: Annotated[int, Range(0)] = 0

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.min_radius > self.max_radius:
            raise InputError(
                f"{name}.min_radius: got {self.min_radius:g}; allowed: at most max_radius = "
                f"{self.max_radius:g}"
            )
        if self.by == "color" and self.color != "rgb":
            raise InputError(f"{name}.color: got {self.color} with by=color; allowed: rgb")
        if not self.overlap and crowded(self.most, self.min_radius, self.gap, self.pixels):
            raise refusal(f"{name}.pixels", self.most, self.min_radius, self.pixels)

    @abstractmethod
    def mixtures(self) -> Mixtures:
        """The numbers of each kind that an image can have, and how often."""

    @abstractmethod
    def labelled(self, numbers: Tensor) -> Labels:
        """The labels of images with these numbers of each kind (image, kind)."""

    @property
    def ignored_kinds(self) -> tuple[int, ...]:
        """The kinds that never change a label."""
        return (2,)

    @property
    def kind_names(self) -> tuple[str, ...]:
        """What the kinds are called, in order."""
        names = tuple(SHAPES if self.by == "shape" else COLORS)
        return names[: self.mixtures()[0].shape[1]]

    @property
    def channels(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """1 or 3."""
        return 3 if self.color == "rgb" else 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return (self.pixels, self.pixels)

    @property
    def most(self) -> int:
        """The most objects that an image has."""
        return int(self.mixtures()[0].sum(1).max())

    def split(self, which: int) -> SceneSplit:
        """Sample the scenes of one split."""
        count = loading.sizes(self.count, self.validation_share, self.test_share)[which]
        generator = stream(self.seed, which)
        table, chances = self.mixtures()
        numbers = table[torch.multinomial(chances, count, replacement=True, generator=generator)]
        scene = self._scene(shuffled(numbers, self.most, generator), generator)
        return SceneSplit(everything=scene, labels=self.labelled(numbers))

    def _scene(self, kinds: Tensor, generator: torch.Generator) -> Scene:
        """Scenes with an object of each kind (image, object), or with none where it is -1."""
        count = len(kinds)
        level, background = self._levels(kinds, generator)
        sides, radii, angles = self.shaped(kinds, generator)
        return Scene(
            sides=sides,
            centres=self.placement.placed(
                radii * circumradii(sides.clamp(min=DISC), radii), kinds >= 0, generator
            ),
            radii=radii,
            angles=angles,
            levels=level,
            background=background,
            size=self.size,
            texture=backdrop(self.texture, self.amplitude, count, generator),
            stacked=self.overlap > 0,
            source=self,
            ignored=torch.isin(kinds, torch.tensor(self.ignored_kinds)),
        )

    def redrawn(self, scene: Scene, keep: Keep, generator: torch.Generator) -> Scene:
        r"""The scenes with the objects that `keep` leaves out drawn from their distribution.

        Known are the background, the kept objects, and that there are no more objects than before.
        With n_c objects of kind c, of which s_c are kept, in k of L places, Bayes gives

            P(n | kept) ~ P(n) prod_c n_c! / (n_c - s_c)! * (L - |n|)! / (k - |n|)!  for |n| <= k;

        the new ones are placed among the kept ones as any object is. (How much room a mixture
        leaves is not part of the weights: objects fill a small part of the image.)
        """
        kinds = self.kinds_of(scene)
        keep = keep & (kinds >= 0)
        fresh = self._regrouped(kinds, keep, generator)
        sides, radii, angles = self.shaped(fresh, generator)
        drawn = {"sides": sides, "radii": radii, "angles": angles}
        mixed = {k: torch.where(keep, getattr(scene, k), new) for k, new in drawn.items()}
        outer = mixed["radii"] * circumradii(mixed["sides"].clamp(min=DISC), radii)
        centres = self.placement.placed(outer, fresh >= 0, generator, (keep, scene.centres))
        levels = self._relevelled(scene, fresh, keep, generator)
        ignored = torch.isin(fresh, torch.tensor(self.ignored_kinds))
        return dataclasses.replace(scene, centres=centres, levels=levels, ignored=ignored, **mixed)

    def kinds_of(self, scene: Scene) -> Tensor:
        """The kind of each object (image, object), -1 for none."""
        if self.by == "shape":
            known = torch.tensor([0, *SHAPES.values()])
            return (scene.sides[..., None] == known).int().argmax(2) - 1
        palette = torch.tensor(list(COLORS.values()))
        nearest = (scene.levels[:, :, None] - palette).norm(dim=3).argmin(2)
        return torch.where(scene.sides > 0, nearest, -1)

    def _regrouped(self, kinds: Tensor, keep: Tensor, generator: torch.Generator) -> Tensor:
        """The kept kinds, and others drawn given these in the places of those left out."""
        table, chances = self.mixtures()
        there = (kinds >= 0).sum(1)
        numbers = torch.arange(table.shape[1])
        kept = ((kinds[..., None] == numbers) & keep[..., None]).sum(1)
        more = table - kept[:, None]
        total = table.sum(1)
        spare = there[:, None] - total
        possible = (more >= 0).all(2) & (spare >= 0)
        ways = (
            (table + 1.0).lgamma().sum(1)
            + (self.most - total + 1.0).lgamma()
            - (more.clamp(min=0) + 1.0).lgamma().sum(2)
            - (spare.clamp(min=0) + 1.0).lgamma()
        )
        logs = torch.where(possible, chances.log() + ways, -torch.inf)
        chosen = torch.multinomial(logs.softmax(1), 1, generator=generator)[:, 0]
        fresh = shuffled(more[torch.arange(len(more)), chosen], self.most, generator)
        # The new objects go to the places left out, in the random order that they are in.
        fresh = fresh.gather(1, (fresh < 0).int().argsort(dim=1, stable=True))
        left = (kinds >= 0) & ~keep
        order = torch.where(left, torch.rand(left.shape, generator=generator), 2).argsort(1)
        places = torch.full_like(kinds, -1).scatter(1, order, fresh)
        return torch.where(keep, kinds, places)

    def _relevelled(
        self, scene: Scene, kinds: Tensor, keep: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Levels of the objects: those that share one keep it if any object is kept."""
        if self.by == "color":
            return torch.where(keep[..., None], scene.levels, self.coloured(kinds, generator))
        grey = scene.levels.ndim == 2
        levels = scene.levels[..., None] if grey else scene.levels
        background = scene.background[:, None] if grey else scene.background
        slots = kinds.shape[1] if self.overlap else 1
        fresh = [levels_beside(b, slots, self.min_contrast, generator) for b in background.T]
        stays = keep if self.overlap else keep.any(1, keepdim=True)
        mixed = torch.where(stays[..., None], levels, torch.stack(fresh, 2))
        return mixed[..., 0] if grey else mixed

    @property
    def placement(self) -> Placement:
        """How objects are placed."""
        name = f"{type(self).__name__}.pixels"
        return Placement(pixels=self.pixels, gap=self.gap, overlap=self.overlap, name=name)

    def shaped(self, kinds: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Sides, radii and angles."""
        draws = torch.rand(2, *kinds.shape, generator=generator)
        by_shape = torch.tensor([0, *SHAPES.values()])
        sides = by_shape[kinds + 1] if self.by == "shape" else (kinds >= 0).long() * DISC
        radii = self.min_radius + (self.max_radius - self.min_radius) * draws[0]
        return sides, radii, 2 * math.pi * draws[1]

    def _levels(self, kinds: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Levels of objects and background, a number or three each."""
        count, slots = kinds.shape
        if self.by == "color":
            low, high = _BACKGROUND
            grey = low + (high - low) * torch.rand(count, 1, generator=generator)
            return self.coloured(kinds, generator), grey.expand(-1, 3).contiguous()
        pairs = [grey_levels(count, self.min_contrast, generator) for _ in range(self.channels)]
        background = torch.stack([pair[1] for pair in pairs], 1)
        levels = torch.stack([pair[0] for pair in pairs], 1)[:, None].expand(-1, slots, -1)
        if self.overlap:
            own = [levels_beside(b, slots, self.min_contrast, generator) for b in background.T]
            levels = torch.stack(own, 2)
        if self.channels == 1:
            return levels[..., 0].contiguous(), background[:, 0].contiguous()
        return levels.contiguous(), background

    def coloured(self, kinds: Tensor, generator: torch.Generator) -> Tensor:
        """Each object's own colour, near its kind's."""
        palette = torch.tensor(list(COLORS.values()))[kinds.clamp(min=0)]
        return (palette + _JITTER * (2 * torch.rand(palette.shape, generator=generator) - 1)).clamp(
            0, 1
        )


def shuffled(numbers: Tensor, places: int, generator: torch.Generator) -> Tensor:
    """Kinds in random places: (image, place), -1 for none, from the numbers of each kind."""
    order = torch.arange(places)
    ends = numbers.cumsum(1)
    kinds = (order[None, :, None] >= ends[:, None]).sum(2)
    kinds = torch.where(kinds < numbers.shape[1], kinds, -1)
    luck = torch.rand(len(numbers), places, generator=generator).argsort(1)
    return kinds.gather(1, luck)


def crossed(*tables: Mixtures) -> Mixtures:
    """Mixtures of kinds that are drawn independently of one another."""
    numbers, chances = tables[0]
    for more, theirs in tables[1:]:
        pairs = torch.cartesian_prod(torch.arange(len(numbers)), torch.arange(len(more)))
        numbers = torch.cat([numbers[pairs[:, 0]], more[pairs[:, 1]]], 1)
        chances = chances[pairs[:, 0]] * theirs[pairs[:, 1]]
    return numbers, chances


def evenly(most: int, kinds: int) -> Mixtures:
    """0 to `most` objects, every number equally often, each of any kind: multinomial.

    >>> evenly(1, 2)[0].tolist(), evenly(1, 2)[1].tolist()
    ([[0, 0], [0, 1], [1, 0]], [0.5, 0.25, 0.25])
    """
    every = torch.arange(most + 1)
    numbers = torch.cartesian_prod(*[every] * kinds).view(-1, kinds)
    numbers = numbers[numbers.sum(1) <= most]
    total = numbers.sum(1).float()
    ways = (total + 1).lgamma() - (numbers.float() + 1).lgamma().sum(1) - total * math.log(kinds)
    return numbers, ways.exp() / (most + 1)


def present(chance: float) -> Mixtures:
    """One object of a kind with a probability, else none."""
    return torch.tensor([[0], [1]]), torch.tensor([1 - chance, chance])
