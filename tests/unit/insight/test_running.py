"""What is asked beside heatmaps is kept with the network's run, and no key knows of it."""

from dataclasses import fields
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from xai_exp import pipeline
from xai_exp.config import InputError, config_folder
from xai_exp.data.digits import Digits
from xai_exp.insight import Finding
from xai_exp.insight.running import look_into
from xai_exp.models.whitebox import LinearSum
from xai_exp.notebook.composing import composed, experiment, names

GROUPS = ("diagnostics", "visualisation", "insight")


class Does:
    shows = "nothing"

    def __init__(self, error=None):
        self.error = error

    def __call__(self, subject):  # noqa: ARG002
        if self.error is not None:
            raise self.error
        return Finding(lines=("well",))


def looked(subject, chosen, kept):
    console = Console(file=StringIO(), width=200)
    keep = lambda *given: kept.append(given[:2])  # noqa: E731
    look_into({"insight": chosen}, subject, keep, console, Path)
    return console.file.getvalue()


def test_one_that_fails_costs_its_own_line_and_all_together_the_run(of):
    kept, subject = [], of(Digits(), LinearSum())
    refused = Does(InputError("got this; allowed: that"))
    broken = Does(ZeroDivisionError("by nothing"))
    said = looked(subject, {"broken": broken, "refused": refused, "fine": Does()}, kept)
    assert kept == [("insight", "fine")]
    assert "insight broken failed: ZeroDivisionError: by nothing; the trace is in" in said
    assert "insight refused is skipped: got this; allowed: that" in said
    with pytest.raises(InputError, match="got this"):
        looked(subject, {"refused": refused}, kept)


def test_every_choice_is_made_and_stands_in_its_preset():
    words = [f"{group}=all" for group in GROUPS]
    made = experiment(composed("tracking=off", "dataset=digits", *words))
    plain = experiment(composed("tracking=off", "dataset=digits"))
    assert made.model_key == plain.model_key
    assert made.explain_key("lrp", "m", 4) == plain.explain_key("lrp", "m", 4)
    assert not plain.insights
    for group in GROUPS:
        assert set(made.insights[group]) == set(names(group)) - {"all", "none"}
        for name, one in made.insights[group].items():
            text = (config_folder() / group / f"{name}.yaml").read_text()
            written = {field.name for field in fields(one)}
            assert all(f"\n  {field}:" in text for field in written), name


def test_pictures_tables_and_numbers_are_kept_with_the_run_that_trained(tmp_path):
    words = ["dataset=digits", "model=whitebox_linear", "explainer=image", "metric=sparseness"]
    words += ["images=4", "diagnostics=[confusion_matrix,roc_auc]", "insight=block_permutation"]
    words += [f"tracking.root={tmp_path}", f"models={tmp_path}/models", "tracking.onnx=false"]
    words += ["visualisation=channel", "visualisation.channel.steps=1"]
    words += ["visualisation.channel.objective.layer=1"]
    words += ["insight.block_permutation.blocks=2", "insight.block_permutation.images=8"]
    made = experiment(composed(*words))
    for _ in range(2):  # the second time into a finished run
        pipeline.run(made)
    runs = made.tracking.open()
    (run,) = runs._search("tags.type = 'train'")
    assert 0 <= run.data.metrics["diagnostics/roc_auc/auc"] <= 1
    assert "insight/block_permutation/largest" in run.data.metrics
    files = {one.path for one in runs.client.list_artifacts(run.info.run_id, "diagnostics")}
    assert "diagnostics/confusion_matrix.png" in files
    assert "diagnostics/roc_auc.csv" in files
    pictures = runs.client.list_artifacts(run.info.run_id, "visualisation")
    assert {one.path.rpartition("/")[2] for one in pictures} == {
        "channel-images.png",
        "channel-scores.csv",
    }
    assert runs.finished("train", made.model_key)  # its files are whole
