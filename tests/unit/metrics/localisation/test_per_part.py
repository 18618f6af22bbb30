"""Localisation over the union and part by part, pixel by pixel from the docstrings."""

import itertools
import math

import pytest
import torch

from xai_exp.metrics import shared
from xai_exp.metrics.localisation.masks import PointingGame, RelevanceMass, RelevanceRank
from xai_exp.metrics.localisation.overlap import AttributionLocalisation, TopKIntersection

COUNT, SIZE = 6, (7, 10)
PIXELS = list(itertools.product(*map(range, SIZE)))
PER = ["union", "part"]


@pytest.fixture(params=[False, True], ids=["distinct", "tied"])
def case(make_case, request):
    """Three partial coverages an image, which overlap; one part absent, one image without any."""
    source = torch.Generator().manual_seed(3)
    parts = torch.zeros(COUNT, 3, *SIZE)
    for row, part in itertools.product(range(COUNT), range(3)):
        y, x = (int(torch.randint(side - 2, (1,), generator=source)) for side in SIZE)
        parts[row, part, y : y + 3, x : x + 3] = torch.rand(3, 3, generator=source)
    parts[0, 0] = parts[1] = 0
    heatmaps = torch.randn(COUNT, *SIZE, generator=source)
    heatmaps = (1.5 * heatmaps).round() if request.param else heatmaps
    heatmaps[2] = -heatmaps[2].abs()
    return make_case(size=SIZE, channels=3, parts=parts, heatmaps=heatmaps)


def filled(case, row, per):
    """The pixels of each region and those of the background."""
    parts = case.parts[row]
    union = {p for p in PIXELS if parts[:, p[0], p[1]].sum() > 0.5}
    alone = [{p for p in PIXELS if part[p] > 0.5} for part in parts]
    return [union] if per == "union" else alone, set(PIXELS) - union


def ordered(case, row, chosen):
    """Pixels from most to least relevant; only who wins a tie is asked of the case."""
    order = [divmod(int(place), SIZE[1]) for place in shared.ranking(case)[row]]
    values = [float(case.heatmaps[row][p]) for p in order]
    assert values == sorted(values, reverse=True)
    return [p for p in order if p in chosen]


def by_the_book(case, per, score, regions=filled):
    """The mean of score(row, region, background) over the regions that have one."""
    found = []
    for row in range(COUNT):
        own, background = regions(case, row, per)
        each = [score(row, region, background) for region in own if region]
        each = [value for value in each if value is not None]
        found.append(sum(each) / len(each) if each else math.nan)
    return torch.tensor(found)


def same(scores, wanted):
    assert wanted.isfinite().sum() >= 3
    torch.testing.assert_close(scores, wanted, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("per", PER)
@pytest.mark.parametrize("lift", [False, True])
def test_relevance_rank_counts_the_top_as_large_as_the_region(case, per, lift):
    def score(row, region, background):
        order = ordered(case, row, region | background)
        share = sum(p in region for p in order[: len(region)]) / len(region)
        return share / (len(region) / len(order)) if lift else share

    same(RelevanceRank(lift=lift, per=per)(case), by_the_book(case, per, score))


@pytest.mark.parametrize("per", PER)
@pytest.mark.parametrize("lift", [False, True])
@pytest.mark.parametrize("k", [1, 5, 60])
def test_top_k_counts_at_most_the_pixels_there_are(case, per, lift, k):
    def score(row, region, background):
        order = ordered(case, row, region | background)
        share = sum(p in region for p in order[:k]) / len(order[:k])
        return share / (len(region) / len(order)) if lift else share

    same(TopKIntersection(k=k, lift=lift, per=per)(case), by_the_book(case, per, score))


@pytest.mark.parametrize("per", PER)
@pytest.mark.parametrize("margin", [0.0, 1.0, 1.5, 3.0])
def test_pointing_game_asks_how_near_the_peak_is(case, per, margin):
    def score(row, region, background):
        peak = ordered(case, row, region | background)[0]
        return float(any(math.dist(peak, p) <= margin for p in region))

    same(PointingGame(margin=margin, per=per)(case), by_the_book(case, per, score))


@pytest.mark.parametrize("per", PER)
@pytest.mark.parametrize("lift", [False, True])
@pytest.mark.parametrize("pooling", ["positive", "absolute", "square"])
def test_relevance_mass_shares_pixels_by_their_coverage(case, per, lift, pooling):
    pool = {"positive": lambda v: max(v, 0.0), "absolute": abs, "square": lambda v: v * v}[pooling]
    total = {
        (row, p): min(1.0, float(case.parts[row, :, p[0], p[1]].sum()))
        for row, p in itertools.product(range(COUNT), PIXELS)
    }

    def regions(case, row, per):
        union = {p: total[row, p] for p in PIXELS}
        alone = [{p: float(part[p]) for p in PIXELS} for part in case.parts[row]]
        return [union] if per == "union" else alone, None

    def score(row, cover, _):
        relevance = {p: pool(float(case.heatmaps[row][p])) for p in PIXELS}
        if not sum(relevance.values()) or not sum(cover.values()):
            return None
        inside = sum(cover[p] * relevance[p] for p in PIXELS)
        outside = sum((1 - total[row, p]) * relevance[p] for p in PIXELS)
        area, free = sum(cover.values()), sum(1 - total[row, p] for p in PIXELS)
        share = inside / (inside + outside) if inside + outside else 0.0
        return share / (area / (area + free)) if lift else share

    metric = RelevanceMass(pooling=pooling, lift=lift, per=per)
    same(metric(case), by_the_book(case, per, score, regions))


@pytest.mark.parametrize("per", PER)
@pytest.mark.parametrize("within", ["box", "mask"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [1.0, 0.2, 0.1])
def test_attribution_localisation_leaves_out_boxes_that_are_large_in_the_image(
    case, per, within, weighted, size
):
    """`max_size` is a share of the image, of one part's box too."""

    def regions(case, row, per):
        own, _ = filled(case, row, "part" if within == "box" else per)
        own = [box(region) for region in own] if within == "box" else own
        everything = set().union(*own)
        return [everything] if per == "union" else own, set(PIXELS) - everything

    def score(row, region, background):
        positive = {p: max(float(case.heatmaps[row][p]), 0.0) for p in PIXELS}
        if not sum(positive.values()) or len(region) > size * len(PIXELS):
            return None
        inside, outside = (sum(positive[p] for p in chosen) for chosen in (region, background))
        share = inside / (inside + outside) if inside + outside else 0.0
        return share * (len(region) + len(background)) / len(region) if weighted else share

    metric = AttributionLocalisation(within=within, weighted=weighted, max_size=size, per=per)
    wanted = by_the_book(case, per, score, regions)
    torch.testing.assert_close(metric(case), wanted, rtol=1e-5, atol=1e-6, equal_nan=True)


def box(region):
    if not region:
        return set()
    rows, columns = zip(*region, strict=True)
    return {
        (y, x)
        for y, x in PIXELS
        if min(rows) <= y <= max(rows) and min(columns) <= x <= max(columns)
    }
