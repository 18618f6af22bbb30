import math

import pytest
import torch

from xai_exp.config import InputError
from xai_exp.metrics.localisation.masks import PointingGame, RelevanceMass, RelevanceRank
from xai_exp.metrics.localisation.overlap import AUC, AttributionLocalisation, TopKIntersection

MEASURES = [
    TopKIntersection(),
    TopKIntersection(k=10, lift=True),
    AttributionLocalisation(),
    AttributionLocalisation(weighted=True),
    AttributionLocalisation(within="mask"),
    AUC(),
]
PER_PART = [
    RelevanceMass(per="part"),
    RelevanceMass(per="part", lift=True),
    RelevanceRank(per="part"),
    RelevanceRank(per="part", lift=True),
    PointingGame(per="part"),
    TopKIntersection(per="part", k=6),
    AttributionLocalisation(per="part", weighted=True),
    AUC(per="part"),
]


@pytest.fixture
def parts():
    """Two rectangles an image that move from image to image, and a third part that is absent."""
    parts = torch.zeros(6, 3, 12, 12)
    for row in range(6):
        parts[row, 0, row : row + 3, 1:5] = 1
        parts[row, 1, 9:12, row + 1 : row + 4] = 1
    return parts


@pytest.mark.parametrize("metric", MEASURES + PER_PART, ids=repr)
def test_exact_mask_beats_random_beats_inverted_mask(make_case, parts, metric):
    mask = parts.sum(1)
    random = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0))
    exact, chance, inverted = (
        metric(make_case(heatmaps=heatmaps, parts=parts)).mean().item()
        for heatmaps in (mask, random, 1 - mask)
    )
    assert exact > chance > inverted == 0 or (isinstance(metric, PointingGame) and exact > inverted)
    if not (getattr(metric, "lift", False) or getattr(metric, "weighted", False)):
        assert exact == pytest.approx(1)


@pytest.mark.parametrize("metric", MEASURES, ids=repr)
def test_a_random_heatmap_scores_at_chance(make_case, metric):
    parts = torch.zeros(400, 1, 12, 12)
    parts[:, :, :4, :9] = 1
    images = torch.rand(400, 2, 12, 12, generator=torch.Generator().manual_seed(1))
    noise = torch.rand(400, 12, 12, generator=torch.Generator().manual_seed(3))
    scores = metric(make_case(images=images, heatmaps=noise, parts=parts))
    lifted = getattr(metric, "lift", False) or getattr(metric, "weighted", False)
    chance = 0.5 if isinstance(metric, AUC) else 1.0 if lifted else 0.25
    assert abs(scores.mean() - chance) < 4 * scores.std() / 20


def auc_by_the_book(heatmap, mask):
    """Every pair of a pixel of the mask and one off it, in float64."""
    inside, outside = heatmap[mask].double(), heatmap[~mask].double()
    apart = inside[:, None] - outside[None]
    return ((apart > 0).double() + (apart == 0).double() / 2).mean().item()


def test_auc_equals_the_share_of_ordered_pairs_ties_counted_half(make_case, parts):
    heatmaps = make_case().heatmaps.mul(2).round()
    case = make_case(heatmaps=heatmaps, parts=parts)
    expected = [auc_by_the_book(h, m > 0) for h, m in zip(heatmaps, parts.sum(1), strict=True)]
    assert torch.allclose(AUC()(case), torch.tensor(expected), atol=1e-6)


def test_auc_of_a_constant_map_is_exactly_chance_whatever_the_seed(make_case, parts):
    case = make_case(heatmaps=torch.ones(6, 12, 12), parts=parts)
    assert torch.equal(AUC()(case), torch.full((6,), 0.5))


def test_auc_over_the_union_weighs_parts_by_their_size(make_case, parts):
    case = make_case(parts=parts)
    alone = [AUC()(make_case(heatmaps=case.heatmaps, parts=parts[:, [p]])) for p in range(2)]
    rows = range(6)
    against = [
        [auc_among(case.heatmaps[r], parts[r, p] > 0, parts[r].sum(0) == 0) for r in rows]
        for p in range(2)
    ]
    each = torch.tensor(against)
    assert torch.allclose(AUC(per="part")(case), each.mean(0), atol=1e-6)
    assert torch.allclose(AUC()(case), (each * torch.tensor([[12], [9]])).sum(0) / 21, atol=1e-6)
    assert not torch.allclose(each, torch.stack(alone), atol=1e-3)


def auc_among(heatmap, mask, background):
    chosen = mask | background
    return auc_by_the_book(heatmap[chosen], mask[chosen])


