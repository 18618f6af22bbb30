"""What tracking holds becomes one table."""

from dataclasses import replace

import pandas as pd
import pytest

from xai_exp.tracking import Kept
from xai_exp.tracking.collect import settings, tidy, told_apart

SCORES = pd.DataFrame(
    {"image": [0, 1], "metric": "mass", "higher_is_better": True, "score": [0.5, 0.7]}
)


def kept(run, dataset="digits", seed="0", explainer="lrp", **params):
    return Kept(
        run=run,
        tags={"dataset": dataset, "model": "cnn", "seed": seed, "model_key": f"k{seed}"}
        | {"explainer": explainer},
        params={"dataset.name": dataset, "model.name": "cnn", "imputer.name": "noise"} | params,
        scores=SCORES,
        accuracy=0.9,
        seconds=0.1,
        arrays=dict,
    )


def test_a_row_a_score_with_where_it_comes_from():
    table = tidy([kept("a"), kept("b", seed="1", explainer="sobel")])
    assert len(table) == 4
    assert table["setting"].unique().tolist() == ["digits"]
    assert table["model"].tolist() == ["k0", "k0", "k1", "k1"]
    assert table["run"].tolist() == ["a", "a", "b", "b"]
    assert table["seed"].tolist() == [0, 0, 1, 1]


def test_each_row_says_what_was_explained_from_where_and_at_which_grain():
    skill = {"metric.skill._target_": "xai_exp.metrics.truth.PartSkill"}
    mass = {"metric.mass._target_": "xai_exp.metrics.localisation.RelevanceMass"}
    asked = {"value": "centred", "reference": "border"}
    given = [
        scored(
            "a", ["skill", "mass"], **skill, **mass, **{"metric.skill.division": "objects"}, **asked
        ),
        scored("b", ["skill"], **skill | {"metric.skill.division": "grid"}, **asked),
        scored("c", ["skill"], **skill | {"metric.skill.division": "None"}),
        scored("d", ["skill"], seed="1", **skill, **asked | {"value": "pair", "against": "3"}),
    ]
    table = tidy(told_apart(given)).drop_duplicates(["run", "metric"])
    columns = ["run", "metric", "value", "reference", "division"]
    assert [tuple(row) for row in table[columns].to_numpy()] == [
        ("a", "skill (division=objects)", "centred", "border", "objects"),
        ("a", "mass", "centred", "border", ""),
        ("b", "skill (division=grid)", "centred", "border", "grid"),
        ("c", "skill (division=None)", "logit", "own", ""),
        ("d", "skill", "pair against 3", "border", "objects"),  # recorded before it was a choice
    ]


def scored(run, metrics, **params):
    one = kept(run, **params)
    scores = pd.concat([SCORES.assign(metric=name) for name in metrics], ignore_index=True)
    arrays = {f"curve/{name}/morf": run for name in metrics} | {"heatmaps": run}
    return replace(one, scores=scores, arrays=lambda: arrays)


def names(found):
    table = tidy(found).drop_duplicates(["run", "explainer", "metric"])
    return [tuple(row) for row in table[["run", "explainer", "metric"]].to_numpy()]


def test_explanations_of_different_things_keep_their_names():
    given = [
        scored(
            "a", ["mass"], explainer="lrp", **{"explainer.rule": "z", "metric.mass.per": "part"}
        ),
        scored("b", ["mass"], explainer="sobel", **{"explainer.size": "3"}),
        scored("c", ["mass"], seed="1", **{"explainer.rule": "gamma"}),  # another network
        scored("d", ["mass"], **{"imputer.name": "blur", "explainer.rule": "flat"}),
    ]
    found = told_apart(given)
    assert names(found) == [("a", "lrp", "mass"), ("b", "sobel", "mass")] + [
        (run, "lrp", "mass") for run in "cd"
    ]


def test_explainers_of_one_name_with_other_parameters_are_not_averaged():
    z = {"explainer.name": "lrp", "explainer.rule": "z", "explainer.low": "0"}
    given = [scored("a", ["mass"], **z), scored("b", ["mass"], **z | {"explainer.rule": "flat"})]
    given.append(scored("c", ["mass"], seed="1", **z))
    assert names(told_apart(given)) == [
        ("a", "lrp (rule=z)", "mass"),
        ("b", "lrp (rule=flat)", "mass"),
        ("c", "lrp (rule=z)", "mass"),
    ]


def test_metrics_of_one_name_with_other_parameters_are_not_averaged():
    given = [
        scored("a", ["mass", "top"], **{"metric.mass.per": "part"}),
        scored("b", ["mass"], **{"metric.mass.per": "union"}),
    ]
    found = told_apart(given)
    assert names(found) == [
        ("a", "lrp", "mass (per=part)"),
        ("a", "lrp", "top"),
        ("b", "lrp", "mass (per=union)"),
    ]
    assert set(found[0].arrays()) == {"heatmaps", "curve/mass (per=part)/morf", "curve/top/morf"}


def test_of_scores_that_were_made_again_the_newest_count():
    given = [scored("new", ["mass"]), scored("old", ["mass", "top"]), scored("older", ["top"])]
    found = told_apart(given)
    assert names(found) == [("new", "lrp", "mass"), ("old", "lrp", "top")]
    assert set(found[1].arrays()) == {"heatmaps", "curve/top/morf"}


def test_no_runs_no_rows():
    assert tidy([]).empty


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ([{}, {"dataset.name": "mnist"}], ["digits", "mnist"]),
        ([{}, {"imputer.name": "blur"}], ["digits, noise", "digits, blur"]),
        ([{}, {"model.name": "vgg"}], ["digits, cnn", "digits, vgg"]),
        (
            [{"dataset.seed": "1", "explainer.rule": "z"}, {"dataset.seed": "2"}],
            ["digits", "digits"],
        ),
        (
            [{"dataset.count": "5"}, {"dataset.count": "9"}],
            ["digits, count=5", "digits, count=9"],
        ),
        # What differs because the dataset is another one says nothing beyond its name.
        (
            [{"dataset.count": "5"}, {"dataset.name": "mnist", "dataset.count": "9"}],
            ["digits", "mnist"],
        ),
        ([{"target": "label"}, {"target": "predicted"}], ["target=label", "target=predicted"]),
    ],
)
def test_a_setting_names_what_differs_and_nothing_else(params, wanted):
    found = settings([kept("a", **one).params for one in params])
    if wanted[0].startswith("target"):
        wanted = [f"digits, {words}" for words in wanted]
    assert found == wanted


def test_other_questions_are_other_settings_also_beside_runs_of_before_there_was_a_choice():
    base = {"dataset.name": "digits"}
    asked = [
        base,
        {**base, "value": "centred"},
        {**base, "value": "centred", "reference": "border"},
    ]
    assert settings(asked) == [
        "digits, value=logit, reference=own",
        "digits, value=centred, reference=own",
        "digits, value=centred, reference=border",
    ]
    assert settings([base, {**base, "value": "logit"}]) == ["digits", "digits"]
