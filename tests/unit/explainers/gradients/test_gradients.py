"""Gradient methods against closed forms, captum, and sums written out."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import nn

from xai_exp.config import InputError
from xai_exp.explainers.gradients.baselines import uniform
from xai_exp.explainers.gradients.gradients import (
    Gradient,
    InputXGradient,
    IntegratedGradients,
)
from xai_exp.explainers.gradients.paths import BlurIG

RULES = ["gauss_legendre", "midpoint", "trapezoid", "left", "right"]


class Power(nn.Module):
    """Logit k: the sum of w_k x^(k + 1), whose integral along the way is known."""

    def __init__(self):
        super().__init__()
        source = torch.Generator().manual_seed(0)
        self.w = nn.Parameter(torch.randn(4, 2, 3, 3, dtype=torch.float64, generator=source))

    def forward(self, x):
        powers = torch.stack([x, x**2, x**3, x**4], 1)
        return (self.w * powers).sum((2, 3, 4))


@pytest.fixture(scope="module")
def images():
    source = torch.Generator().manual_seed(1)
    return torch.rand(4, 2, 3, 3, dtype=torch.float64, generator=source)


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(54, 4)
        return nn.Sequential(*layers).double()


TARGETS = torch.arange(4)


def test_gradients_equal_the_derivative_by_hand(images):
    model = Power()
    k = torch.arange(4.0).view(-1, 1, 1, 1)
    slope = model.w.detach() * (k + 1) * images**k
    close = torch.testing.assert_close
    close(Gradient()(model, images, TARGETS), slope.sum(1))
    close(Gradient(absolute=True)(model, images, TARGETS), slope.abs().sum(1))
    close(InputXGradient()(model, images, TARGETS), (images * slope).sum(1))


@pytest.mark.parametrize("baseline", [0.0, 0.5, -0.5])
def test_integrated_gradients_equal_the_integral_by_hand(images, baseline):
    model = Power()
    k = torch.arange(4.0).view(-1, 1, 1, 1) + 1
    integral = (model.w.detach() * (images**k - baseline**k)).sum(1)
    found = IntegratedGradients(steps=2, baseline=baseline)(model, images, TARGETS)
    torch.testing.assert_close(found, integral)


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_every_sum_puts_its_points_where_captum_puts_them(network, images, method, steps):
    """Captum takes two steps at least and shifts some of them: those by hand."""
    ours = IntegratedGradients(steps=steps, method=method, baseline=0.2)(network, images, TARGETS)
    places = {"left": range(steps), "right": range(1, steps + 1)}
    if steps == 1 and method in ("gauss_legendre", "midpoint"):
        places[method] = [0.5]
    if method in places:
        expected = sum(
            (images - 0.2) * slope_at(network, 0.2 + i / steps * (images - 0.2)) / steps
            for i in places[method]
        ).sum(1)
    elif method == "trapezoid":
        ends = torch.linspace(0, 1, steps).tolist() if steps > 1 else [0.5]
        weights = [1.0] if steps == 1 else [0.5, *[1.0] * (steps - 2), 0.5]
        expected = sum(
            (images - 0.2) * w * slope_at(network, 0.2 + a * (images - 0.2)) / sum(weights)
            for a, w in zip(ends, weights, strict=True)
        ).sum(1)
    else:
        theirs = {"gauss_legendre": "gausslegendre", "midpoint": "riemann_middle"}[method]
        expected = CaptumIntegratedGradients(network).attribute(
            images, torch.full_like(images, 0.2), TARGETS, n_steps=steps, method=theirs
        )
        expected = expected.sum(1)
    torch.testing.assert_close(ours, expected.detach(), rtol=1e-6, atol=1e-9)


def slope_at(network, points):
    points = points.clone().requires_grad_()
    chosen = network(points).gather(1, TARGETS[:, None]).sum()
    return torch.autograd.grad(chosen, points)[0]


def test_integrated_gradients_sum_to_the_logit_difference(network, images):
    for method, steps, error in [("midpoint", 512, 1e-4), ("gauss_legendre", 256, 1e-4)]:
        explain = IntegratedGradients(steps=steps, method=method, baseline=0.3)
        found = explain(network, images, TARGETS).sum((1, 2))
        both = network(images) - network(torch.full_like(images, 0.3))
        torch.testing.assert_close(found, both.detach().diagonal(), rtol=0, atol=error)


def test_a_pixel_that_the_network_does_not_see_gets_nothing(network, images):
    class Blind(nn.Module):
        def forward(self, x):
            return network(x * mask)

    mask = torch.ones(3, 3, dtype=torch.float64)
    mask[1, 2] = 0
    for explain in (Gradient(), InputXGradient(), IntegratedGradients(steps=5)):
        found = explain(Blind(), images, TARGETS)
        assert (found[:, 1, 2] == 0).all()
        assert (found != 0).any()


def test_pixels_with_the_same_part_in_the_network_get_the_same(images):
    """Symmetry: two pixels of one value that are only ever summed."""

    class Symmetric(nn.Module):
        def forward(self, x):
            both = x[:, 0, 0, 0] + x[:, 0, 2, 1]
            return torch.stack([both.sin(), both**2 * x[:, 1, 1, 1], both, both], 1)

    images = images.clone()
    images[:, 0, 2, 1] = images[:, 0, 0, 0]
    for explain in (Gradient(), InputXGradient(), IntegratedGradients(steps=5)):
        found = explain(Symmetric(), images, TARGETS)
        torch.testing.assert_close(found[:, 0, 0], found[:, 2, 1])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"steps": 0}, "IntegratedGradients.steps: got 0; allowed: a whole number >= 1"),
        ({"method": "simpson"}, "got 'simpson'; allowed: one of gauss_legendre, midpoint"),
        ({"baseline": "black"}, "IntegratedGradients.baseline: got 'black'; allowed: a number"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(given, told):
    with pytest.raises(InputError) as error:
        IntegratedGradients(**given)
    assert told in str(error.value)


def test_the_border_baseline_is_the_background_of_each_image_and_channel(make_case):
    case = make_case(dtype=torch.float64)
    images = torch.zeros(2, 2, 5, 6, dtype=torch.float64)
    images += torch.tensor([[0.1, 0.2], [0.3, 0.4]]).double()[:, :, None, None]
    images[:, :, 1:4, 1:5] = 0.9
    images[0, 0, 0, 2] = 0.7  # an object that touches the border
    wanted = torch.tensor([[0.1, 0.2], [0.3, 0.4]]).double()[:, :, None, None].expand_as(images)
    assert torch.allclose(uniform(images, "border"), wanted)
    method = IntegratedGradients(steps=300, method="midpoint", baseline="border")
    start = uniform(case.images, "border")
    rows = torch.arange(len(case))
    gap = (case.model(case.images) - case.model(start))[rows, case.targets]
    maps = method(case.model, case.images, case.targets)
    assert torch.allclose(maps.sum((1, 2)).double(), gap, atol=1e-3 * gap.abs().max().item())


def by_baseline(images, baseline):
    """The baseline images, one at a time."""
    found = torch.empty_like(images)
    for i, image in enumerate(images):
        for c, plane in enumerate(image):
            if baseline == "mean":
                found[i, c] = plane.mean()
            elif baseline == "blur":
                found[i, c] = torch.tensor(blurred(plane.numpy(), 0.2 * max(plane.shape)))
            else:
                found[i, c] = uniform(image[None], baseline)[0, c]
    return found


def blurred(plane, sigma):
    """Every pixel's mean under a Gaussian cut at four sigma, by loops over what it sees."""
    out = np.zeros_like(plane)
    reach = max(1, round(4 * sigma))
    height, width = plane.shape
    for y, x in np.ndindex(height, width):
        total = weight = 0.0
        for v, u in np.ndindex(height, width):
            if abs(v - y) <= reach and abs(u - x) <= reach:
                w = np.exp(-((v - y) ** 2 + (u - x) ** 2) / (2 * sigma**2))
                total, weight = total + w * plane[v, u], weight + w
        out[y, x] = total / weight
    return out


