from dataclasses import replace

import pytest
import torch
from torch import nn

from xai_exp.metrics.faithfulness.shading import AverageDrop, AverageGain, AverageIncrease

METRICS = [AverageDrop(), AverageIncrease(), AverageGain()]


@pytest.fixture
def case(make_case):
    """An untrained network in float64, unsure enough to gain and to lose."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(288, 3)).double()
    model[1].weight.data *= 3
    given = make_case(model=model)
    return replace(given, images=given.images.double(), heatmaps=given.heatmaps.double())


def slowly(case):
    """Y and O of every image by a loop, as the paper has them."""
    pairs = []
    for image, heatmap, target in zip(case.images, case.heatmaps, case.targets, strict=True):
        shaded = image.clone()
        for row in range(heatmap.shape[0]):
            for column in range(heatmap.shape[1]):
                height = heatmap[row, column] - heatmap.min()
                shaded[:, row, column] *= height / (heatmap.max() - heatmap.min())
        with torch.no_grad():
            both = case.model(torch.stack([image, shaded])).softmax(1)[:, target]
        pairs.append(both.tolist())
    return pairs


def test_the_three_equal_their_papers_in_float64(case):
    pairs = slowly(case)
    drop = [max(0, y - o) / y for y, o in pairs]
    increase = [float(y < o) for y, o in pairs]
    gain = [max(0, o - y) / (1 - y) for y, o in pairs]
    for metric, expected in zip(METRICS, (drop, increase, gain), strict=True):
        assert metric(case).tolist() == pytest.approx(expected, abs=1e-12)
        assert 0 < sum(expected) < len(expected)


def test_they_share_one_pass_of_shaded_images(case):
    seen = []
    case.model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    for metric in METRICS:
        metric(case)
    assert sum(seen) == 2 * len(case)


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_a_positive_factor_and_a_shift_change_nothing(case, metric):
    other = replace(case, heatmaps=case.heatmaps * 3 + 2)
    assert torch.allclose(metric(case), metric(other))


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_constant_and_broken_heatmaps_have_no_score(case, metric):
    heatmaps = case.heatmaps.clone()
    heatmaps[0], heatmaps[1, 0, 0] = 2.0, torch.nan
    assert metric(replace(case, heatmaps=heatmaps)).isnan().tolist()[:3] == [True, True, False]


def test_of_no_confidence_nothing_can_be_lost_and_the_drop_is_undefined(case):
    model = nn.Sequential(case.model, Far())
    assert AverageDrop()(replace(case, model=model, targets=0 * case.targets)).isnan().all()


class Far(nn.Module):
    """The first class falls behind until its probability rounds to 0."""

    def forward(self, logits):
        return logits - 1000 * torch.eye(logits.shape[1])[0].to(logits)


def test_where_nothing_can_be_gained_there_is_no_gain(case):
    case.model[1].bias.data[case.targets[0]] += 1e6
    alone = replace(
        case, **{name: getattr(case, name)[:1] for name in ("images", "heatmaps", "targets")}
    )
    alone = replace(alone, scenes=None, parts=None)
    assert AverageGain()(alone).isnan().all()
    assert AverageIncrease()(alone).item() == 0
