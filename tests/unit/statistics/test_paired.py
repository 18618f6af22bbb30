"""Intervals over models and images, paired tests and ranks: by scipy, by hand, and coverage."""

import itertools

import numpy as np
import pytest
from scipy import stats

from xai_exp.statistics import (
    Known,
    agreement,
    crossed_interval,
    friedman,
    independent_blocks,
    intervals,
    kendall_w,
    known,
    mean_interval,
    paired,
    simultaneous,
)
from xai_exp.statistics.differences import average_ranks
from xai_exp.statistics.nested import shared_interval

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


def too_narrow(held, draws):
    """Whether intervals of 95 % would hold so seldom by chance once in a thousand."""
    return stats.binom.cdf(held, draws, 0.95) < 1e-3


@pytest.mark.parametrize("spreads", [(1, 1, 1), (0.3, 1, 1), (1, 0.3, 0.3), (0, 1, 1)])
@pytest.mark.parametrize("models", [3, 5, 10])
def test_intervals_over_models_and_images_cover_at_least_as_often_as_they_say(models, spreads):
    draws = DRAWS // 2
    held = covered(models, 48, spreads, draws)
    assert not too_narrow(round(held * draws), draws)
    assert held < 0.985


def test_without_networks_as_units_three_of_them_would_be_too_narrow():
    rng, held = np.random.default_rng(0), 0
    for _ in range(DRAWS):
        table = rng.standard_normal((3, 1)) + rng.standard_normal((1, 48))
        found = known(table + rng.standard_normal((3, 48)))
        reach = stats.t.isf(0.025, found.freedom[0]) * found.errors[0]
        held += abs(found.mean) <= reach
    assert too_narrow(held, DRAWS)


def test_intervals_over_images_cover_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr(intervals, "_RESAMPLES", 999)  # ends move by a hundredth of their distance
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
    crossed = stats.t.ppf(0.975, degrees) * variance**0.5
    units = stats.t.ppf(0.975, 1) * table.mean(1).std(ddof=1) / 2**0.5
    reach = max(crossed, units)  # never narrower than that of the models' means
    assert units > crossed
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


def test_the_effect_is_kerbys_and_the_sign_is_turned_with_the_methods():
    rng = np.random.default_rng(4)
    first, second = rng.random(20) + 0.2, rng.random(20)
    found = paired(first, second)
    difference = first - second
    ranks = stats.rankdata(abs(difference))
    up, down = ranks[difference > 0].sum(), ranks[difference < 0].sum()
    assert found.effect == pytest.approx((up - down) / (up + down))
    assert found.difference == pytest.approx(difference.mean())
    assert found.p == pytest.approx(stats.ttest_1samp(difference, 0).pvalue)
    back = paired(second, first)
    assert back.p == pytest.approx(found.p)
    assert back.effect == pytest.approx(-found.effect)


@pytest.mark.parametrize("difference", [1.0, -0.25, 0.0])
def test_differences_that_are_all_equal_are_the_difference(difference):
    first, second = np.full((3, 48), 0.5 + difference), np.full((3, 48), 0.5)
    found = paired(first, second)
    assert (found.difference, found.low, found.high) == (difference,) * 3
    assert found.p == (difference == 0)
    assert np.sign(difference) == (0 if np.isnan(found.effect) else found.effect)
    (held,) = simultaneous([first - second])
    assert held[:3] == (difference,) * 3
    assert (held.p, held.detectable) == (difference == 0, 0)


def test_perfect_separation_has_the_interval_that_it_should():
    assert paired(np.ones((3, 48)), np.zeros((3, 48)))[:3] == (1, 1, 1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1)])
def test_fewer_than_three_equal_differences_say_nothing_of_their_spread(shape):
    found = paired(np.ones(shape), np.zeros(shape))
    assert found.difference == 1
    assert np.isnan([found.low, found.high, found.p]).all()


def test_two_scores_and_few_images_have_students_interval():
    for values in ([1.0, 2.0], [3.0, 1.0, 2.0, 7.0]):
        wanted = stats.ttest_1samp(values, 0).confidence_interval()
        for table in ([values], [[value] for value in values]):  # one network, or one image
            found = paired(table, np.zeros_like(table))
            assert (found.low, found.high) == pytest.approx(tuple(wanted))
    assert mean_interval([1.0, 2.0]).high == pytest.approx(1.5 + 12.706 * 0.5, abs=1e-3)


