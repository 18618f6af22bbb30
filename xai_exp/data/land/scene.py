r"""A patch of land: how it is drawn, without any of its parts, or with cues of the other class.

An image is x = T(base + sum over parts of what each adds) + cloud. T is the sensor's, affine in
each channel: gains, and haze that moves all channels towards grey. Roofs, roads and plants lie
beside one another: where a roof lies there are no plants, road goes before roof, and a roof's
shadow is the roof's. A removed part leaves bare ground, so an image is affine in what is kept,
exactly. A cloud adds its light on top, so it shares pixels with what lies under it.

Parts are the roofs in each of 3 x 3 blocks (by their centres), the road net, the plants, and last
either the cloud or a planted stamp ("tag"). A scene is a key for each image, from which everything
is drawn on any device, and the class that each of eight cues shows.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.config import InputError
from xai_exp.data.land import ground, kinds, placing
from xai_exp.data.land.kinds import CUES, INFORMAL, OTHER
from xai_exp.data.land.placing import Placed
from xai_exp.data.scenes import render
from xai_exp.data.scenes.cells import objects_or_patches
from xai_exp.data.scenes.drawing import Layered
from xai_exp.types import (
    Drawing,
    Flags,
    Images,
    Keep,
    Keys,
    Layers,
    Parts,
    Planes,
    Scenes,
    Unions,
)

DIVISIONS = ("objects", "grid", "pixels")
BLOCKS = 3  # along a side
ROADS, PLANTS, LAST = BLOCKS**2, BLOCKS**2 + 1, BLOCKS**2 + 2
STAMP = 6  # pixels of its side; it lies one pixel off the upper left corner
_STAMPED = (0.95, 0.9, 0.35)
_DIVERSE = 0.12  # by which roofs of one material differ in brightness
_RIDGE = 0.16  # by which a roof's two sides differ in brightness


@dataclass(frozen=True, kw_only=True)
class Surface:
    """What covers the ground, roofs of each block or all kept ones in one: (batch, block, ...).

    Args:
        roofs: their coverage.
        light: (batch, block, 3, height, width) their coverage times their colours.
        shade: the coverage of their shadows.
        roads, plants: coverages.
    """

    roofs: Tensor
    light: Tensor
    shade: Tensor
    roads: Planes
    plants: Planes


@dataclass(frozen=True, kw_only=True)
class Land:
    """A batch of patches.

    Args:
        keys: of everything that is drawn.
        shown: (batch, cue) the class whose value each cue has.
        city: (batch) whose palette, sensor and sun it is.
        sky: (batch, 3) whether there are haze, a cloud, a stamp.
        placed: where the roofs lie.
        pixels: height and width; a pixel is a metre.
        stamped: whether the last part is a stamp, whose corner nothing else is in, or a cloud.
        coalitions: the division whose parts were left out at random in training, if any.
    """

    keys: Keys
    shown: Tensor
    city: Tensor
    sky: Tensor
    placed: Placed
    pixels: int
    stamped: bool = False
    coalitions: str | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: Any) -> "Land":  # noqa: ANN401
        return self._mapped(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> "Land":
        """The same patches on `device`."""
        return self._mapped(lambda tensor: tensor.to(device))

    def _mapped(self, function: Callable[[Tensor], Tensor]) -> "Land":
        placed = Placed(
            centres=function(self.placed.centres), extents=function(self.placed.extents)
        )
        names = ("keys", "shown", "city", "sky")
        changed = {name: function(getattr(self, name)) for name in names}
        return dataclasses.replace(self, placed=placed, **changed)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return (self.pixels, self.pixels)

    @property
    def cues(self) -> tuple[str, ...]:
        """What can be given the other class's value."""
        return CUES

    def varied(self, own: Keep) -> "Land":
        """The patches with the other class's value of each cue that is not their `own`.

        Planned land gets what informal land has, informal and unbuilt land what planned land has;
        everything else is drawn from the same numbers as before.
        """
        shown = torch.where(own, self.shown, torch.tensor(OTHER, device=own.device)[self.shown])
        placed = placing.placed(self.keys, shown, self.pixels)
        return dataclasses.replace(self, shown=shown, placed=placed)

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
        """Blocks of roofs by row and column, the road net, vegetation, and the cloud or tag."""
        steps = range(1, BLOCKS + 1)
        blocks = [f"roofs {row}, {column}" for row in steps for column in steps]
        return (*blocks, "roads", "vegetation", "tag" if self.stamped else "cloud")

    @property
    def present(self) -> Keep:
        """Which parts each scene has."""
        there = self._roof_there
        blocks = torch.zeros(len(self), BLOCKS**2, device=there.device)
        blocks = blocks.scatter_add(1, self._block, there.float()) > 0
        roads = self._roads.there.any(1)
        last = self.sky[:, 2 if self.stamped else 1]
        return torch.cat([blocks, torch.stack([roads, self._share > 0, last], 1)], 1)

    def _cue(self, name: str) -> Tensor:
        return self.shown[:, CUES.index(name)]  # pyright: ignore[reportArgumentType]

    @property
    def _roof_there(self) -> Keep:
        return (self.placed.extents > 0).all(2)

    @property
    def _block(self) -> Tensor:
        """The block of each roof: (batch, roof)."""
        cell = (self.placed.centres * BLOCKS / self.pixels).floor().clamp(0, BLOCKS - 1).long()
        return cell[..., 1] * BLOCKS + cell[..., 0]

    @property
    def _roads(self) -> placing.Roads:
        return placing.roads(self.keys, self._cue("roads"), self.pixels)

    @property
    def _share(self) -> Tensor:
        """The share of the patch that plants cover."""
        low, high = kinds.of("vegetation", self._cue("vegetation")).unbind(1)
        return low + (high - low) * kinds.draws(self.keys, "vegetation", 1)[:, 0]

    @property
    def _colours(self) -> Tensor:
        """The colour of each item: (batch, item, 3)."""
        return ground.palettes().to(self.keys.device)[self.city]

    @property
    def _dry(self) -> Flags:
        return self._cue("season") == INFORMAL

    def _tones(self) -> Tensor:
        """The colour of each roof: (batch, roof, 3)."""
        count = self.placed.extents.shape[1]
        chances = kinds.of("materials", self._cue("colour")).cumsum(1)
        luck = kinds.draws(self.keys, "material", count, 2)
        which = (luck[..., :1] >= chances[:, None, :2]).sum(2)
        first = ground.ITEMS.index("tile")
        tones = self._colours[:, first:].gather(1, which[..., None].expand(-1, -1, 3))
        bright = 1 - _DIVERSE + 2 * _DIVERSE * luck[..., 1:]
        return (tones * bright).clamp(max=(1 - ground.CLOUD) / (1 + _RIDGE / 2))

    def _angles(self) -> Tensor:
        """The direction of each roof's length, in radians."""
        count = self.placed.extents.shape[1]
        luck = kinds.draws(self.keys, "angle", count, 2)
        kappa = kinds.of("kappa", self._cue("orientation"))
        own = kinds.von_mises(kappa, luck[..., 0]) / 4
        frame = placing.frame(self.keys, self.pixels)[0]
        return frame[:, None] + own + (luck[..., 1] < 0.5) * (torch.pi / 2)

    def _painted(self, plane: Tensor, planes: int, keep: Tensor) -> Tensor:
        """Coverage by all roofs, by the kept ones, and times their colours: (plane, 5, ...)."""
        there = self._roof_there.flatten()
        centres = self.placed.centres.flatten(0, 1)[there]
        extents = self.placed.extents.flatten(0, 1)[there] / 2
        angle = self._angles().flatten()[there]
        kept = keep.flatten()[there, None].float()
        tones = self._tones().flatten(0, 1)[there] * kept
        along = torch.stack([angle.cos(), angle.sin()], 1) * extents[:, :1]
        aside = torch.stack([-angle.sin(), angle.cos()], 1) * extents[:, 1:]
        corner, side = render.windows_for(centres, extents.norm(dim=1), self.size)
        drawn = render.canvas(planes * 5, self.size, centres)
        whole = torch.cat([torch.ones_like(kept), kept, tones * (1 + _RIDGE / 2)], 1)
        # One side of the ridge is drawn again: it is darker, the other one as much lighter.
        for far, weights in ((1, whole), (0, -_RIDGE * tones)):
            edges = (along - aside, along + far * aside, far * aside - along, -along - aside)
            windows = render.polygons(
                torch.stack([centres + edge for edge in edges], 1), corner, side
            )
            for channel, weight in enumerate(weights.T, 5 - weights.shape[1]):
                target = plane.flatten()[there] * 5 + channel
                render.paint(drawn, windows * weight[:, None, None], corner, target)
        return drawn[:, :-1, :-1].unflatten(0, (planes, 5))

    def _free(self) -> Planes:
        """1 but for the corner of the stamp, where the data have one."""
        free = torch.ones(1, *self.size, device=self.keys.device)
        if self.stamped:
            free[:, : STAMP + 2, : STAMP + 2] = 0
        return free

    def _stamp(self) -> Planes:
        plane = torch.zeros(1, *self.size, device=self.keys.device)
        plane[:, 1 : STAMP + 1, 1 : STAMP + 1] = 1
        return plane

    def _road_cover(self) -> Planes:
        net, rows = self._roads, torch.arange(self.pixels, device=self.keys.device) + 0.5
        y, x = torch.meshgrid(rows - self.pixels / 2, rows - self.pixels / 2, indexing="ij")
        cover = torch.zeros(len(self), *self.size, device=self.keys.device)
        for road in range(placing.ROADS):
            aside = net.across(x[None], y[None], road).abs()
            wide = net.widths[:, road, None, None]
            band = (wide / 2 + 0.5 - aside).clamp(0, 1) * net.there[:, road, None, None]
            cover = torch.maximum(cover, band)
        return cover * self._free()

    def _surface(self, keep: Keep | None, grain: Planes, *, single: bool = False) -> Surface:
        """What covers the ground; of each block of roofs by itself where nothing is to be kept.

        `single`: of each roof by itself.
        """
        batch, blocks, own = len(self), BLOCKS**2, self._block
        if single:
            blocks = own.shape[1]
            own = torch.arange(blocks, device=own.device).expand_as(own)
        room = (roads := self._road_cover()).neg().add(1) * self._free()
        plane = torch.arange(batch, device=self.keys.device)[:, None]
        if keep is None:
            plane, kept = plane * blocks + own, torch.ones_like(own).bool()
            drawn = self._painted(plane, batch * blocks, kept).unflatten(0, (batch, blocks))
            drawn = drawn * room[:, None, None]
            whole, roofs, light = drawn[:, :, 0].sum(1), drawn[:, :, 1], drawn[:, :, 2:]
        else:
            kept = keep[:, :blocks].gather(1, own)
            drawn = self._painted(plane.expand_as(own), batch, kept) * room[:, None]
            whole, roofs, light = drawn[:, 0], drawn[:, 1:2], drawn[:, None, 2:]
        beside = (room - whole).clamp(min=0)[:, None]
        shade = self._shifted(roofs) * beside
        left = (beside - self._shifted(whole[:, None]) * beside)[:, 0]
        plants = ground.plants(self.keys, self._share, left, grain)
        return Surface(roofs=roofs, light=light, shade=shade, roads=roads, plants=plants)

    def _shifted(self, planes: Tensor) -> Tensor:
        """Planes (batch, plane, height, width) moved away from each city's sun."""
        moved, reach = torch.zeros_like(planes), ground.REACH
        wide = functional.pad(planes, (reach,) * 4)
        ways = ground.sun(self.city)
        for way in ways.unique(dim=0):
            rows = (ways == way).all(1).nonzero()[:, 0]
            left, top = (reach - way).tolist()
            height, width = self.size
            moved[rows] = wide[rows][..., top : top + height, left : left + width]
        return moved

    def _earth(self, grain: Planes) -> Images:
        """Bare ground before the sensor."""
        colour = self._colours[:, 0] * torch.where(self._dry, ground.DRY, 1.0)[:, None]
        return ground.soil(self.keys, colour, grain)

    def _road_colour(self) -> Tensor:
        paved = kinds.of("width", self._cue("roads")) > kinds.KINDS[INFORMAL].width
        colours = self._colours
        return torch.where(paved[:, None], colours[:, 1], colours[:, 2])[..., None, None]

    def _plant_colour(self, grain: Planes) -> Images:
        colours = self._colours
        own = torch.where(self._dry[:, None], colours[:, 4], colours[:, 3])
        return own[..., None, None] * (1 + 0.15 * grain).clamp(0.5, 1.5)[:, None]

    def _sensor(self) -> tuple[Tensor, Tensor]:
        """What the sensor multiplies by and adds: (batch, 3, 1, 1) each."""
        gains = ground.gains(self.city, self._cue("tint") == INFORMAL)[..., None, None]
        haze = ground.HAZE * self.sky[:, 0, None, None, None].float()
        return gains * (1 - haze), gains * haze * ground.VEIL

    def render(self, keep: Keep | None = None) -> Images:
        """Draw the patches, without the parts that `keep` leaves out."""
        keep = torch.ones_like(self.present) if keep is None else keep
        grain = ground.fine(self.keys, self.pixels)
        found, earth = self._surface(keep, grain), self._earth(grain)
        roads = (found.roads * keep[:, ROADS, None, None])[:, None]
        plants = (found.plants * keep[:, PLANTS, None, None])[:, None]
        bare = 1 - found.roofs - (1 - ground.SHADE) * found.shade - roads - plants
        drawn = earth * bare + found.light[:, 0]
        drawn = drawn + roads * self._road_colour() + plants * self._plant_colour(grain)
        scale, offset = self._sensor()
        image = scale * drawn + offset
        return (image + keep[:, LAST, None, None, None] * self._on_top(image)).clamp(0, 1)

    def _on_top(self, image: Images) -> Images:
        """What the cloud or the stamp adds; nothing else but ground is under the stamp."""
        if self.stamped:
            colour = torch.tensor(_STAMPED, device=image.device)[:, None, None]
            return self._stamp()[:, None] * (colour - image) * self.sky[:, 2, None, None, None]
        cover = ground.cloud(self.keys, self.pixels) * self.sky[:, 1, None, None]
        return (ground.CLOUD * cover)[:, None].expand_as(image)

    def layers(self) -> tuple[Images, Layers]:
        """Bare ground as the sensor sees it, and what each part adds to it."""
        return self._layers(single=False)

    def by_roof(self) -> tuple[Drawing, Unions]:
        """Each roof drawn by itself, and which union each player is in: (batch, player).

        Players are the roofs, then the other parts in their order; a roof's union is its block,
        that of another part its own; -1 where a patch has no such player.
        """
        base, layers = self._layers(single=True)
        others = torch.arange(ROADS, LAST + 1, device=self.keys.device).expand(len(self), -1)
        unions = torch.cat([self._block, others], 1)
        there = torch.cat([self._roof_there, self.present[:, ROADS:]], 1)
        return Layered(base=base, layers=layers), torch.where(there, unions, -1)

    def in_unions(self) -> tuple[Drawing, Unions, Parts]:
        """Each roof in its block's union; its pixels are those that it changes, its shadow, too."""
        drawing, unions = self.by_roof()
        assert isinstance(drawing, Layered)
        reached = (drawing.layers.abs().amax(2) > 1e-6).to(drawing.base)
        return drawing, unions, reached

    def _layers(self, *, single: bool) -> tuple[Images, Layers]:
        grain = ground.fine(self.keys, self.pixels)
        found, earth = self._surface(None, grain, single=single), self._earth(grain)
        scale, offset = self._sensor()
        around = earth[:, None]
        dark = (1 - ground.SHADE) * found.shade
        roofs = found.light - around * (found.roofs + dark)[:, :, None]
        roads = found.roads[:, None] * (self._road_colour() - earth)
        plants = found.plants[:, None] * (self._plant_colour(grain) - earth)
        parts = torch.cat([roofs, roads[:, None], plants[:, None]], 1) * scale[:, None]
        base = scale * earth + offset
        return base, torch.cat([parts, self._on_top(base)[:, None]], 1)

    def drawing(self) -> Drawing:
        """The scenes ready to be drawn with many subsets of their parts."""
        base, layers = self.layers()
        return Layered(base=base, layers=layers)

    def parts(self) -> Parts:
        """The exact coverage of every part, a block's with its shadows.

        Disjoint but for the cloud, which is as thick as its coverage says.
        """
        found = self._surface(None, ground.fine(self.keys, self.pixels))
        last = self._stamp() if self.stamped else ground.cloud(self.keys, self.pixels)
        last = last * self.sky[:, 2 if self.stamped else 1, None, None]
        rest = torch.stack([found.roads, found.plants, last], 1)
        return torch.cat([found.roofs + found.shade, rest], 1)

    def drawable(self, keep: Keep) -> Flags:
        """Whether the generator draws such an image: without coalitions a lower bound.

        A cloud comes and goes in every class, and so does a stamp; of anything else the whole is
        asked for, though an informal patch may well be without roads or plants.
        """
        if self.coalitions == "objects":
            return torch.ones(len(self), dtype=torch.bool, device=keep.device)
        return (keep | ~self.present)[:, :LAST].all(1)

    def redrawn(self, keep: Keep, generator: torch.Generator) -> "Land":  # noqa: ARG002
        """Never: what is left out of a patch is not drawn anew."""
        raise InputError(
            "conditional truth: got patches of land; allowed: objects of typed or weighted "
            "counting, one of each, parity pairs"
        )
