"""Owen values of objects in the unions that the scene has."""

import pytest
import torch
from torch import nn

from xai_exp.config import InputError
from xai_exp.data.land.settlements import Settlements
from xai_exp.data.worths import TypedCounting
from xai_exp.explainers.perturbation import OwenParts
from xai_exp.truth.games import attribute
from xai_exp.truth.owen import owen


class Kinds(nn.Module):
    """Ink squared: objects interact, within and between kinds."""

    def forward(self, images):
        ink = (images - images[:, :1, :1, :1]).abs().flatten(1).sum(1)
        return torch.stack([ink**2 / 1e3, -ink], 1)


@pytest.fixture(scope="module")
def scenes():
    data = TypedCounting(count=60, pixels=48, max_counted=2, max_ignored=2, max_radius=4.0)
    return data.test.scenes(torch.arange(4))


def pooled(found, parts):
    """The sum of a heatmap over each part, which are disjoint."""
    return (found[:, None] * (parts > 0)).sum((2, 3))


def test_objects_have_the_owen_values_of_their_kinds(scenes):
    images, targets = scenes.render(), torch.zeros(4, dtype=torch.long)
    found = OwenParts().with_scenes(images, scenes)(Kinds(), images, targets)
    values = pooled(found.double(), scenes.parts())
    for row in range(4):
        there = scenes.present[row].nonzero()[:, 0]

        def worth(sets, row=row, there=there):
            keep = torch.zeros(len(sets), scenes.present.shape[1], dtype=torch.bool)
            keep[:, there] = sets
            one = scenes[torch.full((len(sets),), row)]
            return Kinds()(one.render(keep))[:, 0].double()

        wanted = owen(worth, scenes.sides[row, there].tolist())
        torch.testing.assert_close(values[row, there], wanted, rtol=1e-3, atol=1e-3)


def test_values_of_a_kind_are_not_shapleys_but_their_sum_is_the_same(scenes):
    images, targets = scenes.render(), torch.zeros(4, dtype=torch.long)
    found = OwenParts().with_scenes(images, scenes)(Kinds(), images, targets).double()
    shapley = attribute(Kinds(), scenes, targets).shapley.double()
    torch.testing.assert_close(found.sum((1, 2)), shapley.sum(1), rtol=1e-4, atol=1e-4)


def test_roofs_are_players_in_their_blocks_and_nothing_else_lights_up():
    scenes = Settlements(count=600, pixels=48).test.scenes(torch.arange(12))
    drawing, unions, parts = scenes.in_unions()
    assert unions.shape == parts.shape[:2]
    torch.testing.assert_close(drawing.whole(), scenes.by_roof()[0].whole())
    assert not bool(parts[unions < 0].any())


def test_without_scenes_it_says_what_it_needs():
    with pytest.raises(InputError, match="owen_parts: got no scenes; allowed: rendered data"):
        OwenParts()(Kinds(), torch.zeros(1, 1, 4, 4), torch.tensor([0]))
