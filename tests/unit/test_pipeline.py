"""What a run does when a part of it fails: the others go on, and nothing counts as a success."""

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from xai_exp import build, pipeline, scoring
from xai_exp.config import InputError, refuse_unsafe_name
from xai_exp.data.loading import TensorSplit
from xai_exp.explainers.gradients import Gradient
from xai_exp.metrics.complexity import Sparseness
from xai_exp.models.cnn import CNN
from xai_exp.tracking import Found, Kept, Link
from xai_exp.training.store import TrainingResult

CONF = Path(__file__).parents[2] / "conf"


def composed(folder, *overrides):
    small = ("dataset=digits", "trainer.max_epochs=1", "model.width=2", "images=4", "device=cpu")
    given = ["tracking=off", f"models={folder}/models", *small, *overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build.experiment(compose("config", given))


@dataclass(frozen=True)
class Broken:
    """An explainer that fails as a library does."""

    def __call__(self, model, images, targets):  # noqa: ARG002
        raise RuntimeError("a kernel\nhas died")


@dataclass(frozen=True)
class BrokenMetric:
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset] = frozenset()
    undefined: ClassVar[str] = "never"

    def __call__(self, case):  # noqa: ARG002
        raise ZeroDivisionError("by nothing")


def test_the_failure_of_one_explainer_is_its_line_and_the_others_go_on(tmp_path, capsys):
    experiment = composed(tmp_path, "explainer=[gradient,sobel]", "metric=sparseness")
    explainers = {"broken": Broken(), **experiment.explainers}
    described = {**experiment.described}
    described["explainer"] = {"broken": {}, **described["explainer"]}
    pipeline.run(replace(experiment, explainers=explainers, described=described))
    said = capsys.readouterr().out
    assert "explainer broken failed: RuntimeError: a kernel has died" in " ".join(said.split())
    assert "sobel" in said
    (trace,) = (tmp_path / "traces").glob("*-broken.txt")
    assert "has died" in trace.read_text()


@dataclass(frozen=True)
class OfOneNetwork:
    """An explainer that refuses every other network, as one with a reference may."""

    model: list

    def __call__(self, model, images, targets):  # noqa: ARG002
        self.model.append(model)
        if model is not self.model[0]:
            raise InputError("reference: got another network; allowed: reference=own")
        return images.sum(1)


def test_a_metric_that_needs_heatmaps_which_are_refused_costs_its_own_score_only(tmp_path):
    experiment = composed(tmp_path, "explainer=gradient", "metric=[sparseness,input_invariance]")
    explainers = {"one": OfOneNetwork([])}
    described = {**experiment.described, "explainer": {"one": {}}}
    kept = Memory()
    pipeline.run(replace(experiment, explainers=explainers, described=described, tracking=kept))
    (given,) = kept.explanations.values()
    scores = given["scores"].set_index("metric")
    assert scores.loc["sparseness", "score"].notna().all()
    assert scores.loc["input_invariance", "score"].isna().all()
    reasons = set(scores.loc["input_invariance", "reason"])
    assert len(reasons) == 1
    assert "reference: got another network" in reasons.pop()


def test_guards_of_the_first_image_alone_are_kept_where_images_have_different_others(tmp_path):
    kept = Memory()
    words = ("explainer=[lrp,deeplift]", "metric=sparseness", "value=pair", "images=8")
    pipeline.run(replace(composed(tmp_path, *words), tracking=kept))
    lrp, deeplift = (one["heatmaps"] for one in kept.explanations.values())
    for arrays in (lrp, deeplift):
        # As many as there are classes that images were compared with.
        assert 1 < len(arrays["guard/evenness/alone"]) < len(arrays["heatmaps"]) == 8
    assert len(deeplift["guard/completeness_gap"]) == 8


class Memory:
    """A tracker that keeps what it is given, as long as the process lives."""

    def __init__(self):
        self.explanations, self.reports = {}, {}

    def open(self):
        return self

    def record_training(self, *_, **__):
        return Link(run="t", model="m")

    def explained(self, key):
        one = self.explanations.get(key)
        return Found(run=key, scores=one["scores"]) if one else None

    def record_explanation(self, record, **given):
        self.explanations[record.key] = given
        return record.key

    def kept(self, runs=None, condition=""):  # noqa: ARG002
        (run,) = runs
        one = self.explanations[run]
        told = {"run": run, "tags": {}, "params": {}, "scores": one["scores"]}
        return [Kept(**told, accuracy=1.0, seconds=1.0, arrays=lambda: one["heatmaps"])]

    def of_model(self, model, keys):  # noqa: ARG002
        return {key: self.kept([key])[0] for key in keys if key in self.explanations}

    def record_report(self, record, **given):
        drawn = BytesIO()
        record.figures["gallery"]().savefig(drawn, format="rgba")
        self.reports[record.key] = (drawn.getvalue(), given["tables"]["scores"])
        return record.key

    def attach(self, *_):
        return None

    def reported(self, key):
        return key if key in self.reports else None

    def tag(self, *_):
        return None

    def ui_command(self, *_):
        return ""

    def address(self, *_):
        return ""


def test_the_comparison_is_made_on_resume_and_equals_the_one_of_a_run_that_was_not_killed(tmp_path):
    def ran(kept, names):
        chosen = (f"explainer=[{names}]", "metric=sparseness", "value=pair")
        pipeline.run(replace(composed(tmp_path, *chosen), tracking=kept))
        return kept.reports

    whole, killed = Memory(), Memory()
    (uninterrupted,) = ran(whole, "deeplift,sobel").values()
    assert not ran(killed, "deeplift")
    (resumed,) = ran(killed, "deeplift,sobel").values()
    assert resumed[0] == uninterrupted[0]
    assert resumed[1].equals(uninterrupted[1])
    assert len(ran(killed, "deeplift,sobel")) == 1
    assert ran(killed, "deeplift,sobel").keys() == whole.reports.keys()


