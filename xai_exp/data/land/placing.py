"""Where roofs come to lie: on a lattice beside the roads, or packed until they are a gap apart."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_exp.data.land import kinds
from xai_exp.types import Keys

GAP = 1.0  # metres between two roofs' circumcircles, and between them and a road
ROADS = 2  # that there is room for
_LOOSE = 0.95  # of the pitch that would fill the patch, so that no roof lies outside
_JITTER = 0.5  # metres by which roofs of a lattice are off it
_HEAP = 0.17  # of the side: the spread of packed roofs before they push one another apart
_ROUNDS = 30  # of pushing
_INSIDE = 2.0  # metres within which centres stay
_LONGEST = 1.6  # a roof's length over its width
_AT_ONCE = 64  # images whose pairs of roofs are held in memory together
_BEND = (40.0, 70.0)  # metres of a bend's wave


@dataclass(frozen=True, kw_only=True)
class Roads:
    """Up to two roads across a patch, each a band around a line or a wave.

    Args:
        there: (batch, road) which there are.
        angles: of the direction they run in, in radians.
        offsets: of their middle from the patch's centre, across, in metres.
        widths, winding, waves, phases: of the band and its bends.
    """

    there: Tensor
    angles: Tensor
    offsets: Tensor
    widths: Tensor
    winding: Tensor
    waves: Tensor
    phases: Tensor

    def across(self, x: Tensor, y: Tensor, road: int) -> Tensor:
        """The signed distance of points (batch, ...), from the patch's centre, to a road's middle.

        Across the road's direction, which is next to the true distance for gentle bends.
        """

        def shaped(values: Tensor) -> Tensor:
            return values[:, road].view(-1, *[1] * (x.ndim - 1))

        cosine, sine = shaped(self.angles.cos()), shaped(self.angles.sin())
        along, aside = cosine * x + sine * y, cosine * y - sine * x
        bend = (2 * math.pi * along / shaped(self.waves) + shaped(self.phases)).sin()
        return aside - shaped(self.offsets) - shaped(self.winding) * bend


def frame(keys: Keys, pixels: int) -> tuple[Tensor, Tensor, Tensor]:
    """The lattice of a patch of any class: angle (batch), pitch (batch), offset (batch, 2)."""
    chance = kinds.draws(keys, "frame", 4)
    planned = torch.full_like(keys, kinds.PLANNED)
    number = kinds.whole_number(kinds.scaled(kinds.of("roofs", planned), pixels), chance[:, 0])
    pitch = _LOOSE * pixels / number.clamp(min=1).sqrt()
    return math.pi / 2 * chance[:, 1], pitch, chance[:, 2:] * pitch[:, None]


def roads(keys: Keys, shown: Tensor, pixels: int) -> Roads:
    """The roads of the class that is shown, halfway between rows of the lattice, and columns."""
    angle, pitch, offset = frame(keys, pixels)
    chance = kinds.draws(keys, "roads", 1 + 2 * ROADS)
    number = kinds.whole_number(kinds.of("roads", shown), chance[:, 0])
    turn = (kinds.draws(keys, "first road", 1) < 0.5) * math.pi / 2
    angles = angle[:, None] + turn + torch.tensor([0.0, math.pi / 2], device=keys.device)
    # Across a road along the lattice's first direction lies its second, and the other way round.
    second = torch.stack([offset[:, 1], -offset[:, 0]], 1)
    first = torch.stack([-offset[:, 0], -offset[:, 1]], 1)
    rows = torch.where(turn > 0, first, second) + pitch[:, None] / 2
    # The one nearest to the centre of all that are a whole pitch apart.
    offsets = rows - (rows / pitch[:, None]).round() * pitch[:, None]
    bends, least, most = chance[:, 1:], *_BEND
    return Roads(
        there=torch.arange(ROADS, device=keys.device) < number[:, None],
        angles=angles,
        offsets=offsets,
        widths=kinds.of("width", shown)[:, None].expand(-1, ROADS),
        winding=kinds.of("winding", shown)[:, None].expand(-1, ROADS),
        waves=least + (most - least) * bends[:, :ROADS],
        phases=2 * math.pi * bends[:, ROADS:],
    )


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Where roofs lie and how large they are.

    Args:
        centres: (batch, roof, 2), (x, y) in metres from the upper left corner.
        extents: (batch, roof, 2) length and width in metres; 0 of a roof that is not there.
    """

    centres: Tensor
    extents: Tensor


def slots(pixels: int) -> int:
    """The largest number of roofs."""
    most = kinds.scaled(kinds.of("roofs", torch.arange(len(kinds.KINDS))), pixels)
    return max(1, int(most.max()))


def placed(keys: Keys, shown: Tensor, pixels: int) -> Placed:
    """The roofs of the classes that each cue shows: (batch, cue)."""
    done = [
        _placed(*part, pixels)
        for part in zip(keys.split(_AT_ONCE), shown.split(_AT_ONCE), strict=True)
    ]
    return Placed(
        centres=torch.cat([one.centres for one in done]),
        extents=torch.cat([one.extents for one in done]),
    )


