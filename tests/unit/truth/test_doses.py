"""Damage of a known dose moves a true map away from the truth by what is known."""

import math
from dataclasses import replace

import pytest
import torch

from xai_exp.config import InputError
from xai_exp.data.scenes.scene import Scene
from xai_exp.explainers.damaged import TrueMap
from xai_exp.metrics.truth import PartShapley
from xai_exp.truth import games
from xai_exp.truth.doses import blurred, flipped, in_reverse

DOSES = (0.0, 0.25, 0.5, 1.0)


@pytest.fixture
def case(make_case):
    made = Scene(
        sides=torch.tensor([[1, 1, 1], [1, 1, 0]]),
        centres=torch.tensor([[[8.0, 8.0], [30.0, 9.0], [12.0, 30.0]]]).repeat(2, 1, 1),
        radii=torch.tensor([[3.0, 4.0, 3.5]]).repeat(2, 1),
        angles=torch.zeros(2, 3),
        levels=torch.tensor([[0.9, 0.6, 0.8]]).repeat(2, 1),
        background=torch.tensor([0.1, 0.3]),
        size=(40, 40),
    )
    return make_case(images=made.render(), scenes=made, parts=made.parts())


def score(case, measure, damage, dose):
    explain = TrueMap(damage=damage, dose=dose).with_scenes(case.images, case.scenes)
    heatmaps = explain(case.model, case.images, case.targets)
    return PartShapley(measure=measure, margin=0)(replace(case, heatmaps=heatmaps)).double()


@pytest.mark.parametrize("damage", ["none", "bleeding", "permuted", "flipped", "blurred"])
def test_without_a_dose_the_map_is_the_truth(case, damage):
    for measure in ("among", "outside", "distance"):
        assert float(score(case, measure, damage, 0.0).max()) < 1e-5


@pytest.mark.parametrize("dose", DOSES)
def test_what_bleeds_out_is_the_share_outside_and_moves_no_share_among_the_parts(case, dose):
    outside = score(case, "outside", "bleeding", dose)
    torch.testing.assert_close(outside, torch.full_like(outside, dose), rtol=0, atol=1e-5)
    if dose < 1:
        assert float(score(case, "among", "bleeding", dose).max()) < 1e-5


def test_permuted_and_flipped_shares_are_as_far_as_the_dose_says(case):
    exact = games.attribute(case.model, case.scenes, case.targets)
    worth = exact.shapley / exact.shapley.abs().sum(1, keepdim=True)
    for row, count in enumerate((3, 2)):
        mine = worth[row, :count]
        back = mine.sort().values.flip(0)[mine.argsort().argsort()]
        far = float((mine - back).abs().sum() / 2)
        assert float(score(case, "among", "permuted", 1.0)[row]) == pytest.approx(far, abs=1e-5)
        sizes = mine.abs().sort(descending=True).values
        for dose in DOSES:
            turned = float(sizes[: math.ceil(dose * count)].sum())
            found = float(score(case, "among", "flipped", dose)[row])
            assert found == pytest.approx(turned, abs=1e-5)


def test_every_damage_costs_the_more_the_larger_the_dose(case):
    outside, among = ("bleeding", "blurred"), ("flipped", "permuted")
    for damage in (*outside, *among):
        measure = "outside" if damage in outside else "among"
        by_dose = torch.stack([score(case, measure, damage, dose) for dose in DOSES])
        assert bool((by_dose.diff(dim=0) > -1e-6).all())
        assert bool((by_dose[-1] > by_dose[0] + 0.01).all())


def test_parts_that_are_not_there_take_no_part():
    values = torch.tensor([[3.0, 1.0, 0.0], [3.0, 1.0, 2.0]])
    present = torch.tensor([[True, True, False], [True, True, True]])
    assert in_reverse(values, present).tolist() == [[1, 3, 0], [1, 3, 2]]
    assert flipped(values, present, 1.0).tolist() == [[-3, -1, 0], [-3, -1, -2]]


def test_a_blur_keeps_the_sum_of_what_is_far_from_the_border_and_is_turned_with_the_map():
    maps = torch.zeros(1, 32, 24)
    maps[0, 16, 11] = 2.0
    found = blurred(maps, 0.4)
    assert float(found.sum()) == pytest.approx(2.0, abs=1e-5)
    torch.testing.assert_close(blurred(maps.mT, 0.4), found.mT)


def test_without_scenes_it_is_refused(case):
    with pytest.raises(InputError, match="true_map: got no scenes; allowed: rendered data"):
        TrueMap()(case.model, case.images, case.targets)
