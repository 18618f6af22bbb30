"""Weighted means: the skill of several images is a ratio of means, and so is its spread."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xai_exp.report import tables
from xai_exp.statistics import evened, mean_interval
from xai_exp.verdicts.scores import differences


def skills(images=40, seed=0):
    """Distances of a map and of equal shares, whose ratio is now and then very far off."""
    rng = np.random.default_rng(seed)
    alike = rng.random(images) ** 3
    mine = np.abs(0.5 * alike + 0.05 * rng.standard_normal(images))
    return mine, alike, pd.DataFrame({"score": 1 - mine / alike, "weight": alike})


def test_the_mean_is_the_ratio_of_means():
    mine, alike, scores = skills()
    assert evened(scores).mean() == pytest.approx(1 - mine.sum() / alike.sum())
    assert scores["score"].mean() < evened(scores).mean() - 0.5  # the plain one is moved at will


def test_the_spread_is_that_of_a_ratio_by_cochran():
    mine, alike, scores = skills()
    ratio = mine.sum() / alike.sum()
    error = np.sqrt(((mine - ratio * alike) ** 2).sum() / 39 / 40) / alike.mean()
    assert stats.sem(evened(scores)) == pytest.approx(error)


def test_intervals_of_evened_scores_hold_the_true_ratio():
    held, (mine, alike, _) = 0, skills(images=1_000_000, seed=7)
    true = 1 - mine.sum() / alike.sum()
    for seed in range(100):
        _, _, scores = skills(seed=1000 + seed)
        found = mean_interval(evened(scores), seed=seed)
        held += found.low <= true <= found.high
    assert stats.binom.cdf(held, 100, 0.95) > 1e-3, held


def test_equal_weights_none_and_those_of_older_runs_change_nothing():
    plain = pd.DataFrame({"score": [1.0, np.nan, -3.0]})
    for weight in (None, 1.0, 0.3, np.nan):
        scores = plain if weight is None else plain.assign(weight=weight)
        pd.testing.assert_series_equal(evened(scores), plain["score"], check_names=False)
        grouped = evened(scores.assign(model="a"), by=["model"])
        pd.testing.assert_series_equal(grouped, plain["score"], check_names=False)


def test_what_is_missing_stays_so_and_its_weight_counts_nowhere():
    scores = pd.DataFrame({"score": [0.5, np.nan, -1.0], "weight": [0.2, 1.0, 0.6]})
    found = evened(scores)
    assert found.isna().tolist() == [False, True, False]
    assert found.mean() == pytest.approx((0.5 * 0.2 - 1.0 * 0.6) / 0.8)


def test_networks_are_weighed_by_themselves_in_any_order():
    parts = [skills(seed=seed)[2].assign(model=f"m{seed}") for seed in range(3)]
    every = pd.concat(parts, ignore_index=True).sample(frac=1, random_state=0)
    found = every.assign(score=evened(every, by=["model"])).groupby("model")["score"].mean()
    assert found.tolist() == pytest.approx([evened(part).mean() for part in parts])


def test_pages_and_verdicts_read_ratios_of_means():
    rows = []
    for model in ("a", "b", "c"):
        for name, seed in (("one", 1), ("two", 2)):
            _, alike, scores = skills(seed=ord(model))
            scores["score"] -= seed * alike
            rows.append(scores.assign(model=model, explainer=name, image=range(40)))
    told = {"setting": "s", "metric": "part_skill", "higher_is_better": True}
    scores = pd.concat(rows, ignore_index=True).assign(**told)
    means = tables.means(scores).set_index("explainer")["mean"]
    due = {
        name: np.mean([evened(mine).mean() for _, mine in part.groupby("model")])
        for name, part in scores.groupby("explainer")
    }
    assert means.to_dict() == pytest.approx(due)
    apart = differences(scores, "one", "two").to_numpy().mean()
    assert apart == pytest.approx(due["one"] - due["two"])
