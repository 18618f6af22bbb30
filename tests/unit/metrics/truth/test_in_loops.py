"""Measures of parts, pixel by pixel from the docstrings; exact values are given."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from xai_exp.data.scenes.scene import Scene
from xai_exp.metrics.truth.measures import (
    HumanStrategy,
    ObjectCoverage,
    PartOrder,
    PartShapley,
    ShortcutRecall,
    StrategyUse,
)
from xai_exp.truth import games as truth

SIZE = (24, 26)
POOLING = {"net": lambda v: v, "positive": lambda v: max(v, 0.0), "absolute": abs}


def discs(tagged):
    """Up to three discs, the last of which may be a tag; the fourth image has none."""
    return Scene(
        sides=torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]]),
        centres=torch.tensor([[[6.0, 6.0], [17.0, 7.0], [10.0, 18.0]]]).repeat(5, 1, 1),
        radii=torch.tensor([[3.0, 4.0, 3.5]]).repeat(5, 1),
        angles=torch.zeros(5, 3),
        levels=torch.tensor([[0.9, 0.6, 0.8]]).repeat(5, 1),
        background=torch.tensor([0.1, 0.3, 0.5, 0.2, 0.4]),
        size=SIZE,
        tagged=tagged,
    )


def polygons():
    return Scene(
        sides=torch.tensor([[3], [4], [5]]),
        centres=torch.tensor([[[12.0, 13.0]], [[12.0, 11.0]], [[11.0, 12.0]]]),
        radii=torch.full((3, 1), 7.0),
        angles=torch.tensor([[0.3], [0.1], [0.7]]),
        levels=torch.full((3, 1), 0.9),
        background=torch.full((3,), 0.1),
        size=SIZE,
    )


@pytest.fixture
def drawn(make_case):
    def draw(made):
        return make_case(images=made.render(), scenes=made, parts=made.parts())

    return draw


def owners(parts, margin):
    """Whose each pixel is, and how much of it: the parts that cover it, else the nearest ones."""
    found = {}
    for y, x in itertools.product(*map(range, SIZE)):
        cover = {p: float(part[y, x]) for p, part in enumerate(parts) if part[y, x] > 0}
        for step in range(1, margin + 1):
            rows, columns = (slice(max(0, at - step), at + step + 1) for at in (y, x))
            near = {p: 1.0 for p, part in enumerate(parts) if (part[rows, columns] > 0).any()}
            cover = cover or near
        found[y, x] = {p: share / sum(cover.values()) for p, share in cover.items()}
    return found


def pooled(heatmap, parts, margin, pooling):
    """Relevance and area of each part, and the relevance of what no part has."""
    relevance, area, rest = [0.0] * len(parts), [0.0] * len(parts), 0.0
    for place, own in owners(parts, margin).items():
        value = POOLING[pooling](float(heatmap[place]))
        rest += 0.0 if own else value
        for part, share in own.items():
            relevance[part] += share * value
            area[part] += share
    return relevance, area, rest


def sign(value):
    return (value > 0) - (value < 0)


def over(value, by):
    return value / by if by else math.nan


def same(scores, wanted):
    torch.testing.assert_close(scores, torch.tensor(wanted), rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("margin", [0, 2])
@pytest.mark.parametrize("pooling", ["net", "positive", "absolute"])
def test_signs_and_orders_are_those_of_magnitudes_at_absolute_pooling(drawn, margin, pooling):
    case = drawn(discs(tagged=False))
    exact = truth.attribute(case.model, case.scenes, case.targets)
    signs, orders = [], {"effect": [], "shapley": []}
    for row in range(5):
        shown, _, _ = pooled(case.heatmaps[row], case.parts[row], margin, pooling)
        there = [p for p in range(3) if exact.present[row, p]]
        worth = {name: getattr(exact, name)[row].tolist() for name in orders}
        if pooling == "absolute":
            worth = {name: [abs(v) for v in values] for name, values in worth.items()}
        phi = worth["shapley"]
        agreed = sum(abs(phi[p]) for p in there if sign(shown[p]) == sign(phi[p]))
        signs.append(over(agreed, sum(abs(phi[p]) for p in there)))
        for name, of in worth.items():
            pairs = [(a, b) for a, b in itertools.combinations(there, 2) if of[a] != of[b]]
            agree = sum(sign(shown[a] - shown[b]) * sign(of[a] - of[b]) for a, b in pairs)
            orders[name].append(over(agree, len(pairs)))
    settings = {"margin": margin, "pooling": pooling}
    same(PartShapley(measure="sign", **settings)(case), signs)
    for name, wanted in orders.items():
        same(PartOrder(against=name, **settings)(case), wanted)


@pytest.mark.parametrize("margin", [0, 2])
@pytest.mark.parametrize("pooling", ["positive", "absolute"])
@pytest.mark.parametrize("tagged", [False, True])
def test_coverage_and_strategy_are_shares_over_shares_of_the_area(drawn, tagged, pooling, margin):
    case = drawn(discs(tagged))
    coverage, strategy = [], []
    for row in range(5):
        shown, area, rest = pooled(case.heatmaps[row], case.parts[row], margin, pooling)
        objects = [p for p in range(3) if area[p] and not (tagged and p == 2)]
        total, pixels = sum(shown) + rest, SIZE[0] * SIZE[1]
        lifts = [shown[p] / total / (area[p] / pixels) for p in objects]
        coverage.append(over(sum(lift > 1 for lift in lifts), len(objects)))
        mine, room = sum(shown[p] for p in objects), sum(area[p] for p in objects)
        strategy.append(mine / total / (room / pixels) if objects else math.nan)
    settings = {"margin": margin, "pooling": pooling}
    same(ObjectCoverage(**settings)(case), coverage)
    same(HumanStrategy(**settings)(case), strategy)
    assert len(set(coverage)) > 2


@pytest.mark.parametrize("margin", [0, 2])
@pytest.mark.parametrize("within", ["image", "object"])
def test_a_persons_corners_are_compared_with_the_image_or_the_object(drawn, within, margin):
    case, wanted = drawn(polygons()), []
    corners = case.scenes.divided("corners").parts()
    for row in range(3):
        mine = owners(corners[row], margin)
        whole = owners(case.parts[row], margin)
        shown = room = total = around = 0.0
        for place, own in mine.items():
            value, share = max(float(case.heatmaps[row][place]), 0.0), sum(own.values())
            beside = max(share, sum(whole[place].values())) if within == "object" else 1.0
            shown, room = shown + share * value, room + share
            total, around = total + beside * value, around + beside
        wanted.append(shown / total / (room / around))
    same(HumanStrategy(within=within, margin=margin)(case), wanted)


@pytest.mark.parametrize("margin", [0, 2])
@pytest.mark.parametrize("pooling", ["net", "positive", "absolute"])
def test_what_a_tag_is_shown_and_deserves_are_signed_shares_among_parts(drawn, pooling, margin):
    case = drawn(discs(tagged=True))
    exact = truth.attribute(case.model, case.scenes, case.targets)
    wanted = {"shown": [], "deserved": [], "error": [], "recall": []}
    for row in range(5):
        shown, _, _ = pooled(case.heatmaps[row], case.parts[row], margin, pooling)
        worth = exact.shapley[row].tolist()
        worth = list(map(abs, worth)) if pooling == "absolute" else worth
        a = over(shown[2], sum(map(abs, shown)))
        s = over(worth[2], sum(map(abs, worth)))
        a, s = (a, s) if exact.present[row, 2] else (math.nan, math.nan)
        values = a, s, abs(a - s), max(0.0, min(a / s, 1.0)) if abs(s) >= 0.01 else math.nan
        for name, value in zip(wanted, values, strict=True):
            wanted[name].append(value)
    for name, values in wanted.items():
        same(ShortcutRecall(measure=name, margin=margin, pooling=pooling)(case), values)
    assert math.isfinite(wanted["recall"][0])


@pytest.mark.parametrize("division", ["corners", "sides"])
def test_strategy_use_is_lifted_by_the_share_of_the_objects_area(drawn, division):
    case = drawn(polygons())
    weights = case.model[-1].weight.data
    weights[1] = -weights[0]  # what speaks against one class speaks for the other
    cut, whole = case.scenes.divided(division), case.scenes.divided("objects")
    nothing = [torch.zeros_like(scenes.present) for scenes in (cut, whole)]
    drawings = case.images, cut.render(nothing[0]), whole.render(nothing[1])
    for target in range(3):
        everything, without, empty = (case.model(x)[:, target].tolist() for x in drawings)
        areas = [scenes.parts().sum((1, 2, 3)).tolist() for scenes in (cut, whole)]
        use = [
            (e - w) / (e - n) if e > n else math.nan
            for e, w, n in zip(everything, without, empty, strict=True)
        ]
        assert any(map(math.isfinite, use)) == (target == 1)
        lifted = [u / (a / b) for u, a, b in zip(use, *areas, strict=True)]
        aimed = replace(case, targets=torch.full((3,), target))
        same(StrategyUse(division=division, lift=False)(aimed), use)
        same(StrategyUse(division=division)(aimed), lifted)
