"""The earth mover's distance against closed forms and an independent solver."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from xai_exp.metrics.localisation.transport import EarthMover, transport


def case_of(make_case, heatmaps, parts):
    return make_case(
        images=torch.zeros(len(parts), 1, *parts.shape[2:]), heatmaps=heatmaps, parts=parts
    )


def test_one_pixel_is_moved_as_far_as_it_lies(make_case):
    parts, heatmaps = torch.zeros(3, 1, 8, 8), torch.zeros(3, 8, 8)
    parts[:, 0, 1, 1] = 1
    heatmaps[0, 1, 1], heatmaps[1, 4, 5], heatmaps[2, 7, 7] = 2.0, 3.0, 1.0
    found = EarthMover()(case_of(make_case, heatmaps, parts))
    most = math.hypot(7, 7)
    wanted = torch.tensor([1.0, 1 - 5 / most, 1 - math.hypot(6, 6) / most])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_equal_masses_are_an_assignment_problem(generator):
    places = torch.rand(12, 2, generator=generator, dtype=torch.float64)
    apart = torch.cdist(places, places)
    source, target = torch.zeros(12).double(), torch.zeros(12).double()
    source[:6], target[6:] = 1 / 6, 1 / 6
    costs = apart[:6, 6:].numpy()
    rows, columns = linear_sum_assignment(costs)
    wanted = costs[rows, columns].sum() / 6
    assert transport(source, target, apart) == pytest.approx(wanted, abs=1e-9)


def test_on_a_line_it_is_the_area_between_the_distribution_functions(generator):
    source, target = torch.rand(2, 20, generator=generator, dtype=torch.float64)
    source, target = source / source.sum(), target / target.sum()
    line = torch.arange(20.0).double()
    wanted = np.abs(np.cumsum((source - target).numpy())).sum()
    found = transport(source, target, (line[:, None] - line).abs())
    assert found == pytest.approx(wanted, abs=1e-8)


def test_the_mask_itself_is_perfect_and_a_near_miss_better_than_a_far_one(make_case):
    parts = torch.zeros(4, 1, 16, 16)
    parts[:, 0, 2:6, 2:6] = 1
    heatmaps = torch.stack([parts[0, 0].roll((step, step), (0, 1)) for step in (0, 1, 4, 9)])
    found = EarthMover()(case_of(make_case, heatmaps, parts))
    assert float(found[0]) == pytest.approx(1, abs=1e-9)
    assert bool((found.diff() < 0).all())
    moved = 4 * math.sqrt(2) / math.hypot(15, 15)  # all of it by four, or less as some stays
    assert float(found[2]) == pytest.approx(1 - moved, abs=1e-6)


def test_blocks_move_a_score_by_less_than_their_diagonal(make_case, generator):
    parts = torch.zeros(3, 1, 24, 24)
    parts[:, 0, 3:9, 12:17] = 1
    heatmaps = torch.randn(3, 24, 24, generator=generator)
    made = case_of(make_case, heatmaps, parts)
    exact, rough = EarthMover(cells=24)(made), EarthMover(cells=8)(made)
    assert 0 < float((exact - rough).abs().max()) < math.hypot(3, 3) / math.hypot(23, 23)


def test_nothing_on_either_side_is_undefined(make_case):
    parts = torch.zeros(2, 1, 8, 8)
    parts[0, 0, 1, 1] = 1
    heatmaps = torch.stack([-torch.ones(8, 8), torch.ones(8, 8)])
    made = case_of(make_case, heatmaps, parts)
    assert EarthMover()(made).isnan().all()
    assert EarthMover(pooling="absolute")(made).isnan().tolist() == [False, True]


def test_dense_and_tiny_masses_have_a_plan():
    """Sums that rounding makes contradict one another were refused as impossible."""
    rows = torch.arange(24, dtype=torch.float64)
    places = torch.cartesian_prod(rows, rows)
    source = (-((places - 8) ** 2).sum(1) / 10).exp()
    target = (((places - 14) ** 2).sum(1) < 9).double()
    source, target = source / source.sum(), target / target.sum()
    moved = transport(source, target, torch.cdist(places, places))
    least = ((source - target) @ places).norm()  # the way of the middle
    assert least - 1e-5 <= moved <= least + 3
