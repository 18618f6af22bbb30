"""Truth at any grain, on the manifold or not, and given what is kept."""

import math

import pytest
import torch
from torch import nn

from xai_exp.config import InputError
from xai_exp.data.counting import Counting
from xai_exp.data.logic import OneOfEach
from xai_exp.data.shortcut import TrianglesSquaresShortcut
from xai_exp.data.triangles_squares import TrianglesSquares
from xai_exp.data.worths import TypedCounting
from xai_exp.models.whitebox import LinearSum
from xai_exp.truth.conditional import conditional
from xai_exp.truth.games import attribute
from xai_exp.truth.manifold import on_manifold

INDEX = torch.arange(4)


def network(channels=1, size=16):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(channels, 4, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4 * size * size, 3),
        ).eval()


@pytest.mark.parametrize(
    ("division", "cells"), [("grid", 2), ("grid", 3), ("grid", 5), ("pixels", None)]
)
def test_linear_networks_give_each_cell_its_pixels_weights(division, cells):
    data = TrianglesSquares(count=60, pixels=16, min_radius=3.0, max_radius=3.0)
    scenes = data.test.scenes(INDEX)
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
    divided = scenes.divided(division, cells=cells)
    targets = torch.tensor([0, 1, 2, 0])
    found = attribute(model, divided, targets, permutations=2)
    empty = scenes.render(torch.zeros_like(scenes.present))
    weights = model[1].weight.detach()[targets].view(4, 16, 16)
    by_pixel = (weights * (scenes.render() - empty)[:, 0]).double()
    wanted = (divided.parts().double() * by_pixel[:, None]).sum((2, 3))
    torch.testing.assert_close(found.shapley, wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.shapley.sum(1), by_pixel.sum((1, 2)), rtol=0, atol=1e-5)


def test_a_grid_of_few_cells_is_exact_and_agrees_with_sampling_within_its_error():
    data = TrianglesSquares(count=60, pixels=16, min_radius=4.0, max_radius=4.0)
    scenes, targets = data.test.scenes(INDEX).divided("grid", cells=3), torch.tensor([0, 1, 2, 0])
    exact = attribute(network(), scenes, targets)
    assert bool((exact.error == 0).all())
    assert exact.interaction.isfinite().all()
    sampled = attribute(network(), scenes, targets, most_exact=0, permutations=400)
    off = (sampled.shapley - exact.shapley)[exact.present] / sampled.error[exact.present]
    assert float(off.square().mean()) < 2
    assert bool((sampled.largest <= exact.largest + 1e-6).all())


def test_cells_without_content_are_no_players_and_cells_are_shown_or_not():
    scenes = Counting(count=60, pixels=32, max_objects=2).test.scenes(INDEX)
    grid = scenes.divided("grid", cells=4)
    empty = scenes.render(torch.zeros_like(scenes.present))
    for row, keep in enumerate(torch.eye(16, dtype=torch.bool)[:4]):
        drawn = grid[row : row + 1].render(keep[None])[0, 0]
        top, left = divmod(row, 4)
        wanted = empty[row, 0].clone()
        block = slice(8 * top, 8 * top + 8), slice(8 * left, 8 * left + 8)
        wanted[block] = scenes.render()[row, 0][block]
        assert torch.equal(drawn, wanted)
    content = (scenes.render() != empty)[:, 0].view(4, 4, 8, 4, 8).any(4).any(2).flatten(1)
    assert torch.equal(grid.present, content)
    assert torch.equal(grid.divided("objects").present, scenes.present)


def test_pixels_take_little_memory_for_the_pairs_that_nobody_knows():
    data = TrianglesSquares(count=60, pixels=16, min_radius=2.0, max_radius=2.0)
    found = attribute(
        network(), data.test.scenes(INDEX).divided("pixels"), torch.zeros(4).long(), permutations=2
    )
    assert found.interaction.isnan().all()
    assert found.interaction.untyped_storage().nbytes() == 8
    assert found.shapley.shape == (4, 256)
    assert bool((found.error[found.present] >= 0).all())