def test_top_k_intersection_equals_the_papers_count(make_case, parts):
    case = make_case(parts=parts)
    for k in (1, 5, 30):
        scores = TopKIntersection(k=k)(case)
        for row in range(6):
            top = case.heatmaps[row].flatten().topk(k).indices
            inside = parts[row].sum(0).flatten()[top].sum().item()
            assert scores[row].item() == pytest.approx(inside / k)


def test_concept_influence_is_the_share_of_the_top_over_the_share_of_the_mask(make_case, parts):
    case = make_case(parts=parts)
    plain = TopKIntersection(k=20)(case)
    assert torch.allclose(TopKIntersection(k=20, lift=True)(case), plain / (21 / 144))


def test_k_is_given_or_a_share_and_never_more_than_there_are_pixels(make_case, parts):
    case = make_case(parts=parts)
    assert torch.equal(TopKIntersection(share=0.02)(case), TopKIntersection(k=3)(case))
    assert torch.equal(TopKIntersection(share=1e-9)(case), TopKIntersection(k=1)(case))
    with pytest.raises(InputError, match=r"top_k_intersection\.k: got 145; allowed: up to 144"):
        TopKIntersection(k=145)(case)


def test_attribution_localisation_takes_the_box_around_a_slanting_part(make_case):
    part = torch.diag(torch.ones(5))
    heatmap = torch.zeros(8, 8)
    heatmap[0, 4], heatmap[2, 2], heatmap[7, 7], heatmap[3, 3] = 3.0, 1.0, 4.0, -9.0
    parts = torch.zeros(1, 1, 8, 8)
    parts[0, 0, :5, :5] = part
    case = make_case(count=1, size=(8, 8), heatmaps=heatmap[None], parts=parts)
    assert AttributionLocalisation()(case).item() == pytest.approx(4 / 8)
    assert AttributionLocalisation(within="mask")(case).item() == pytest.approx(1 / 8)
    weighted = AttributionLocalisation(weighted=True)(case).item()
    assert weighted == pytest.approx(4 / 8 * 64 / 25)
    assert AttributionLocalisation(max_size=0.39)(case).isnan().all()
    assert AttributionLocalisation(max_size=0.4)(case).isfinite().all()


def test_boxes_of_several_parts_are_united_not_spanned(make_case):
    parts = torch.zeros(1, 2, 6, 6)
    parts[0, 0, 0, 0] = parts[0, 1, 5, 5] = 1
    case = make_case(count=1, size=(6, 6), heatmaps=torch.ones(1, 6, 6), parts=parts)
    assert AttributionLocalisation()(case).item() == pytest.approx(2 / 36)


UNLIFTED = [m for m in PER_PART if not (getattr(m, "lift", False) or hasattr(m, "weighted"))]


@pytest.mark.parametrize("metric", UNLIFTED, ids=repr)
def test_per_part_all_objects_marked_is_perfect_and_one_of_two_is_half(make_case, parts, metric):
    """The part that is missed lies a little below the background, so no tie helps it."""
    one = parts[:, 0] - 0.5 * parts[:, 1]
    assert torch.allclose(metric(make_case(heatmaps=parts.sum(1), parts=parts)), torch.ones(6))
    assert torch.allclose(metric(make_case(heatmaps=one, parts=parts)), torch.full((6,), 0.5))


@pytest.mark.parametrize("metric", PER_PART, ids=repr)
def test_one_part_is_its_own_union(make_case, parts, metric):
    single = parts[:, :1]
    union = type(metric)(**{**vars(metric), "per": "union"})
    case = make_case(parts=single)
    assert torch.allclose(metric(case), union(case), atol=1e-6)


@pytest.mark.parametrize("metric", MEASURES + PER_PART, ids=repr)
def test_an_image_without_mask_or_with_a_broken_map_has_no_score(make_case, parts, metric):
    parts[2] = 0
    heatmaps = make_case().heatmaps.abs()
    heatmaps[1, 0, 0], heatmaps[5, 2, 2] = math.nan, math.inf
    scores = metric(make_case(heatmaps=heatmaps, parts=parts))
    assert scores.isnan().nonzero().flatten().tolist() == [1, 2, 5]


def test_auc_of_a_mask_that_fills_the_image_has_no_score(make_case):
    assert AUC()(make_case(parts=torch.ones(6, 1, 12, 12))).isnan().all()


def test_data_without_masks_are_refused(make_case):
    for metric in MEASURES + PER_PART:
        with pytest.raises(InputError, match="got a case without parts; allowed: data with masks"):
            metric(make_case())
