"""Intervals over models and images, paired tests and ranks: by scipy, by hand, and coverage."""

import itertools

import numpy as np
import pytest
from scipy import stats

from xai_exp.statistics import (
    agreement,
    crossed_interval,
    friedman,
    holm,
    independent_blocks,
    kendall_w,
    mean_interval,
    paired,
)

DRAWS = 2000


def covered(models, images, spreads, draws=5 * DRAWS, seed=0):
    """How often the interval holds the true mean 0, for spreads of models, images and the rest."""
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(draws):
        of_models = spreads[0] * rng.standard_normal((models, 1))
        of_images = spreads[1] * rng.standard_normal((1, images))
        table = of_models + of_images + spreads[2] * rng.standard_normal((models, images))
        found = crossed_interval(table)
        hits += found.low <= 0 <= found.high
    return hits / draws


@pytest.mark.parametrize("spreads", [(1, 1, 1), (0.3, 1, 1), (1, 0.3, 0.3), (0, 1, 1)])
@pytest.mark.parametrize("models", [5, 10])
def test_intervals_over_models_and_images_cover_as_often_as_they_say(models, spreads):
    assert 0.94 <= covered(models, 48, spreads) <= 0.96


def test_with_fewer_than_five_models_the_intervals_are_a_little_narrow_as_documented():
    assert 0.92 <= covered(3, 48, (1, 1, 1)) < 0.94
    assert 0.86 <= covered(2, 48, (1, 1, 1)) < 0.90


def test_intervals_over_images_cover_as_often_as_they_say():
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(DRAWS):
        found = mean_interval(rng.standard_normal(64))
        hits += found.low <= 0 <= found.high
    assert 0.94 <= hits / DRAWS <= 0.96


def test_intervals_over_images_alone_would_cover_far_too_seldom():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(300):
        table = rng.standard_normal((4, 1)) + rng.standard_normal((4, 40))
        flat = table.ravel()
        reach = 1.96 * flat.std(ddof=1) / np.sqrt(len(flat))
        hits += abs(flat.mean()) <= reach
    assert hits / 300 < 0.5


def test_the_crossed_interval_by_hand():
    table = np.array([[1.0, 4.0, 2.0], [3.0, 9.0, 5.0]])
    mean = table.mean()
    between_models = 3 * ((table.mean(1) - mean) ** 2).sum() / 1
    between_images = 2 * ((table.mean(0) - mean) ** 2).sum() / 2
    rest = 0.0
    for m, i in itertools.product(range(2), range(3)):
        rest += (table[m, i] - table[m].mean() - table[:, i].mean() + mean) ** 2 / 2
    variance = (between_models + between_images - rest) / 6
    degrees = variance**2 / (
        (between_models / 6) ** 2 / 1 + (between_images / 6) ** 2 / 2 + (rest / 6) ** 2 / 2
    )
    reach = stats.t.ppf(0.975, degrees) * variance**0.5
    found = crossed_interval(table)
    assert found.mean == pytest.approx(mean)
    assert (found.low, found.high) == pytest.approx((mean - reach, mean + reach))


def test_one_model_is_an_interval_over_its_images():
    scores = np.random.default_rng(0).random(30)
    assert crossed_interval(scores[None]) == mean_interval(scores)


def test_a_missing_cell_is_filled_by_the_additive_fit_and_empty_images_are_left_out():
    rows, columns = np.array([[0.0], [2.0], [5.0]]), np.array([[1.0, 4.0, 2.0, 8.0]])
    whole = rows + columns
    holed = whole.copy()
    holed[1, 2] = np.nan
    holed = np.hstack([holed, np.full((3, 1), np.nan)])
    found = crossed_interval(holed)
    assert found.mean == pytest.approx(whole.mean())
    assert found.n == 11


def test_scores_that_are_all_equal_have_no_interval():
    found = crossed_interval(np.ones((3, 4)))
    assert found.mean == 1
    assert np.isnan([found.low, found.high]).all()


def test_the_signed_rank_test_is_scipys_and_its_effect_kerbys():
    rng = np.random.default_rng(4)
    first, second = rng.random(20) + 0.2, rng.random(20)
    found = paired(first, second)
    difference = first - second
    assert found.p == pytest.approx(stats.wilcoxon(difference, method="exact").pvalue)
    ranks = stats.rankdata(abs(difference))
    up, down = ranks[difference > 0].sum(), ranks[difference < 0].sum()
    assert found.effect == pytest.approx((up - down) / (up + down))
    assert found.difference == pytest.approx(difference.mean())
    back = paired(second, first)
    assert back.p == found.p
    assert back.effect == pytest.approx(-found.effect)