def _placed(keys: Keys, shown: Tensor, pixels: int) -> Placed:
    density, size = (shown[:, kinds.CUES.index(cue)] for cue in ("density", "size"))
    count = slots(pixels)
    chance = kinds.draws(keys, "frame", 4)[:, 0]  # the lattice's pitch is that of this number
    number = kinds.whole_number(kinds.scaled(kinds.of("roofs", density), pixels), chance)
    there = torch.arange(count, device=keys.device) < number[:, None]
    extents = _extents(keys, size, count) * there[..., None]
    radii = extents.norm(dim=2) / 2
    net = roads(keys, shown[:, kinds.CUES.index("roads")], pixels)
    on_lattice = kinds.of("lattice", density) > 0
    centres = torch.where(
        on_lattice[:, None, None], _lattice(keys, pixels, count), _heap(keys, pixels, count)
    )
    packed = (~on_lattice).nonzero()[:, 0]
    if len(packed):
        centres[packed] = _apart(centres, radii, there, net, pixels, packed)
    return Placed(centres=centres, extents=extents * _fitting(centres, radii, there, net, pixels))


def _extents(keys: Keys, size: Tensor, count: int) -> Tensor:
    """Length and width of each roof."""
    spread = (kinds.of("spread", size).square() + 1).log().sqrt()
    area = (
        kinds.of("area", size)[:, None]
        * (spread[:, None] * kinds.normals(keys, "area", count)).exp()
    )
    long = 1 + (_LONGEST - 1) * kinds.draws(keys, "shape", count)
    return torch.stack([(area * long).sqrt(), (area / long).sqrt()], 2)


def _lattice(keys: Keys, pixels: int, count: int) -> Tensor:
    """The places of a turned lattice, those nearest to the patch's centre first."""
    angle, pitch, offset = frame(keys, pixels)
    steps = torch.arange(-6, 6, device=keys.device)
    grid = torch.cartesian_prod(steps, steps).float()
    along = offset[:, None] + pitch[:, None, None] * grid
    cosine, sine = angle.cos()[:, None], angle.sin()[:, None]
    x = cosine * along[..., 0] - sine * along[..., 1]
    y = sine * along[..., 0] + cosine * along[..., 1]
    centred = torch.stack([x, y], 2)
    order = centred.abs().amax(2).argsort(1)[:, :count]
    chosen = centred.gather(1, order[..., None].expand(-1, -1, 2))
    return pixels / 2 + chosen + _JITTER * kinds.normals(keys, "jitter", count, 2)


def _heap(keys: Keys, pixels: int, count: int) -> Tensor:
    """Places around a point near the patch's centre, most of them too near to one another."""
    around = (kinds.draws(keys, "heap", 1, 2) - 0.5) * 0.3
    spread = _HEAP * kinds.normals(keys, "heaped", count, 2)
    return (pixels * (0.5 + around + spread)).clamp(_INSIDE, pixels - _INSIDE)


def _apart(
    centres: Tensor, radii: Tensor, there: Tensor, net: Roads, pixels: int, rows: Tensor
) -> Tensor:
    """The centres at `rows` once roofs have pushed one another and been pushed off roads."""
    most = max(1, int(there[rows].sum(1).max()))
    moved, radius, here = centres[rows].clone(), radii[rows, :most], there[rows, :most]
    needed = (radius[:, :, None] + radius[:, None] + GAP) * (here[:, :, None] & here[:, None])
    needed.diagonal(dim1=1, dim2=2).zero_()
    mine = Roads(**{name: getattr(net, name)[rows] for name in net.__dataclass_fields__})
    place = moved[:, :most] - pixels / 2
    for _ in range(_ROUNDS):
        square = place.square().sum(2)
        apart = (square[:, :, None] + square[:, None]).baddbmm_(place, place.mT, alpha=-2)
        push = apart.clamp_(min=1e-2).rsqrt_().mul_(needed).sub_(1).clamp_(min=0).mul_(0.5)
        place = place + place * push.sum(2, keepdim=True) - push @ place
        place = _off_roads(place, radius, mine)
        place = place.clamp(_INSIDE - pixels / 2, pixels / 2 - _INSIDE)
    moved[:, :most] = place + pixels / 2
    return moved


def _off_roads(place: Tensor, radii: Tensor, net: Roads) -> Tensor:
    x, y = place.unbind(2)
    for road in range(ROADS):
        aside = net.across(x, y, road)
        room = radii + net.widths[:, road, None] / 2 + GAP
        push = torch.where(aside < 0, -1.0, 1.0) * (room - aside.abs()).clamp(min=0)
        push = push * net.there[:, road, None]
        x = x - push * net.angles[:, road, None].sin()
        y = y + push * net.angles[:, road, None].cos()
    return torch.stack([x, y], 2)


def _fitting(centres: Tensor, radii: Tensor, there: Tensor, net: Roads, pixels: int) -> Tensor:
    """By how much each roof has to shrink so that none meets another or a road: mostly 1."""
    both = there[:, :, None] & there[:, None]
    both = both & ~torch.eye(there.shape[1], dtype=torch.bool, device=there.device)
    share = (torch.cdist(centres, centres) - GAP) / (radii[:, :, None] + radii[:, None])
    fits = torch.where(both, share, 1.0).amin(2)
    x, y = (centres - pixels / 2).unbind(2)
    for road in range(ROADS):
        room = net.across(x, y, road).abs() - net.widths[:, road, None] / 2 - GAP
        room = torch.where(net.there[:, road, None], room / radii.clamp(min=1e-6), 1.0)
        fits = torch.minimum(fits, room)
    return fits.clamp(0, 1)[..., None]
