import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from xai_exp.metrics.axioms import Completeness


def linear(make_case, factor=1.0):
    """A linear model with a bias of 0.3 and the heatmap factor * weights * images."""
    case = make_case(dtype=torch.float64)
    layer = nn.Linear(2 * 12 * 12, 3).double()
    source = torch.Generator().manual_seed(9)
    layer.weight.data = torch.randn(3, 288, generator=source, dtype=torch.float64)
    layer.bias.data = torch.full((3,), 0.3, dtype=torch.float64)
    weights = layer.weight.detach()[case.targets].view(case.images.shape)
    heatmaps = factor * (weights * case.images).sum(1)
    return replace(case, model=nn.Sequential(nn.Flatten(), layer), heatmaps=heatmaps)


def test_input_times_gradient_of_a_linear_model_is_complete_from_black(make_case):
    assert torch.allclose(Completeness()(linear(make_case)), torch.zeros(6).double(), atol=1e-12)


def test_without_a_baseline_the_bias_is_what_is_missing(make_case):
    scores = Completeness(baseline=None)(linear(make_case))
    assert torch.allclose(scores, torch.full((6,), 0.3, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("factor", [0.0, 0.5, 3.0])
def test_the_scale_of_the_heatmap_is_what_is_measured(make_case, factor):
    case = linear(make_case, factor)
    true_sum = linear(make_case).heatmaps.sum((1, 2))
    assert torch.allclose(Completeness()(case), ((factor - 1) * true_sum).abs(), atol=1e-12)
    relative = torch.full((6,), abs(factor - 1), dtype=torch.float64)
    assert torch.allclose(Completeness(relative=True)(case), relative, atol=1e-12)


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_completeness_equals_its_definition_one_image_at_a_time(make_case, level):
    case = make_case(dtype=torch.float64)
    for row, score in enumerate(Completeness(baseline=level)(case).tolist()):
        image, target = case.images[row : row + 1], case.targets[row]
        apart = case.model(image)[0, target] - case.model(torch.full_like(image, level))[0, target]
        assert score == pytest.approx(abs(case.heatmaps[row].sum() - apart).item(), abs=1e-12)


def test_relative_to_no_difference_there_is_no_score(make_case):
    case = make_case()
    images = case.images.clone()
    images[2] = 0
    scores = Completeness(relative=True)(replace(case, images=images))
    assert scores.isnan().nonzero().flatten().tolist() == [2]


def test_a_heatmap_that_is_not_finite_has_no_score(make_case):
    case = make_case()
    case.heatmaps[1, 2, 3] = math.nan
    assert Completeness()(case).isnan().nonzero().flatten().tolist() == [1]


def test_a_worse_sum_scores_worse_step_by_step(make_case):
    means = [
        Completeness()(linear(make_case, 1 + error)).mean().item() for error in (0, 0.1, 0.5, 2)
    ]
    assert means == sorted(means)
