"""Laws that every metric of one heatmap keeps, on drawn heatmaps: ties, zeros, signs and all."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xai_exp.metrics.axioms import Completeness
from xai_exp.metrics.complexity import Sparseness
from xai_exp.metrics.faithfulness.removal import PixelFlipping, RegionPerturbation
from xai_exp.metrics.localisation.masks import PointingGame, RelevanceMass, RelevanceRank
from xai_exp.removal.imputers import Constant, Noise

LOCAL = [
    RelevanceMass(),
    RelevanceMass(pooling="absolute"),
    RelevanceMass(pooling="square"),
    RelevanceRank(),
    PointingGame(margin=1.0),
]
BOUNDED = [*LOCAL, Sparseness(), PixelFlipping(imputer=Noise(), steps=4)]
SCALE_FREE = [
    *BOUNDED,
    RegionPerturbation(imputer=Constant(), region=2, score_by="area"),
    RegionPerturbation(imputer=Noise(), region=3, steps=2, repeats=1),
]
EVERY = [*SCALE_FREE, Completeness(), Completeness(relative=True)]

levels = st.sampled_from([-2.0, -0.5, -0.0, 0.0, 0.25, 1.0, 8.0])
maps = st.lists(st.lists(levels, min_size=24, max_size=24), min_size=3, max_size=3)
masks = st.lists(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=24, max_size=24),
    min_size=3,
    max_size=3,
)


@pytest.fixture(scope="module")
def small(make_case):
    return make_case(count=3, size=(4, 6))


def case_of(small, heatmaps, parts):
    return replace(
        small,
        heatmaps=torch.tensor(heatmaps).view(3, 4, 6),
        parts=torch.tensor(parts).view(3, 1, 4, 6),
    )


def same(first, second):
    return torch.allclose(first, second, rtol=1e-5, atol=1e-6, equal_nan=True)


@given(heatmaps=maps, parts=masks)
def test_scores_stay_in_their_range_or_are_missing(small, heatmaps, parts):
    case = case_of(small, heatmaps, parts)
    for metric in BOUNDED:
        scores = metric(case)
        assert ((scores >= -1e-6) & (scores <= 1 + 1e-6) | scores.isnan()).all(), metric
    for metric in (Completeness(), Completeness(relative=True)):
        assert (metric(case) >= 0).all()


@given(heatmaps=maps, parts=masks, factor=st.sampled_from([0.125, 2.0, 64.0]))
def test_a_positive_factor_changes_no_score_that_is_free_of_scale(small, heatmaps, parts, factor):
    case = case_of(small, heatmaps, parts)
    scaled = replace(case, heatmaps=case.heatmaps * factor)
    for metric in SCALE_FREE:
        assert same(metric(case), metric(scaled)), metric


@given(heatmaps=maps, parts=masks, order=st.permutations(range(3)))
def test_scores_follow_a_permutation_of_the_images(small, heatmaps, parts, order):
    case = case_of(small, heatmaps, parts)
    index = torch.tensor(order)
    names = ("images", "targets", "heatmaps", "parts")
    mixed = replace(case, **{name: getattr(case, name)[index] for name in names})
    for metric in EVERY:
        assert same(metric(mixed), metric(case)[index]), metric


@given(heatmaps=maps, parts=masks)
def test_the_same_seed_gives_the_same_scores_and_inputs_stay(small, heatmaps, parts):
    case = case_of(small, heatmaps, parts)
    before = [case.images.clone(), case.heatmaps.clone(), case.parts.clone()]
    for metric in EVERY:
        assert torch.equal(metric(case).nan_to_num(7), metric(replace(case)).nan_to_num(7))
    assert all(
        torch.equal(a, b)
        for a, b in zip(before, (case.images, case.heatmaps, case.parts), strict=True)
    )
