"""DeepLIFT: by hand, by its sum, and however the network is written."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from xai_exp.explainers.deeplift.deeplift import DeepLIFT
from xai_exp.explainers.gradients.baselines import uniform

ACTIVATIONS = [nn.ReLU, nn.ELU, nn.SiLU, nn.Tanh, nn.Softplus]


def images(count=5, channels=2):
    source = torch.Generator().manual_seed(3)
    return torch.rand(count, channels, 8, 8, generator=source, dtype=torch.float64)


def network(activation=nn.ReLU, pool=None):
    torch.manual_seed(1)
    made = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        activation(),
        pool or nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2),
        activation(),
        nn.Flatten(),
        nn.Linear(6, 5),
        activation(),
        nn.Linear(5, 3),
    ).double()
    made[1].running_mean.normal_()
    made[1].running_var.uniform_(0.5, 2)
    return made.eval().requires_grad_(False)


class Residual(nn.Module):
    """Functions, one activation used twice and a residual sum."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.first = nn.Conv2d(2, 4, 3, padding=1).double()
        self.second = nn.Conv2d(4, 4, 3, padding=1).double()
        self.last = nn.Linear(4, 3).double()
        self.relu = nn.ReLU()

    def forward(self, x):
        x = self.relu(self.first(x))
        x = functional.relu(x + self.second(x))
        x = functional.max_pool2d(x, 3, 2, padding=1)
        return self.last(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def gap(model, x, targets, baseline):
    start, rows = uniform(x, baseline), torch.arange(len(x))
    return (model(x) - model(start))[rows, targets]


def complete(maps, wanted):
    return torch.allclose(maps.sum((1, 2)), wanted, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("baseline", [0.0, -0.5, "border"])
def test_it_sums_to_the_difference_of_the_logits(activation, baseline):
    x, targets, model = images(), torch.arange(5) % 3, network(activation)
    maps = DeepLIFT(baseline=baseline)(model, x, targets)
    assert torch.allclose(
        maps.sum((1, 2)), gap(model, x, targets, baseline).to(maps), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    "pool", [nn.AvgPool2d(2), nn.MaxPool2d(3, 2, padding=1), nn.AdaptiveMaxPool2d(4)]
)
def test_it_sums_with_other_pooling(pool):
    x, targets, model = images(), torch.arange(5) % 3, network(pool=pool)
    maps = DeepLIFT()(model, x, targets)
    assert torch.allclose(
        maps.sum((1, 2)), gap(model, x, targets, 0.0).to(maps), rtol=1e-4, atol=1e-6
    )


def test_it_sums_on_residual_networks_of_functions_and_reused_modules():
    x, targets, model = images(), torch.arange(5) % 3, Residual().requires_grad_(False)
    maps = DeepLIFT()(model, x, targets)
    assert torch.allclose(
        maps.sum((1, 2)), gap(model, x, targets, 0.0).to(maps), rtol=1e-4, atol=1e-6
    )


def test_with_the_gradient_of_max_pooling_the_sum_is_lost_at_the_border():
    x, targets, model = images(), torch.arange(5) % 3, network()
    wanted = gap(model, x, targets, 0.5)
    errors = [
        (DeepLIFT(baseline=0.5, pooling=pooling)(model, x, targets).sum((1, 2)) - wanted)
        .abs()
        .max()
        for pooling in ("rescale", "gradient")
    ]
    assert errors[0] < 1e-7 < 1e-5 < errors[1]


def test_by_hand_through_two_layers():
    x, targets = images(), torch.arange(5) % 3
    torch.manual_seed(4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(128, 7), nn.ReLU(), nn.Linear(7, 3)).double()
    first, last = model[1], model[3]
    wanted = torch.zeros(5, 128, dtype=torch.float64)
    for i in range(5):
        image, start = x[i].flatten(), torch.full((128,), 0.25, dtype=torch.float64)
        before, base = first(image), first(start)
        for unit in range(7):
            moved = before[unit] - base[unit]
            ratio = (before[unit].clamp(min=0) - base[unit].clamp(min=0)) / moved
            wanted[i] += last.weight[targets[i], unit] * ratio * first.weight[unit]
        wanted[i] *= image - start
    wanted = wanted.view(5, 2, 8, 8).sum(1).detach()
    found = DeepLIFT(baseline=0.25)(model, x, targets)
    assert torch.allclose(found.double(), wanted, atol=1e-6)


def test_an_image_gets_the_same_heatmap_alone_and_among_many():
    x, model = images(count=70), network()
    targets = torch.arange(70) % 3
    together = DeepLIFT()(model, x, targets)
    alone = torch.cat([DeepLIFT()(model, x[i : i + 1], targets[i : i + 1]) for i in range(70)])
    assert torch.allclose(together, alone, atol=1e-6)


def test_an_image_that_is_its_own_baseline_gets_nothing():
    x = torch.full((2, 2, 8, 8), 0.3, dtype=torch.float64)
    assert not DeepLIFT(baseline="border")(network(), x, torch.tensor([0, 1])).any()


class Faint(nn.Module):
    """Rectifiers of values that are as small as one likes; what is told of them does not change."""

    def __init__(self, size):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.first, self.last = nn.Conv2d(1, 4, 3).double(), nn.Linear(64, 3).double()
        self.size = size

    def forward(self, x):
        values = torch.relu(self.first(x) * self.size) + (self.first(x) * self.size).sigmoid()
        return self.last(((values - 0.5) / self.size).flatten(1))


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
def test_what_is_nearly_nothing_is_judged_by_the_values_themselves(rule):
    images = torch.rand(2, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([0, 2])
    explain = DeepLIFT(rule=rule, baseline=0.4)
    plain, faint = (explain(Faint(size), images, targets) for size in (1e-5, 1e-8))
    torch.testing.assert_close(faint, plain, rtol=1e-5, atol=1e-6)
    gap = explain.gaps(Faint(1e-8), images, targets, faint)["completeness_gap"]
    assert gap.max() < 1e-6
