import math

import pytest
import torch

from xai_exp.config import InputError
from xai_exp.metrics.localisation.masks import PointingGame, RelevanceMass, RelevanceRank

MEASURES = [
    RelevanceMass(),
    RelevanceMass(pooling="absolute"),
    RelevanceMass(pooling="square"),
    RelevanceMass(lift=True),
    RelevanceRank(),
    RelevanceRank(lift=True),
    PointingGame(),
]


@pytest.fixture
def parts():
    """Two objects an image, of whole pixels, that move from image to image."""
    parts = torch.zeros(6, 2, 12, 12)
    for row in range(6):
        parts[row, 0, row : row + 3, 1:5] = 1
        parts[row, 1, 9:12, row + 1 : row + 4] = 1
    return parts


def one(make_case, heatmap, part, **given):
    """A case of one image with one part."""
    heatmaps, parts = torch.tensor(heatmap)[None], torch.tensor(part)[None, None]
    return make_case(
        count=1, size=tuple(heatmaps.shape[1:]), heatmaps=heatmaps, parts=parts, **given
    )


@pytest.mark.parametrize("metric", MEASURES, ids=repr)
def test_exact_mask_beats_random_beats_inverted_mask(make_case, parts, metric):
    mask = parts.sum(1)
    random = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0))
    exact, chance, inverted = (
        metric(make_case(heatmaps=heatmaps, parts=parts)).mean().item()
        for heatmaps in (mask, random, 1 - mask)
    )
    assert exact > chance > inverted == 0 or (isinstance(metric, PointingGame) and exact > inverted)
    area = mask.mean((1, 2))
    best = (1 / area).mean().item() if getattr(metric, "lift", False) else 1.0
    assert exact == pytest.approx(best)


