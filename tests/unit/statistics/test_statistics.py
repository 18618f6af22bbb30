import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from scipy import stats

from xai_exp.statistics import intervals, mean_interval

rng = np.random.default_rng(3)


def bca(values, confidence, resamples, seed):
    """Efron 1987, with the acceleration from the jackknife, in loops."""
    values, normal = np.asarray(values), NormalDist()
    draw = np.random.default_rng(seed)
    means = np.sort([draw.choice(values, len(values)).mean() for _ in range(resamples)])
    below = (np.mean(means < values.mean()) + np.mean(means <= values.mean())) / 2
    bias = normal.inv_cdf(below)
    left_out = np.array([np.delete(values, i).mean() for i in range(len(values))])
    apart = left_out.mean() - left_out
    acceleration = (apart**3).sum() / (6 * (apart**2).sum() ** 1.5)
    ends = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        shifted = bias + normal.inv_cdf(tail)
        share = normal.cdf(bias + shifted / (1 - acceleration * shifted))
        ends.append(np.quantile(means, share))
    return ends


def test_interval_equals_efrons_on_skewed_scores():
    values = rng.exponential(size=40)
    found = mean_interval(values, 0.9)
    low, high = bca(values, 0.9, 9999, 1)
    error = values.std() / math.sqrt(40)
    assert found.low == pytest.approx(low, abs=0.05 * error)
    assert found.high == pytest.approx(high, abs=0.05 * error)
    assert found.mean == values.mean()


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(-2, 1, 64) ** 3,
        np.exp(np.linspace(0, 3, 200)),
        np.arange(64) % 3 == 0,
        [0] * 29 + [9],
    ],
)
def test_interval_equals_that_of_a_bootstrap_of_single_resamples(values):
    found = mean_interval(values, seed=4)
    theirs = stats.bootstrap(
        (np.asarray(values, float),),
        np.mean,
        n_resamples=9999,
        method="BCa",
        rng=np.random.default_rng(4),
    ).confidence_interval
    # Means that equal that of the sample are on either side of it there, as rounding has it.
    near = 1e-3 * np.std(values) / np.sqrt(len(values))
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=near)


def test_interval_of_many_normal_scores_is_the_closed_form():
    values = rng.normal(2, 3, size=4000)
    found = mean_interval(values)
    half = NormalDist().inv_cdf(0.975) * values.std() / math.sqrt(4000)
    assert found.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_interval_covers_the_true_mean_as_often_as_it_says():
    covered = [
        interval.low <= 0.5 <= interval.high
        for interval in (mean_interval(rng.uniform(size=30), 0.8) for _ in range(150))
    ]
    assert abs(np.mean(covered) - 0.8) < 3 * math.sqrt(0.8 * 0.2 / 150)


def test_missing_scores_are_left_out_and_not_counted():
    some = torch.tensor([1.0, math.nan, 4.0, 2.0, math.nan])
    assert mean_interval(some) == mean_interval([1.0, 4.0, 2.0])
    assert mean_interval(some).n == 3


def test_same_seed_gives_the_same_interval_and_another_one_another():
    values = rng.normal(size=20)
    assert mean_interval(values, seed=4) == mean_interval(values, seed=4)
    assert mean_interval(values, seed=4) != mean_interval(values, seed=5)


@pytest.mark.parametrize("values", [[], [math.nan], [3.0], [1.0] * 64])
def test_a_sample_without_spread_has_no_interval(values):
    found = mean_interval(values)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.n == sum(not math.isnan(value) for value in values)


def test_hits_and_misses_have_an_interval_within_their_range():
    found = mean_interval([1.0] * 63 + [0.0])
    assert 0 <= found.low < 63 / 64 < found.high <= 1


@pytest.mark.parametrize("count", [20, 333, 3000])
def test_resamples_are_those_of_one_draw_however_many_are_drawn_at_once(count, monkeypatch):
    monkeypatch.setattr(intervals, "_RESAMPLES", 50)
    whole = np.concatenate(list(intervals._blocks(count, 3)))
    drawn = np.random.default_rng(3).integers(0, count, (50, count))
    expected = np.stack([np.bincount(row, minlength=count) for row in drawn])
    np.testing.assert_array_equal(whole, expected)
    monkeypatch.setattr(intervals, "_DRAWN", count + 1)
    np.testing.assert_array_equal(np.concatenate(list(intervals._blocks(count, 3))), whole)
