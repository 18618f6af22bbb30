import math

import pytest
import torch

from xai_exp.metrics.complexity import Sparseness


def gini_by_the_book(heatmap):
    """Half the mean absolute difference over the mean: Gini's own definition."""
    values = heatmap.flatten().abs().double()
    apart = (values[:, None] - values[None, :]).abs().mean()
    return (apart / (2 * values.mean())).item()


def test_sparseness_equals_ginis_mean_difference_in_float64(make_case):
    case = make_case(dtype=torch.float64)
    expected = torch.tensor([gini_by_the_book(h) for h in case.heatmaps], dtype=torch.float64)
    assert torch.allclose(Sparseness()(case), expected, atol=1e-12)


@pytest.mark.parametrize("filled", [1, 3, 72, 144])
def test_sparseness_of_equal_pixels_is_the_share_that_is_empty(make_case, filled):
    heatmaps = torch.zeros(6, 144)
    heatmaps[:, :filled] = -2.5
    scores = Sparseness()(make_case(heatmaps=heatmaps.view(6, 12, 12)))
    assert torch.allclose(scores, torch.full((6,), 1 - filled / 144), atol=1e-6)


def test_sparseness_does_not_see_where_the_relevance_lies_nor_its_sign(make_case):
    case = make_case()
    turned = make_case(heatmaps=-case.heatmaps.flip(1))
    assert torch.equal(Sparseness()(case), Sparseness()(turned))


def test_a_heatmap_that_is_all_zero_or_not_finite_has_no_score(make_case):
    heatmaps = make_case().heatmaps
    heatmaps[1], heatmaps[4, 0, 0] = 0, math.inf
    scores = Sparseness()(make_case(heatmaps=heatmaps))
    assert scores.isnan().nonzero().flatten().tolist() == [1, 4]


def test_a_flatter_heatmap_is_less_sparse_step_by_step(make_case):
    heatmaps = make_case().heatmaps.abs()
    means = [
        Sparseness()(make_case(heatmaps=heatmaps + level)).mean().item() for level in (0, 0.5, 1, 2)
    ]
    assert means == sorted(means, reverse=True)