@pytest.mark.parametrize("baseline", ["mean", "blur", "border", 0.7])
def test_a_baseline_made_of_the_image_equals_captums_given_it_as_a_tensor(make_case, baseline):
    case = make_case(size=(7, 9), dtype=torch.float64)
    start = by_baseline(case.images, baseline)
    wanted = CaptumIntegratedGradients(case.model).attribute(
        case.images, start, case.targets, n_steps=20, method="gausslegendre"
    )
    ours = IntegratedGradients(steps=20, baseline=baseline)
    found = ours(case.model, case.images, case.targets)
    torch.testing.assert_close(found, wanted.sum(1).detach(), rtol=1e-6, atol=1e-9)


def test_over_several_baselines_it_is_the_mean_and_sums_to_the_mean_difference(make_case):
    case = make_case(dtype=torch.float64)
    several = [0.0, 1.0, "border", "mean", "blur"]
    rest = {"steps": 200, "method": "midpoint"}
    method = IntegratedGradients(baseline=several, **rest)
    assert method.cost == (1000, 1000)
    found = method(case.model, case.images, case.targets)
    each = [
        IntegratedGradients(baseline=one, **rest)(case.model, case.images, case.targets)
        for one in several
    ]
    torch.testing.assert_close(found, torch.stack(each).mean(0))
    starts = [by_baseline(case.images, one) for one in several]
    rows = torch.arange(len(case))
    gap = torch.stack(
        [(case.model(case.images) - case.model(s))[rows, case.targets] for s in starts]
    )
    torch.testing.assert_close(found.sum((1, 2)), gap.mean(0).detach(), rtol=0, atol=2e-4)


def test_a_list_of_no_baselines_is_refused():
    with pytest.raises(InputError, match=r"IntegratedGradients\.baseline: got an empty list"):
        IntegratedGradients(baseline=[])


@pytest.mark.parametrize(("method", "side"), [(IntegratedGradients, 2), (BlurIG, 4)])
def test_points_are_doubled_until_the_sum_holds_and_no_image_gets_more_than_it_needs(method, side):
    """A network with a kink that eight points miss: the step of a steep ReLU near the image."""
    steep = nn.Sequential(nn.Flatten(), nn.Linear(side**2, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in steep.parameters():
            parameter.copy_(3 * torch.randn(parameter.shape, generator=generator).double())
    images = torch.rand(16, 1, side, side, dtype=torch.float64, generator=generator)
    targets = torch.arange(16) % 2
    few, more = method(steps=4), method(steps=4, most=4096)
    wanted = few.promised(steep, images, targets)

    def off(method):
        found = method(steep, images, targets).sum((1, 2))
        return (found - wanted).abs() / wanted.abs()

    assert off(few).amax() > 0.01
    assert off(more).amax() < 0.01
    right = off(few) < 0.01
    assert right.any()
    same = few(steep, images, targets)[right], more(steep, images, targets)[right]
    assert torch.equal(*same)
