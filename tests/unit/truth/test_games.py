"""Exact truth: the laws of the Shapley value, and slow reimplementations from the definitions."""

import itertools
import math

import pytest
import torch
from torch import nn

from xai_exp.config import InputError
from xai_exp.data.scenes.scene import Scene
from xai_exp.truth import coalitions
from xai_exp.truth import games as truth
from xai_exp.truth.games import Truth, solved


def scenes(count=4, objects=4, size=(20, 20), absent=()):
    """Scenes of discs on a grid, of different levels; `absent` are (image, object) left out."""
    source = torch.Generator().manual_seed(3)
    places = torch.tensor([[5.0, 5.0], [15.0, 5.0], [5.0, 15.0], [15.0, 15.0]])
    places = torch.cat([places, places + 30])[:objects]
    sides = torch.ones(count, objects, dtype=torch.long)
    for image, part in absent:
        sides[image, part] = 0
    return Scene(
        sides=sides,
        centres=places.expand(count, -1, -1).clone(),
        radii=2 + 2 * torch.rand(count, objects, generator=source),
        angles=torch.zeros(count, objects),
        levels=0.5 + 0.5 * torch.rand(count, objects, generator=source),
        background=0.4 * torch.rand(count, generator=source),
        size=size,
    )


def network(size=(20, 20), seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 5, padding=2),
            nn.ReLU(),
            nn.BatchNorm2d(4),
            nn.AvgPool2d(4),
            nn.Flatten(),
            nn.Linear(4 * size[0] * size[1] // 16, 16),
            nn.ReLU(),
            nn.Linear(16, 3),
        ).train()


def table(count, batch=3, seed=0):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 2**count, generator=source, dtype=torch.float64)


def by_permutations(values, count):
    """The Shapley value as the mean gain over all orders, in float64."""
    total = torch.zeros(len(values), count, dtype=torch.float64)
    for order in itertools.permutations(range(count)):
        before = 0
        for part in order:
            total[:, part] += values[:, before | 1 << part] - values[:, before]
            before |= 1 << part
    return total / math.factorial(count)