def test_a_true_null_is_rejected_as_often_as_the_level_says():
    rng = np.random.default_rng(5)
    rejected = np.mean([stats_p(rng) < 0.05 for _ in range(DRAWS // 2)])
    assert 0.035 <= rejected <= 0.06


def stats_p(rng):
    noise = rng.standard_normal((1, 60))
    return paired(noise, np.zeros_like(noise)).p


def test_equal_scores_are_no_evidence():
    found = paired([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert found.difference == 0
    assert np.isnan([found.p, found.effect]).all()


def test_holm_by_hand_in_any_order():
    p = np.array([0.04, 0.001, np.nan, 0.02, 0.5])
    wanted = {0.001: 0.004, 0.02: 0.06, 0.04: 0.08, 0.5: 0.5}
    for order in itertools.permutations(range(5)):
        adjusted = holm(p[list(order)])
        for value, raw in zip(adjusted, p[list(order)], strict=True):
            assert np.isnan(raw) == np.isnan(value)
            assert np.isnan(raw) or value == pytest.approx(wanted[raw])


def test_friedman_is_scipys_with_ties_and_the_critical_difference_demsars():
    table = np.random.default_rng(6).integers(0, 4, (25, 4)).astype(float)
    found = friedman(table)
    assert found.p == pytest.approx(stats.friedmanchisquare(*table.T).pvalue)
    assert found.ranks.sum() == pytest.approx(4 * 5 / 2)
    # Demsar 2006, table 5 (a): q at 5 % is 2.569 for four methods.
    assert found.critical == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 25)), abs=1e-3)
    better = friedman(table + np.array([0, 0, 9, 0]))
    assert better.ranks[2] == 1


def rejected(blocks_of, draws=DRAWS):
    """How often Friedman's test rejects, and Nemenyi finds any pair, where no method is better.

    Four settings of three models that explain the same 24 images of their setting; every model and
    every image favours some of five methods.
    """
    rng = np.random.default_rng(9)
    friedmans = nemenyis = 0
    for _ in range(draws):
        of_models = rng.standard_normal((4, 3, 1, 5))
        of_images = 3 * rng.standard_normal((4, 1, 24, 5))
        scores = of_models + of_images + rng.standard_normal((4, 3, 24, 5))
        found = friedman(np.concatenate([blocks_of(setting) for setting in scores]))
        friedmans += found.p < 0.05
        nemenyis += np.ptp(found.ranks) > found.critical
    return friedmans / draws, nemenyis / draws


def test_friedman_on_independent_blocks_rejects_a_true_null_as_often_as_the_level_says():
    by_friedman, by_nemenyi = rejected(independent_blocks)
    assert 0.035 <= by_friedman <= 0.06
    assert 0.02 <= by_nemenyi <= 0.06


def test_friedman_on_images_or_on_models_that_share_them_would_reject_far_too_often():
    of_images, _ = rejected(lambda scores: scores.reshape(-1, 5), draws=200)
    of_models, _ = rejected(lambda scores: scores.mean(1), draws=400)
    assert of_images > 0.5
    assert of_models > 0.1


def test_an_image_counts_for_one_model_only_and_only_if_all_methods_have_a_score():
    scores = np.random.default_rng(10).random((2, 5, 3))
    scores[0, 2, 1] = np.nan
    found = independent_blocks(scores)
    assert found[0] == pytest.approx(scores[0, [0, 4]].mean(0))
    assert found[1] == pytest.approx(scores[1, [1, 3]].mean(0))
    scores[1, [1, 3]] = np.nan
    assert independent_blocks(scores).shape == (1, 3)


def test_kendalls_w_by_hand_with_ties():
    table = np.array([[1.0, 2.0, 2.0, 4.0], [1.0, 3.0, 2.0, 4.0], [2.0, 1.0, 3.0, 4.0]])
    ranks = stats.rankdata(table, axis=1)
    sums = ranks.sum(0)
    ties = sum(c**3 - c for row in ranks for c in np.unique(row, return_counts=True)[1])
    spread = ((sums - sums.mean()) ** 2).sum()
    wanted = 12 * spread / (3**2 * (4**3 - 4) - 3 * ties)
    assert kendall_w(table).mean == pytest.approx(wanted)


def test_kendalls_w_of_many_unrelated_judges_is_near_zero():
    found = kendall_w(np.random.default_rng(7).random((400, 5)))
    assert found.mean < 0.02
    assert found.high < 0.05


def test_measures_that_agree_stand_side_by_side():
    rng = np.random.default_rng(8)
    truth = rng.random((12, 6))
    table, order = agreement([truth, -truth, truth**3, -(truth**3)])
    assert table[0, 2] == pytest.approx(1)
    assert table[0, 1] == pytest.approx(-1)
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset({0, 2}), frozenset({1, 3})}
    rhos = [stats.spearmanr(a, b).statistic for a, b in zip(truth, truth[::-1], strict=True)]
    assert agreement([truth, truth[::-1]])[0][0, 1] == pytest.approx(np.mean(rhos))
