"""Blur IG and guided IG against the papers' algorithms, one image and one value at a time."""

import numpy as np
import pytest
import torch
from torch import nn

from xai_exp.config import InputError
from xai_exp.explainers.gradients.gradients import IntegratedGradients
from xai_exp.explainers.gradients.paths import BlurIG, GuidedIG, scale_space, shares


def slope(model, image, target):
    image = image.clone().requires_grad_()
    return torch.autograd.grad(model(image[None])[0, target], image)[0]


def logit_gap(case, start):
    rows = torch.arange(len(case))
    return (case.model(case.images) - case.model(start))[rows, case.targets].detach()


@pytest.fixture
def deep(make_case):
    """A case whose network has kinks, pools and dead units, on images with flat areas."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        layers = nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3)
        model = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(96, 3)).double()
    case = make_case(dtype=torch.float64, model=model)
    case.images[0, :, 3:7] = 0.0
    case.images[1] = 0.5
    case.images[2, 0] = 0.0
    return case


def blurred(plane, sigma):
    """Every pixel's mean under a Gaussian around it, by loops."""
    out = np.zeros_like(plane)
    y, x = np.indices(plane.shape)
    for v, u in np.ndindex(plane.shape):
        weight = np.exp(-((y - v) ** 2 + (x - u) ** 2) / (2 * sigma**2)) if sigma else 0
        out[v, u] = (weight * plane).sum() / weight.sum() if sigma else plane[v, u]
    return out


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.5, 3.0, 40.0])
def test_scale_space_is_the_mean_under_a_gaussian(make_case, sigma):
    images = make_case(count=2, size=(5, 8), dtype=torch.float64).images
    wanted = torch.tensor(np.stack([[blurred(p.numpy(), sigma) for p in i] for i in images]))
    assert torch.allclose(scale_space(images, [2.0, sigma])[1], wanted)


def test_blur_ig_is_the_integral_in_scale_space_by_loops(make_case):
    """Steps as differences of the blurred image, each times the slope in its middle."""
    case = make_case(count=3, size=(6, 8), dtype=torch.float64)
    found = BlurIG(steps=5, sigma=0.3)(case.model, case.images, case.targets)
    for row, (image, target) in enumerate(zip(case.images, case.targets, strict=True)):
        wanted = torch.zeros(6, 8, dtype=torch.float64)
        for step in range(5):
            sharp, middle, soft = (
                torch.tensor(np.stack([blurred(p.numpy(), 0.3 * 8 * s / 5) for p in image]))
                for s in (step, step + 0.5, step + 1)
            )
            wanted += ((sharp - soft) * slope(case.model, middle, target)).sum(0)
        torch.testing.assert_close(found[row], wanted)


def test_blur_ig_sums_to_the_logit_less_that_of_the_blurred_image(deep):
    gap = logit_gap(deep, scale_space(deep.images, [0.2 * 12])[0])
    errors = []
    for steps in (8, 2048):
        found = BlurIG(steps=steps)(deep.model, deep.images, deep.targets).sum((1, 2))
        errors.append(float((found - gap).abs().max() / gap.abs().max()))
    assert errors[1] < 0.002
    assert errors[1] < 0.01 * errors[0]


def test_an_even_image_is_its_own_blur_and_gets_nothing(deep):
    found = BlurIG()(deep.model, deep.images, deep.targets)
    assert found[1].abs().max() < 1e-12
    assert found[0].abs().max() > 1e-3


@pytest.mark.parametrize("explain", [BlurIG(steps=2), GuidedIG(steps=4, anchors=1)])
def test_on_a_linear_network_few_steps_sum_exactly(make_case, explain):
    case = make_case(dtype=torch.float64)
    linear = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(300, 3)).double()
    found = explain(linear, case.images, case.targets).sum((1, 2))
    start = torch.zeros_like(case.images)
    if isinstance(explain, BlurIG):
        start = scale_space(case.images, [0.2 * 12])[0]
    rows = torch.arange(6)
    gap = (linear(case.images) - linear(start))[rows, case.targets].detach()
    torch.testing.assert_close(found, gap)


