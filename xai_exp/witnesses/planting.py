"""Plants in pictures: scenes whose parts are the plants, and what a network is to make of them.

A picture has room for plants in a grid of 4 x 4 cells, each plant being 4/5 of a cell wide. Two
designs:

- distract: A is there or not and decides the class; up to two B say nothing;
- worth: up to two A, two B and one C are worth 2, 1 and 0 each: the network's value is to be
  their sum.

Which kind of a look plays A, B and C is another one for each seed.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from jaxtyping import Int
from torch import Tensor

from xai_exp.config import InputError
from xai_exp.data.scenes.drawing import Layered
from xai_exp.types import Drawing, Flags, Images, Keep, Layers, Parts, Scenes, Scores
from xai_exp.witnesses.looks import KINDS, Pasted

Design = Literal["distract", "worth"]
DESIGNS: tuple[Design, ...] = get_args(Design)
Roles = Int[Tensor, "batch plant"]
Corners = Int[Tensor, "batch plant 2"]
GRID = 4
LEAST = 4  # pixels of a plant's side
WORTH = {"distract": (1.0, 0.0, 0.0), "worth": (2.0, 1.0, 0.0)}
_MOST = {"distract": (1, 2, 0), "worth": (2, 2, 1)}  # plants of A, B and C in a picture
_SCALE = 1.5  # of the sum of worths, so that values are of the size of logits


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A batch of pictures with plants, which are their parts.

    Args:
        pictures: without plants.
        roles: (batch, plant) what each plant is: 0 A, 1 B, 2 C; -1: not there.
        corners: (batch, plant, 2) its upper left pixel: row and column.
        pasted: what kinds do to pixels.
        order: which kind plays A, B and C.
    """

    pictures: Images
    roles: Roles
    corners: Corners
    pasted: Pasted
    order: tuple[int, ...] = (0, 1, 2)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: Any) -> "Planted":  # noqa: ANN401
        return replace(
            self,
            pictures=self.pictures[index],
            roles=self.roles[index],
            corners=self.corners[index],
        )

    def to(self, device: torch.device | str) -> "Planted":
        """The same on `device`."""
        return replace(
            self,
            pictures=self.pictures.to(device),
            roles=self.roles.to(device),
            corners=self.corners.to(device),
        )

    @property
    def divisions(self) -> tuple[str, ...]:
        """Plants only."""
        return ("objects",)

    def divided(
        self,
        division: str,
        depth: float | None = None,  # noqa: ARG002
        cells: int | None = None,  # noqa: ARG002
    ) -> Scenes:
        """The same scenes: their parts are plants.

        Raises:
            InputError: for another division.
        """
        if division != "objects":
            raise InputError(f"division of planted pictures: got {division!r}; allowed: objects")
        return self

    @property
    def part_names(self) -> tuple[str, ...]:
        """Plants by number."""
        return tuple(f"plant {place + 1}" for place in range(self.roles.shape[1]))

    @property
    def present(self) -> Keep:
        """Which plants there are."""
        return self.roles >= 0

    def render(self, keep: Keep | None = None) -> Images:
        """The pictures with the plants that are kept."""
        kept = self.present if keep is None else self.present & keep
        images = self.pictures.clone()
        rows, places = kept.nonzero(as_tuple=True)
        images[self._where(rows, places)] = self._squares(rows, places)
        return images

    def layers(self) -> tuple[Images, Layers]:
        """The pictures, and what each plant adds to them."""
        batch, count = self.roles.shape
        layers = self.pictures.new_zeros(batch, count, *self.pictures.shape[1:])
        for place in range(count):
            rows = self.present[:, place].nonzero()[:, 0]
            where = self._where(rows, place)
            layers[:, place][where] = self._squares(rows, place) - self.pictures[where]
        return self.pictures, layers

    def drawing(self) -> Drawing:
        """Ready to be drawn with many subsets of the plants."""
        base, layers = self.layers()
        return Layered(base=base, layers=layers)

    def drawable(self, keep: Keep) -> Flags:  # noqa: ARG002
        """All: each set of these plants is drawn in training."""
        return torch.ones(len(self), dtype=torch.bool, device=self.pictures.device)

    def redrawn(self, keep: Keep, generator: torch.Generator) -> Scenes:  # noqa: ARG002
        """Raise InputError: plants are drawn without regard to one another."""
        raise InputError("redrawn: got planted pictures; allowed: rendered scenes")

    def parts(self) -> Parts:
        """The pixels that each plant changes."""
        shape = (*self.roles.shape, *self.pictures.shape[2:])
        parts = self.pictures.new_zeros(shape)
        for place in range(self.roles.shape[1]):
            rows = self.present[:, place].nonzero()[:, 0]
            batch, _, down, across = self._where(rows, place)
            shapes = self.pasted.shapes.to(parts)[self._kinds(rows, place)]
            parts[batch[:, 0], place, down[:, 0], across[:, 0]] = shapes
        return parts

    def _kinds(self, rows: Tensor, place: Tensor | int) -> Tensor:
        order = torch.tensor(self.order, device=self.roles.device)
        return order[self.roles[rows, place]]

    def _where(self, rows: Tensor, place: Tensor | int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The pixels of plants' squares: indices that broadcast to (row, channel, side, side)."""
        side = torch.arange(self.pasted.shapes.shape[1], device=rows.device)
        channels = torch.arange(self.pictures.shape[1], device=rows.device)
        corner = self.corners[rows, place]
        down = (corner[:, 0, None] + side)[:, None, :, None]
        across = (corner[:, 1, None] + side)[:, None, None, :]
        return rows[:, None, None, None], channels[None, :, None, None], down, across

    def _squares(self, rows: Tensor, place: Tensor | int) -> Tensor:
        """The squares of plants' places with the plants."""
        squares = self.pictures[self._where(rows, place)]
        kinds = self._kinds(rows, place)
        made = torch.empty_like(squares)
        for kind in range(KINDS):
            mine = kinds == kind
            made[mine] = self.pasted(squares[mine], kind)
        return made


def side_of(size: tuple[int, int]) -> int:
    """The side of a plant's square in pictures of this size.

    Raises:
        InputError: when there is no room for plants that can be told apart.
    """
    side = (4 * (min(size) // GRID)) // 5
    if side < LEAST:
        raise InputError(
            f"plants: got pictures of {size[0]} x {size[1]} pixels; allowed: at least "
            f"{GRID * (LEAST + 1)} on a side"
        )
    return side


def planted(
    pictures: Images,
    pasted: Pasted,
    design: Design,
    order: tuple[int, ...],
    generator: torch.Generator,
    *,
    telling: bool = False,
) -> Planted:
    """Pictures with plants drawn at random.

    Args:
        pictures: without plants.
        pasted: their look.
        design: how many of each role.
        order: which kind plays which role.
        generator: on the CPU.
        telling: whether each picture has an A and something else, so that its parts differ.
    """
    batch, most = len(pictures), _MOST[design]
    roles = torch.cat([torch.full((batch, many), role) for role, many in enumerate(most)], 1)
    counts = torch.stack(
        [torch.randint(many + 1, (batch,), generator=generator) for many in most], 1
    )
    if telling:
        counts[:, 0].clamp_(min=1)
        counts[:, 1].clamp_(min=1)
    turn = torch.cat([torch.arange(many) for many in most])
    there = turn < counts.repeat_interleave(torch.tensor(most), 1)
    cells = torch.rand(batch, GRID * GRID, generator=generator).argsort(1)[:, : len(turn)]
    height, width = pictures.shape[2:]
    side = pasted.shapes.shape[1]
    rooms = torch.tensor([height // GRID, width // GRID])
    corners = torch.stack([cells // GRID, cells % GRID], 2) * rooms + (rooms - side) // 2
    return Planted(
        pictures=pictures,
        roles=torch.where(there, roles, -1).to(pictures.device),
        corners=corners.to(pictures.device),
        pasted=pasted,
        order=order,
    )


def value_due(scenes: Planted, design: Design) -> Scores:
    """What the network's value is to be: the difference of its first two logits.

    distract: 1 with an A, 0 without; worth: the sum of worths, centred and scaled.
    """
    worth = torch.tensor([*WORTH[design], 0.0], device=scenes.roles.device)
    total = worth[scenes.roles].sum(1)
    return total if design == "distract" else (total - 3) / _SCALE
