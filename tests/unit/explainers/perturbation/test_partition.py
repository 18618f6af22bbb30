"""Partition SHAP: against the definition of Owen values and against a queue, one term at a time."""

import heapq
import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from xai_exp.compute import chunks, ops
from xai_exp.explainers.perturbation.partition import PartitionSHAP, tree
from xai_exp.removal.imputers import Border, Constant, Noise

GREY = Constant(value=0.25)
TARGETS = torch.tensor([0, 2, 1])
EXPLAINERS = [
    PartitionSHAP(imputer=GREY, evaluations=40, smallest=1),
    PartitionSHAP(imputer=Border(), evaluations=61, together=3),
    PartitionSHAP(imputer=Noise(), evaluations=2, output="probability"),
    PartitionSHAP(imputer=GREY, evaluations=10_000, smallest=3),
]


def rectangles(box, smallest):
    """The two halves of a box (top, bottom, left, right) as `tree` cuts it, or none."""
    top, bottom, left, right = box
    high, wide = bottom - top, right - left
    if max(high, wide) < 2 * smallest:
        return None
    if high >= wide:
        return (top, top + high // 2, left, right), (top + high // 2, bottom, left, right)
    return (top, bottom, left, left + wide // 2), (top, bottom, left + wide // 2, right)


class Game:
    """One image of 4 x 8 or 8 x 8 pixels, whose boxes halve evenly."""

    def __init__(self, model, image, target):
        self.model, self.image, self.target = model, image, target

    def __call__(self, boxes):
        seen = torch.zeros(self.image.shape[1:], dtype=torch.bool)
        for top, bottom, left, right in boxes:
            seen[top:bottom, left:right] = True
        return self.model(torch.where(seen, self.image, 0.25)[None])[0, self.target].item()


def orders(box, smallest):
    """All orders of the smallest boxes in which every box comes in one piece."""
    halves = rectangles(box, smallest)
    if halves is None:
        return [[box]]
    one, other = (orders(half, smallest) for half in halves)
    pairs = list(itertools.product(one, other))
    return [a + b for a, b in pairs] + [b + a for a, b in pairs]


def test_run_to_the_end_it_gives_owen_values_by_the_definition(generator):
    images = torch.rand(3, 1, 4, 8, dtype=torch.float64, generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    model = model.double()
    explain = PartitionSHAP(imputer=GREY, evaluations=500, smallest=2)
    found = explain(model, images, TARGETS)
    everything = orders((0, 4, 0, 8), 2)
    assert len(everything) == 2**7
    for row in range(3):
        game = Game(model, images[row], TARGETS[row])
        expected = torch.zeros(4, 8, dtype=torch.float64)
        for order in everything:
            before = game([])
            for place, (top, bottom, left, right) in enumerate(order):
                after = game(order[: place + 1])
                expected[top:bottom, left:right] += (after - before) / 4 / len(everything)
                before = after
        torch.testing.assert_close(found[row], expected)


def by_a_queue(game, box, evaluations, smallest):
    """What shap does: the term of the largest worth is refined first, one after the other."""
    ends = game([]), game([box])
    queue = [(0, 0, box, [], *ends, 1.0)]
    found, number, left = torch.zeros(game.image.shape[1:], dtype=torch.float64), 1, evaluations - 2
    while queue:
        _, _, box, around, before, after, weight = heapq.heappop(queue)
        halves = rectangles(box, smallest)
        if halves is None or left < 2:
            top, bottom, a, b = box
            found[top:bottom, a:b] += (after - before) * weight / ((bottom - top) * (b - a))
            continue
        left -= 2
        one, other = (game([*around, half]) for half in halves)
        for half, beside, low, high in (
            (halves[0], [], before, one),
            (halves[0], [halves[1]], other, after),
            (halves[1], [], before, other),
            (halves[1], [halves[0]], one, after),
        ):
            new = (half, around + beside, low, high, weight / 2)
            worth = math.log2(abs(high - low) * weight / 2 + 1e-30)
            heapq.heappush(queue, (-round(worth * 1000), number, *new))
            number += 1
    return found


@pytest.mark.parametrize("evaluations", [2, 4, 10, 60, 200])
def test_the_terms_of_largest_worth_are_refined_first(generator, evaluations):
    images = torch.rand(3, 1, 8, 8, dtype=torch.float64, generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # Everything interacts, so that no two terms are worth the same.
        layers = nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 3)
    model = nn.Sequential(*layers).double()
    explain = PartitionSHAP(imputer=GREY, evaluations=evaluations, together=1, smallest=1)
    found = explain(model, images, TARGETS)
    for row in range(3):
        game = Game(model, images[row], TARGETS[row])
        expected = by_a_queue(game, (0, 8, 0, 8), evaluations, 1)
        torch.testing.assert_close(found[row], expected)


@pytest.mark.parametrize("explain", EXPLAINERS, ids=str)
def test_values_sum_to_the_difference_of_outputs(network, images, explain):
    gone = explain.removal(images, None)(slice(0, 3), torch.ones(3, 1, 9, 12, dtype=torch.bool))
    outputs = [network(each) for each in (images, gone)]
    if explain.output == "probability":
        outputs = [each.softmax(1) for each in outputs]
    found = explain(network, images, TARGETS)
    expected = ops.pick(outputs[0] - outputs[1], TARGETS).detach()
    torch.testing.assert_close(found.sum((1, 2)), expected)


def test_a_linear_network_gets_what_each_cell_contributes(images):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Linear(216, 3)).double()
    worth = (model[1].weight[TARGETS].view_as(images) * (images - 0.25)).sum(1).detach()
    found = EXPLAINERS[3](model, images, TARGETS)
    cut, levels = tree(9, 12, 3)
    assert levels == 3
    for cell in range(8):
        inside = cut[0] == cell
        expected = worth[:, inside].mean(1, keepdim=True).expand(3, int(inside.sum()))
        torch.testing.assert_close(found[:, inside], expected)


@pytest.mark.parametrize(("height", "width", "smallest"), [(9, 12, 1), (64, 64, 2), (5, 40, 3)])
def test_cells_are_rectangles_of_at_least_the_smallest_side(height, width, smallest):
    cut, levels = tree(height, width, smallest)
    cells = cut[0].unique()
    assert cells.tolist() == list(range(2**levels))
    for cell in cells:
        rows, columns = (cut[0] == cell).nonzero(as_tuple=True)
        sides = [int(each.max() - each.min()) + 1 for each in (rows, columns)]
        assert sides[0] * sides[1] == len(rows)
        for side, whole in zip(sides, (height, width), strict=True):
            assert min(smallest, whole) <= side < 2 * smallest + 1


@pytest.mark.parametrize("together", [1, 4, 8])
@pytest.mark.parametrize("evaluations", [2, 31, 64, 2000])
def test_no_more_passes_are_made_than_asked_for(network, images, together, evaluations):
    passes = []
    network.register_forward_hook(lambda _, given, __: passes.append(len(given[0])))
    explain = PartitionSHAP(imputer=GREY, evaluations=evaluations, together=together, smallest=3)
    explain(network, images[:1], TARGETS[:1])
    assert sum(passes) == min(evaluations // 2 * 2, 44) or (sum(passes) <= 50 and together > 1)


@pytest.mark.parametrize("explain", EXPLAINERS, ids=str)
def test_an_image_gets_the_same_heatmap_alone_and_among_many(network, images, explain):
    images = torch.cat([images, torch.full_like(images[:1], 0.25)])
    many, targets = torch.cat([images, images.flip(0)]), torch.arange(8) % 3
    targets[4:] = targets[:4].flip(0)
    together = explain(network, many, targets)
    alone = torch.cat([explain(network, many[i : i + 1], targets[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(together, alone, rtol=1e-8, atol=1e-11)
    torch.testing.assert_close(together[:4], together[4:].flip(0), rtol=1e-8, atol=1e-11)


def test_more_terms_at_once_find_nearly_the_same(network, images):
    one = replace(EXPLAINERS[0], evaluations=100, together=1)(network, images, TARGETS)
    more = replace(EXPLAINERS[0], evaluations=100, together=4)(network, images, TARGETS)
    assert not torch.equal(one, more)
    assert torch.nn.functional.cosine_similarity(one.flatten(1), more.flatten(1)).min() > 0.8


def test_out_of_memory_is_met_once(network, images, monkeypatch):
    monkeypatch.setattr(chunks, "_FITTING", {})
    given = []

    class Small(nn.Module):
        def forward(self, x):
            given.append(len(x))
            if len(x) > 7:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return network(x)

    found = EXPLAINERS[1](Small(), images, TARGETS)
    torch.testing.assert_close(found, EXPLAINERS[1](network, images, TARGETS))
    assert sum(size > 7 for size in given) == 1
