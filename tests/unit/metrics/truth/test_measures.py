"""Heatmaps against exact truth: closed forms, slow reimplementations and controls."""

import itertools
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import nn

from xai_exp.config import InputError
from xai_exp.data.scenes.scene import Scene
from xai_exp.metrics.truth.likeness import concordance, sign_agreement, spearman
from xai_exp.metrics.truth.measures import (
    HumanStrategy,
    ObjectCoverage,
    PartOrder,
    PartShapley,
    PartSkill,
    ShortcutRecall,
    StrategyUse,
    equal,
)
from xai_exp.metrics.truth.parts import exact_truth, grown, shown_and_true, worth_and_shown
from xai_exp.truth import games as truth


def discs(tagged=False):
    """Up to three discs, the last of which may be a tag; one image has one disc, one has none."""
    return Scene(
        sides=torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]]),
        centres=torch.tensor([[[6.0, 6.0], [17.0, 7.0], [10.0, 18.0]]]).repeat(4, 1, 1),
        radii=torch.tensor([[3.0, 4.0, 3.5]]).repeat(4, 1),
        angles=torch.zeros(4, 3),
        levels=torch.tensor([[0.9, 0.6, 0.8]]).repeat(4, 1),
        background=torch.tensor([0.1, 0.3, 0.5, 0.2]),
        size=(24, 24),
        tagged=tagged,
    )


def polygons():
    return Scene(
        sides=torch.tensor([[3], [4]]),
        centres=torch.full((2, 1, 2), 12.0),
        radii=torch.full((2, 1), 7.0),
        angles=torch.full((2, 1), 0.3),
        levels=torch.full((2, 1), 0.9),
        background=torch.full((2,), 0.1),
        size=(24, 24),
    )


@pytest.fixture
def case(make_case):
    made = discs()
    return make_case(images=made.render(), scenes=made, parts=made.parts())


def faithful(case, division="objects"):
    """The heatmap that spreads each part's exact value over its pixels."""
    scenes = case.scenes.divided(division)
    found = truth.attribute(case.model, scenes, case.targets)
    parts = grown(scenes.parts(), 0)
    area = parts.sum((2, 3)).clamp(min=1)
    return (parts * (found.shapley.float() / area)[..., None, None]).sum(1)


@pytest.mark.parametrize("margin", [0, 1, 2])
def test_a_map_of_the_exact_values_is_perfect(case, margin):
    case = replace(case, heatmaps=faithful(case))
    distance = PartShapley(margin=margin)(case)
    torch.testing.assert_close(distance[:3], torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        PartShapley(measure="sign", margin=margin)(case)[:3], torch.ones(3), rtol=0, atol=1e-6
    )
    assert PartShapley(measure="spearman", margin=margin)(case)[:2].tolist() == [1, 1]
    assert PartOrder(against="shapley", margin=margin)(case)[:2].tolist() == [1, 1]


@pytest.mark.parametrize(("division", "cells"), [("grid_2", 2), ("grid", 4), ("grid_8", 8)])
def test_a_grid_of_so_many_cells_a_side_has_a_linear_networks_weights_by_cell(
    case, division, cells
):
    model = nn.Sequential(nn.Flatten(), nn.Linear(24 * 24, 3))
    case = replace(case, model=model)
    empty = case.scenes.render(torch.zeros_like(case.scenes.present))
    weights = model[1].weight.detach()[case.targets].view(-1, 24, 24)
    by_pixel = (weights * (case.images - empty)[:, 0]).double()
    side = 24 // cells
    wanted = by_pixel.unflatten(2, (cells, side)).unflatten(1, (cells, side)).sum((2, 4)).flatten(1)
    found = exact_truth(case, division, None).shapley
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    per_pixel = (wanted / side**2).view(-1, cells, cells).float()
    right = per_pixel.repeat_interleave(side, 1).repeat_interleave(side, 2)
    scores = PartSkill(division=division, margin=0)(replace(case, heatmaps=right))
    assert scores[:2].sub(1).abs().max() < 1e-4  # others may have content in one cell only


def test_with_the_other_sign_signs_and_orders_are_wrong_and_shares_are_not(case):
    case = replace(case, heatmaps=-faithful(case))
    assert float(PartShapley()(case)[:3].max()) < 1e-5
    assert PartShapley(measure="sign")(case)[:3].tolist() == [0, 0, 0]
    assert PartShapley(measure="spearman")(case)[:2].tolist() == [-1, -1]
    assert PartOrder(against="shapley")(case)[:2].tolist() == [-1, -1]


