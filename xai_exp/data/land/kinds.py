"""What planned, informal and unbuilt land look like: cues, and their distribution for each class.

After the ontology of slums of Kohli et al. (2012), made with 50 experts: buildings and roads
(object), what sets planned from unplanned texture (settlement), and what lies around (environs, of
which there is only vegetation here). The three classes are those of Ranguelova et al. (2018), who
tell slums, built-up and other land of Kalyan and Bangalore apart. The numbers are a first set: they
have been checked against neither paper and not been measured on images.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from xai_exp.compute import ops
from xai_exp.types import Keys

CLASSES = ("planned", "informal", "unbuilt")
PLANNED, INFORMAL, UNBUILT = range(3)
OTHER = (INFORMAL, PLANNED, PLANNED)  # whose value a cue shows where its own is taken away
Cue = Literal["orientation", "size", "density", "roads", "vegetation", "colour", "tint", "season"]
CUES: tuple[Cue, ...] = (
    "orientation",
    "size",
    "density",
    "roads",
    "vegetation",
    "colour",
    "tint",
    "season",
)
OF_LAND = 6  # of the cues; the last two are of the day and the sensor, the same for every class
PATCH = 96.0  # metres of a patch's side, for which numbers of objects are given; a pixel is a metre


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One class of land.

    Args:
        roofs: the least and largest number in a patch of 96 x 96 m.
        area: the median of the log-normal area of a roof in square metres.
        spread: its coefficient of variation.
        kappa: the concentration of four times a roof's angle to the patch's own (von Mises).
        lattice: whether roofs lie on a lattice or are packed.
        roads: the least and largest number.
        width: of a road in metres.
        winding: the amplitude of a road's bends in metres.
        vegetation: the least and largest share of the patch.
        materials: the chances of tile, metal and concrete.
    """

    roofs: tuple[int, int]
    area: float
    spread: float
    kappa: float
    lattice: bool
    roads: tuple[int, int]
    width: float
    winding: float
    vegetation: tuple[float, float]
    materials: tuple[float, float, float]


KINDS = (
    Kind(
        roofs=(9, 16),
        area=80.0,
        spread=0.15,
        kappa=50.0,
        lattice=True,
        roads=(1, 2),
        width=6.0,
        winding=0.0,
        vegetation=(0.05, 0.20),
        materials=(0.6, 0.1, 0.3),
    ),
    Kind(
        roofs=(20, 40),
        area=25.0,
        spread=0.5,
        kappa=1.0,
        lattice=False,
        roads=(0, 1),
        width=2.0,
        winding=3.0,
        vegetation=(0.0, 0.08),
        materials=(0.2, 0.5, 0.3),
    ),
    Kind(
        roofs=(0, 2),
        area=40.0,
        spread=0.5,
        kappa=1.0,
        lattice=False,
        roads=(0, 1),
        width=2.0,
        winding=3.0,
        vegetation=(0.15, 0.60),
        materials=(0.4, 0.3, 0.3),
    ),
)


def of(name: str, shown: Tensor) -> Tensor:
    """The numbers that a class has for one of the fields of `Kind`, for each class in `shown`."""
    table: list[Any] = [getattr(kind, name) for kind in KINDS]
    return torch.tensor(table, dtype=torch.float32, device=shown.device)[shown]


def whole_number(least_most: Tensor, draws: Tensor) -> Tensor:
    """A whole number between two, both among them, from a uniform draw."""
    low, high = least_most.unbind(-1)
    return (low + (draws * (high - low + 1)).floor()).minimum(high).long()


def scaled(least_most: Tensor, pixels: int) -> Tensor:
    """Numbers of objects of a patch of 96 m in one of another size, at the same density."""
    return (least_most * (pixels / PATCH) ** 2).round()


def draws(keys: Keys, name: str, *shape: int) -> Tensor:
    """Uniform numbers of each image's own key: (batch, *shape)."""
    count = 1
    for side in shape:
        count *= side
    return ops.keyed_uniform(ops.named_keys(keys, name), count).view(-1, *shape)


def normals(keys: Keys, name: str, *shape: int) -> Tensor:
    """Standard normal numbers of each image's own key: (batch, *shape)."""
    uniform = draws(keys, name, *shape)
    return 2**0.5 * torch.erfinv(2 * uniform - 1 + 2.0**-24)


_STEPS = 2048  # of the table that inverts von Mises's distribution function


def von_mises(kappa: Tensor, uniform: Tensor) -> Tensor:
    """Angles in -pi..pi of density proportional to exp(kappa cos x), from uniform draws.

    `kappa` is one number for each image, `uniform` (batch, count).
    """
    x = torch.linspace(-torch.pi, torch.pi, _STEPS, dtype=torch.float64, device=kappa.device)
    found = torch.empty_like(uniform)
    for value in kappa.unique():
        rows = (kappa == value).nonzero()[:, 0]
        density = (value.double() * (x.cos() - 1)).exp()
        mass = torch.cat([x.new_zeros(1), (density[1:] + density[:-1]).cumsum(0)])
        mass = mass / mass[-1]
        wanted = uniform[rows].double().contiguous()
        place = torch.searchsorted(mass, wanted, right=True).clamp(1, _STEPS - 1)
        low, high = mass[place - 1], mass[place]
        share = (wanted - low) / (high - low).clamp(min=1e-12)
        found[rows] = (x[place - 1] + share * (x[1] - x[0])).to(uniform)
    return found
