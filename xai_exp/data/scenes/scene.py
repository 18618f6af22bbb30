"""What is in an image: a few numbers for each object, from which image and truth are drawn.

A scene is a background and up to a fixed number of objects (discs and regular polygons), perhaps
with a planted tag as the last of them. The size of an object is the radius of the disc of equal
area, so that kinds do not differ in area. Background and objects are uniform, grey or coloured,
unless a texture lies behind the objects, or a skin on them.

Because objects are disjoint, an image is linear in what is kept:
image = base + sum over parts of keep * coverage * (fill - backdrop). So rendering without a part is
exact, anti-aliased border included: nothing is painted over. Only in `stacked` scenes may objects
overlap, later ones hiding those before them; they are painted again for every subset.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xai_exp.config import InputError
from xai_exp.data.scenes.cells import patched
from xai_exp.data.scenes.drawing import Layered, Stacked
from xai_exp.data.scenes.painting import Shapes, polygons_alone
from xai_exp.data.scenes.polygons import DISC, circumradius, divide, regular_polygon
from xai_exp.data.scenes.texture import Texture
from xai_exp.types import (
    Drawing,
    Flags,
    Images,
    Keep,
    Layers,
    Parts,
    Scenes,
    Unions,
)

PerObject = Float[Tensor, "batch object"]
Sides = Int[Tensor, "batch object"]
Centres = Float[Tensor, "batch object 2"]
Owners = Int[Tensor, "batch part"]
PerObjectLevels = Float[Tensor, "batch object *channel"]
SceneLevels = Float[Tensor, "batch *channel"]

Coalitions = Literal["objects", "corners", "sides", "anatomy", "grid", "pixels"]
DIVISIONS = ("objects", "corners", "sides", "anatomy")
PATCHES = ("grid", "pixels")
CELLS = 4  # patches of a grid's side, unless told otherwise


@runtime_checkable
class Redraws(Protocol):
    """A dataset that can draw some objects of its scenes anew, given the others."""

    def redrawn(self, scene: "Scene", keep: Keep, generator: torch.Generator) -> "Scene":
        """The scenes with the objects that `keep` leaves out drawn from their distribution."""
        ...


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A batch of scenes.

    Args:
        sides: what each object is: 0 absent, 1 a disc, n >= 3 a regular polygon with n sides.
        centres: (x, y) in pixels.
        radii: the radius of the disc of equal area, in pixels.
        angles: by how much a polygon is turned, in radians.
        levels: the objects' grey level (batch, object) or colour (batch, object, 3), in 0..1.
        background: the background's grey level (batch) or colour (batch, 3), in 0..1.
        size: height and width in pixels.
        division: what counts as a part.
        depth: how far a cut goes: the share of the side that a corner's chord takes from either
            end, or the share of the radius that a side's strip takes.
        tagged: whether the last object is a planted tag.
        texture: what is added to the background, if anything; the sum is cut to 0..1.
        skin: what is added to the objects, likewise.
        stacked: whether objects overlap, later ones hiding those before them.
        fewest: how many objects the generator puts into an image at least.
        tied: whether the generator puts a tag where it speaks for the class, and nowhere else.
        coalitions: the division whose parts were left out at random in training, if any.
        source: what draws some of the objects anew, given the others.
        ignored: (batch, object) which objects do not decide the label, if it is known.
    """

    sides: Sides
    centres: Centres
    radii: PerObject
    angles: PerObject
    levels: PerObjectLevels
    background: SceneLevels
    size: tuple[int, int]
    division: str = "objects"
    depth: float = 0.3
    tagged: bool = False
    texture: Texture | None = None
    skin: Texture | None = None
    stacked: bool = False
    fewest: int = 0
    tied: bool = False
    coalitions: str | None = None
    source: "Redraws | None" = None
    ignored: Keep | None = None

    def __len__(self) -> int:
        return len(self.sides)

    def __getitem__(self, index: Any) -> "Scene":  # noqa: ANN401
        return self._mapped(lambda tensor: tensor[index], lambda texture: texture[index])

    def to(self, device: torch.device | str) -> "Scene":
        """The same scenes on `device`."""
        return self._mapped(lambda tensor: tensor.to(device), lambda texture: texture.to(device))

    def _mapped(
        self, function: Callable[[Tensor], Tensor], textured: Callable[[Texture], Texture]
    ) -> "Scene":
        names = ("sides", "centres", "radii", "angles", "levels", "background")
        return dataclasses.replace(
            self,
            texture=None if self.texture is None else textured(self.texture),
            skin=None if self.skin is None else textured(self.skin),
            ignored=None if self.ignored is None else function(self.ignored),
            **{name: function(getattr(self, name)) for name in names},
        )

    def turned(self, angle: float) -> "Scene":
        """The same scenes turned about the image's centre by `angle` radians, x towards y.

        Raises:
            InputError: when they have a texture, which stays where it is.
        """
        if self.texture is not None or self.skin is not None:
            raise InputError("turned scenes: got some with a texture; allowed: uniform ones")
        height, width = self.size
        middle = self.centres.new_tensor([width / 2, height / 2])
        x, y = (self.centres - middle).unbind(-1)
        sine, cosine = math.sin(angle), math.cos(angle)
        around = torch.stack([cosine * x - sine * y, sine * x + cosine * y], -1)
        return dataclasses.replace(self, centres=middle + around, angles=self.angles + angle)

    @property
    def divisions(self) -> tuple[str, ...]:
        """The ways these scenes can be divided: those of a polygon need scenes of one polygon."""
        one_polygon = self._objects == 1 and not bool((self.sides[:, 0] == DISC).any())
        return (*(DIVISIONS if one_polygon and not self.stacked else DIVISIONS[:1]), *PATCHES)

    def divided(
        self, division: str, depth: float | None = None, cells: int | None = None
    ) -> Scenes:
        """The same scenes with other parts.

        Args:
            division: objects, corners, sides, anatomy, grid or pixels.
            depth: of cuts into a polygon.
            cells: patches of a grid's side (null: 4).

        Raises:
            InputError: when these scenes have no such division, or parts so deep would overlap.
        """
        depth = self.depth if depth is None else depth
        if not 0 < depth <= 0.5:
            raise InputError(f"depth of a scene's parts: got {depth:g}; allowed: > 0 and <= 0.5")
        if division not in self.divisions:
            allowed = ", ".join(self.divisions)
            raise InputError(f"division of a scene: got {division!r}; allowed: {allowed}")
        if division in PATCHES:
            objects = dataclasses.replace(self, division="objects")
            return patched(objects, self.size, division, CELLS if cells is None else cells)
        return dataclasses.replace(self, division=division, depth=depth)

    @property
    def _objects(self) -> int:
        return self.sides.shape[1] - self.tagged

    @property
    def part_names(self) -> tuple[str, ...]:
        """The parts' names; the tag, if there is one, is the last."""
        corners = [f"corner {i + 1}" for i in range(self._most_sides)]
        edges = [f"edge {i + 1}" for i in range(self._most_sides)]
        names = {
            "objects": [f"object {i + 1}" for i in range(self._objects)],
            "corners": corners,
            "sides": [f"side {i + 1}" for i in range(self._most_sides)],
            "anatomy": [*corners, *edges, "interior"],
        }[self.division]
        return (*names, *(["tag"] if self.tagged else []))

    @cached_property
    def _most_sides(self) -> int:
        # Four at least, so that batches of triangles and squares divide into equally many parts.
        return max(4, int(self.sides[:, : self._objects].max())) if len(self) else 4

    @property
    def present(self) -> Keep:
        """Which parts each scene has."""
        return self._pieces[2]

    def in_unions(self) -> tuple[Drawing, Unions, Parts]:
        """Each object, those of one shape (discs, triangles, ...) in a union; a tag is its own."""
        objects = dataclasses.replace(self, division="objects")
        unions = self.sides.masked_fill(self.sides == 0, -1)
        if self.tagged:
            tag = torch.where(objects.present[:, -1:], int(self.sides.max()) + 1, -1)
            unions = torch.cat([unions[:, :-1], tag], 1)
        return objects.drawing(), unions, objects.parts()

    def render(self, keep: Keep | None = None) -> Images:
        """Draw the scenes, without the parts that `keep` leaves out."""
        if self.stacked or self.skin is not None or (keep is not None and not self._of_objects):
            keep = torch.ones_like(self.present) if keep is None else keep
            if self.stacked:
                return self.drawing()(slice(None), keep[:, None]).contiguous()
            base, deltas = self.layers()
            return base + (keep[..., None, None, None] * deltas).sum(1)
        return self._image(torch.ones_like(self.sides, dtype=torch.bool) if keep is None else keep)

    @property
    def _of_objects(self) -> bool:
        return self.division == "objects"

    def layers(self) -> tuple[Images, Layers]:
        """What no part draws, and what each part adds: image = base + sum of the kept layers.

        Whoever renders many subsets of the same scenes draws each part once with this.

        Raises:
            InputError: when objects hide one another.
        """
        if self.stacked:
            raise InputError(
                "layers of a scene: got objects that hide one another; allowed: disjoint ones, or "
                "a drawing, which paints them again for every subset"
            )
        contrasts = self._fills - self._backdrop[:, None]
        owners = self._pieces[1][..., None, None, None].expand(-1, -1, *contrasts.shape[2:])
        deltas = self.parts()[:, :, None] * contrasts.gather(1, owners)
        if self.skin is not None and self._of_objects:
            return self._backdrop.expand(-1, -1, *self.size), deltas
        if self.skin is not None:
            objects = dataclasses.replace(self, division="objects")
            base, added = objects.layers()
            return base + added.sum(1) - deltas.sum(1), deltas
        whole = self._image(torch.ones_like(self.sides, dtype=torch.bool))
        return whole - deltas.sum(1), deltas

    def drawing(self) -> Drawing:
        """The scenes ready to be drawn with many subsets of their parts."""
        if not self.stacked:
            base, layers = self.layers()
            return Layered(base=base, layers=layers)
        base = self._backdrop.expand(-1, -1, *self.size)
        return Stacked(base=base, coverage=self._alone(), fills=self._fills)

    def drawable(self, keep: Keep) -> Flags:
        """Whether the generator of these scenes draws such an image, with these parts alone.

        A tied tag is taken to need all the objects that it speaks for: a lower bound.
        """
        if self.division == self.coalitions:
            return torch.ones(len(self), dtype=torch.bool, device=keep.device)
        kept, there = keep & self.present, self.present
        objects = slice(None, -1) if self.tagged else slice(None)
        mine, all_mine = kept[:, objects].sum(1), there[:, objects].sum(1)
        whole = mine == all_mine
        if self._of_objects:
            found = mine >= self.fewest
        else:
            gone = (mine == 0) & (self.division == "anatomy") & (self.fewest == 0)
            found = whole | gone
        if self.tagged and self.tied:
            found = found & whole & (kept[:, -1] == there[:, -1])
        return found

    def redrawn(self, keep: Keep, generator: torch.Generator) -> "Scene":
        """The scenes with the objects that `keep` leaves out drawn anew, given those that stay.

        Raises:
            InputError: when the dataset does not know how, or the parts are not objects.
        """
        if self.source is None or not self._of_objects:
            raise InputError(
                f"conditional truth: got {self.division} of scenes "
                f"{'without' if self.source is None else 'with'} a generator that draws objects "
                "anew; allowed: objects of typed or weighted counting, one of each, parity pairs"
            )
        return self.source.redrawn(self, keep, generator)

    def parts(self) -> Parts:
        """The exact coverage of every part, as it is seen; of parts that are not there all zero."""
        if self._of_objects:
            planes = self._alone()
            return _seen(planes) if self.stacked else planes
        vertices, _, present = self._pieces
        batch, count = present.shape
        flat = vertices.reshape(batch * count, -1, 2)
        planes = polygons_alone(flat, self.size).unflatten(0, (batch, count))
        planes = planes * present[..., None, None]
        if self.tagged:
            everything = dataclasses.replace(self, division="objects").parts()
            planes[:, -1] = everything[:, -1]
        return planes

    def _alone(self) -> Parts:
        """The coverage of every object as if no other were there."""
        batch, count = self.sides.shape
        which = torch.arange(batch * count, device=self.sides.device)
        ones = torch.ones_like(self.radii).flatten()[:, None]
        planes = self._shapes.painted(which, ones, len(which), self.size)
        return planes.unflatten(0, (batch, count)).contiguous()

    @property
    def _shapes(self) -> Shapes:
        return Shapes(
            sides=self.sides.flatten(),
            centres=self.centres.flatten(0, 1),
            radii=self.radii.flatten(),
            angles=self.angles.flatten(),
        )

    @property
    def _levels(self) -> Tensor:
        """(batch, object, channel)."""
        return self.levels if self.levels.ndim == 3 else self.levels[..., None]

    @property
    def _backdrop(self) -> Tensor:
        """(batch, channel, height or 1, width or 1)."""
        flat = self.background if self.background.ndim == 2 else self.background[:, None]
        return _textured(flat[..., None, None], self.texture, self.size)

    @property
    def _fills(self) -> Tensor:
        """What objects are filled with: (batch, object, channel, height or 1, width or 1)."""
        levels = self._levels[..., None, None]
        if self.skin is None:
            return levels
        return (levels + self.skin.planes(self.size)[:, None]).clamp(0, 1)

    def _image(self, keep: Keep) -> Images:
        """The image with the kept objects only, which are uniform and disjoint."""
        if self.texture is None:
            contrast = self._levels - self._backdrop[:, None, :, 0, 0]
            return self._backdrop + self._painted(contrast * keep[..., None])
        covers = torch.cat([self._levels, torch.ones_like(self.radii)[..., None]], 2)
        painted = self._painted(covers * keep[..., None])
        return self._backdrop * (1 - painted[:, -1:]) + painted[:, :-1]

    def _painted(self, weights: Tensor) -> Images:
        """The sum of the objects' coverages by weights (batch, object, channel)."""
        batch, count = self.sides.shape
        plane = torch.arange(batch, device=self.sides.device).repeat_interleave(count)
        drawn = self._shapes.painted(plane, weights.flatten(0, 1), batch, self.size)
        return drawn.unflatten(0, (batch, weights.shape[2]))

    @cached_property
    def _pieces(self) -> tuple[Tensor, Owners, Keep]:
        """The parts as polygons (batch, part, vertex, 2), their owners, and which there are."""
        if self._of_objects:
            owners = torch.arange(self.sides.shape[1], device=self.sides.device)
            return self.centres[..., None, :], owners.expand_as(self.sides), self.sides > 0
        count = len(self.part_names)
        vertices = self.centres[:, :1, None, :].repeat(1, count, self._most_sides, 1)
        present = torch.zeros(len(self), count, dtype=torch.bool, device=self.sides.device)
        for kind in sorted({int(kind) for kind in self.sides[:, 0].unique()} - {0, DISC}):
            which = (self.sides[:, 0] == kind).nonzero()[:, 0]
            outline = regular_polygon(
                self.centres[which, 0],
                self.radii[which, 0] * circumradius(kind),
                self.angles[which, 0],
                kind,
            )
            for name, piece in divide(outline, self.division, self.depth).items():
                place = self.part_names.index(name)
                filler = piece[:, -1:].expand(-1, self._most_sides - piece.shape[1], -1)
                vertices[which, place] = torch.cat([piece, filler], 1)
                present[which, place] = True
        owners = torch.zeros_like(present, dtype=torch.long)
        if self.tagged:
            present[:, -1] = self.sides[:, -1] > 0
            owners[:, -1] = self.sides.shape[1] - 1
        return vertices, owners, present


def _seen(planes: Parts) -> Parts:
    """How much of each object is seen once all later ones are painted over it."""
    through = (1 - planes).flip(1).cumprod(1).flip(1)
    return planes * torch.cat([through[:, 1:], torch.ones_like(through[:, :1])], 1)


def _textured(levels: Tensor, texture: Texture | None, size: tuple[int, int]) -> Tensor:
    return levels if texture is None else (levels + texture.planes(size)).clamp(0, 1)
