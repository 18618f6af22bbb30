"""Verdicts on scores whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xai_exp.config import InputError
from xai_exp.statistics import crossed_interval, simultaneous
from xai_exp.verdicts.audit import audit, slopes
from xai_exp.verdicts.claims import Accurate, Better, Beyond, made
from xai_exp.verdicts.scores import differences
from xai_exp.verdicts.verdict import answers, headline, judge, sentence

MEANS = {"exact_mask": 3.0, "good": 2.0, "bad": 1.0, "random": 0.0, "inverted_mask": -1.0}
AUDITED = ["metric", "setting", "outcome", "passed", "asked", "reason"]
CLAIM = Better(text="good beats bad", better="good", worse="bad", metrics=("up",))


def scored(settings=3, models=5, images=30, seed=0, spread=0.5, **means):
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
    for name in ("difference", "low", "high", "effect", "p", "outcome"):
        one, other = (judge([CLAIM], table)[0].rows[name].tolist() for table in (scores, turned))
        assert one == other


def test_the_numbers_of_a_setting_by_hand_and_wider_together_than_alone():
    scores = scored(models=4, good=1.1, spread=1.0)
    verdicts = judge([CLAIM, Better(**(vars(CLAIM) | {"worse": "random"}))], scores)
    tables, groups = [], []
    for found in verdicts:
        for row in found.rows.itertuples():
            mine = scores[scores["setting"] == row.setting]
            pairs = mine.pivot_table(index=["model", "image"], columns="explainer", values="score")
            apart = (pairs["good"] - pairs[found.claim.worse]).unstack().to_numpy()
            alone = crossed_interval(apart)
            assert row.difference == pytest.approx(apart.mean())
            assert row.low < alone.low < alone.high < row.high
            assert (row.networks, row.n) == (4, 30)
            tables.append(apart)
            groups.append(row.setting)
    held = simultaneous(tables, groups)
    rows = pd.concat([found.rows for found in verdicts])
    for name in ("low", "high", "p", "detectable"):
        assert rows[name].tolist() == pytest.approx([getattr(one, name) for one in held])
    assert ((rows["p"] < 0.05) == ((rows["low"] > 0) | (rows["high"] < 0))).all()


def test_the_audit_finds_a_metric_right_that_puts_known_maps_in_order():
    found = audit(scored(settings=2))
    assert list(found.columns) == AUDITED
    rows = [["up", f"s{place}", "right", True, 2, ""] for place in range(2)]
    assert found.to_numpy().tolist() == rows


@pytest.mark.parametrize(
    ("means", "reason"),
    [
        ({"random": 4.0}, "random above exact_mask"),
        ({"inverted_mask": 4.0}, "inverted_mask above exact_mask"),
        ({"constant": 5.0}, "constant above exact_mask"),
        ({"random": 4.0, "tied": 9.0}, "random above exact_mask; tied above exact_mask"),
    ],
)
def test_a_metric_that_turns_known_maps_round_is_left_out_and_named(means, reason):
    scores = scored(**means)
    rows = audit(scores)
    assert set(rows["outcome"]) == {"wrong"}
    assert not rows["passed"].any()
    assert set(rows["reason"]) == {reason}
    (found,) = judge([CLAIM], scores)
    assert (found.answer, found.settings) == ("undecided", 0)
    assert "Up failed the audit and is not counted there" in sentence(found)


@pytest.mark.parametrize("name", ["sobel", "image", "laplacian"])
def test_an_edge_filter_above_the_mask_is_no_fault_of_a_metric(name):
    assert set(audit(scored(**{name: 4.0}))["outcome"]) == {"right"}


def test_no_difference_between_known_maps_is_unresolved_and_counts():
    scores = scored(random=3.0)
    rows = audit(scores)
    assert set(rows["outcome"]) == {"unresolved"}
    assert rows["passed"].all()
    assert set(rows["reason"]) == {"not resolved: exact_mask above random"}
    assert judge([CLAIM], scores)[0].answer == "supported"


def test_perfect_separation_is_right_and_supported():
    scores = scored(spread=0.0)
    assert set(audit(scores)["outcome"]) == {"right"}
    (found,) = judge([CLAIM], scores)
    assert found.answer == "supported"
    assert set(zip(found.rows["low"], found.rows["high"], strict=True)) == {(1.0, 1.0)}


DOSES = {"true_map": 0.0, "flipped_25": 0.25, "flipped_50": 0.5, "flipped_100": 1.0}


@pytest.mark.parametrize(("sign", "outcome"), [(-1, "right"), (1, "wrong"), (0, "unresolved")])
def test_damage_has_to_cost_in_the_measure_of_its_dose(sign, outcome):
    means = {name: sign * dose for name, dose in DOSES.items()}
    rows = audit(scored(**means, spread=0.2))
    assert set(rows["outcome"]) == {outcome}
    assert set(rows["asked"]) == {3}
    words = {"right": "", "wrong": "flipped pays", "unresolved": "not resolved: flipped costs"}
    assert set(rows["reason"]) == {words[outcome]}


def test_the_slope_over_doses_is_that_of_least_squares():
    scores = scored(settings=1, models=2, images=3, **DOSES)
    doses = {name: DOSES[name] for name in DOSES}
    table = slopes(scores.assign(higher_is_better=False, score=-scores["score"]), doses)
    for model in table.index:
        for image in table.columns:
            mine = scores[(scores["model"] == model) & (scores["image"] == image)]
            values = mine.set_index("explainer")["score"]
            wanted = np.polyfit(list(DOSES.values()), values[list(DOSES)].to_numpy(), 1)[0]
            assert table.loc[model, image] == pytest.approx(wanted)


def test_a_metric_that_knows_nothing_is_seldom_called_wrong():
    maps = ("exact_mask", "inverted_mask", "random", "tied", "constant", *DOSES)
    wrong = 0
    for seed in range(20):
        scores = scored(settings=4, models=3, images=6, seed=seed, **dict.fromkeys(maps, 0.0))
        wrong += int((audit(scores)["outcome"] == "wrong").sum())
    assert wrong <= 8  # of 80 at 2.5 %: more than 8 has a probability of 0.0003


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


def test_a_metric_for_which_all_maps_are_equal_is_unresolved():
    rows = audit(scored().assign(score=1.0))
    assert set(rows["outcome"]) == {"unresolved"}


def test_a_metric_that_compares_with_exact_truth_is_not_audited():
    rows = audit(scored(sobel=4.0), truths=["up"])
    assert rows["passed"].all()
    assert set(rows["asked"]) == {0}


def test_a_metric_without_known_maps_is_unresolved():
    scores = scored()
    rows = audit(scores[scores["explainer"].isin(["good", "bad"])])
    assert rows["passed"].all()
    assert set(rows["outcome"]) == {"unresolved"}
    assert set(rows["reason"]) == {"no map of known order was scored"}


def test_cells_are_paired_by_model_and_image_whatever_their_order():
    scores = scored(settings=1)
    shuffled = scores.sample(frac=1, random_state=1)
    one, other = (differences(table, "good", "bad") for table in (scores, shuffled))
    pd.testing.assert_frame_equal(one, other)


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
    assert yes.rows["low"][0] < crossed_interval(table - 1.5).low
    turned = scores.assign(score=-scores["score"], higher_is_better=False)
    lower = Beyond(text="good", explainer="good", value=-1.5, metrics=("up",))
    assert judge([lower], turned)[0].answer == "supported"


def test_accuracy_is_tested_over_models():
    accuracy = {"s0m0": 0.97, "s0m1": 0.98, "s0m2": 0.985, "s1m0": 0.6, "s1m1": 0.9, "s1m2": 0.7}
    scores = scored(settings=2, models=3)
    scores = scores.assign(accuracy=[accuracy[name] for name in scores["model"]])
    first = Accurate(text="high", setting="s0", at_least=0.95)
    second = Accurate(text="low", setting="s1", at_most=0.95)
    third = Accurate(text="all", at_least=0.95)
    (yes,), (too,), (torn,) = (judge([claim], scores) for claim in (first, second, third))
    assert (yes.answer, yes.settings) == ("supported", 1)
    assert (too.answer, torn.answer) == ("undecided", "undecided")
    by_hand = stats.ttest_1samp([0.97, 0.98, 0.985], 0.95)
    assert yes.rows["p"][0] == pytest.approx(by_hand.pvalue, abs=0.01)
    assert yes.rows["low"][0] == pytest.approx(by_hand.confidence_interval().low - 0.95, abs=2e-3)
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
    assert (found.answer, found.rows["p"][0]) == ("alike", 1)
    (found,) = judge([Accurate(text="two", at_least=0.9)], scored(1, 2).assign(accuracy=1.0))
    assert found.answer == "not judged"


def test_a_setting_where_the_metric_is_undefined_does_not_count():
    scores = scored(settings=2)
    scores.loc[scores["setting"] == "s1", "score"] = np.nan
    audited = audit(scores[scores["setting"] == "s0"])
    (found,) = judge([CLAIM], scores, audited)
    assert (found.answer, found.settings) == ("supported", 1)


@pytest.mark.parametrize(("random", "believed"), [(0.0, True), (4.0, False)])
def test_where_there_are_no_masks_a_metric_is_left_out_if_it_was_wrong_elsewhere(random, believed):
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


def test_the_sentence_has_difference_interval_networks_and_what_would_have_shown():
    (found,) = judge([CLAIM], scored(settings=1))
    (row,) = found.rows.to_dict("records")
    words = sentence(found, tests=1)
    assert f"difference {row['difference']:+.3g}" in words
    assert f"over 1 comparisons {row['low']:+.3g} to {row['high']:+.3g}, 5 networks" in words
    assert f"a difference of {row['detectable']:.3g} would have shown in 80 %" in words
    assert "Explained value, reference and grain were not varied." in words
    (several,) = judge([CLAIM], scored())
    assert "holds in 3 of 3 settings and is reversed in 0" in sentence(several)
    assert f"{several.rows['effect'].median():+.2f} in the median" in sentence(several)


def test_what_others_claim_of_other_data_is_not_refuted_but_not_found_here():
    opposite = {"better": "bad", "worse": "good", "text": "bad beats good"}
    own = Better(**(vars(CLAIM) | opposite))
    theirs = Better(**(vars(own) | {"source": "Somebody 2017"}))
    first, second = judge([own, theirs], scored())
    assert (first.answer, second.answer) == ("refuted", "not found here")
    assert headline([first, second]) == "Of 2 claims: 1 refuted, 1 not found here."


def test_within_the_margin_both_are_alike_and_beyond_it_nothing_is_said():
    scores = scored(models=10, images=60, good=1.0, spread=0.1)
    (near,) = judge([CLAIM], scores)
    assert near.answer == "alike"
    assert set(near.rows["outcome"]) == {"alike"}
    assert "alike within 0.05 in 3" in sentence(near)
    (strict,) = judge([Better(**(vars(CLAIM) | {"margin": 0.001}))], scores)
    assert strict.answer == "undecided"


@pytest.mark.parametrize("models", [1, 2])
def test_too_few_networks_cannot_tell_whatever_the_scores(models):
    (found,) = judge([CLAIM], scored(models=models, spread=0.0))
    assert found.answer == "not judged"
    words = f"too few networks to tell (at most {models} in a setting; at least 3)"
    assert sentence(found) == f"Not judged: {words}."


def varied(levels, **means):
    """Scores at each level of the factors, with other means of `good` there."""
    tables = []
    for place, level in enumerate(levels):
        table = scored(settings=1, seed=place, **{"good": means.get(level["reference"], 2.0)})
        tables.append(table.assign(**level))
    scores = pd.concat(tables, ignore_index=True)
    controls = scores["explainer"].isin(["exact_mask", "random", "inverted_mask"])
    scores.loc[controls, "reference"] = ""
    return scores


EVERY = [
    {"value": value, "reference": reference, "division": division}
    for value in ("centred", "probability")
    for reference in ("black", "border")
    for division in ("objects", "grid")
]


def test_a_sign_that_holds_under_two_of_each_choice_counts():
    (found,) = judge([CLAIM], varied(EVERY))
    assert (found.answer, found.settings, found.reason) == ("supported", 8, "")
    assert "not varied" not in sentence(found)


def test_a_sign_that_turns_with_a_choice_depends_on_it():
    (found,) = judge([CLAIM], varied(EVERY, black=0.0))
    assert found.answer == "depends on"
    assert found.reason == "the reference (holds: border; reversed: black)"
    assert sentence(found).startswith("Depends on: the reference (holds: border; reversed: black);")


def test_a_sign_that_was_asked_under_one_level_depends_on_it():
    levels = [one for one in EVERY if one["division"] == "grid"]
    (found,) = judge([CLAIM], varied(levels))
    assert (found.answer, found.reason) == ("depends on", "the grain (only grid was asked)")
    scores = varied(levels).drop(columns="division")
    (found,) = judge([CLAIM], scores)
    assert (found.answer, found.reason) == ("depends on", "the grain (not varied)")


def test_a_control_without_reference_is_compared_at_every_one():
    claim = Better(**(vars(CLAIM) | {"worse": "random"}))
    (found,) = judge([claim], varied(EVERY))
    assert found.settings == 8
    assert set(found.rows["reference"]) == {"black", "border"}
