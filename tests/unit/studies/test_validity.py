"""Grading metrics: rank correlations by scipy, closed cases, and coverage of the intervals."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xai_exp.statistics import rank_correlation
from xai_exp.studies.validity import validity

UP = {"part_shapley": False, "good": True, "bad": True, "low": False, "noise": True}


def drawn(models=2, images=30, explainers=6, seed=0, noise=0.0):
    """Scores of metrics whose agreement with the truth is known."""
    rng = np.random.default_rng(seed)
    rows = []
    for model in range(models):
        truth = rng.random((images, explainers)) + np.arange(explainers) / 3
        tables = {
            "part_shapley": truth,
            "good": -(truth**3) + noise * rng.standard_normal(truth.shape),
            "bad": truth,
            "low": np.exp(truth),
            "noise": rng.random(truth.shape),
        }
        rows += [
            (f"m{model}", f"e{e}", image, metric, values[image, e])
            for metric, values in tables.items()
            for image in range(images)
            for e in range(explainers)
        ]
    return pd.DataFrame(rows, columns=["model", "explainer", "image", "metric", "score"])


def graded(scores, **options):
    return validity(scores, UP, **options).set_index("metric")


def test_the_order_of_the_truth_is_valid_and_its_opposite_misleads():
    table = graded(drawn())
    for metric, wanted in {"good": 1, "low": 1, "bad": -1}.items():
        assert table.loc[metric, "within"] == pytest.approx(wanted)
        assert table.loc[metric, "means"] == pytest.approx(wanted)
    assert abs(table.loc["noise", "within"]) < 0.2
    assert table.index.tolist()[-1] == "bad"
    assert "part_shapley" not in table.index
    assert table.loc["good", ["images", "models", "explainers"]].tolist() == [60, 2, 6]


def test_by_hand():
    scores = drawn(models=2, images=5, noise=0.8)
    table = graded(scores)
    wide = scores.set_index(["model", "image", "explainer", "metric"])["score"].unstack()
    within, means = [], []
    for _, mine in wide.groupby("model"):
        images = [rows for _, rows in mine.groupby("image")]
        rhos = [stats.spearmanr(-rows["part_shapley"], rows["good"]).statistic for rows in images]
        within.append(np.mean(rhos))
        mean = mine.groupby("explainer").mean()
        means.append(stats.spearmanr(-mean["part_shapley"], mean["good"]).statistic)
    assert table.loc["good", "within"] == pytest.approx(np.mean(within), abs=1e-12)
    assert table.loc["good", "means"] == pytest.approx(np.mean(means), abs=1e-12)


def test_correlations_by_scipy_with_ties_and_gaps():
    rng = np.random.default_rng(1)
    first = rng.integers(4, size=(50, 6)).astype(float)
    second = rng.integers(5, size=(50, 6)).astype(float)
    first[rng.random(first.shape) < 0.3] = np.nan
    found = rank_correlation(first, second)
    for row in range(50):
        both = ~np.isnan(first[row])
        one, other = first[row, both], second[row, both]
        if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
            assert np.isnan(found[row])
        else:
            wanted = stats.spearmanr(one, other).statistic
            assert found[row] == pytest.approx(wanted, abs=1e-12)


def test_missing_scores_are_left_out_and_counted():
    scores = drawn(images=10)
    gone = (scores["metric"] == "good") & (scores["image"] == 3)
    scores.loc[gone, "score"] = np.nan
    one = (scores["metric"] == "good") & (scores["image"] == 4) & (scores["explainer"] == "e0")
    scores.loc[one, "score"] = np.nan
    table = graded(scores)
    assert table.loc["good", "images"] == 18
    assert table.loc["low", "images"] == 20
    assert table.loc["good", "within"] == pytest.approx(1)
    scores.loc[scores["metric"] == "good", "score"] = 1.0
    nothing = graded(scores).loc["good"]
    assert nothing["images"] == 0
    assert nothing[["within", "within_low", "means"]].isna().all()


def test_intervals_cover_and_shrink_with_images_and_do_not_depend_on_order():
    covered, widths = 0, []
    wanted = graded(drawn(models=40, images=400, noise=4.0), resamples=2).loc["good", "within"]
    for seed in range(40):
        row = graded(drawn(models=4, images=30, noise=4.0, seed=seed), resamples=400).loc["good"]
        covered += row["within_low"] <= wanted <= row["within_high"]
        widths.append(row["within_high"] - row["within_low"])
        assert row["within_low"] < row["within"] < row["within_high"]
    # 95 % of intervals; the bootstrap of four models is a little too narrow.
    assert covered >= 32
    many = graded(drawn(models=4, images=270, noise=4.0), resamples=400).loc["good"]
    assert many["within_high"] - many["within_low"] < 0.6 * np.mean(widths)
    scores = drawn(noise=1.0)
    mixed = scores.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(graded(scores).sort_index(), graded(mixed).sort_index())
