"""A study's page from scores that are known."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest

from xai_exp.config import InputError
from xai_exp.report import tables
from xai_exp.report.figures import plots
from xai_exp.report.figures.comparisons import blocks, ranks
from xai_exp.report.figures.forest import forest
from xai_exp.report.pages.page import Study, render
from xai_exp.statistics import Ranking, independent_blocks
from xai_exp.verdicts.audit import TRUSTED
from xai_exp.verdicts.claims import Better
from xai_exp.verdicts.verdict import answers


def scored(models=3, images=4):
    rows = [
        {
            "setting": "s",
            "model": f"m{model}",
            "architecture": "cnn",
            "seed": model,
            "accuracy": 1.0,
            "explainer": name,
            "image": image,
            "metric": metric,
            "higher_is_better": True,
            "reason": "",
            "score": float(model * factor + image),
        }
        for model in range(models)
        for name, factor in (("one", 1), ("other", 2))
        for image in range(images)
        for metric in ("true_use", "shown_use")
    ]
    return pd.DataFrame(rows)


def test_a_pair_of_metrics_is_drawn_with_a_point_a_model():
    x = {"one": np.array([2.0, 1.0, 3.0]), "other": np.array([0.0, 1.0, 2.0])}
    y = {"one": np.array([5.0, 4.0, 6.0]), "other": np.array([1.0, 1.0, 1.0])}
    (axes,) = plots.against(x, y, names=("true_use", "shown_use")).axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert lines["equal"] == [[0, 0], [3, 3]]
    assert lines["one"] == [[1, 4], [2, 5], [3, 6]]
    assert lines["other"] == [[0, 1], [1, 1], [2, 1]]


def test_the_page_has_the_pair_and_refuses_a_metric_that_was_not_scored():
    page = render(Study(title="t", scores=scored(), pairs=[("true_use", "shown_use")]))
    assert 'aria-label="shown use against true use"' in page
    assert 'href="#pairs"' in page
    assert 'id="pairs"' not in render(Study(title="t", scores=scored()))
    with pytest.raises(InputError, match="got metric none; allowed: one of true_use, shown_use"):
        render(Study(title="t", scores=scored(), pairs=[("none", "shown_use")]))


@pytest.mark.parametrize("without", [["true_use"], ["shown_use"], ["true_use", "shown_use"]])
def test_a_metric_without_any_score_leaves_a_page_that_says_so(without):
    scores = scored()
    scores.loc[scores["metric"].isin(without), "score"] = np.nan
    page = render(Study(title="t", scores=scores, pairs=[("true_use", "shown_use")]))
    assert "shown use against true use: no model has a score by both" in page


def test_what_failed_is_on_the_page_with_its_reasons():
    poor = pd.DataFrame([{"dataset": "d", "model": "cnn", "seed": 3, "accuracy": 0.512}])
    skipped = [("grad_cam", "d, mlp", "needs <convolutions>"), ("grad_cam", "d, vit", "none")]
    scores = scored()
    scores.loc[0, ["score", "reason"]] = [np.nan, "empty heatmap"]
    broken = [("lrp_flat", "d, cnn seed 3", "sum off by up to 23 % (bound 1 %)")]
    study = Study(
        title="t", scores=scores, poor=poor, least_accuracy=0.97, skipped=skipped, broken=broken
    )
    page = render(study)
    for words in ("51.20 %", "below 97.0%", "needs &lt;convolutions&gt;", "empty heatmap"):
        assert words in page
    assert "sum off by up to 23 % (bound 1 %)" in page
    plain = render(Study(title="t", scores=scored()))
    assert "Explainers that were skipped" not in plain
    assert "Promises that were not kept" not in plain


def test_the_head_of_the_page_has_its_answers_for_the_index():
    claims = [
        Better(text=f"one beats {name}", better="one", worse=name, metrics=("true_use",))
        for name in ("other", "nothing")
    ]
    scores = scored()
    page = render(Study(title="t", scores=scores, verdicts=answers(claims, scores)))
    head = page.partition("</head>")[0]
    assert '<meta name="description" content="Of 2 claims: 1 undecided, 1 not judged.">' in head
    assert '<meta name="answer" content="not judged: one beats nothing">' in head
    assert page.count('<ul class="forest">') == 1


def test_blocks_of_a_ranking_share_neither_model_nor_image():
    scores = scored(models=2, images=4)
    scores.loc[scores["explainer"] == "other", "score"] *= 10
    names, table = blocks(scores, "true_use")
    assert names == ["one", "other"]
    cube = np.array(
        [[[model + image, 10 * (2 * model + image)] for image in range(4)] for model in range(2)]
    )
    assert table == pytest.approx(independent_blocks(cube))
    audited = pd.DataFrame([["true_use", "s", False]], columns=["metric", "setting", "passed"])
    assert blocks(scores, "true_use", audited)[0] == []


def test_the_leaderboard_begins_with_the_best_by_the_metrics_that_can_be_believed():
    scores = scored()
    upside_down = scores["metric"] == "shown_use"
    scores.loc[upside_down, "score"] *= -3
    audited = pd.DataFrame(
        [["true_use", "s", True], ["shown_use", "s", False]],
        columns=["metric", "setting", "passed"],
    )
    for passed, first in ((audited, "other"), (audited.assign(passed=[False, True]), "one")):
        ((_, table),) = tables.leaderboards(tables.means(scores), passed)
        assert table.partition("<tbody>")[2].startswith(f"<tr><td>{first}</td>")
        assert table.count("wrong by the audit") == 1


def test_metrics_that_read_the_same_curves_share_a_plot():
    x, line = np.array([0.0, 1.0]), np.array([3.0, 1.0])
    same, other = {"one": line}, {"one": line + 1}
    curves = {"s: aopc": (x, same), "s: area": (x, same), "s: flipping": (x, other)}
    page = render(Study(title="t", scores=scored(), curves=curves))
    assert 'aria-label="s: aopc; area"' in page
    assert 'aria-label="s: flipping"' in page
    assert page.count('aria-label="s: ') == 2


def test_a_bar_ends_at_its_effect_and_an_undefined_one_has_words():
    rows = pd.DataFrame(
        [("a<b", 0.5, "holds"), ("t", -1.0, "reversed"), ("u", np.nan, "open")],
        columns=["setting", "effect", "outcome"],
    ).assign(metric="true_use", audited=[True, False, True])
    text = forest(rows, ("beyond 1", "short_of 1"))
    found = re.findall(r"left:([\d.]+)%;width:([\d.]+)%", text)
    assert [(float(left), float(wide)) for left, wide in found] == [(50, 25), (0, 50)]
    shown = re.findall(r'<li class="(\w+)"><span class="name">(.*?)</span>.*?number">(.*?)<', text)
    assert shown == [
        ("holds", "a&lt;b · true use", "+0.50"),
        ("reversed", "t · true use (not counted)", "-1.00"),
        ("open", "u · true use", "undefined"),
    ]
    assert "-1: short of 1</span><span>+1: beyond 1" in text


def test_explainers_that_all_tie_have_no_ranks_but_are_said_to_tie():
    scores = scored()
    tied = scores["metric"] == "true_use"
    scores.loc[tied, "score"] = scores.loc[tied, "image"].astype(float)
    first, second = ranks(scores, pd.DataFrame())
    assert first == {"caption": "true use: all explainers tie in every model", "figure": ""}
    assert second["figure"].startswith("<svg")
    assert render(Study(title="t", scores=scores)).count("<svg") == 1


def test_ranks_that_are_equal_are_drawn_without_a_warning():
    ranking = Ranking(np.full(3, 2.0), 1.0, 1.9, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.critical_difference(ranking, ["one", "other", "third"])
        figure.canvas.draw()
    left, right = figure.axes[0].get_xlim()
    assert right > left + 1


def test_correlations_stand_in_their_cells_as_long_as_they_can_be_read():
    for count, numbers in ((4, 16), (50, 0)):
        figure = plots.agreement(np.eye(count), [f"metric_{place}" for place in range(count)])
        assert len(figure.axes[0].texts) == numbers


def test_the_leaderboard_has_no_column_for_a_metric_without_scores():
    scores = scored()
    scores.loc[scores["metric"] == "shown_use", "score"] = np.nan
    ((_, table),) = tables.leaderboards(tables.means(scores), pd.DataFrame())
    assert "true use" in table
    assert "shown use" not in table


def test_a_metric_that_the_study_trusts_did_not_pass_an_audit():
    rows = [("m", "s", "right", TRUSTED), ("n", "s", "right", ""), ("n", "t", "wrong", "why")]
    audited = pd.DataFrame(rows, columns=["metric", "setting", "outcome", "reason"])
    text = tables.audit(audited)
    assert re.findall(r'class="text">(\w[\w ]*)</td>', text) == ["trusted", "right or wrong"]