def test_a_value_of_ones_own_is_explained():
    scenes = Counting(count=60, pixels=16, max_objects=2, min_radius=2.0, max_radius=2.0).test
    scenes, targets = scenes.scenes(INDEX), torch.tensor([0, 1, 2, 0])

    def centred(logits, targets):
        return logits.gather(1, targets[:, None])[:, 0] - logits.mean(1)

    found = attribute(network(), scenes, targets, value=centred)
    shifted = nn.Sequential(network(), Shifted())
    again = attribute(shifted, scenes, targets, value=centred)
    torch.testing.assert_close(found.shapley, again.shapley, rtol=0, atol=1e-4)
    assert (attribute(shifted, scenes, targets).shapley - found.shapley).abs().max() > 0.03


class Shifted(nn.Module):
    """Adds a function of the image to all logits."""

    def forward(self, logits):
        return logits + 3 * logits.square().sum(1, keepdim=True)


def test_values_in_colour_agree_with_drawing_each_subset_oneself():
    data = TypedCounting(
        count=60, pixels=40, by="color", color="rgb", overlap=0.4, texture="stripes", max_counted=3
    )
    scenes, targets = data.test.scenes(INDEX), torch.tensor([0, 1, 2, 0])
    model = network(3, 40)
    found = attribute(model, scenes, targets)
    with torch.no_grad():
        for row in range(4):
            players = scenes.present[row].nonzero()[:, 0].tolist()
            total = 0.0
            for part in players:
                others = [p for p in players if p != part]
                gain = 0.0
                for bits in range(2 ** len(others)):
                    chosen = [p for at, p in enumerate(others) if bits >> at & 1]
                    keep = torch.zeros(2, scenes.present.shape[1], dtype=torch.bool)
                    keep[:, chosen] = True
                    keep[1, part] = True
                    both = model(scenes[torch.tensor([row, row])].render(keep))[:, targets[row]]
                    size = len(chosen)
                    weight = math.factorial(size) * math.factorial(len(players) - size - 1)
                    gain += weight / math.factorial(len(players)) * float(both[1] - both[0])
                assert float(found.shapley[row, part]) == pytest.approx(gain, abs=1e-4)
                total += gain
            assert total == pytest.approx(float(found.whole[row] - found.empty[row]), abs=1e-4)


def test_how_much_is_on_the_manifold_has_closed_forms():
    polygons = TrianglesSquares(count=60).test
    sides = polygons.labels[:4] + 3
    scenes = polygons.scenes(INDEX)
    half = torch.full((4,), 0.5, dtype=torch.float64)
    torch.testing.assert_close(on_manifold(scenes), half)  # the empty image is never drawn
    corners = on_manifold(scenes.divided("corners"))
    torch.testing.assert_close(corners, 1 / (2 * sides.double()))
    for least in (0, 1, 2):
        data = Counting(count=60, min_objects=least, max_objects=5).test
        count = data.labels[:4].double() + least
        # A set of size s is drawn if s >= least; the empty and the whole set weigh half.
        gone = torch.tensor([0.0, 0.5, 1.5][least])
        wanted = torch.where(count > 0, 1 - gone / count, torch.nan)
        found = on_manifold(data.scenes(INDEX))
        torch.testing.assert_close(found, wanted, equal_nan=True)
    trained = TrianglesSquares(count=60, coalitions="corners").test.scenes(INDEX)
    for scenes in (trained.divided("corners"), OneOfEach(count=60).test.scenes(INDEX)):
        assert float(on_manifold(scenes).nanmean()) == pytest.approx(1, abs=1e-12)


