"""ROAD: the share of steps at which the model still says the target."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from xai_exp.metrics.faithfulness.road import ROAD
from xai_exp.removal.imputers import Constant, NoisyLinear
from xai_exp.types import CurveMetric

EXACT = NoisyLinear(noise=0.0, tolerance=1e-5)


def by_hand(case, metric, most_first):
    """Image by image and step by step, in the order of the values."""
    scores = []
    for i in range(len(case)):
        order = case.heatmaps[i].flatten().argsort(descending=most_first)
        hits = []
        for k in range(1, metric.steps + 1):
            gone = torch.zeros(case.heatmaps[i].numel(), dtype=torch.bool)
            gone[order[: round(len(gone) * metric.fraction * k / metric.steps)]] = True
            removal = metric.imputer(case.images[i : i + 1], None, torch.tensor([0]))
            copy = removal(slice(0, 1), gone.view(1, 1, *case.heatmaps.shape[1:]))
            hits.append(case.model(copy).argmax(1) == case.targets[i])
        scores.append(torch.cat(hits).float().mean())
    return torch.stack(scores)


@pytest.fixture
def case(make_case):
    """Two classes told apart by a weighted sum, and its terms as heatmaps."""
    made = make_case(size=(6, 6), channels=1)
    weights = torch.randn(36, generator=torch.Generator().manual_seed(5))
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 2, bias=False))
    model[1].weight.data = torch.stack([weights, -weights])
    relevance = weights.view(6, 6) * made.images[:, 0]
    targets = model(made.images).argmax(1)
    signs = 1.0 - 2.0 * targets
    return replace(made, model=model, targets=targets, heatmaps=relevance * signs.view(6, 1, 1))


def test_road_counts_the_steps_that_keep_the_target_in_each_order(case):
    metrics = {
        order: ROAD(imputer=EXACT, order=order, steps=6) for order in ("morf", "lerf", "both")
    }
    morf, lerf = (by_hand(case, metrics["morf"], most_first) for most_first in (True, False))
    assert torch.allclose(metrics["morf"](case), morf)
    assert torch.allclose(metrics["lerf"](case), lerf)
    assert torch.allclose(metrics["both"](case), lerf - morf)
    assert morf.unique().numel() > 1
    assert [m.higher_is_better for m in metrics.values()] == [False, True, True]


def test_road_reads_the_curves_of_pixel_flipping(case):
    metric = ROAD(imputer=EXACT, output="probability", steps=5)
    assert isinstance(metric, CurveMetric)
    curves = metric.curves(case)
    assert torch.allclose(curves["x"][0], torch.linspace(0, 0.9, 6), atol=0.02)
    assert torch.allclose(metric(case), curves["morf"][:, 1:].mean(1))


def test_a_hole_in_a_flat_image_is_not_seen_where_a_constant_shows_it(make_case):
    """What ROAD is for: the mask's own shape tells the model nothing."""
    images = torch.full((6, 1, 12, 12), 0.7)
    edges = nn.Conv2d(1, 1, 3, bias=False)
    edges.weight.data = torch.tensor([[-1.0, 0, 1]] * 3)[None, None]
    model = nn.Sequential(edges, nn.ReLU(), nn.Flatten(), nn.Linear(100, 3))
    case = make_case(images=images, model=model)
    for imputer, seen in ((EXACT, False), (Constant(), True)):
        curves = ROAD(imputer=imputer, output="logit").curves(case)["morf"]
        assert ((curves - curves[:, :1]).abs().amax() > 1e-4).item() is seen
