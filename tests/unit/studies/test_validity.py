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
    assert nothing[["within", "within_low", "means"]].astype(float).isna().all()


def test_intervals_shrink_with_images_and_networks_and_do_not_depend_on_order():
    widths = {}
    for models, images in ((4, 20), (4, 200), (16, 200)):
        row = graded(drawn(models=models, images=images, noise=4.0)).loc["good"]
        assert row["within_low"] < row["within"] < row["within_high"]
        assert row["means_low"] < row["means"] < row["means_high"]
        widths[models, images] = row["within_high"] - row["within_low"]
    assert widths[4, 200] < 0.7 * widths[4, 20]
    assert widths[16, 200] < 0.7 * widths[4, 200]
    scores = drawn(noise=1.0)
    mixed = scores.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(graded(scores).sort_index(), graded(mixed).sort_index())


def test_one_network_says_nothing_of_others_means():
    row = graded(drawn(models=1, noise=1.0)).loc["good"]
    assert np.isnan([row["means_low"], row["means_high"]]).all()


def test_a_validity_that_hangs_on_one_explainer_is_said_to_lean_on_it():
    scores = drawn(models=5, images=20, explainers=5)
    values = np.random.default_rng(3).random(len(scores))
    mine = scores["metric"] == "noise"
    last = scores["explainer"] == "e4"
    # Unrelated to the truth but for the explainer that is the worst by far.
    scores.loc[mine, "score"] = values[mine]
    scores.loc[mine & last, "score"] = -9.0
    scores.loc[(scores["metric"] == "part_shapley") & last, "score"] = 99.0
    table = graded(scores)
    row = table.loc["noise"]
    assert row["within_low"] > 0
    assert row["leans_on"] == "e4"
    assert abs(row["within_least"]) < 0.2
    assert not row["stands"]
    assert bool(table.loc["low", "stands"])


def test_the_cost_of_known_damage_is_minus_the_rank_correlation_with_the_dose():
    scores = drawn(models=4, images=10)
    doses = {"true_map": 0.0, "blurred_25": 0.25, "blurred_50": 0.5, "blurred_100": 1.0}
    rng, rows = np.random.default_rng(0), []
    for model in range(4):
        for name, dose in doses.items():
            for image in range(10):
                values = {"good": -dose, "low": -dose, "noise": rng.random()}
                rows += [(f"m{model}", name, image, *pair) for pair in values.items()]
    more = pd.DataFrame(rows, columns=scores.columns)
    table, before = graded(pd.concat([scores, more], ignore_index=True)), graded(scores)
    assert table.loc[["good", "low"], "doses"].tolist() == [1.0, -1.0]
    assert table.loc["noise", "doses_low"] < 0 < table.loc["noise", "doses_high"]
    columns = ["within", "means", "explainers"]  # damaged maps are none of the pool
    pd.testing.assert_frame_equal(table[columns].sort_index(), before[columns].sort_index())
    assert before["doses"].isna().all()


def asked(levels, **given):
    """Scores of several values and references; `turned` agrees with the truth under all but one."""
    parts = []
    for place, (value, reference) in enumerate(levels):
        scores = drawn(seed=place, models=5, images=12, explainers=5, **given)
        scores = pd.concat([scores, scores[scores["metric"] == "low"].assign(metric="turned")])
        if place == len(levels) - 1:
            scores.loc[scores["metric"] == "turned", "score"] *= -1
        parts.append(scores.assign(value=value, reference=reference))
    return pd.concat(parts, ignore_index=True)


LEVELS = [(v, r) for v in ("centred", "log_odds") for r in ("black", "border")]


def test_values_and_references_are_told_apart_and_a_sign_that_turns_hangs_on_them():
    scores = asked(LEVELS)
    table = validity(scores, UP | {"turned": False}).set_index("metric")
    assert table.loc["low", ["levels", "hangs_on", "stands"]].tolist() == [4, "", True]
    assert table.loc["low", "within"] == pytest.approx(1)
    row = table.loc["turned"]
    assert row[["levels", "hangs_on", "stands"]].tolist() == [4, "log_odds, border", False]
    # Three levels of +1 and one of -1 of the same networks and images.
    assert row["within"] == pytest.approx(0.5)
    assert row["means"] == pytest.approx(0.5)
    assert row[["images", "models"]].tolist() == [60, 5]


def test_the_mean_over_levels_is_the_mean_of_those_had_alone():
    scores = asked(LEVELS, noise=1.0)
    whole = validity(scores, UP | {"turned": False}).set_index("metric")
    alone = [
        validity(
            scores[(scores["value"] == v) & (scores["reference"] == r)], UP | {"turned": False}
        )
        for v, r in LEVELS
    ]
    wanted = np.mean([one.set_index("metric").loc["good", "within"] for one in alone])
    assert whole.loc["good", "within"] == pytest.approx(wanted)


def test_grains_of_the_truth_are_levels():
    scores = drawn(models=5, images=12)
    true = scores[scores["metric"] == "part_shapley"]
    finer = true.assign(metric="finer", score=-true["score"])
    up = UP | {"finer": False}
    table = validity(pd.concat([scores, finer]), up, grains=["finer"]).set_index("metric")
    assert "finer" not in table.index
    assert table.loc["good", ["within", "levels", "stands"]].tolist() == [0, 2, False]
    assert table.loc["good", "hangs_on"] == "part_shapley; finer"


def test_two_scores_of_the_same_are_an_error():
    with pytest.raises(ValueError, match="two scores of the same"):
        graded(pd.concat([drawn(), drawn(seed=1)]))


def test_explainers_means_of_a_weighted_truth_are_weighted():
    scores = drawn(models=3, images=40, noise=0.5)
    truth = scores["metric"] == "part_shapley"
    moved = truth & (scores["image"] == 0)
    places = scores.loc[moved, "explainer"].str[1:].astype(float)
    scores.loc[moved, "score"] -= 1000 * places  # one image turns the order of all means round
    heavy = scores.assign(weight=np.where(moved, 1e-9, 1.0))
    left_out = graded(scores[scores["image"] != 0])
    assert graded(heavy).loc["good", "means"] == pytest.approx(left_out.loc["good", "means"])
    assert graded(scores).loc["good", "means"] < left_out.loc["good", "means"] - 0.2
