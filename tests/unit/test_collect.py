"""What tracking holds becomes one table."""

import pandas as pd
import pytest

from xai_exp.collect import settings, tidy
from xai_exp.tracking import Kept

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
