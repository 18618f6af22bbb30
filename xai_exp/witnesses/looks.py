"""What plants look like: three kinds of each look, pasted so that they are seen on any picture.

A plant changes the pixels of a square of `side` pixels and no others, from what is there already,
so that plants in different squares do not touch one another: a picture with plants is the picture
plus a layer for each. Values stay in 0..1.

- stripes: light and dark in turn, upright, level or aslant: +-0.35 is added. They differ in
  direction alone;
- solid: a full square, a level bar and an upright bar a third as wide, turned 70 % towards black or
  white, whichever is further from what was there. They differ in shape;
- colour: the square is turned 60 % towards red, green or blue. They differ in colour alone;
- discs: a disc turned 90 % towards black or white, a faint disc (45 %) and a ring (90 %). They are
  for rendered scenes (`matched`) and differ in tone and shape;
- own: objects cut out of the user's own pictures along their masks, one kind from each of the first
  three classes. They differ in what the network tells its classes by.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Look = Literal["stripes", "solid", "colour", "own", "discs"]
LOOKS: tuple[Look, ...] = tuple(look for look in get_args(Look) if look != "discs")
KINDS = 3
Squares = Float[Tensor, "*square channel side side"]
Shapes = Float[Tensor, "kind side side"]
Objects = Float[Tensor, "kind channel side side"]

_STRIPES, _SOLID, _COLOUR = 0.35, 0.7, 0.6
_DISCS = (0.9, 0.45, 0.9)


class Pasted:
    """How the kinds of one look change the squares that they are pasted into.

    Attributes:
        shapes: (kind, side, side) the pixels that each kind changes, 0..1.
    """

    def __init__(self, shapes: Shapes, change: Callable[[Squares, int], Tensor]) -> None:
        self.shapes, self._change = shapes, change

    def __call__(self, squares: Squares, kind: int) -> Squares:
        """The squares with a plant of this kind, 0 .. 2, in each."""
        shape = self.shapes[kind].to(squares)
        return squares + shape * (self._change(squares, kind).clamp(0, 1) - squares)


def pasted(look: Look, side: int, cuts: "tuple[Objects, Shapes] | None" = None) -> Pasted:
    """The kinds of a look, for squares of `side` pixels.

    Args:
        look: which.
        side: of the square.
        cuts: for `own`: an object a kind (kind, channel, side, side) and its mask.
    """
    everything = torch.ones(KINDS, side, side)
    if look == "stripes":
        waves = _waves(side)
        return Pasted(everything, lambda squares, kind: squares + waves[kind].to(squares))
    if look == "solid":
        return Pasted(_bars(side), lambda squares, _: squares.lerp(_far(squares), _SOLID))
    if look == "colour":
        return Pasted(everything, lambda squares, kind: squares.lerp(_pure(squares, kind), _COLOUR))
    if look == "discs":
        return Pasted(_discs(side), lambda squares, kind: squares.lerp(_far(squares), _DISCS[kind]))
    assert cuts is not None
    objects, masks = cuts
    return Pasted(masks, lambda squares, kind: objects[kind].to(squares).expand_as(squares))


def cut(picture: Tensor, mask: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The masked object of a picture (channel, height, width), scaled to a square; and its mask."""
    rows, columns = (mask > 0).any(1).nonzero()[:, 0], (mask > 0).any(0).nonzero()[:, 0]
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    both = torch.cat([picture[:, *box], mask[None, *box].to(picture)])
    scaled = functional.interpolate(both[None], (side, side), mode="area")[0]
    return scaled[:-1], scaled[-1]


def _waves(side: int) -> Tensor:
    """Stripes of two pixels or more in three directions, each of mean 0 or nearly."""
    width = max(2, side // 4)
    places = torch.arange(side)
    rows, columns = places[:, None].expand(side, side), places[None].expand(side, side)
    phases = torch.stack([columns, rows, rows + columns])
    return _STRIPES * (1.0 - 2.0 * ((phases // width) % 2))


def _bars(side: int) -> Shapes:
    edge = (side - max(2, side // 3)) // 2
    shapes = torch.ones(KINDS, side, side)
    shapes[1, :edge], shapes[1, side - edge :] = 0, 0
    shapes[2, :, :edge], shapes[2, :, side - edge :] = 0, 0
    return shapes


def _discs(side: int) -> Shapes:
    places = (torch.arange(side) - (side - 1) / 2) / (side / 2)
    radius = (places[:, None].square() + places.square()).sqrt()
    disc = (radius <= 1).float()
    return torch.stack([disc, disc, disc * (radius > 0.5)])


def _far(squares: Squares) -> Tensor:
    """White where a square is dark on average, black where it is light."""
    dark = squares.mean((-3, -2, -1), keepdim=True) < 0.5
    return dark.to(squares).expand_as(squares)


def _pure(squares: Squares, kind: int) -> Tensor:
    pure = torch.zeros_like(squares)
    pure[..., kind, :, :] = 1
    return pure