def guided_by_loops(model, image, target, explain):
    """Algorithm 1 between anchors: move the flattest values until the step's distance is gone."""
    start = torch.full_like(image, explain.baseline).flatten()
    end = image.flatten()
    whole = (end - start).abs().sum()
    x, total = start.clone(), torch.zeros_like(start)
    before = None
    segments = explain.anchors + 1
    between = explain.steps // segments
    for step in range(explain.steps):
        anchor = start + (end - start) * (step // between + 1) / segments
        target_distance = whole * (between - 1 - step % between) / explain.steps
        found = slope(model, x.view_as(image), target).flatten()
        if before is not None and explain.method == "trapezoid":
            total += 0.5 * (x - before) * found
        size, before = found.abs(), x.clone()
        while True:
            size = torch.where((anchor - x).abs() == 0, torch.inf, size)
            distance = (anchor - x).abs().sum()
            if distance <= target_distance + 1e-12:
                break
            ordered = size.sort().values
            threshold = ordered[int(explain.fraction * (len(ordered) - 1))]
            chosen = (size <= threshold * (1 + 1e-6)) & size.isfinite()
            share = (distance - target_distance) / (anchor - x).abs()[chosen].sum()
            if share >= 1 - 1e-12:
                x[chosen] = anchor[chosen]
            else:
                x[chosen] += share * (anchor - x)[chosen]
        total += (0.5 if explain.method == "trapezoid" else 1) * (x - before) * found
    if explain.method == "trapezoid":
        total += 0.5 * (x - before) * slope(model, x.view_as(image), target).flatten()
    assert torch.allclose(x, end)
    return total.view_as(image).sum(0)


@pytest.mark.parametrize("method", ["left", "trapezoid"])
@pytest.mark.parametrize(
    ("steps", "anchors", "fraction"), [(12, 0, 0.1), (12, 0, 0.35), (12, 3, 0.01), (5, 4, 0.1)]
)
def test_guided_ig_is_algorithm_one(deep, method, steps, anchors, fraction):
    explain = GuidedIG(steps=steps, anchors=anchors, fraction=fraction, method=method, baseline=0.1)
    found = explain(deep.model, deep.images, deep.targets)
    for row, (image, target) in enumerate(zip(deep.images, deep.targets, strict=True)):
        wanted = guided_by_loops(deep.model, image, target, explain)
        torch.testing.assert_close(found[row], wanted, rtol=1e-7, atol=1e-9)


def test_the_flattest_values_move_first_and_equal_ones_together():
    slopes = torch.tensor([[0.0, 3.0, 0.0, -1.0, 0.0, 2.0]])
    apart = torch.tensor([[1.0, 1.0, 2.0, 1.0, 0.0, 1.0]])
    moved = {
        gone: shares(slopes, apart, torch.tensor([6.0 - gone]), 0.1)[0].tolist()
        for gone in (1.5, 3.0, 3.5, 5.25, 6.0)
    }
    # The fifth value has arrived; whichever share it is given, it does not move.
    assert moved[1.5] == [0.5, 0, 0.5, 0, 0, 0]
    assert moved[3.0][:4] == [1, 0, 1, 0]
    assert moved[3.5] == [1, 0, 1, 0.5, 0, 0]
    assert moved[5.25] == [1, 0.25, 1, 1, 0, 1]
    assert moved[6.0] == [1] * 6


@pytest.mark.parametrize("settings", [{"fraction": 1.0, "anchors": 0}, {"anchors": 9}])
def test_guided_ig_that_may_not_leave_the_straight_way_is_integrated_gradients(deep, settings):
    for method, steps in (("left", 10), ("trapezoid", 11)):
        guided = GuidedIG(steps=10, method=method, baseline="blur", **settings)
        straight = IntegratedGradients(steps=steps, method=method, baseline="blur")
        found = guided(deep.model, deep.images, deep.targets)
        torch.testing.assert_close(found, straight(deep.model, deep.images, deep.targets))


def guided_error(case, **fields):
    gap = logit_gap(case, torch.full_like(case.images, 0.2))
    found = GuidedIG(baseline=0.2, **fields)(case.model, case.images, case.targets).sum((1, 2))
    return float((found - gap).abs().max() / gap.abs().max())


def test_guided_ig_on_a_smooth_network_sums_to_the_logit_less_that_of_the_baseline(make_case):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        layers = nn.Conv2d(2, 6, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 6, 3)
        model = nn.Sequential(*layers, nn.Tanh(), nn.Flatten(), nn.Linear(96, 3)).double()
    case = make_case(dtype=torch.float64, model=model)
    errors = [guided_error(case, steps=steps) for steps in (42, 168, 672)]
    assert errors[2] < 0.001
    assert errors[2] < errors[1] < errors[0]


def test_guided_ig_is_drawn_to_kinks_where_only_the_trapezoid_comes_near_the_sum(deep):
    left, trapezoid = (guided_error(deep, steps=42, method=m) for m in ("left", "trapezoid"))
    assert trapezoid < 0.5 * left


@pytest.mark.parametrize("explain", [BlurIG(steps=9), GuidedIG(steps=42)])
def test_a_batch_equals_its_images_one_by_one_on_any_way(deep, explain):
    together = explain(deep.model, deep.images, deep.targets)
    for row in range(6):
        alone = explain(deep.model, deep.images[row : row + 1], deep.targets[row : row + 1])
        torch.testing.assert_close(alone, together[row : row + 1])


def test_an_image_that_is_its_own_baseline_gets_nothing(deep):
    found = GuidedIG(baseline="border")(deep.model, deep.images, deep.targets)
    assert (found[1] == 0).all()
    assert found.isfinite().all()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"steps": 50}, "GuidedIG.steps: got 50 with 20 anchors; allowed: a multiple of 21"),
        ({"fraction": 0.0}, "GuidedIG.fraction: got 0.0; allowed: a number > 0"),
        ({"baseline": "black"}, "GuidedIG.baseline: got 'black'; allowed: a number"),
    ],
)
def test_impossible_ways_are_refused_in_one_line(given, told):
    with pytest.raises(InputError) as error:
        GuidedIG(**given)
    assert told in str(error.value)