def test_a_signed_distance_tells_a_map_from_its_negative_and_from_equal_shares(case):
    true, among = faithful(case), PartShapley(measure="among")
    present = case.scenes.present
    exact = truth.attribute(case.model, case.scenes, case.targets).shapley
    worth = exact / exact.abs().sum(1, keepdim=True)
    alike = present / present.sum(1, keepdim=True)
    area = grown(case.parts, 0).sum((2, 3)).clamp(min=1)
    even = (grown(case.parts, 0) / area[..., None, None]).sum(1)
    for heatmaps, wanted in ((true, 0 * worth), (-true, -2 * worth), (even, alike - worth)):
        scores = among(replace(case, heatmaps=heatmaps))
        distance = wanted.abs().sum(1) / 2
        torch.testing.assert_close(scores[:2], distance[:2].float(), rtol=0, atol=1e-5)
        assert scores[2:].isnan().all()  # one part, or none: nothing to tell apart
    skills = [PartSkill()(replace(case, heatmaps=maps))[:2] for maps in (true, even, -true)]
    wanted = (1, 0, 1 - 1 / ((alike - worth).abs().sum(1) / 2)[:2].float())
    for skill, due in zip(skills, wanted, strict=True):
        torch.testing.assert_close(
            skill, torch.as_tensor(due).float().expand(2), atol=1e-4, rtol=1e-4
        )


def test_parts_of_equal_worth_have_no_skill_and_say_so(case):
    blind = nn.Sequential(nn.Flatten(), nn.Linear(24 * 24, 3, bias=False))
    nn.init.zeros_(blind[1].weight)
    blind = replace(case, model=blind, heatmaps=faithful(case))
    assert PartSkill()(blind).isnan().all()
    found = truth.attribute(case.model, case.scenes, case.targets).shapley
    far = (equal(case.scenes.present) - found / found.abs().sum(1, keepdim=True)).abs().sum(1) / 2
    between = float(far[:2].mean())
    torch.testing.assert_close(PartSkill().weights(case)[:2], far[:2])
    defined = ~PartSkill(least=between)(replace(case, heatmaps=faithful(case))).isnan()
    assert defined[:2].tolist() == (far[:2] > between).tolist()
    for metric in (PartSkill(), PartShapley(measure="among")):
        assert metric.undefined.startswith("fewer than two parts, parts of equal worth")


@pytest.mark.parametrize("outside", [0.0, 0.25, 3.0])
def test_what_lies_outside_is_a_share_of_its_own_and_moves_no_distance_among_parts(case, outside):
    heatmaps = faithful(case)
    exact = truth.attribute(case.model, case.scenes, case.targets)
    heatmaps[:, 23, 23] = outside * exact.shapley.abs().sum(1).float()
    case = replace(case, heatmaps=heatmaps)
    beyond = PartShapley(measure="outside")(case)[:3]
    torch.testing.assert_close(beyond, torch.full((3,), outside / (1 + outside)), rtol=0, atol=1e-5)
    assert float(PartShapley(measure="among")(case)[:2].max()) < 1e-5


def test_the_error_is_in_units_of_the_value_for_maps_whose_sum_is_due(case):
    exact = truth.attribute(case.model, case.scenes, case.targets)
    true, count = faithful(case), exact.present.sum(1)
    parts = grown(case.parts, 0)
    area = parts.sum((2, 3)).clamp(min=1)
    shift = torch.tensor([0.3, -0.3, 0.0])  # between the first two parts: the sum stays
    moved = true + (parts * (shift / area)[..., None, None]).sum(1)
    error = PartShapley(measure="error")
    torch.testing.assert_close(
        error(replace(case, heatmaps=true))[:3], torch.zeros(3), rtol=0, atol=1e-5
    )
    found = error(replace(case, heatmaps=moved))[:2]
    torch.testing.assert_close(found, (0.6 / count[:2]).float(), rtol=1e-4, atol=1e-5)
    for other in (2 * true, case.heatmaps):
        assert error(replace(case, heatmaps=other)).isnan().all()
    assert PartShapley(measure="error", pooling="absolute")(case).isnan().all()


