r"""Owen values: what players are worth who come in unions, such as the roofs within a block.

A partition B_1 .. B_m of the players is given. Orders are drawn in which the unions come one after
the other, all members of a union following one another, every order of the unions and of the
members of each being equally likely. The Owen value of a player (Owen 1977) is what it adds to v,
averaged over these orders: with M the unions, i in B, b = |B| and m unions,

    omega_i = sum over T in M \ B, S in B \ i of
              |T|! (m - |T| - 1)! / m! * |S|! (b - |S| - 1)! / b!
              * [v(Q + S + i) - v(Q + S)],   Q the members of T.

The values of a union's members sum to the union's Shapley value in the game of unions, and all
values to v(N) - v({}); with unions of one player each, or one union of all, they are Shapley's.
"""

import itertools
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.compute.streamline import streamlined
from xai_exp.config import InputError
from xai_exp.truth.coalitions import order_share
from xai_exp.types import Drawing, Effects, Labels, Readout, Unions

Sets = Bool[Tensor, "subset player"]
Worths = Float[Tensor, " subset"]
Values = Float[Tensor, " player"]
Shares = Float[Tensor, "player subset"]

MOST_PASSES = 1 << 20


def owen(value: Callable[[Sets], Worths], unions: Sequence[int]) -> Values:
    """The Owen value of every player, exact, in float64 and units of the value.

    Cost: `value` is asked once, of 2^(m - 1) * sum over unions of 2^b sets at most.

    Args:
        value: v of each of several sets of players.
        unions: the number of each player's union.

    Raises:
        InputError: when more than 2^20 sets would be asked.

    >>> owen(lambda sets: sets.double().sum(1) ** 2, [0, 0, 1])
    tensor([3., 3., 3.], dtype=torch.float64)
    """
    keep, weights = design(unions)
    return weights @ value(keep).double().cpu()


def design(unions: Sequence[int]) -> tuple[Sets, Shares]:
    """The sets that Owen values ask, and what the worth of each counts for every player.

    Args:
        unions: the number of each player's union.

    Raises:
        InputError: when more than 2^20 sets would be asked.

    >>> sets, shares = design([0, 0])
    >>> (shares @ sets.double().sum(1)).tolist()
    [1.0, 1.0]
    """
    names = sorted(set(unions))
    members = [[p for p, one in enumerate(unions) if one == name] for name in names]
    asked = 2 ** max(len(names) - 1, 0) * sum(2 ** len(one) for one in members)
    if asked > MOST_PASSES:
        raise InputError(
            f"Owen values: got {len(names)} unions of up to {max(map(len, members))} players, "
            f"{asked} sets of which would be asked; allowed: at most {MOST_PASSES}"
        )
    terms = [one for mine in members for one in _terms(mine, members)]
    keep = torch.zeros(len(terms), len(unions), dtype=torch.bool)
    for row, (chosen, _) in enumerate(terms):
        keep[row, list(chosen)] = True
    shares = torch.zeros(len(unions), len(terms), dtype=torch.float64)
    for row, (_, counts) in enumerate(terms):
        for player, weight in counts.items():
            shares[player, row] = weight
    return keep, shares


def owen_values(
    model: nn.Module,
    drawing: Drawing,
    unions: Unions,
    targets: Labels,
    *,
    value: Readout = ops.pick,
) -> Effects:
    """The Owen value of every player of every image, such as each roof of `Land.by_roof()`.

    (batch, player), float64, in units of the value; 0 for a player that the image does not have.
    Cost: as `owen` for each image; 10^5 forward passes where 3 x 3 blocks have two roofs each.

    Args:
        model: the network; it is run in evaluation mode and left as it was.
        drawing: the images with any subset of their players.
        unions: the number of each player's union, -1 for none.
        targets: the explained class.
        value: what of the logits is explained: (logits, targets) -> a number an image.

    Raises:
        InputError: when more than 2^20 sets of an image would be asked.
    """
    found = torch.zeros(unions.shape, dtype=torch.float64, device=targets.device)
    with ops.evaluating(model), torch.no_grad():
        quick = streamlined(model, drawing.empty[:1])
        for row in range(len(unions)):
            players = (unions[row] >= 0).nonzero()[:, 0]
            mine = drawing.only(torch.tensor([row], device=players.device), players[None])
            few = ops.chunk_size(mine.empty)

            def worth(sets: Tensor, mine: Drawing = mine, few: int = few, row: int = row) -> Tensor:
                parts = sets.to(targets.device)[None].split(few, 1)
                logits = [quick(mine(slice(None), one)).double() for one in parts]
                return value(torch.cat(logits), targets[row].expand(len(sets)))

            found[row, players] = owen(worth, unions[row, players].tolist()).to(found.device)
    return found


def _terms(
    mine: Sequence[int], members: Sequence[Sequence[int]]
) -> list[tuple[list[int], dict[int, float]]]:
    """Each set that one union's values ask, and what its worth counts for each member."""
    others = [one for one in members if one is not mine]
    found = []
    for before in _subsets(others):
        outer = order_share(len(before), len(members))
        there = list(itertools.chain.from_iterable(before))
        for inside in _subsets(mine):
            counts = {}
            for player in mine:
                size = len(inside) - (player in inside)
                sign = 1.0 if player in inside else -1.0
                counts[player] = sign * outer * order_share(size, len(mine))
            found.append(([*there, *inside], counts))
    return found


def _subsets(things: Sequence) -> list[tuple]:
    sizes = range(len(things) + 1)
    return [one for size in sizes for one in itertools.combinations(things, size)]