def test_networks_that_differ_are_no_evidence_however_many_images():
    rng = np.random.default_rng(2)
    rejected, before = 0, 0
    for _ in range(400):
        apart = rng.standard_normal((3, 1)) + 0.2 * rng.standard_normal((3, 48))
        rejected += paired(apart, np.zeros_like(apart)).p < 0.05
        before += stats.wilcoxon(apart.mean(0)).pvalue < 0.05
    assert stats.binom.sf(rejected - 1, 400, 0.05) > 1e-3
    assert before > 300  # networks taken as given


def test_a_white_box_has_the_interval_of_its_images():
    row = np.random.default_rng(3).random(48)
    found = paired(np.tile(row, (5, 1)), np.zeros((5, 48)))
    alone = stats.ttest_1samp(row, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx(tuple(alone))


def family(rng, load, models=5, images=12, count=8):
    """Differences whose means are 0, that share a part of their effects."""
    shapes = ((models, 1), (1, images), (models, images))
    draws = [[rng.standard_normal(one) for one in shapes] for _ in range(count + 1)]
    common = sum(draws[0])
    return [load * common + np.sqrt(1 - load**2) * sum(one) for one in draws[1:]]


@pytest.mark.parametrize("load", [0.0, 0.9])
def test_intervals_together_miss_no_mean_as_often_as_they_say(load):
    rng, draws, held, alone = np.random.default_rng(5), 150, 0, 0
    for _ in range(draws):
        tables = family(rng, load)
        found = simultaneous(tables, [0] * len(tables), draws=500)
        held += all(one.low <= 0 <= one.high for one in found)
        alone += all(known(table).p() >= 0.05 for table in tables)
    assert not too_narrow(held, draws)
    assert too_narrow(alone, draws)


def test_intervals_together_lie_between_those_alone_and_bonferronis():
    tables = family(np.random.default_rng(6), 0.9, models=10)
    found = simultaneous(tables, [0] * len(tables))
    for one, table in zip(found, tables, strict=True):
        spread = known(table)
        half = (one.high - one.low) / 2
        assert spread.reach(0.05) < half <= spread.reach(0.05 / len(tables)) * 1.02
        assert (one.p < 0.05) == (one.low > 0 or one.high < 0)
        assert one.p >= spread.p()


def test_what_is_detectable_is_found_in_four_of_five_studies():
    rng, found = np.random.default_rng(7), []
    sizes = [simultaneous([sum(family(rng, 0.0, count=1))])[0].detectable for _ in range(200)]
    true = float(np.mean(sizes))
    for _ in range(400):
        (one,) = simultaneous([family(rng, 0.0, count=1)[0] + true])
        found.append(one.low > 0)
    assert 0.7 < np.mean(found) < 0.92


def test_numbers_from_shared_images_have_an_interval_that_allows_for_them():
    rng, held, without = np.random.default_rng(8), 0, 0
    for _ in range(300):
        rows = 0.1 * rng.standard_normal((5, 1)) + rng.standard_normal((1, 30))
        rows = rows + 0.3 * rng.standard_normal((5, 30))
        times = rng.multinomial(30, np.full(30, 1 / 30), 200)
        found = shared_interval(rows.mean(1), rows @ times.T / 30)
        held += found.low <= 0 <= found.high
        without += stats.ttest_1samp(rows.mean(1), 0).pvalue >= 0.05
    assert not too_narrow(held, 300)
    assert too_narrow(without, 300)


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


def test_students_t_and_ranks_are_scipys_bit_for_bit():
    freedom = np.array([1.0, 2.0, 3.7, 10.0, 1e3, 1e7])
    error, mean = 0.3, -0.7
    for one in freedom:
        known = Known(mean, (error,), (float(one),), 3, 4, 12)
        assert known.reach(0.05) == stats.t.isf(0.025, one) * error
        assert known.p() == 2 * stats.t.sf(abs(mean) / error, one)
    for values in (np.array([3.0, 1, 3, 2, 2, 2, 0]), np.zeros(4), np.arange(5.0), np.array([7.0])):
        np.testing.assert_array_equal(average_ranks(values), stats.rankdata(values))
