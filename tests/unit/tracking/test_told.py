"""What a run tells a person: its name, its description, its data, where it comes from."""

import inspect
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from xai_exp.build import Settings
from xai_exp.show import notes
from xai_exp.tracking import Data, MLflow, Record
from xai_exp.tracking.told import provenance


def experiment(*words, **names):
    usual = {"dataset": "counting", "model": "cnn", "trainer": "default", "imputer": "noise"}
    return SimpleNamespace(names=usual | names, words=words, settings=Settings(seed=3))


def test_a_name_says_what_differs_from_the_defaults_and_nothing_else():
    named = inspect.unwrap(notes.name)
    assert named(experiment(), "lrp", 16) == "counting · cnn · lrp · seed 3 · n 16"
    words = ("model.depth=4", "model.activation=gelu", "explainer.lrp.rule=gamma", "images=16")
    assert named(experiment(*words), "lrp", 16) == (
        "counting · cnn depth 4 activation gelu · lrp rule gamma · seed 3 · n 16"
    )
    assert named(experiment(*words, trainer="quick")) == (
        "counting · cnn depth 4 activation gelu · trainer quick · seed 3"
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    tracker = MLflow(root=str(tmp_path_factory.mktemp("runs")), onnx=False).open()
    record = Record(
        key="k" * 16,
        name="lrp · seed 0",
        tags={"model_key": "m1"},
        note="**lrp is best**",
        links={"the network": "t1"},
        texts={"config.yaml": lambda: "seed: 0\n"},
        data=Data(name="digits", digest="d" * 40, source="x.Digits", context="evaluation"),
        figures={"gallery": lambda: Figure((1, 1))},
    )
    scores = pd.DataFrame({"image": [0], "metric": ["m"], "score": [1.0]})
    maps = {"heatmaps": np.zeros((1, 2, 2))}
    ids = []
    for key in ("k" * 16, "j" * 16):
        mine = record.__class__(**{**vars(record), "key": key})
        ids.append(tracker.record_explanation(mine, link=None, heatmaps=maps, scores=scores))
    return [tracker.client.get_run(one) for one in ids], tracker


def test_the_description_has_words_picture_and_links(runs):
    first = runs[0][0]
    said = first.data.tags["mlflow.note.content"]
    assert said.startswith("**lrp is best**")
    assert f"![gallery](get-artifact?path=gallery.png&run_uuid={first.info.run_id})" in said
    assert "[the network](#/experiments/1/runs/t1)" in said
    assert "tags.model_key%20%3D%20%27m1%27" in said


def test_no_two_runs_carry_one_name(runs):
    assert [one.info.run_name for one in runs[0]] == ["lrp · seed 0", "lrp · seed 0 · jjjjjj"]


def test_data_command_versions_and_configuration_are_kept(runs):
    (first, _), tracker = runs
    found = first.inputs.dataset_inputs[0]
    assert (found.dataset.name, found.dataset.digest) == ("digits", "d" * 36)
    assert found.tags[0].value == "evaluation"
    tags = first.data.tags
    assert tags["command"] == provenance.command(sys.argv)
    assert "torch " in tags["versions"]
    assert tags["mlflow.user"]
    assert tags["mlflow.source.name"] == "xai_exp"
    kept = tracker.client.download_artifacts(first.info.run_id, "config.yaml")
    with open(kept) as file:  # noqa: PTH123
        assert file.read() == "seed: 0\n"


def test_a_command_is_told_so_that_it_can_be_given_again():
    words = ["/somewhere/xai_exp/__main__.py", "explainer=[lrp,sobel]", "-m"]
    assert provenance.command(words) == "python -m xai_exp 'explainer=[lrp,sobel]' -m"
    assert provenance.command(["/bin/xai-exp", "seed=1"]) == "xai-exp seed=1"
