"""Owen values of segments, and the exact Shapley values that they become."""

import math
from itertools import pairwise, permutations

import pytest
import torch
from torch import nn

from xai_exp.config import InputError
from xai_exp.explainers.perturbation import Owen, ShapleySampling
from xai_exp.removal import Constant


@pytest.fixture
def network():
    torch.manual_seed(3)
    layers = (nn.Flatten(), nn.Linear(64, 6), nn.Tanh(), nn.Linear(6, 3))
    return nn.Sequential(*layers).eval()


def by_orders(network, image, target, unions):
    """The mean over all orders in which unions stay together, by hand; segments are squares."""
    count = len(unions)
    side = math.isqrt(count)
    cell = 8 // side
    worths = {}

    def worth(kept):
        if kept not in worths:
            mask = torch.zeros(8, 8)
            for one in kept:
                row, column = divmod(one, side)
                mask[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = 1
            with torch.no_grad():
                worths[kept] = float(network((image * mask)[None])[0, target])
        return worths[kept]

    total, orders = torch.zeros(count, dtype=torch.float64), 0
    for order in permutations(range(count)):
        seen = [unions[one] for one in order]
        if sum(a != b for a, b in pairwise(seen)) + 1 != len(set(unions)):
            continue
        orders += 1
        for place, one in enumerate(order):
            before = frozenset(order[:place])
            total[one] += worth(before | {one}) - worth(before)
    return total / orders


def test_values_are_the_mean_over_orders_that_keep_unions_together(network):
    image = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(1))
    explainer = Owen(imputer=Constant(value=0.0), segments=4, unions=2, shared=False)
    found = explainer(network, image[None], torch.tensor([1]))[0]
    cells = found[::4, ::4].flatten().double()
    one, other = (by_orders(network, image, 1, unions) for unions in ([0, 0, 1, 1], [0, 1, 0, 1]))
    assert not torch.allclose(one, other, atol=1e-3)
    near = min((cells - known).abs().max() for known in (one, other))
    assert float(near) < 1e-5


def test_a_heatmap_adds_up_and_one_union_gives_shapley_values(network):
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([0, 1, 2])
    given = {"imputer": Constant(value=0.0), "segments": 4, "cut": "grid"}
    maps = Owen(unions=2, **given)(network, images, targets)
    whole = network(images) - network(images * 0)
    wanted = whole.gather(1, targets[:, None])[:, 0].detach()
    assert torch.allclose(maps.sum((1, 2)), wanted, atol=1e-5)
    shapley = ShapleySampling(permutations=64, **given)(network, images, targets)
    assert torch.allclose(Owen(unions=1, **given)(network, images, targets), shapley, atol=1e-6)
    assert torch.allclose(Owen(unions=4, **given)(network, images, targets), shapley, atol=1e-6)


def test_too_many_sets_are_refused_at_once():
    with pytest.raises(InputError, match="sets of which would be asked; allowed: at most 16384"):
        Owen(imputer=Constant(value=0.0), segments=64, unions=4)
