"""Owen values against every order that keeps unions together, in float64."""

import itertools

import pytest
import torch
from torch import nn

from xai_exp.config import InputError
from xai_exp.data.land.settlements import Settlements
from xai_exp.truth.games import attribute, solved
from xai_exp.truth.owen import owen, owen_values


def game(count, generator):
    """A value for each subset, by its binary number."""
    return torch.randn(2**count, generator=generator, dtype=torch.float64)


def asked(values):
    return lambda sets: values[(sets.long() * 2 ** torch.arange(sets.shape[1])).sum(1)]


def by_orders(values, unions):
    """The mean gain over all orders of unions, and of members within each."""
    members = [[p for p, u in enumerate(unions) if u == name] for name in sorted(set(unions))]
    gains, orders = [0.0] * len(unions), 0
    for outer in itertools.permutations(members):
        for inner in itertools.product(*(itertools.permutations(one) for one in outer)):
            number, orders = 0, orders + 1
            for player in itertools.chain.from_iterable(inner):
                gains[player] += float(values[number + 2**player] - values[number])
                number += 2**player
    return torch.tensor([gain / orders for gain in gains], dtype=torch.float64)


@pytest.mark.parametrize(
    "unions", [[0, 0, 1, 2, 2], [3, 1, 3, 1, 3], [0, 0, 0, 0, 0], [0, 1, 2, 3, 4], [7]]
)
def test_owen_values_are_the_mean_gain_over_orders_that_keep_unions_together(unions, generator):
    values = game(len(unions), generator)
    found = owen(asked(values), unions)
    torch.testing.assert_close(found, by_orders(values, unions))
    assert float(found.sum()) == pytest.approx(float(values[-1] - values[0]))
    if len(set(unions)) in (1, len(unions)):
        torch.testing.assert_close(found, solved(values[None]).shapley[0])


def cheapest(unions):
    """The patch with two roofs in a block whose values ask the fewest sets."""
    asked = {}
    for row, mine in enumerate(unions.tolist()):
        sizes = [mine.count(union) for union in set(mine) - {-1}]
        if sizes and max(sizes) > 1:
            asked[row] = 2 ** (len(sizes) - 1) * sum(2**size for size in sizes)
    return min(asked, key=lambda row: asked[row])


def test_roofs_share_out_what_their_block_is_worth(generator):
    scenes = Settlements(count=600, pixels=48).test.scenes(torch.arange(30))
    row = cheapest(scenes.by_roof()[1])
    scenes, targets = scenes[row : row + 1], torch.tensor([1])
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 48 * 48, 4), nn.Tanh(), nn.Linear(4, 3))
    for one in network.parameters():
        one.data = torch.randn(one.shape, generator=generator) / 20
    drawing, unions = scenes.by_roof()
    torch.testing.assert_close(drawing.whole(), scenes.drawing().whole(), atol=1e-5, rtol=0)
    roofs = owen_values(network, drawing, unions, targets)
    blocks = attribute(network, scenes, targets).shapley
    for part in range(blocks.shape[1]):
        mine = (roofs * (unions == part)).sum(1)
        torch.testing.assert_close(mine, blocks[:, part], atol=1e-5, rtol=0)
    assert bool((roofs != 0).any())


def test_too_many_sets_are_refused():
    with pytest.raises(InputError, match="at most 1048576"):
        owen(lambda sets: sets.double().sum(1), [0] * 30)
