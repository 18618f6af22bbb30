"""What lies around the roofs: soil, plants, clouds, and the colours of a city and its sensor.

Colours are reflectances of red, green and blue before the sensor. They are chosen by eye; no city
of the literature is meant.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.data.land import kinds
from xai_exp.types import Images, Keys, Planes

ITEMS = ("soil", "asphalt", "path", "plants", "dry plants", "tile", "metal", "concrete")
_COLOURS = (
    (0.43, 0.37, 0.30),
    (0.30, 0.30, 0.32),
    (0.54, 0.47, 0.36),
    (0.15, 0.31, 0.12),
    (0.37, 0.35, 0.17),
    (0.56, 0.26, 0.17),
    (0.52, 0.57, 0.61),
    (0.60, 0.57, 0.53),
)
KNOWN, NEW = 4, 2  # cities to learn from, and others
_SHIFTS = ((0.08, 0.03), (0.15, 0.12))  # of colours and of the sensor's gains, known and new
_WARM = (1.0, 0.92, 0.76)  # the gains of the second sensor beside those of the first
HAZE, VEIL = 0.35, 0.55  # the share of haze, and its grey
DRY = 1.15  # how much brighter dry soil is
SHADE = 0.45  # of the ground in a roof's shadow
REACH = 2  # pixels that a shadow is long at most
_SUNS = ((1, 1), (2, 1), (1, 2), (1, 1), (-1, 1), (-1, 2))
CLOUD = 0.3  # what the middle of a cloud adds; without it nothing is brighter than 1 minus this
_PLANTS, _SOIL = 7, 12  # pixels between the points of the noise
_ROUGH = 0.12  # of fine noise in the plants' outline
_SOFT = 0.4  # of the noise's standard deviation: the width of the plants' rim
_FORM = 9  # pixels between those of a cloud's noise


def palettes() -> Tensor:
    """The colours of each city: (city, item, 3)."""
    return torch.tensor(_COLOURS) * (1 + _varied("palette", 0, len(ITEMS)))


def sensors() -> Tensor:
    """The gains of each city's sensor: (city, 3), at most 1."""
    gains = 1 + _varied("sensor", 1, 1)[:, 0]
    return gains / gains.amax(1, keepdim=True)


def _varied(name: str, which: int, items: int) -> Tensor:
    cities = torch.arange(KNOWN + NEW)
    size = torch.tensor([_SHIFTS[int(city >= KNOWN)][which] for city in cities])
    return size[:, None, None] * (2 * kinds.draws(cities, name, items, 3) - 1)


def gains(city: Tensor, warm: Tensor) -> Tensor:
    """The sensor's gains for each image: (batch, 3)."""
    own = sensors().to(city.device)[city]
    return own * torch.where(warm[:, None], torch.tensor(_WARM, device=city.device), 1.0)


def smooth(keys: Keys, name: str, pixels: int, step: int) -> Planes:
    """Noise that is smooth over `step` pixels, of about unit variance."""
    side = math.ceil(pixels / step) + 1
    weights = _between(pixels, side).to(keys.device)
    return weights @ kinds.normals(keys, name, side, side) @ weights.T


@lru_cache(maxsize=16)
def _between(pixels: int, side: int) -> Tensor:
    """Cubic interpolation from points to pixels, of unit variance on average: (pixel, point)."""
    points = torch.eye(side)[None]
    drawn = functional.interpolate(
        points[..., None], (pixels, 1), mode="bicubic", align_corners=True
    )[0, :, :, 0].T
    return drawn / drawn.square().sum(1).mean().sqrt()


def fine(keys: Keys, pixels: int) -> Planes:
    """Noise of each pixel, of unit variance: one plane, from another corner for each image."""
    grain = _grain(2 * pixels).to(keys.device)
    first = (kinds.draws(keys, "grain", 2) * pixels).long()
    rows, columns = (first[:, :, None] + torch.arange(pixels, device=keys.device)).unbind(1)
    return grain[rows[:, :, None], columns[:, None]]


@lru_cache(maxsize=4)
def _grain(side: int) -> Tensor:
    return kinds.normals(torch.tensor([0]), "grain", side, side)[0]


def soil(keys: Keys, colour: Tensor, grain: Planes) -> Images:
    """Bare ground: patches of lighter and darker soil, and its grain."""
    uneven = 1 + 0.05 * smooth(keys, "soil", grain.shape[-1], _SOIL) + 0.03 * grain
    return (colour[..., None, None] * uneven.clamp(0.7, 1.3)[:, None]).clamp(max=1 - CLOUD)


def plants(keys: Keys, share: Tensor, room: Planes, grain: Planes) -> Planes:
    """How much of each pixel plants cover: a share of the patch, wherever there is room for them.

    The highest places of a noise field, whose level is found on every second pixel.
    """
    field = smooth(keys, "plants", room.shape[-1], _PLANTS) + _ROUGH * grain
    coarse = torch.where(room > 0.5, field, -torch.inf)[:, ::2, ::2].flatten(1)
    order = coarse.sort(1, descending=True).values
    place = (share * order.shape[1]).round().long().clamp(max=order.shape[1] - 1)
    level = order.gather(1, place[:, None])[..., None]
    cover = ((field - level) / _SOFT + 0.5).clamp(0, 1)
    cover = torch.where(level.isinf(), 1.0, cover) * (share > 0)[:, None, None]
    return cover * room


def cloud(keys: Keys, pixels: int) -> Planes:
    """A cloud somewhere over the patch: 1 at its thickest, 0 where there is none."""
    x, y, size = (0.15 + 0.7 * kinds.draws(keys, "cloud", 3)).unbind(1)
    rows = torch.arange(pixels, device=keys.device) + 0.5
    down = (rows / pixels - y[:, None])[:, :, None]
    over = (rows / pixels - x[:, None])[:, None]
    wide = (0.12 + 0.1 * size)[:, None, None]
    bump = (-(down * down + over * over) / (2 * wide * wide)).exp()
    form = smooth(keys, "cloud's form", pixels, _FORM)
    return (1.3 * bump * (1 + 0.15 * form) - 0.15).clamp(0, 1)


def sun(city: Tensor) -> Tensor:
    """Where shadows fall in each city: (batch, 2) whole pixels across and down."""
    return torch.tensor(_SUNS, device=city.device)[city]
