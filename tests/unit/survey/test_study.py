"""What a finished experiment hands to a survey, and what it refuses."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from xai_exp.config import InputError
from xai_exp.survey import key
from xai_exp.survey.study import Survey
from xai_exp.tracking import Kept

MAPS = {"good": 1.0, "bad": -1.0}


def kept(name, model, *, truth=True):
    images = np.full((4, 3, 5, 5), 90, np.uint8)
    parts = np.zeros((4, 1, 5, 5), np.uint8)
    parts[:, 0, :2] = 255
    known = {"worth/objects": np.ones((4, 1)), "parts": parts} if truth else {}
    skill = {"score": [MAPS[name], 0.5, np.nan, 0.5], "metric": "part_skill"}
    rows = {"image": range(4), "target": [1, 0, 1, 0], "higher_is_better": True, **skill}
    return Kept(
        run=f"{name} {model}",
        tags={"model_key": model, "explainer": name},
        params={},
        scores=pd.DataFrame(rows),
        accuracy=0.5 if model == "poor" else 0.99,
        seconds=0.0,
        arrays=lambda: {"images": images, "heatmaps": np.full((4, 5, 5), MAPS[name])} | known,
    )


def survey(folder, models, *, truth=True, target="predicted", size=None, **given):
    made = Survey("Which?", least_accuracy=0.9, folder=str(folder), **given)
    made.left = [{name: kept(name, model, truth=truth) for name in MAPS} for model in models]
    settings = SimpleNamespace(study="asked", target=target)
    job = SimpleNamespace(
        settings=settings, dataset=SimpleNamespace(classes=("no", "yes")), explainers=MAPS
    )
    made.jobs = [job] * len(models)
    made.composed = [OmegaConf.create({"worths": [place]}) for place in range(len(models))]
    choices = OmegaConf.create({"hydra": {"runtime": {"choices": {"size": size}}}})
    made._report(choices)
    return made


def test_pairs_of_the_methods_and_exact_truth_are_asked_about(tmp_path, capsys):
    survey(tmp_path, ["one", "one", "poor"], questions=6, controls=["bad"], truths=["part_skill"])
    said = capsys.readouterr().out
    assert f"survey: {tmp_path / 'asked.html'} (send it to people)" in said
    found = key.read(tmp_path / "asked.key.json")
    assert {name for one in found.items.values() for name in one.methods.values()} == {
        *MAPS,
        "exact truth",
    }
    assert found.controls == ["bad", "exact truth"]
    (scores,) = found.scores["part_skill"]  # the same network twice, and a poor one
    assert scores["exact truth"] == [1, 1, None, 1]
    text = (tmp_path / "asked.html").read_text()
    assert '"says": "yes"' in text
    assert not any(f'"{name}"' in text for name in (*MAPS, "exact truth"))


def test_a_later_survey_leaves_the_page_that_people_may_be_answering(tmp_path):
    for questions in (6, 6, 9):
        survey(tmp_path, ["one"], questions=questions)
    later = key.read(next(tmp_path.glob("asked-*.key.json")))
    assert len(key.read(tmp_path / "asked.key.json").items) == 6
    assert len(later.items) == 9
    assert {one.name for one in tmp_path.glob("*.html")} == {
        *("index.html", "asked.html", f"asked-{later.survey[:8]}.html")
    }


def test_networks_of_several_mechanisms_are_asked_for_by_their_rules(tmp_path):
    asked = {"mechanism": "worths", "rules": {"[0]": "It counts."}, "placebo": "bad"}
    survey(tmp_path, ["one", "two"], size="tiny", shown=["exact truth"], **asked)
    found = key.read(tmp_path / "asked-tiny.key.json")
    conditions = [one.condition for one in found.items.values()]
    assert conditions == ["no heatmap", "bad", "exact truth"] * 2
    assert [one.right for one in found.items.values()] == ["[0]"] * 3 + ["[1]"] * 3
    assert "It counts." in (tmp_path / "asked-tiny.html").read_text()


@pytest.mark.parametrize(
    ("models", "given", "words"),
    [
        (["one"], {}, "questions=None and mechanism=None; allowed: one of them"),
        (["one"], {"questions": 6, "pictures": 0}, "survey.pictures: got 0"),
        (["poor"], {"questions": 6}, "no network with an accuracy of at least 0.9"),
        (["one"], {"questions": 6, "target": "all"}, "got target=all"),
        (["one"], {"questions": 6, "truth": False}, "allowed: 1, so that each two"),
        (["one"], {"mechanism": "worths"}, "networks of 1 mechanism; allowed: two or more"),
        (["one", "two"], {"mechanism": "worths", "placebo": "worse"}, "got worse to show beside"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path, models, given, words):
    with pytest.raises(InputError) as told:
        survey(tmp_path, models, **given)
    assert words in str(told.value)
    assert not list(tmp_path.glob("*"))