def test_what_is_undefined_is_missing(case):
    for measure in ("distance", "sign"):
        assert PartShapley(measure=measure)(case).isnan().tolist() == [False] * 3 + [True]
    for metric in (PartShapley(measure="spearman"), PartOrder()):
        assert metric(case).isnan().tolist() == [False, False, True, True]
    assert ObjectCoverage()(case).isnan().tolist() == [False] * 3 + [True]
    assert HumanStrategy()(case).isnan().tolist() == [False] * 3 + [True]
    assert ShortcutRecall()(case).isnan().all()
    empty = replace(case, heatmaps=torch.zeros_like(case.heatmaps))
    for metric in (PartShapley(), ObjectCoverage(), HumanStrategy()):
        assert metric(empty).isnan().all()
    broken = replace(case, heatmaps=case.heatmaps / 0)
    for metric in (PartShapley(), PartShapley(measure="sign"), PartOrder(), ObjectCoverage()):
        assert metric(broken).isnan().all()


@pytest.mark.parametrize("outside", [0.0, 0.25, 1.0, 3.0])
def test_mass_outside_of_the_parts_is_a_share_of_its_own(case, outside):
    heatmaps = faithful(case)
    inside = grown(case.parts, 2).sum(1)
    # All outside relevance in one pixel that no part reaches.
    heatmaps[:, 23, 23] = (
        outside
        * truth.attribute(case.model, case.scenes, case.targets).shapley.abs().sum(1).float()
    )
    assert float(inside[:, 23, 23].max()) == 0
    distance = PartShapley()(replace(case, heatmaps=heatmaps))[:3]
    wanted = torch.full((3,), outside / (1 + outside))
    torch.testing.assert_close(distance, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooling", ["net", "positive", "absolute"])
@pytest.mark.parametrize("margin", [0, 1, 3])
def test_distance_by_the_book(case, pooling, margin):
    found = truth.attribute(case.model, case.scenes, case.targets).shapley
    scores = PartShapley(pooling=pooling, margin=margin)(case)
    for image in range(3):
        sums = [0.0] * 4
        for y, x in itertools.product(range(24), range(24)):
            value = float(case.heatmaps[image, y, x])
            value = {"net": value, "positive": max(value, 0), "absolute": abs(value)}[pooling]
            owners = nearest(case.parts[image], y, x, margin)
            for part, share in owners.items():
                sums[part] += share * value
            if not owners:
                sums[3] += value
        shown = [abs(value) / sum(map(abs, sums)) for value in sums]
        true = [*(float(v) for v in found[image].abs() / found[image].abs().sum()), 0.0]
        wanted = sum(abs(a - b) for a, b in zip(shown, true, strict=True)) / 2
        assert float(scores[image]) == pytest.approx(wanted, abs=1e-5)


def nearest(parts, y, x, margin):
    """Which parts a pixel belongs to: by coverage, else those within the fewest steps."""
    covered = {p: float(parts[p, y, x]) for p in range(len(parts)) if parts[p, y, x] > 0}
    if covered:
        return {p: share / sum(covered.values()) for p, share in covered.items()}
    for step in range(1, margin + 1):
        window = parts[:, max(0, y - step) : y + step + 1, max(0, x - step) : x + step + 1]
        found = [p for p in range(len(parts)) if (window[p] > 0).any()]
        if found:
            return dict.fromkeys(found, 1 / len(found))
    return {}


def test_rank_correlation_and_concordance_by_scipy(generator):
    first = torch.randint(4, (40, 6), generator=generator).double()
    second = torch.randint(5, (40, 6), generator=generator).double()
    present = torch.rand(40, 6, generator=generator) < 0.7
    ranks, pairs = spearman(first, second, present), concordance(first, second, present)
    for row in range(40):
        one, other = first[row, present[row]], second[row, present[row]]
        if len(one) > 1 and one.std() > 0 and other.std() > 0:
            wanted = stats.spearmanr(one.numpy(), other.numpy()).statistic
            assert float(ranks[row]) == pytest.approx(wanted, abs=1e-12)
        else:
            assert ranks[row].isnan()
        signs = [
            float(((a1 - a2) * (b1 - b2)).sign())
            for (a1, b1), (a2, b2) in itertools.combinations(zip(one, other, strict=True), 2)
            if b1 != b2
        ]
        if signs:
            assert float(pairs[row]) == pytest.approx(sum(signs) / len(signs), abs=1e-12)
        else:
            assert pairs[row].isnan()


def test_signs_are_weighed_by_what_is_at_stake():
    first, second = torch.tensor([[1.0, -1.0, 2.0]]), torch.tensor([[3.0, 1.0, -4.0]])
    present = torch.tensor([[True, True, True]])
    assert float(sign_agreement(first, second, present)[0]) == pytest.approx(3 / 8)


def test_part_order_is_against_the_effect_of_removal_alone(case):
    found = truth.attribute(case.model, case.scenes, case.targets)
    area = case.parts.sum((2, 3)).clamp(min=1)
    heatmaps = (case.parts * (found.effect.float() / area)[..., None, None]).sum(1)
    assert PartOrder(margin=0)(replace(case, heatmaps=heatmaps))[:2].tolist() == [1, 1]


@pytest.mark.parametrize("metric", [ObjectCoverage(), HumanStrategy()], ids=repr)
def test_exact_mask_beats_random_beats_inverted_mask(case, metric, generator):
    mask = case.parts.sum(1)
    random = torch.rand(mask.shape, generator=generator)
    exact, chance, inverted = (
        float(metric(replace(case, heatmaps=heatmaps)).nanmean())
        for heatmaps in (mask, random, 1 - grown(case.parts, 2).sum(1))
    )
    assert exact > chance > inverted == 0


@pytest.mark.parametrize("within", ["image", "object"])
@pytest.mark.parametrize("margin", [0, 2])
def test_a_uniform_map_is_enriched_nowhere(make_case, within, margin):
    for made in (discs(), polygons()):
        images = made.render()
        heatmaps = torch.full_like(images[:, 0], 0.3)
        case = make_case(images=images, scenes=made, parts=made.parts(), heatmaps=heatmaps)
        scores = HumanStrategy(within=within, margin=margin)(case)
        scores = scores[made.present[:, 0]]
        torch.testing.assert_close(scores, torch.ones_like(scores), rtol=0, atol=1e-5)
        assert ObjectCoverage(margin=margin)(case).nan_to_num(0).tolist() == [0.0] * len(made)


def test_a_persons_strategy_is_corners_for_polygons_and_objects_for_counting(make_case):
    made = polygons()
    corners = made.divided("corners").parts().sum(1)
    case = make_case(images=made.render(), scenes=made, heatmaps=corners)
    on_corners = HumanStrategy(margin=0)(case)
    # Half covered pixels count as the corner's.
    area = (corners > 0).float().mean((1, 2))
    torch.testing.assert_close(on_corners, 1 / area)
    filled = replace(case, heatmaps=made.parts()[:, 0])
    assert bool((HumanStrategy(margin=0)(filled) < on_corners / 2).all())
    reached = replace(case, heatmaps=(made.parts()[:, 0] > 0).float())
    inside = HumanStrategy(margin=0, within="object")(reached)
    torch.testing.assert_close(inside, torch.ones(2))


def test_the_truth_is_computed_once_for_all_metrics_and_explainers(case):
    calls = 0

    class Counted(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, images):
            nonlocal calls
            calls += len(images)
            return self.inner(images)

    case = replace(case, model=Counted(case.model))
    for metric in (PartShapley(), PartShapley(measure="sign", margin=0), PartOrder()):
        metric(case)
    assert calls == 8 + 4 + 2 + 1
    other = replace(case, heatmaps=-case.heatmaps)
    PartShapley()(other)
    assert calls == 15
    PartShapley()(replace(case, targets=1 - case.targets.clamp(max=1)))
    assert calls == 30
    PartShapley()(replace(case, scenes=case.scenes[:]))
    assert calls == 45
    PartShapley()(replace(case, model=Counted(case.model.inner)))
    assert calls == 60


def tag_reader(size, window):
    """A network whose second logit is the mean of a window, and nothing else."""
    weights = torch.zeros(2, *size)
    weights[1][window] = 1
    model = nn.Sequential(nn.Flatten(), nn.Linear(weights[0].numel(), 2, bias=False))
    model[1].weight.data = weights.flatten(1)
    return model


def test_recall_of_a_shortcut_in_closed_form(make_case):
    made = discs(tagged=True)
    corner = (slice(13, 23), slice(5, 15))  # where the tag lies
    case = make_case(
        images=made.render(),
        scenes=made,
        model=tag_reader((24, 24), corner),
        targets=torch.ones(4, dtype=torch.long),
    )
    tag, objects = made.parts()[:, 2], made.parts()[:, :2].sum(1)
    area = tag.sum((1, 2)).clamp(min=1) / objects.sum((1, 2)).clamp(min=1)
    for share, recall in ((1.0, 1.0), (0.5, 0.5), (0.2, 0.2), (0.0, 0.0)):
        heatmaps = share * tag + (1 - share) * objects * area[:, None, None]
        mixed = replace(case, heatmaps=heatmaps)
        assert float(ShortcutRecall()(mixed)[0]) == pytest.approx(recall, abs=1e-5)
        assert float(ShortcutRecall(measure="shown")(mixed)[0]) == pytest.approx(recall, abs=1e-5)
        error = float(ShortcutRecall(measure="error")(mixed)[0])
        assert error == pytest.approx(1 - recall, abs=1e-5)
        assert float(ShortcutRecall(measure="deserved")(mixed)[0]) == pytest.approx(1, abs=1e-6)
        assert ShortcutRecall()(mixed)[1:].isnan().all()
    blind = replace(case, model=tag_reader((24, 24), (slice(0, 12), slice(0, 24))))
    assert ShortcutRecall()(blind).isnan().all()
    assert float(ShortcutRecall(measure="deserved")(blind)[0]) == pytest.approx(0, abs=1e-6)


def test_scenes_are_asked_for_in_one_line(case):
    with pytest.raises(InputError, match="got a case without scenes; allowed: rendered data"):
        PartShapley()(replace(case, scenes=None))
    with pytest.raises(InputError, match="got 'corners'; allowed: objects"):
        PartShapley(division="corners")(case)
    with pytest.raises(InputError, match=r"PartShapley\.depth: got 0\.5; allowed"):
        PartShapley(depth=0.5)


def test_the_truth_of_a_case_is_that_of_its_scenes(case):
    found = exact_truth(case, "objects", None)
    wanted = truth.attribute(case.model, case.scenes, case.targets)
    assert torch.equal(found.shapley, wanted.shapley)


def test_better_is_less_for_distances_and_errors():
    assert not PartShapley().higher_is_better
    assert PartShapley(measure="spearman").higher_is_better
    assert ShortcutRecall().higher_is_better
    assert not ShortcutRecall(measure="error").higher_is_better


def test_strategy_use_is_chance_where_every_pixel_counts_alike(make_case):
    made = polygons()
    model = nn.Sequential(nn.Flatten(), nn.Linear(24 * 24, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 24 * 24))
    brighter = made.levels[:, 0] > made.background
    targets = (~brighter).long()
    case = make_case(images=made.render(), scenes=made, model=model, targets=targets)
    torch.testing.assert_close(StrategyUse()(case), torch.ones(2), rtol=0, atol=1e-3)
    other = replace(case, targets=1 - targets)
    assert StrategyUse()(other).isnan().all()


def test_strategy_use_is_what_is_lost_with_the_corners_by_drawing_again(make_case):
    made = polygons()
    case = make_case(images=made.render(), scenes=made)
    case.model[-1].weight.data.neg_()  # as it was made, the network's objects speak for no class
    found = StrategyUse(division="sides", depth=0.2, lift=False)(case)

    def value(scenes, keep):
        return case.model(scenes.render(keep)).gather(1, case.targets[:, None])[:, 0]

    lost = []
    for scenes in (made.divided("sides", 0.2), made.divided("objects")):
        everything = torch.ones_like(scenes.present)
        names = torch.tensor([name != "tag" for name in scenes.part_names])
        exact = truth.attribute(case.model, scenes, case.targets, seed=0).shapley
        lost.append(exact[:, names].sum(1))
        whole = value(scenes, everything) - value(scenes, ~everything)
        torch.testing.assert_close(exact.sum(1).float(), whole, rtol=1e-4, atol=1e-5)
    assert (lost[1] > 0).all()
    torch.testing.assert_close(found, (lost[0] / lost[1]).float())


def test_strategy_use_is_undefined_where_objects_are_all_there_is(case):
    assert StrategyUse()(case).isnan().all()


def test_what_is_kept_of_parts_is_what_the_measures_used(case):
    assert worth_and_shown(case) == {}
    PartShapley()(case)
    ((division, (worth, shown)),) = worth_and_shown(case).items()
    assert division == "objects"
    by_heatmap, by_truth = shown_and_true(case, "objects", None, 2, "net")
    on_parts = shown[:, :-1]
    shares = on_parts / on_parts.abs().sum(1, keepdim=True)
    torch.testing.assert_close(shares, by_heatmap, equal_nan=True)
    shares = worth / worth.abs().sum(1, keepdim=True)
    torch.testing.assert_close(shares, by_truth, equal_nan=True)
    other = replace(case, targets=(case.targets + 1) % 3)
    assert worth_and_shown(other) == {}
