"""MST-C of sets of pixels whose hull and tree are known."""

import math

import pytest
import torch

from xai_exp.metrics.compactness import MSTCompactness


@pytest.fixture
def score(make_case):
    def found(heatmap, **given):
        side = len(heatmap)
        case = make_case(count=1, size=(side, side), heatmaps=heatmap[None])
        return float(MSTCompactness(**given)(case)[0])

    return found


def test_a_square_of_pixels_has_its_closed_form(score):
    heatmap = torch.zeros(10, 10)
    heatmap[2:7, 3:8] = -1.0  # 25 of 100 pixels, signs do not count
    wanted = 100 * math.hypot(10, 10) / 4 * 25 / 24  # hull of side 4, tree of 24 steps
    assert abs(score(heatmap, percentile=76) - wanted) < 1e-3


def test_spread_pixels_score_less_than_compact_ones(score):
    scattered = torch.zeros(10, 10)
    scattered[::2, ::2] = 1.0
    compact = torch.zeros(10, 10)
    compact[:5, :5] = 1.0
    assert score(scattered, percentile=76) < score(compact, percentile=76) / 3


def test_what_has_no_score_has_none(score):
    assert math.isnan(score(torch.zeros(6, 6)))
    line = torch.zeros(8, 8)
    line[3, 2:6] = 1
    assert abs(score(line, percentile=95) - 100 * 4 / 3) < 1e-3
    single = torch.zeros(8, 8)
    single[3, 3] = 1
    assert math.isnan(score(single, percentile=99))