def polygons():
    """A triangle, a square and a triangle, and a square with a tag beside it."""
    return Scene(
        sides=torch.tensor([[3, 4], [4, 0], [3, 0], [4, 4]]),
        centres=torch.tensor([[[13.0, 13.5], [3.0, 3.0]]]).repeat(4, 1, 1),
        radii=torch.tensor([[6.0, 2.0]]).repeat(4, 1),
        angles=torch.tensor([[0.3, 0.7]]).repeat(4, 1),
        levels=torch.tensor([[0.9, 0.9], [0.1, 0.1], [0.2, 0.2], [0.7, 0.7]]),
        background=torch.tensor([0.1, 0.6, 0.9, 0.2]),
        size=(24, 24),
        tagged=True,
    )


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_values_are_mean_gains_over_all_orders(count):
    values = table(count)
    torch.testing.assert_close(
        solved(values).shapley, by_permutations(values, count), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("count", [0, 1, 2, 7, 12])
def test_values_sum_to_what_all_parts_give_over_none(count):
    found = solved(table(count))
    torch.testing.assert_close(found.shapley.sum(1), found.whole - found.empty, rtol=0, atol=1e-12)


def test_parts_with_equal_gains_have_equal_values_and_dummies_their_own():
    masks = coalitions.subsets(5).double()
    symmetric = (masks[:, 0] * masks[:, 1] * (1 + masks[:, 2])) ** 2
    values = (symmetric + 3 * masks[:, 3] + 0 * masks[:, 4])[None]
    found = solved(values)
    assert float(found.shapley[0, 0]) == pytest.approx(float(found.shapley[0, 1]), abs=1e-12)
    torch.testing.assert_close(
        found.shapley[0, 3:], torch.tensor([3.0, 0.0]).double(), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(
        found.interaction[0, 3:], torch.zeros(2, 5).double(), rtol=0, atol=1e-12
    )


def test_values_are_linear_in_the_game():
    first, second = table(4), table(4, seed=1)
    mixed = solved(2 * first - 3 * second)
    for name in ("shapley", "effect", "interaction", "empty", "whole"):
        one, other = getattr(solved(first), name), getattr(solved(second), name)
        torch.testing.assert_close(getattr(mixed, name), 2 * one - 3 * other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_interactions_are_the_sum_over_subsets_of_others(count):
    values = table(count)
    found = solved(values).interaction
    for first, second in itertools.permutations(range(count), 2):
        rest = [part for part in range(count) if part not in (first, second)]
        wanted = torch.zeros(len(values), dtype=torch.float64)
        for bits in itertools.product([0, 1], repeat=len(rest)):
            inside = sum(1 << part for part, bit in zip(rest, bits, strict=True) if bit)
            size = sum(bits)
            weight = math.factorial(size) * math.factorial(count - size - 2)
            gain = (
                values[:, inside | 1 << first | 1 << second]
                - values[:, inside | 1 << first]
                - values[:, inside | 1 << second]
                + values[:, inside]
            )
            wanted += weight / math.factorial(count - 1) * gain
        torch.testing.assert_close(found[:, first, second], wanted, rtol=0, atol=1e-12)
    assert bool((found.diagonal(dim1=1, dim2=2) == 0).all())


def test_a_product_of_two_parts_is_all_interaction_and_shared_in_halves():
    masks = coalitions.subsets(2).double()
    found = solved((6 * masks[:, 0] * masks[:, 1])[None])
    assert found.shapley.tolist() == [[3.0, 3.0]]
    assert found.effect.tolist() == [[6.0, 6.0]]
    assert found.interaction[0].tolist() == [[0.0, 6.0], [6.0, 0.0]]


def rendered(model, made, targets):
    """v of every subset of all parts, by the scene's own rendering, one image at a time."""
    count = made.present.shape[1]
    model = model.eval()
    columns = []
    for bits in itertools.product([False, True], repeat=count):
        keep = torch.tensor(bits[::-1]).expand(len(made), -1)
        with torch.no_grad():
            images = made.render(keep)
            columns.append(torch.cat([model(image[None]) for image in images]))
    return (
        torch.stack(columns, 1)
        .gather(2, targets[:, None, None].expand(-1, 2**count, 1))[..., 0]
        .double()
    )


@pytest.mark.parametrize("absent", [(), ((0, 1), (2, 0), (2, 3), (3, 0), (3, 1), (3, 2), (3, 3))])
def test_a_network_on_drawn_scenes_agrees_with_brute_force_over_permutations(absent):
    made, model, targets = scenes(absent=absent), network(), torch.tensor([0, 2, 1, 1])
    found = truth.attribute(model, made, targets)
    values = rendered(model, made, targets)
    torch.testing.assert_close(found.shapley, by_permutations(values, 4), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.whole, values[:, -1], rtol=0, atol=1e-5)
    torch.testing.assert_close(found.empty, values[:, 0], rtol=0, atol=1e-5)
    assert bool((found.shapley[~made.present] == 0).all())
    assert bool((found.effect[~made.present] == 0).all())
    assert torch.equal(found.present, made.present)
    assert found.shapley.dtype == torch.float64
    assert bool((found.error == 0).all())


def test_a_linear_network_gives_each_part_its_contrast_times_its_weights():
    made, targets = scenes(), torch.tensor([0, 1, 2, 0])
    model = nn.Sequential(nn.Flatten(), nn.Linear(400, 3))
    found = truth.attribute(model, made, targets)
    _, layers = made.layers()
    layers = layers[:, :, 0]
    weights = model[1].weight.detach()[targets].view(4, 1, 20, 20)
    wanted = (layers * weights).sum((2, 3)).double()
    torch.testing.assert_close(found.shapley, wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.effect, wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.interaction, torch.zeros(4, 4, 4).double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("division", ["objects", "corners", "sides", "anatomy"])
def test_values_sum_to_the_difference_of_logits_in_every_division(division):
    made, model = polygons().divided(division), network((24, 24))
    targets = torch.arange(4) % 3
    found = truth.attribute(model, made, targets)
    model.eval()
    with torch.no_grad():
        whole = model(made.render()).gather(1, targets[:, None])[:, 0]
        empty = model(made.render(torch.zeros_like(made.present))).gather(1, targets[:, None])
    torch.testing.assert_close(found.shapley.sum(1).float(), whole - empty[:, 0], rtol=0, atol=2e-5)


class Counted(nn.Module):
    """A network that counts the images it is given."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.images = inner, 0

    def forward(self, images):
        self.images += len(images)
        return self.inner(images)


def test_no_forward_pass_is_wasted_on_absent_parts():
    absent = ((0, 1), (2, 0), (2, 3), (3, 0), (3, 1), (3, 2), (3, 3))
    model = Counted(network())
    truth.attribute(model, scenes(absent=absent), torch.zeros(4, dtype=torch.long))
    assert model.images == 2**3 + 2**4 + 2**2 + 2**0


def test_an_image_has_the_same_truth_alone_and_in_a_batch():
    made, model, targets = scenes(absent=((0, 1), (2, 0))), network(), torch.tensor([0, 2, 1, 1])
    for options in ({}, {"most_exact": 0, "permutations": 5}):
        together = truth.attribute(model, made, targets, **options)
        for row in range(4):
            alone = truth.attribute(model, made[row : row + 1], targets[row : row + 1], **options)
            torch.testing.assert_close(alone.shapley[0], together.shapley[row], rtol=0, atol=1e-6)
            torch.testing.assert_close(alone.error[0], together.error[row], rtol=0, atol=1e-6)


def test_the_network_is_left_as_it_was():
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    truth.attribute(model, scenes(), torch.zeros(4, dtype=torch.long))
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_sampled_values_sum_exactly_and_err_by_their_standard_error():
    made, model, targets = scenes(), network(), torch.tensor([0, 2, 1, 1])
    exact = truth.attribute(model, made, targets)
    counted = Counted(model)
    sampled = truth.attribute(counted, made, targets, most_exact=3, permutations=64)
    assert counted.images == 4 * (64 * 3 + 4 + 2)
    torch.testing.assert_close(sampled.shapley.sum(1), exact.whole - exact.empty, rtol=0, atol=1e-5)
    torch.testing.assert_close(sampled.effect, exact.effect, rtol=0, atol=1e-5)
    assert bool((sampled.error > 0).all())
    assert bool(sampled.interaction.isnan().all())
    off = (sampled.shapley - exact.shapley) / sampled.error
    # Of 16 standardised errors the mean square is near 1, beyond 2.3 once in a thousand.
    assert float(off.square().mean()) < 2.3
    finer = truth.attribute(model, made, targets, most_exact=3, permutations=1024)
    ratio = float((finer.error / sampled.error).mean())
    assert ratio == pytest.approx(1 / 4, rel=0.15)


def test_no_scenes_have_an_empty_truth():
    found = truth.attribute(network(), scenes()[:0], torch.zeros(0, dtype=torch.long))
    assert isinstance(found, Truth)
    assert found.shapley.shape == (0, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"most_exact": 21}, "got most_exact 21; allowed: 0 to 20"),
        ({"permutations": 1}, "got 1 permutations; allowed: 2 or more"),
    ],
)
def test_impossible_options_are_refused_in_one_line(options, message):
    with pytest.raises(InputError, match=message):
        truth.attribute(network(), scenes(), torch.zeros(4, dtype=torch.long), **options)
