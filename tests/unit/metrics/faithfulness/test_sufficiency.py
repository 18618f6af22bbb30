import math
from dataclasses import replace

import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn

from xai_exp.compute import ops
from xai_exp.metrics.faithfulness.sufficiency import Sufficiency
from xai_exp.removal.imputers import Constant, Noise

BLACK = Constant(value=0.0)
METRICS = [Sufficiency(imputer=Noise(), share=0.3), Sufficiency(imputer=BLACK)]


def linear(weights):
    """A model whose logits are sums of weight x pixel, from (class, pixel)."""
    layer = nn.Linear(weights.shape[1], len(weights), bias=False)
    layer.weight.data = weights
    return nn.Sequential(nn.Flatten(), layer)


def test_kept_pixels_equal_a_loop_over_images_and_draws(make_case):
    weights = torch.randn(3, 288, generator=torch.Generator().manual_seed(1))
    case = make_case(model=linear(weights - weights.mean(1, keepdim=True)))
    scores = Sufficiency(imputer=Noise(), share=0.25, repeats=5)(case)
    keys = ops.image_keys(case.images)
    expected = torch.zeros(6)
    for row, image in enumerate(case.images):
        kept = case.heatmaps[row] >= case.heatmaps[row].flatten().topk(36).values.min()
        with torch.no_grad():
            clean = case.model(image[None]).argmax()
            for draw in range(5):
                gone = Noise()(case.images, None, ops.named_keys(keys, f"removal {draw}"))
                other = gone(slice(row, row + 1), ~kept[None, None])
                expected[row] += (case.model(other).argmax() == clean) / 5
    assert torch.allclose(scores, expected)
    assert 0 < expected.mean() < 1


def test_all_pixels_are_sufficient_and_no_pixels_only_for_the_class_of_nothing(make_case):
    case = make_case()
    with torch.no_grad():
        classes = case.model(case.images).argmax(1)
        of_nothing = case.model(torch.zeros_like(case.images[:1])).argmax()
    assert (Sufficiency(imputer=Noise(), share=1.0)(case) == 1).all()
    none = Sufficiency(imputer=BLACK, share=0.0)(case)
    assert torch.equal(none, (classes == of_nothing).float())


def test_one_decisive_pixel_is_sufficient_when_marked_and_not_otherwise(make_case):
    weights = torch.full((2, 144), 0.001)
    weights[1] = torch.zeros(144).index_fill(0, torch.tensor([40]), 1.0)
    images = torch.ones(4, 1, 12, 12)
    marked = torch.zeros(4, 144).index_fill(1, torch.tensor([40]), 1.0).view(4, 12, 12)
    case = make_case(model=linear(weights), images=images, heatmaps=marked)
    metric = Sufficiency(imputer=BLACK, share=1 / 144)
    assert (metric(case) == 1).all()
    assert (Sufficiency(imputer=BLACK, share=0.9)(replace(case, heatmaps=-marked)) == 0).all()


def test_close_heatmaps_are_scipys_and_a_lonely_one_has_no_score(make_case):
    case = make_case(count=9)
    heatmaps = case.heatmaps[:3].repeat(3, 1, 1) + 0.1 * case.heatmaps
    heatmaps[8] = -heatmaps[8].flip(0)
    case = replace(case, heatmaps=heatmaps)
    with torch.no_grad():
        classes = case.model(case.images).argmax(1)
    flat = heatmaps.flatten(1).double()
    flat = (flat / flat.abs().amax(1, keepdim=True)).numpy()
    apart = torch.tensor(cdist(flat, flat, "seuclidean"))
    for threshold in (6.0, 17.0, 19.0):
        near = (apart <= threshold) & ~torch.eye(9, dtype=torch.bool)
        expected = [(classes[near[row]] == classes[row]).double().mean().item() for row in range(9)]
        scores = Sufficiency(imputer=BLACK, applies_if="close", threshold=threshold)(case)
        assert torch.allclose(scores, torch.tensor(expected).float(), equal_nan=True)
    assert Sufficiency(imputer=BLACK, applies_if="close")(case).isnan().all()


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_scores_are_those_of_each_image_alone_and_free_of_scale(make_case, metric):
    case = make_case()
    together = metric(case)
    fields = ("images", "targets", "heatmaps")
    for row in range(len(case)):
        alone = make_case(**{name: getattr(case, name)[row : row + 1] for name in fields})
        assert torch.equal(metric(alone), together[row : row + 1])
    assert torch.equal(metric(make_case(heatmaps=case.heatmaps * 8)), together)
    broken = case.heatmaps.clone()
    broken[2, 0, 0] = math.nan
    assert metric(make_case(heatmaps=broken)).isnan().tolist() == [row == 2 for row in range(6)]