def test_a_tag_that_always_tells_is_never_drawn_without_what_it_tells():
    for agreement, wanted in ((0.9, 0.5), (1.0, 0.25)):
        data = TrianglesSquaresShortcut(count=60, tag_agreement=agreement).test
        tagged = data.everything.present[:, -1].nonzero()[:2, 0]
        # Object and tag: {}, {object}, {tag}, both weigh 1/4 each; the object is always there.
        found = on_manifold(data.scenes(tagged))
        torch.testing.assert_close(found, torch.full((2,), wanted, dtype=torch.float64))


def test_the_share_on_the_manifold_is_sampled_where_there_are_many_parts():
    scenes = Counting(count=60, min_objects=14, max_objects=14, min_radius=3.0, max_radius=3.0)
    found = on_manifold(scenes.test.scenes(INDEX))
    torch.testing.assert_close(found, torch.full((4,), 0.5 / 14, dtype=torch.float64))


def test_given_what_is_kept_a_linear_network_s_truth_is_known():
    """Two discs of one size and level: the other is there with a probability that Bayes gives."""
    data = TypedCounting(
        count=400, pixels=64, max_counted=2, max_ignored=1, min_radius=5.0, max_radius=5.0
    )
    two = (data.train.everything.sides.sort(1).values == torch.tensor([0, 1, 1])).all(1)
    scenes = data.train.scenes(two.nonzero()[:2, 0])
    model, targets = LinearSum().build(1, (64, 64), 3), torch.tensor([2, 2])
    found = conditional(model, scenes, targets, draws=400)
    disc = math.pi * 25 / 64**2
    contrast = (scenes.levels[:, 0] - scenes.background).double()
    # Chances of the other place, by counting how mixtures fill three places of which one is empty.
    table, chances = data.mixtures()
    filled = table.sum(1)
    alone = chances[(filled == 1) & (table[:, 0] == 1)].sum() / 3
    first_is_disc = table[filled == 2][:, 0] / 2
    second = (chances[filled == 2] * first_is_disc).sum() / 3
    expected = disc * contrast * float(second / (second + alone))
    whole = found.whole.double() - found.empty
    by_symmetry = (found.shapley[scenes.present].view(2, 2)[:, 0] - whole / 2).abs()
    error = found.error[scenes.present].view(2, 2)
    assert bool((by_symmetry < 4 * error[:, 0]).all())
    # v(one disc) = what is certain + the expected rest; it is v(all) less what is missing.
    one = found.whole - found.effect[scenes.present].view(2, 2)[:, 0]
    base = LinearSum().build(1, (64, 64), 3)(scenes.render(torch.zeros_like(scenes.present)))
    certain = base[:, 2].double() + disc * contrast
    assert bool(((one - certain - expected).abs() < 5 * error[:, 0] * math.sqrt(2)).all())


def test_given_what_is_kept_an_image_has_the_same_truth_alone_and_in_a_batch():
    data = OneOfEach(count=60, pixels=40)
    scenes, targets = data.test.scenes(INDEX), torch.tensor([0, 1, 1, 0])
    together = conditional(network(1, 40), scenes, targets, draws=4)
    alone = conditional(network(1, 40), scenes[2:3], targets[2:3], draws=4)
    torch.testing.assert_close(alone.shapley[0], together.shapley[2], rtol=0, atol=1e-5)
    torch.testing.assert_close(
        together.shapley.sum(1), together.whole - together.empty, rtol=0, atol=1e-9
    )


def test_scenes_that_can_not_be_drawn_anew_are_refused_in_one_line():
    model, targets = network(1, 32), torch.zeros(2).long()
    polygons = TrianglesSquares(count=60).test.scenes(torch.arange(2))
    with pytest.raises(InputError, match="got objects of scenes without a generator"):
        conditional(model, polygons, targets)
    grid = OneOfEach(count=60, pixels=32).test.scenes(torch.arange(2)).divided("grid", cells=2)
    with pytest.raises(InputError, match="got the division grid; allowed: objects"):
        conditional(model, grid, targets)
    with pytest.raises(InputError, match="got 1 draws; allowed: 2 or more"):
        conditional(model, polygons, targets, draws=1)