@pytest.mark.parametrize("metric", MEASURES, ids=repr)
def test_noise_mixed_into_the_mask_lowers_the_mean_score_step_by_step(make_case, metric):
    parts = torch.zeros(100, 1, 12, 12)
    parts[:, :, 3:9, 3:9] = 1
    images = torch.rand(100, 2, 12, 12, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(100, 12, 12, generator=torch.Generator().manual_seed(2))
    means = []
    for share in (0.0, 0.4, 0.6, 0.8, 1.0):
        heatmaps = (1 - share) * parts[:, 0] + share * noise
        means.append(metric(make_case(images=images, heatmaps=heatmaps, parts=parts)).mean().item())
    assert means == sorted(means, reverse=True)
    assert means[0] > means[-1]


@pytest.mark.parametrize("metric", MEASURES, ids=repr)
def test_a_random_heatmap_scores_the_share_of_the_mask(make_case, metric):
    parts = torch.zeros(400, 1, 12, 12)
    parts[:, :, :4, :9] = 1
    images = torch.rand(400, 2, 12, 12, generator=torch.Generator().manual_seed(1))
    noise = torch.rand(400, 12, 12, generator=torch.Generator().manual_seed(3))
    scores = metric(make_case(images=images, heatmaps=noise, parts=parts))
    chance = 1.0 if getattr(metric, "lift", False) else 0.25
    assert abs(scores.mean() - chance) < 4 * scores.std() / 20


def mass_by_the_book(heatmap, parts, pooling):
    total = inside = 0.0
    for y in range(heatmap.shape[0]):
        for x in range(heatmap.shape[1]):
            value = heatmap[y, x].item()
            pooled = {"positive": max(value, 0), "absolute": abs(value), "square": value**2}[
                pooling
            ]
            total += pooled
            inside += pooled * min(1.0, parts[:, y, x].sum().item())
    return inside / total


@pytest.mark.parametrize("pooling", ["positive", "absolute", "square"])
def test_relevance_mass_equals_the_papers_sums_in_float64(make_case, pooling):
    parts = torch.rand(6, 3, 12, 12, generator=torch.Generator().manual_seed(4)) ** 4
    case = make_case(dtype=torch.float64, parts=parts.double())
    expected = [
        mass_by_the_book(h, p, pooling) for h, p in zip(case.heatmaps, case.parts, strict=True)
    ]
    scores = RelevanceMass(pooling=pooling)(case)
    assert torch.allclose(scores, torch.tensor(expected, dtype=torch.float64), atol=1e-12)


def test_relevance_mass_counts_a_half_filled_pixel_half(make_case):
    case = one(make_case, [[3.0, -2.0], [1.0, 0.0]], [[0.5, 1.0], [0.0, 0.0]])
    assert RelevanceMass()(case).item() == pytest.approx(1.5 / 4)
    assert RelevanceMass(pooling="absolute")(case).item() == pytest.approx(3.5 / 6)
    assert RelevanceMass(pooling="square")(case).item() == pytest.approx(8.5 / 14)
    assert RelevanceMass(lift=True)(case).item() == pytest.approx(1.5 / 4 / 0.375)


def test_relevance_rank_equals_the_papers_top_k_in_loops(make_case, parts):
    case = make_case(parts=parts)
    for row, score in enumerate(RelevanceRank()(case).tolist()):
        inside = {(y, x) for y, x in (parts[row].sum(0) > 0.5).nonzero().tolist()}
        pixels = [(y, x) for y in range(12) for x in range(12)]
        top = sorted(pixels, key=lambda p: -case.heatmaps[row, p[0], p[1]].item())[: len(inside)]
        assert score == pytest.approx(len(inside & set(top)) / len(inside))


@pytest.mark.parametrize(
    ("margin", "hit"), [(0.0, 0), (1.9, 0), (2.0, 1), (2.2, 1)], ids=lambda value: str(value)
)
def test_pointing_game_counts_the_distance_to_the_nearest_pixel_of_the_mask(make_case, margin, hit):
    heatmap = torch.zeros(5, 5)
    heatmap[0, 1] = 2
    part = torch.zeros(5, 5)
    part[2, 1] = part[4, 4] = 1
    case = one(make_case, heatmap.tolist(), part.tolist())
    assert PointingGame(margin=margin)(case).item() == hit


@pytest.mark.parametrize("metric", MEASURES, ids=repr)
def test_an_empty_mask_has_no_score_never_a_hit(make_case, parts, metric):
    parts[2] = 0
    scores = metric(make_case(parts=parts))
    assert scores.isnan().nonzero().flatten().tolist() == [2]


def test_relevance_mass_without_positive_relevance_has_no_score(make_case, parts):
    heatmaps = -torch.ones(6, 12, 12)
    heatmaps[3] = 0
    case = make_case(heatmaps=heatmaps, parts=parts)
    assert RelevanceMass()(case).isnan().all()
    assert RelevanceMass(pooling="absolute")(case).isnan().nonzero().flatten().tolist() == [3]


@pytest.mark.parametrize("metric", MEASURES, ids=repr)
def test_a_heatmap_that_is_not_finite_has_no_score(make_case, parts, metric):
    heatmaps = make_case().heatmaps.abs()
    heatmaps[1, 0, 0], heatmaps[5, 2, 2] = math.nan, math.inf
    scores = metric(make_case(heatmaps=heatmaps, parts=parts))
    assert scores.isnan().nonzero().flatten().tolist() == [1, 5]


@pytest.mark.parametrize("metric", [RelevanceRank(), PointingGame()], ids=repr)
@pytest.mark.parametrize("corner", [0, 9])
def test_a_constant_heatmap_scores_at_chance_wherever_the_mask_lies(make_case, metric, corner):
    parts = torch.zeros(600, 1, 12, 12)
    parts[:, :, corner : corner + 3] = 1
    images = torch.rand(600, 2, 12, 12, generator=torch.Generator().manual_seed(5))
    scores = metric(make_case(images=images, heatmaps=torch.ones(600, 12, 12), parts=parts))
    assert abs(scores.mean() - 0.25) < 4 * scores.std() / math.sqrt(600)
    assert scores.std() > 0


def test_overlapping_parts_count_once(make_case):
    heatmap = torch.ones(1, 2, 2)
    parts = torch.zeros(1, 2, 2, 2)
    parts[:, :, 0] = 1
    case = make_case(count=1, size=(2, 2), heatmaps=heatmap, parts=parts)
    assert RelevanceMass()(case).item() == 0.5


def test_data_without_masks_are_refused(make_case):
    for metric in MEASURES:
        with pytest.raises(InputError, match="got a case without parts; allowed: data with masks"):
            metric(make_case())