def test_the_failure_of_one_metric_is_a_missing_score_with_its_reason(tmp_path, scored):
    experiment = composed(tmp_path, "explainer=[gradient]", "metric=sparseness")
    pipeline.run(replace(experiment, metrics={"bad": BrokenMetric(), **experiment.metrics}))
    (one,) = scored
    scores = one.scores
    bad = scores[scores["metric"] == "bad"]
    assert bad["score"].isna().all()
    assert set(bad["reason"]) == {"failed: ZeroDivisionError: by nothing"}
    assert scores[scores["metric"] == "sparseness"]["score"].notna().all()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["explainer=[gradient]", "metric=relevance_mass"], "nothing was scored"),
        (["explainer=[exact_mask]", "metric=sparseness"], "nothing was explained"),
    ],
)
def test_a_run_that_scores_nothing_fails(tmp_path, overrides, words):
    with pytest.raises(InputError, match=words):
        pipeline.run(composed(tmp_path, *overrides))


@pytest.mark.parametrize("name", ["", "a/b", "../../x", "x" * 101, "it's", "<script>", ".x", "-x"])
def test_names_that_can_not_be_files_are_refused_before_work_begins(name):
    with pytest.raises(InputError, match="study: got"):
        build.Settings(study=name)
    with pytest.raises(InputError, match="--name: got"):
        refuse_unsafe_name("--name", name)


@pytest.mark.parametrize("name", ["lrp_vs_sensitivity", "my study 2", "Zürich-1", "a+b,c=1"])
def test_ordinary_names_are_taken(name):
    assert build.Settings(study=name).study == name


@pytest.mark.parametrize("target", ["predicted", "label", "runner_up", "all", 3, "7"])
@pytest.mark.parametrize("value", ["centred", "pair", "log_odds", "probability", "logit"])
def test_every_question_can_be_asked(tmp_path, target, value):
    experiment = composed(
        tmp_path, "explainer=[gradient]", "metric=sparseness", f"target={target}", f"value={value}"
    )
    assert isinstance(pipeline.run(experiment), float)


def test_a_class_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(InputError, match="target: got 'cat'; allowed: one of predicted"):
        composed(tmp_path, "explainer=[gradient]", "metric=sparseness", "target=cat")


@pytest.mark.parametrize("value", ["centred", "pair"])
def test_a_heatmap_a_class_has_its_image_s_number(tmp_path, scored, value):
    experiment = composed(
        tmp_path, "explainer=[gradient]", "metric=sparseness", "target=all", f"value={value}"
    )
    pipeline.run(experiment)
    (one,) = scored
    assert one.scores["image"].tolist() == [i for i in range(4) for _ in range(10)]
    assert one.targets.tolist() == list(range(10)) * 4
    assert one.scores["target"].tolist() == list(range(10)) * 4
    assert torch.equal(one.predictions.view(4, 10)[:, 0], one.predictions.view(4, 10)[:, 5])


class Says(nn.Module):
    """A network that says the same of every image, or goes by its brightness."""

    def __init__(self, always):
        super().__init__()
        self.always = always

    def forward(self, images):
        bright = images.mean((1, 2, 3)) > 0.5
        said = torch.full_like(bright, 1) if self.always else bright
        return nn.functional.one_hot(said.long(), 3).float()


@pytest.mark.parametrize(
    ("always", "accuracy", "words"),
    [
        (True, 0.75, ["no better than always saying b (75.00 %)", "says b of every explained"]),
        (False, 0.75, ["no better than always saying b (75.00 %)"]),
        (False, 0.8, []),
    ],
)
def test_a_network_that_learnt_nothing_is_said_to(always, accuracy, words):
    levels = torch.tensor([0, 255, 255, 255], dtype=torch.uint8)
    pixels = levels[:, None, None, None].expand(-1, 1, 8, 8)
    split = TensorSplit(pixels=pixels, labels=torch.tensor([0, 1, 1, 1]))
    splits = dict.fromkeys(("train", "validation", "test"), split)
    data = SimpleNamespace(**splits, classes=("a", "b", "c"), channels=1, size=(8, 8))
    result = TrainingResult(
        accuracy=accuracy, validation_accuracy=1.0, epochs=1, seconds=1.0, parameters=0, history=()
    )
    trained = pipeline.Trained(
        key="k", network=Says(always), result=result, link=None, reused=False
    )
    said = pipeline.doubts(trained, scoring.sample(data, 4, torch.device("cpu")), data)
    assert len(said) == len(words)
    assert all(word in line for word, line in zip(words, said, strict=True))


class Unread:
    """A dataset of which nothing may be asked."""

    @property
    def classes(self):
        raise AssertionError("read")

    channels = size = train = validation = test = classes


def test_what_is_of_another_kind_is_refused_and_no_data_are_read_to_tell():
    unread = Unread()
    assert build._fitting(unread, "dataset", "dataset") is unread
    for other, group in ((CNN(), "dataset"), (Gradient(), "metric"), (CNN(), "explainer")):
        with pytest.raises(InputError, match="which is none; allowed: one of conf"):
            build._fitting(other, group, group)
    for right, group in ((CNN(), "model"), (Gradient(), "explainer"), (Sparseness(), "metric")):
        assert build._fitting(right, group, group) is right
