"""Who wins a maximum of values that are equal but for rounding."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.explainers.deeplift import DeepLIFT
from xai_exp.explainers.deeplift.ties import Maximum

LEVEL = 0.2


def network(pool):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        pool,
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        pool,
        nn.Flatten(),
        nn.LazyLinear(3),
    ).eval()


def scene(objects=3):
    """Two squares on a plain background, as rendered scenes have."""
    images = torch.full((objects, 1, 16, 16), LEVEL)
    for place in range(objects):
        images[place, 0, 2 + place : 6 + place, 3:7] = 0.9
        images[place, 0, 10:14, 8 + place : 11 + place] = 0.05
    return images


class Shaken(nn.Module):
    """Changes every value by its last bits, differently for every place."""

    def forward(self, values):
        shake = torch.rand(values.shape[1:], generator=torch.Generator().manual_seed(1))
        return values * (1 + 4e-7 * (shake - 0.5))


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, stride=2, padding=1)])
def test_the_last_bits_decide_nothing(rule, pool):
    images, targets = scene(), torch.tensor([0, 1, 2])
    plain = network(pool)
    plain(images)
    shaken = nn.Sequential(*plain[:2], Shaken(), *plain[2:]).eval()
    explain = DeepLIFT(rule=rule, baseline=LEVEL)
    one, other = explain(plain, images, targets), explain(shaken, images, targets)
    assert 0 < (one - other).abs().max() <= 1e-4 * one.abs().max()


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
def test_the_sum_still_holds(rule):
    images, targets = scene(), torch.tensor([0, 1, 2])
    model = network(nn.MaxPool2d(2))
    start = torch.full_like(images, LEVEL)
    with torch.no_grad():
        wanted = ops.logits(model, images) - ops.logits(model, start)
    found = DeepLIFT(rule=rule, baseline=LEVEL)(model, images, targets).sum((1, 2))
    wanted = wanted.gather(1, targets[:, None])[:, 0]
    assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()


def rule(maximum, image, base):
    return maximum.rule(image, maximum.call(image), base, maximum.call(base))


def test_of_equal_values_the_first_wins_and_of_others_the_largest():
    maximum = Maximum(lambda values: functional.max_pool2d(values, 2))
    base = torch.tensor([[[[1.0, 1.0], [1.0 + 1e-7, 1.0]]]])
    image = torch.tensor([[[[0.2, 0.1], [0.3, 0.5]]]])
    given = torch.ones(1, 1, 1, 1)
    found, _ = rule(maximum, image, base)(given, given)
    # The maximum fell from 1 to .5: the first of the equal ones fell by .8 and has it all.
    torch.testing.assert_close(found, torch.tensor([[[[0.5 / 0.8, 0.0], [0.0, 0.0]]]]))
    found, _ = rule(maximum, base, image)(given, given)
    torch.testing.assert_close(found, torch.tensor([[[[0.5 / 0.8, 0.0], [0.0, 0.0]]]]))


def test_a_maximum_that_does_not_move_passes_its_multiplier_to_its_winner():
    maximum = Maximum(lambda values: values.amax((2, 3)))
    base = torch.tensor([[[[1.0, 0.5], [0.2, 0.1]]]])
    adds, takes = torch.full((1, 1), 2.0), torch.full((1, 1), 3.0)
    found = rule(maximum, base + 1e-7, base)(adds, takes)
    for one, relevance in zip(found, (2.0, 3.0), strict=True):
        torch.testing.assert_close(one, torch.tensor([[[[relevance, 0.0], [0.0, 0.0]]]]))
