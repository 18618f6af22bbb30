import math

import pytest
import torch

from xai_exp.metrics.complexity import Complexity, EffectiveComplexity, Sparseness
from xai_exp.metrics.faithfulness import removal
from xai_exp.metrics.faithfulness.curves import Insertion
from xai_exp.removal.imputers import Constant, Noise


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


def test_complexity_equals_the_papers_entropy_in_float64(make_case):
    case = make_case(dtype=torch.float64)
    for heatmap, score in zip(case.heatmaps, Complexity()(case).tolist(), strict=True):
        magnitudes = [abs(value) for value in heatmap.flatten().tolist()]
        shares = [value / sum(magnitudes) for value in magnitudes]
        assert score == pytest.approx(-sum(p * math.log(p) for p in shares), abs=1e-12)


@pytest.mark.parametrize("filled", [1, 3, 72, 144])
def test_complexity_of_equal_pixels_is_the_logarithm_of_their_number(make_case, filled):
    heatmaps = torch.zeros(6, 144)
    heatmaps[:, -filled:] = -0.25
    scores = Complexity()(make_case(heatmaps=heatmaps.view(6, 12, 12)))
    assert torch.allclose(scores, torch.full((6,), math.log(filled)), atol=1e-5)


@pytest.mark.parametrize(
    "metric", [Complexity(), EffectiveComplexity(imputer=Constant())], ids=repr
)
def test_a_broken_heatmap_has_no_complexity(make_case, metric):
    heatmaps = make_case().heatmaps
    heatmaps[4, 0, 0] = math.nan
    heatmaps[1] = 0
    missing = metric(make_case(heatmaps=heatmaps)).isnan().nonzero().flatten().tolist()
    assert missing == ([1, 4] if isinstance(metric, Complexity) else [4])


def kept_by_the_book(case, row, k, level):
    """The probability of the target with the k most relevant pixels kept, the others at a level."""
    order = case.heatmaps[row].flatten().argsort(descending=True)
    flat = torch.full_like(case.images[row].flatten(1), level)
    flat[:, order[:k]] = case.images[row].flatten(1)[:, order[:k]]
    logits = case.model(flat.view_as(case.images[row])[None])[0]
    return logits.softmax(0)[case.targets[row]].item()


@pytest.mark.parametrize("tolerance", [0.005, 0.01, 0.05])
def test_effective_complexity_is_the_papers_smallest_set_that_keeps_the_output(
    make_case, tolerance
):
    case = make_case(dtype=torch.float64)
    case.model[-1].weight.data *= 8
    metric = EffectiveComplexity(imputer=Constant(value=0.25), steps=144, tolerance=tolerance)
    scores = metric(case).tolist()
    for row in range(6):
        clean = kept_by_the_book(case, row, 144, 0.25)
        near = (
            k for k in range(145) if abs(kept_by_the_book(case, row, k, 0.25) - clean) < tolerance
        )
        assert scores[row] == next(near)
    assert max(scores) > 0


def test_effective_complexity_takes_the_mean_loss_of_draws_not_the_loss_of_their_mean(make_case):
    """Draws that err to either side cancel in the mean output; their losses do not."""
    case = make_case()
    imputer, counts = Noise(), torch.tensor([0, 40, 144])
    metric = EffectiveComplexity(imputer=imputer, output="logit", repeats=16)
    losses = metric._losses(case, counts)
    mean = removal.pixel_curve(case, imputer, counts, "logit", 16, order="lerf")
    assert torch.equal(losses[:, 0], torch.zeros(6))
    cancelled = (mean - mean[:, :1]).abs()
    assert (losses >= cancelled - 1e-6).all()
    assert losses.mean() > 1.1 * cancelled.mean()


def test_effective_complexity_by_threshold_counts_pixels_above_a_share_of_the_largest(make_case):
    heatmaps = torch.zeros(6, 12, 12)
    heatmaps[:, 0, :4] = torch.tensor([-8.0, 4.0, 0.9, 0.7])
    case = make_case(heatmaps=heatmaps)
    for threshold, count in ((0.0, 4), (0.1, 3), (0.5, 1)):
        metric = EffectiveComplexity(imputer=Constant(), score_by="threshold", threshold=threshold)
        assert metric(case).tolist() == [count] * 6


def test_effective_complexity_shares_its_curve_with_insertion(make_case):
    case = make_case()
    passes = []
    case.model.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    Insertion(imputer=Constant(), steps=16)(case)
    before = sum(passes)
    EffectiveComplexity(imputer=Constant(), steps=16)(case)
    assert sum(passes) == before
