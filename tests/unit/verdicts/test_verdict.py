"""Verdicts on scores whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xai_exp.config import InputError
from xai_exp.statistics import crossed_interval, holm
from xai_exp.verdicts.claims import Accurate, Better, Beyond, made
from xai_exp.verdicts.scores import oriented
from xai_exp.verdicts.verdict import answers, audit, headline, judge, sentence

MEANS = {"exact_mask": 3.0, "good": 2.0, "bad": 1.0, "random": 0.0, "inverted_mask": -1.0}
AUDITED = ["metric", "setting", "passed", "asked", "reason"]
CLAIM = Better(text="good beats bad", better="good", worse="bad", metrics=("up",))


def scored(settings=3, models=3, images=30, seed=0, spread=0.5, **means):
    rng = np.random.default_rng(seed)
    table = MEANS | means
    rows = [
        {
            "setting": f"s{setting}",
            "model": f"s{setting}m{model}",
            "explainer": name,
            "image": image,
            "metric": "up",
            "higher_is_better": True,
            "score": mean + spread * rng.standard_normal(),
        }
        for setting in range(settings)
        for model in range(models)
        for name, mean in table.items()
        for image in range(images)
    ]
    return pd.DataFrame(rows)


def test_a_clear_difference_is_supported_and_its_opposite_refuted():
    scores = scored()
    opposite = Better(text="bad beats good", better="bad", worse="good", metrics=("up",))
    yes, no = judge([CLAIM, opposite], scores)
    assert (yes.answer, yes.holds, yes.reversed, yes.settings) == ("supported", 3, 0, 3)
    assert (no.answer, no.holds, no.reversed, no.settings) == ("refuted", 0, 3, 3)
    assert "holds in 3 of 3 settings" in sentence(yes)
    assert (yes.rows["difference"].to_numpy() == -no.rows["difference"].to_numpy()).all()


def test_no_difference_is_undecided():
    (found,) = judge([CLAIM], scored(good=1.0))
    assert found.answer == "undecided"
    assert set(found.rows["outcome"]) == {"open"}


def test_a_claim_that_holds_here_and_is_reversed_there_is_undecided():
    scores = pd.concat(
        [scored(settings=2), scored(settings=1, good=0.0).assign(setting="other")],
        ignore_index=True,
    )
    (found,) = judge([CLAIM], scores)
    assert (found.answer, found.holds, found.reversed) == ("undecided", 2, 1)


def test_a_metric_where_lower_is_better_is_turned_round():
    scores = scored()
    turned = scores.assign(score=-scores["score"], higher_is_better=False)
    for name in ("difference", "effect", "p", "outcome"):
        one, other = (judge([CLAIM], table)[0].rows[name].tolist() for table in (scores, turned))
        assert one == other


def test_the_numbers_of_a_setting_by_hand_and_corrected_over_all_tests():
    scores = scored(models=2, good=1.1, spread=1.0)
    found, other = judge([CLAIM, Better(**(vars(CLAIM) | {"worse": "random"}))], scores)
    raw = []
    for table in (found, other):
        for row in table.rows.itertuples():
            mine = scores[scores["setting"] == row.setting]
            pairs = mine.pivot_table(index=["model", "image"], columns="explainer", values="score")
            apart = (pairs["good"] - pairs[table.claim.worse]).unstack()
            assert row.difference == pytest.approx(apart.to_numpy().mean())
            assert row.low == pytest.approx(crossed_interval(apart.to_numpy()).low)
            raw.append(stats.wilcoxon(apart.mean(axis=0)).pvalue)
            assert row.p == pytest.approx(raw[-1])
    adjusted = [*found.rows["adjusted"], *other.rows["adjusted"]]
    assert adjusted == pytest.approx(holm(raw))


def test_the_audit_passes_a_metric_that_puts_known_maps_in_order():
    found = audit(scored(settings=2))
    assert list(found.columns) == AUDITED
    assert found.to_numpy().tolist() == [["up", "s0", True, 2, ""], ["up", "s1", True, 2, ""]]


@pytest.mark.parametrize(
    ("means", "reason"),
    [
        ({"random": 3.0}, "exact_mask not above random"),
        ({"inverted_mask": 4.0}, "exact_mask not above inverted_mask"),
        ({"constant": 3.0}, "exact_mask not above constant"),
        ({"tied": 4.0}, "exact_mask not above tied"),
        ({"sobel": 4.0}, "sobel above exact_mask"),
        ({"image": 4.0}, "image above exact_mask"),
        ({"random": 3.0, "image": 9.0}, "exact_mask not above random; image above exact_mask"),
    ],
)
def test_a_metric_that_misorders_known_maps_is_left_out_and_named(means, reason):
    scores = scored(**means)
    rows = audit(scores)
    assert not rows["passed"].any()
    assert set(rows["reason"]) == {reason}
    (found,) = judge([CLAIM], scores)
    assert (found.answer, found.settings) == ("undecided", 0)
    assert "Up failed the audit and is not counted there" in sentence(found)


def test_a_metric_is_left_out_only_where_it_misorders():
    scores = pd.concat(
        [scored(settings=2), scored(settings=1, random=4.0).assign(setting="other")],
        ignore_index=True,
    )
    (found,) = judge([CLAIM], scores)
    assert (found.answer, found.holds, found.settings) == ("supported", 2, 2)
    assert "Up (in 1 of 3 settings) failed the audit" in sentence(found)


def test_a_map_without_scores_is_not_asked_about():
    scores = scored(constant=0.0)
    scores.loc[scores["explainer"] == "constant", "score"] = np.nan
    found = audit(scores)
    assert found["passed"].all()
    assert set(found["asked"]) == {2}


def test_maps_that_a_metric_cannot_tell_apart_are_misordered():
    scores = scored().assign(score=1.0)
    assert set(audit(scores)["reason"]) == {
        "exact_mask not above random; exact_mask not above inverted_mask"
    }


def test_a_metric_that_compares_with_exact_truth_is_not_audited():
    rows = audit(scored(sobel=4.0), truths=["up"])
    assert rows["passed"].all()
    assert set(rows["asked"]) == {0}


def test_an_edge_filter_as_good_as_the_mask_is_no_failure():
    assert audit(scored(sobel=3.0))["passed"].all()


def test_a_metric_without_known_maps_has_not_passed():
    scores = scored()
    rows = audit(scores[scores["explainer"].isin(["good", "bad"])])
    assert not rows["passed"].any()
    assert set(rows["reason"]) == {"no map of known order was scored"}


def test_cells_are_paired_by_model_and_image_whatever_their_order():
    scores = scored(settings=1)
    shuffled = scores.sample(frac=1, random_state=1)
    for one, other in zip(
        oriented(scores, "good", "bad"), oriented(shuffled, "good", "bad"), strict=True
    ):
        assert np.array_equal(one, other)


def test_a_claim_about_what_was_not_scored_is_refused():
    for change in ({"better": "lpr"}, {"metrics": ("upp",)}):
        with pytest.raises(InputError, match=r"claim 'good beats bad': got .*; allowed: one of"):
            judge([Better(**(vars(CLAIM) | change))], scored(settings=1))


def test_beyond_chance_is_a_claim_about_one_explainer_and_needs_no_audit():
    scores = scored(random=9.0)  # fails the audit
    above, below = (
        Beyond(text="good", explainer="good", value=value, metrics=("up",)) for value in (1.5, 2.5)
    )
    yes, no = judge([above, below], scores)
    assert (yes.answer, no.answer, yes.settings) == ("supported", "refuted", 3)
    mine = scores[(scores["setting"] == "s0") & (scores["explainer"] == "good")]
    table = mine.pivot_table(index="model", columns="image", values="score").to_numpy()
    assert yes.rows["difference"][0] == pytest.approx(table.mean() - 1.5)
    assert yes.rows["low"][0] == pytest.approx(crossed_interval(table - 1.5).low)
    turned = scores.assign(score=-scores["score"], higher_is_better=False)
    lower = Beyond(text="good", explainer="good", value=-1.5, metrics=("up",))
    assert judge([lower], turned)[0].answer == "supported"


def test_accuracy_is_tested_over_models():
    accuracy = {"s0m0": 0.97, "s0m1": 0.98, "s0m2": 0.985, "s1m0": 0.6, "s1m1": 0.9, "s1m2": 0.7}
    scores = scored(settings=2)
    scores = scores.assign(accuracy=[accuracy[name] for name in scores["model"]])
    first = Accurate(text="high", setting="s0", at_least=0.95)
    second = Accurate(text="low", setting="s1", at_most=0.95)
    third = Accurate(text="all", at_least=0.95)
    (yes,), (too,), (torn,) = (judge([claim], scores) for claim in (first, second, third))
    assert (yes.answer, yes.settings) == ("supported", 1)
    assert (too.answer, torn.answer) == ("undecided", "undecided")
    by_hand = stats.ttest_1samp([0.97, 0.98, 0.985], 0.95)
    assert yes.rows["p"][0] == pytest.approx(by_hand.pvalue)
    assert yes.rows["low"][0] == pytest.approx(by_hand.confidence_interval().low - 0.95)
    assert torn.settings == 2
    with pytest.raises(InputError, match=r"got setting s9; allowed: words of s0; s1"):
        judge([Accurate(text="none", setting="s9", at_least=0.5)], scores)


def test_the_kind_of_a_claim_is_read_off_its_fields():
    text = {"text": "a sentence"}
    assert isinstance(made(text | {"better": "a", "worse": "b", "metrics": ["up"]}), Better)
    assert isinstance(made(text | {"explainer": "a", "value": 1.0, "metrics": ["up"]}), Beyond)
    assert isinstance(made(text | {"at_least": 0.9}), Accurate)
    with pytest.raises(InputError, match="one of them"):
        made(text)
    with pytest.raises(InputError, match=r"got the fields text, better; allowed: those of"):
        made(text | {"better": "a"})


def test_models_that_are_all_equal_differ_from_the_bound_for_sure():
    scores = scored(settings=1).assign(accuracy=1.0)
    (found,) = judge([Accurate(text="high", at_least=0.99)], scores)
    assert (found.answer, found.rows["p"][0]) == ("supported", 0)
    (found,) = judge([Accurate(text="high", at_least=1.0)], scores)
    assert (found.answer, found.rows["p"][0]) == ("undecided", 1)
    (found,) = judge([Accurate(text="two", at_least=0.9)], scored(1, 2).assign(accuracy=1.0))
    assert found.answer == "undecided"


def test_a_setting_where_the_metric_is_undefined_does_not_count():
    scores = scored(settings=2)
    scores.loc[scores["setting"] == "s1", "score"] = np.nan
    audited = audit(scores[scores["setting"] == "s0"])
    (found,) = judge([CLAIM], scores, audited)
    assert (found.answer, found.settings) == ("supported", 1)


@pytest.mark.parametrize(("random", "believed"), [(0.0, True), (3.0, False)])
def test_where_there_are_no_masks_a_metric_is_believed_if_it_passed_elsewhere(random, believed):
    scores = scored(settings=2, random=random)
    masks = scores["explainer"].isin(["exact_mask", "inverted_mask"])
    rows = audit(scores[~(masks & (scores["setting"] == "s1"))])
    assert rows["passed"].tolist() == [believed, believed]
    assert rows["asked"].tolist() == [2, 0]


def test_a_claim_about_what_was_not_scored_is_not_judged_and_says_what_it_lacks():
    missing = Better(**(vars(CLAIM) | {"worse": "sensitivity"}))
    first, second, third = answers([CLAIM, missing, CLAIM], scored(settings=1))
    assert (first.answer, second.answer, third.answer) == ("supported", "not judged", "supported")
    assert (second.claim, len(second.rows)) == (missing, 0)
    assert sentence(second).startswith(
        "Not judged: got explainer sensitivity; allowed: one of exact_mask, good"
    )
    assert headline([first, second, third]) == "Of 3 claims: 2 supported, 1 not judged."
    assert headline([first]) == "The claim is supported."


def test_the_sentence_has_effect_size_interval_and_test():
    (found,) = judge([CLAIM], scored(settings=1))
    (row,) = found.rows.to_dict("records")
    words = sentence(found, tests=1)
    assert f"difference {row['difference']:+.3g}" in words
    assert f"{row['low']:+.3g} to {row['high']:+.3g}" in words
    assert f"{row['effect']:+.2f}, signed rank test p < 0.001" in words
    (alone,) = judge([CLAIM], scored(settings=1))
    alone.rows[["low", "high"]] = float("nan")
    assert "(no interval: too few values)" in sentence(alone)
    (several,) = judge([CLAIM], scored())
    assert "holds in 3 of 3 settings and is reversed in 0" in sentence(several)
    assert f"{several.rows['effect'].median():+.2f} in the median" in sentence(several)
