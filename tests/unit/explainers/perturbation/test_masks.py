"""Learnt masks: against loops of one image at a time, closed forms, what they promise."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from xai_exp.compute import chunks, ops
from xai_exp.config import InputError
from xai_exp.explainers.perturbation.masks import ExtremalPerturbation, MeaningfulPerturbation, Seen
from xai_exp.removal.imputers import Border, Constant, Noise

GREY = Constant(value=0.25)
TARGETS = torch.tensor([0, 2, 1])
FEW = {"imputer": GREY, "cells": 5, "steps": 12}
EXPLAINERS = [
    MeaningfulPerturbation(**FEW),
    MeaningfulPerturbation(imputer=Noise(), steps=5, output="probability", power=2.0),
    ExtremalPerturbation(**FEW),
    ExtremalPerturbation(imputer=Border(), areas=(0.3,), steps=5, sigma=2.0, output="probability"),
]


class Linear(nn.Module):
    """Classes that add up the first channel, each with weights of its own."""

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def forward(self, x):
        return torch.einsum("bhw,chw->bc", x[:, 0], self.weights)


def large(mask, images):
    return functional.interpolate(mask[None, None], images.shape[2:], mode="bilinear")[0, 0]


def unit(model, image):
    return (model(image[None]) - model(torch.full_like(image, 0.25)[None])).abs().max()


def test_meaningful_perturbation_is_adam_on_one_image_after_the_other(network, images):
    explain = replace(EXPLAINERS[0], sparse=0.3, smooth=2.0, power=3.0)
    found = explain(network, images, TARGETS)
    for image, target, heatmap in zip(images, TARGETS, found, strict=True):
        mask = torch.ones(5, 5, dtype=torch.float64, requires_grad=True)
        adam = torch.optim.Adam([mask], lr=0.1)
        for _ in range(12):
            adam.zero_grad()
            seen = large(mask, image[None]) * (image - 0.25) + 0.25
            loss = network(seen[None])[0, target] / unit(network, image)
            loss = loss + 0.3 * sum(1 - value for value in mask.flatten()) / 25
            rough = 0
            for i in range(5):
                for j in range(4):
                    rough = rough + abs(mask[i, j] - mask[i, j + 1]) ** 3
                    rough = rough + abs(mask[j, i] - mask[j + 1, i]) ** 3
            (loss + 2.0 * rough / 20).backward()
            adam.step()
            mask.data.clamp_(0, 1)
        torch.testing.assert_close(
            heatmap, 1 - large(mask, image[None]).detach(), rtol=1e-5, atol=1e-7
        )


def test_without_smoothness_what_holds_more_than_its_price_is_hidden(generator):
    """A linear network: a cell is hidden if its share of the change is above lambda_1 / cells."""
    weights = torch.rand(3, 6, 6, generator=generator).double()
    images = torch.rand(3, 1, 6, 6, generator=generator).double() / 2 + 0.5
    explain = MeaningfulPerturbation(imputer=GREY, cells=6, steps=200, sparse=0.9, smooth=0.0)
    model = Linear(weights)
    found = explain(model, images, TARGETS)
    share = weights[TARGETS] * (images[:, 0] - 0.25)
    largest = torch.stack([unit(model, image) for image in images])[:, None, None]
    clear = (share / largest - 0.9 / 36).abs() > 1e-4
    expected = (share / largest > 0.9 / 36).double()
    assert 0.2 < expected.mean() < 0.8
    torch.testing.assert_close(found[clear], expected[clear])


def bump(distance, sigma):
    return math.exp(-2 * max(0, distance / sigma - 0.5) ** 2)


@pytest.mark.parametrize("sigma", [0.7, 1.0, 2.2])
def test_masks_are_smooth_maxima_of_bumps(generator, sigma):
    explain = ExtremalPerturbation(**FEW | {"sigma": sigma})
    reach = 1 + round(sigma)
    side = 5 + 2 * reach  # bumps lie outside, too
    values = torch.rand(2, side, side, dtype=torch.float64, generator=generator)
    found = explain._mask(values, explain._bumps())
    for row, y, x in torch.cartesian_prod(torch.arange(2), *[torch.arange(5)] * 2).tolist():
        heights = []
        for i, j in itertools.product(range(2 * reach + 1), repeat=2):
            distance = math.hypot(i - reach, j - reach)
            heights.append(bump(distance, sigma) * float(values[row, y + i, x + j]))
        total = sum(math.exp(20 * each) for each in heights)
        expected = sum(each * math.exp(20 * each) for each in heights) / total
        assert float(found[row, y, x]) == pytest.approx(expected)


@pytest.mark.parametrize("area", [0.1, 0.25, 0.5])
def test_the_constraint_is_that_so_large_a_share_is_kept(area):
    ideal = ExtremalPerturbation(imputer=GREY, areas=(area, 0.9))._ideal(torch.zeros(4, 1, 8, 8))
    assert ideal.shape == (4, 256)
    assert ideal[0].sum() == ideal[2].sum() == round(area * 256)
    assert (ideal.diff(dim=1) >= 0).all()


def test_where_the_network_does_not_care_the_area_is_spread_evenly():
    """It sees a quarter in the middle: around it no place is better than another."""
    weights = torch.zeros(3, 24, 24).double()
    weights[:, 9:15, 9:15] = 1
    explain = ExtremalPerturbation(imputer=GREY, cells=12, areas=(0.5,))
    found = explain(Linear(weights), torch.ones(1, 1, 24, 24).double(), TARGETS[:1])[0]
    turned = [found.rot90(times) for times in range(4)]
    for other in (*turned[1:], found.flip(0)):
        torch.testing.assert_close(other, found)
    assert found[9:15, 9:15].mean() > 2 * found[0].mean()


def test_what_is_kept_is_where_a_linear_network_has_its_weights(generator):
    """Rectangles of 19 %: a mask of a fifth is nearly the rectangle, but for its edge."""
    weights = torch.zeros(3, 24, 24).double()
    weights[0, 3:12, 4:16], weights[1, 12:21, 9:21], weights[2, 2:20, 1:7] = 1, 2, 0.1
    images = torch.rand(3, 1, 24, 24, generator=generator).double() / 2 + 0.5
    explain = ExtremalPerturbation(imputer=GREY, cells=24, areas=(0.2,))
    found = explain(Linear(weights), images, TARGETS)
    inside = weights[TARGETS] > 0
    kept = (found * inside).sum((1, 2)) / inside.sum((1, 2))
    assert (kept > 0.8).all()
    assert ((found * ~inside).sum((1, 2)) / (~inside).sum((1, 2)) < 0.1).all()
    assert ((found.mean((1, 2)) - 0.2).abs() < 0.05).all()


def test_the_heatmap_is_the_mean_over_areas(network, images):
    both = ExtremalPerturbation(**FEW, areas=(0.1, 0.4))(network, images, TARGETS)
    one, other = (
        ExtremalPerturbation(**FEW, areas=(area,))(network, images, TARGETS) for area in (0.1, 0.4)
    )
    torch.testing.assert_close(both, (one + other) / 2)
    assert (one.mean((1, 2)) < other.mean((1, 2))).all()


def test_learning_raises_what_a_mask_is_learnt_for(network, images):
    """More steps, less of the logit left or more of it kept, the price counted in."""
    for kind, sign in ((MeaningfulPerturbation, -1), (ExtremalPerturbation, 1)):
        values = []
        for steps in (1, 40):
            explain = kind(imputer=GREY, cells=6, steps=steps)
            heatmap = explain(network, images, TARGETS)
            mask = heatmap if sign > 0 else 1 - heatmap
            seen = 0.25 + mask[:, None] * (images - 0.25)
            values.append(ops.pick(network(seen), TARGETS).detach())
        assert (sign * (values[1] - values[0]) > 0).all()


def test_outputs_are_counted_in_the_largest_change_of_any_logit(network, images):
    """So a network whose logits are ten times as large gets the same masks."""

    class Louder(nn.Module):
        def forward(self, x):
            return 10 * network(x) + 3

    for explain in (EXPLAINERS[0], EXPLAINERS[2]):
        loud = explain(Louder(), images, TARGETS)
        torch.testing.assert_close(loud, explain(network, images, TARGETS), rtol=1e-5, atol=1e-6)
    ones = Seen(network, images, images / 2, TARGETS, "probability").unit()
    assert torch.equal(ones, torch.ones(3).double())


@pytest.mark.parametrize("explain", EXPLAINERS, ids=str)
def test_heatmaps_lie_between_0_and_1(network, images, explain):
    found = explain(network, images, TARGETS)
    assert not found.requires_grad
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.flatten(1).std(1).min() > 0


@pytest.mark.parametrize("explain", EXPLAINERS, ids=str)
def test_an_image_gets_the_same_heatmap_alone_and_among_many(network, images, explain):
    many, targets = torch.cat([images, images.flip(0)]), torch.cat([TARGETS, TARGETS.flip(0)])
    together = explain(network, many, targets)
    alone = torch.cat([explain(network, many[i : i + 1], targets[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(together[:3], together[3:].flip(0), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("explain", EXPLAINERS, ids=str)
def test_as_many_passes_are_made_as_the_cost_says(network, images, explain):
    passes = []
    network.register_forward_hook(lambda _, given, __: passes.append(len(given[0])))
    explain(network, images[:1], TARGETS[:1])
    assert sum(passes) == explain.cost.forward


@pytest.mark.parametrize("explain", [EXPLAINERS[0], EXPLAINERS[2]], ids=str)
def test_out_of_memory_halves_the_batch_and_changes_nothing(network, images, explain, monkeypatch):
    monkeypatch.setattr(chunks, "_FITTING", {})

    class Small(nn.Module):
        def forward(self, x):
            if len(x) > 4:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return network(x)

    many, targets = torch.cat([images, images / 2]), torch.cat([TARGETS, TARGETS])
    found = explain(Small(), many, targets)
    torch.testing.assert_close(found, explain(network, many, targets), rtol=1e-6, atol=1e-9)


def test_a_network_that_sees_nothing_is_explained_too(images):
    class Constantly(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :3] * 0 + 1

    for explain in EXPLAINERS:
        found = explain(Constantly(), images, TARGETS)
        assert found.isfinite().all()
    assert (EXPLAINERS[0](Constantly(), images, TARGETS) < 1e-12).all()


def test_no_areas_are_refused():
    with pytest.raises(InputError, match=r"ExtremalPerturbation.areas: got an empty list; allowed"):
        ExtremalPerturbation(imputer=GREY, areas=())
