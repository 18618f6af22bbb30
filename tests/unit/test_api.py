"""The Python API on networks and pictures of one's own: what it gives, leaves alone and refuses."""

import inspect
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

import xai_exp as xe
from xai_exp import pipeline
from xai_exp.compute.values import valued
from xai_exp.config import InputError
from xai_exp.explainers.gradients import Gradient, InputXGradient
from xai_exp.explainers.known import Known
from xai_exp.explainers.lrp import LRP
from xai_exp.metrics.localisation import RelevanceMass
from xai_exp.notebook import networks
from xai_exp.truth.games import attribute

ROOT = Path(__file__).parents[2]
BOTH = ["lrp", "gradient"]


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


@pytest.fixture
def network():
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4 * 8 * 10, 3)
    return seeded(lambda: nn.Sequential(*layers))


@pytest.fixture
def images(generator):
    return torch.rand(4, 3, 10, 12, generator=generator)


@pytest.fixture
def bytes_(images):
    return images.mul(255).round().byte()


def test_one_name_gives_what_the_explainer_gives_for_the_predicted_class(network, images):
    found = xe.explain(network, images, "lrp", rule="gamma", gamma=0.5, value="logit")
    predicted = network.eval()(images).argmax(1)
    assert list(found) == ["lrp"]
    assert torch.equal(found.predictions, predicted)
    assert torch.equal(found.targets, predicted)
    assert torch.equal(found["lrp"], LRP(rule="gamma", gamma=0.5)(network, images, predicted))
    assert found.explainers["lrp"] == LRP(rule="gamma", gamma=0.5)


def test_the_centred_logit_is_explained_unless_another_value_is_asked_for(network, images):
    found = xe.explain(network, images, ["gradient", "lrp"])
    centred = valued(network.eval(), "centred", images)
    for name, explainer in (("gradient", Gradient()), ("lrp", LRP())):
        wanted = explainer(centred, images, found.targets)
        assert torch.allclose(found[name], wanted, atol=1e-6)
    other = xe.explain(network, images, "gradient", value="pair", against=1, targets=0)["gradient"]
    wanted = Gradient()(valued(network, "pair", images, 1), images, torch.zeros_like(found.targets))
    assert torch.allclose(other, wanted, atol=1e-6)
    with pytest.raises(InputError, match="against: got None"):
        xe.explain(network, images, "gradient", value="pair")


def test_a_reference_other_than_ones_own_is_what_heatmaps_are_measured_from(network, images):
    grey = xe.explain(network, images, "input_x_gradient", targets=1, reference="grey")
    leaf = images.clone().requires_grad_()
    logits = network.eval()(leaf)
    (logits[:, 1] - logits.mean(1)).sum().backward()
    expected = ((images - 0.5) * leaf.grad).sum(1)
    torch.testing.assert_close(grey["input_x_gradient"], expected, atol=1e-5, rtol=1e-4)


def test_a_field_goes_to_every_explainer_that_has_it_and_a_mapping_to_one_alone(network, images):
    names = ["lrp", "lrp_gamma", "gradient"]
    found = xe.explain(network, images, names, gamma=0.7, lrp={"rule": "z"}).explainers
    assert (found["lrp"].gamma, found["lrp"].rule) == (0.7, "z")
    assert (found["lrp_gamma"].gamma, found["lrp_gamma"].rule) == (0.7, "gamma")


def test_an_explainer_of_ones_own_is_used_under_the_name_given(network, images):
    own = {"mine": lambda model, images, targets: 2 * images.sum(1), "gradient": {"absolute": True}}  # noqa: ARG005
    found = xe.explain(network, images, own)
    assert torch.equal(found["mine"], 2 * images.sum(1))
    assert found["gradient"].min() >= 0


@pytest.mark.parametrize("targets", [2, [2, 2, 2, 2], np.array([2] * 4), torch.tensor([2] * 4)])
def test_targets_are_one_for_all_or_one_for_each(network, images, targets):
    found = xe.explain(network, images, "gradient", targets=targets)
    assert found.targets.tolist() == [2, 2, 2, 2]
    other = xe.explain(network, images, "gradient", targets=1)
    assert not torch.equal(found["gradient"], other["gradient"])


def test_a_picture_is_the_same_in_every_form(network, bytes_):
    last = bytes_.permute(0, 2, 3, 1).numpy()
    forms = [
        bytes_,
        bytes_.float() / 255,
        last,
        last.astype(np.float32) / 255,
        [Image.fromarray(one) for one in last],
        [last[0], bytes_[1], Image.fromarray(last[2]), last[3] / np.float32(255)],
    ]
    found = [xe.explain(network, form, "gradient", targets=0) for form in forms]
    for one in found:
        assert torch.allclose(one.images, bytes_ / 255, atol=1e-7)
        assert torch.allclose(one["gradient"], found[0]["gradient"], atol=1e-6)
    single = xe.explain(network, last[1], "gradient", targets=0)
    assert torch.allclose(single["gradient"], found[0]["gradient"][1:2], atol=1e-6)


def test_preprocessing_is_a_part_of_the_function_that_is_explained(network, images):
    mean, std = torch.tensor([0.2, 0.4, 0.6]), torch.tensor([0.5, 0.25, 2.0])
    how = xe.Preprocessing(mean=mean.tolist(), std=std.tolist())
    inside = (images - mean[:, None, None]) / std[:, None, None]
    plain = inside.clone().requires_grad_()
    logits = network.eval()(plain)
    found = xe.explain(network, images, ["gradient", "lrp"], preprocessing=how, value="logit")
    assert torch.equal(found.targets, logits.argmax(1))
    grads = torch.autograd.grad(logits.gather(1, found.targets[:, None]).sum(), plain)[0]
    assert torch.allclose(found["gradient"], (grads / std[:, None, None]).sum(1), atol=1e-6)
    # Relevance passes a scale as it is: LRP's is that of the normalised pixels.
    assert torch.allclose(found["lrp"], LRP()(network, inside, found.targets), atol=1e-5)


def test_heatmaps_are_in_the_pixels_of_pictures_of_another_size(network, generator):
    pictures = torch.rand(2, 3, 30, 24, generator=generator)
    how = xe.Preprocessing(mean=0.5, std=0.2, size=(10, 12))
    found = xe.explain(network, pictures, ["lrp", "gradient", "grad_cam"], preprocessing=how)
    assert all(one.shape == (2, 30, 24) for one in found.values())
    small = nn.functional.interpolate(pictures, (10, 12), mode="bilinear", antialias=True)
    assert torch.equal(found.predictions, network.eval()((small - 0.5) / 0.2).argmax(1))
    scores = xe.score(found, ["pixel_flipping", "sparseness"])
    assert scores["score"].notna().all()


def test_a_layer_is_named_as_in_the_network_that_was_given(network, images):
    how = xe.Preprocessing(mean=0.0, std=1.0, size=(10, 12))
    plain = xe.explain(network, images, "grad_cam", layer="1", targets=0)
    found = xe.explain(network, images, "grad_cam", layer="1", targets=0, preprocessing=how)
    assert torch.allclose(found["grad_cam"], plain["grad_cam"], atol=1e-6)


def hooks_of(network):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [list(getattr(module, kind)) for module in network.modules() for kind in kinds]


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(network, images, training):
    network.train(training)
    network[2].eval()
    network[4].bias.requires_grad_(False)
    network[0].weight.grad = torch.ones_like(network[0].weight)
    seen = []
    handle = network[0].register_forward_hook(lambda *_: seen.append(1))
    hooks = hooks_of(network)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    how = xe.Preprocessing(mean=0.1, std=0.9)
    found = xe.explain(network, images, ["lrp", "grad_cam", "smoothgrad"], preprocessing=how)
    xe.score(found, ["pixel_flipping", "parameter_randomisation"])
    assert [m.training for m in network.modules()] == [
        training,
        *[training] * 2,
        False,
        *[training] * 2,
    ]
    assert [p.requires_grad for p in network.parameters()] == [True, True, True, False]
    assert bool((network[0].weight.grad == 1).all())
    assert network[0].bias.grad is None
    assert hooks_of(network) == hooks
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert seen
    handle.remove()


class Single(nn.Module):
    """One logit, as (batch, 1) or (batch)."""

    def __init__(self, flat):
        super().__init__()
        self.flat = flat
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(320, 1))

    def forward(self, images):
        logit = self.body(images)
        return logit[:, 0] if self.flat else logit


@pytest.mark.parametrize("flat", [True, False])
def test_a_single_logit_is_a_binary_question(images, flat):
    network = seeded(lambda: Single(flat))
    logits = network(images).view(-1)
    yes = xe.explain(network, images, ["gradient", "lrp"], targets=1)
    no = xe.explain(network, images, ["gradient", "lrp"], targets=0)
    two = nn.Sequential(*network.body[:3], nn.Linear(320, 2))
    weight, bias = network.body[3].weight.detach(), network.body[3].bias.detach()
    two[3].weight = nn.Parameter(torch.cat([-weight, weight]) / 2)
    two[3].bias = nn.Parameter(torch.cat([-bias, bias]) / 2)
    assert torch.equal(yes.predictions, (logits > 0).long())
    assert "binary question" in yes.note
    assert "binary question" in repr(yes)
    ones, zeros = torch.ones(4, dtype=torch.long), torch.zeros(4, dtype=torch.long)
    assert torch.allclose(yes["gradient"], -no["gradient"], atol=1e-7)
    assert torch.allclose(yes["lrp"], LRP()(two, images, ones), atol=1e-5)
    assert torch.allclose(no["lrp"], LRP()(two, images, zeros), atol=1e-5)
    # Removal shows in the scores of a network whose softmax over one logit would be constant.
    scores = xe.score(xe.explain(network, images, "gradient"), "pixel_flipping")["score"]
    assert scores.std() > 0


def test_a_torchvision_network_with_a_head_of_ones_own_is_explained_and_scored(generator):
    resnet = seeded(lambda: torchvision.models.resnet18(weights=None))
    resnet.fc = seeded(lambda: nn.Sequential(nn.Linear(512, 16), nn.ReLU(), nn.Linear(16, 4)))
    pictures = torch.rand(2, 40, 48, 3, generator=generator).numpy()
    how = xe.Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), size=(64, 64))
    names = ["lrp", "gradient", "grad_cam"]
    found = xe.explain(resnet, pictures, names, preprocessing=how, grad_cam={"layer": "layer3"})
    assert set(found) == set(names)
    assert all(one.shape == (2, 40, 48) and one.isfinite().all() for one in found.values())
    table = xe.score(found, ["pixel_flipping", "sparseness"], steps=8)
    assert table.shape == (2 * 3 * 2, 5)
    assert table.groupby("explainer", sort=False).size().to_dict() == dict.fromkeys(names, 4)
    assert table["score"].notna().all()


def test_scores_are_those_of_the_metric_on_these_heatmaps(network, images, generator):
    masks = torch.rand(4, 10, 12, generator=generator) > 0.5
    names = ["input_x_gradient", "random"]
    found = xe.explain(network, images, names, masks=masks, value="logit")
    table = xe.score(found, ["relevance_mass", "sparseness"])
    assert list(table.columns) == ["image", "explainer", "metric", "score", "reason"]
    mine = table.query("explainer == 'input_x_gradient' and metric == 'relevance_mass'")["score"]
    maps = InputXGradient()(network.eval(), images, found.targets).clamp(min=0)
    share = (maps * masks).sum((1, 2)) / maps.sum((1, 2))
    assert mine.to_numpy() == pytest.approx(share.numpy(), rel=1e-5)
    assert RelevanceMass.higher_is_better
    given = xe.score(
        xe.explain(network, images, names, value="logit"), "relevance_mass", masks=masks
    )
    assert given.equals(table.query("metric == 'relevance_mass'").reset_index(drop=True))


def test_known_heatmaps_are_those_of_one_network_and_its_images_alone(network, images):
    found = xe.explain(network, images, "gradient")
    targets = found.targets
    known = Known(
        explainer=found.explainers["gradient"],
        model=network,
        images=images,
        targets=targets,
        heatmaps=found["gradient"],
    )
    other = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(360, 3)))
    assert known(network, images, targets) is found["gradient"]
    assert not torch.equal(known(other, images, targets), found["gradient"])
    assert not torch.equal(known(network, images.flip(0), targets), found["gradient"])
    assert not torch.equal(known(network, images, (targets + 1) % 3), found["gradient"])
    table = xe.score(found, "parameter_randomisation_independent")
    assert table["score"].lt(0.999).all()


def test_what_a_metric_lacks_is_the_reason_of_its_missing_scores(network, images):
    found = xe.explain(network, images, "gradient")
    table = xe.score(found, ["pointing_game", "part_shapley", "sparseness"])
    rows = dict(list(table.groupby("metric")))
    assert rows["pointing_game"]["score"].isna().all()
    assert rows["pointing_game"]["reason"].str.contains("masks=").all()
    assert rows["part_shapley"]["reason"].str.contains("scenes").all()
    assert rows["sparseness"]["score"].notna().all()
    assert (rows["sparseness"]["reason"] == "").all()


def test_one_metric_that_says_no_does_not_lose_the_others(network, images):
    found = xe.explain(network, images, "gradient")
    table = xe.score(found, ["pixel_flipping", "sparseness"], imputer="known_background")
    rows = dict(list(table.groupby("metric", sort=False)))
    assert list(rows) == ["pixel_flipping", "sparseness"]
    assert rows["pixel_flipping"]["score"].isna().all()
    assert (rows["pixel_flipping"]["reason"] != "").all()
    assert rows["sparseness"]["score"].notna().all()


def test_scenes_bring_their_masks_and_their_exact_truth():
    data = xe.dataset("counting", count=300, max_objects=3)
    linear = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64 * 64, 4)))
    scenes = data.test.scenes([0, 1, 2])
    found = xe.explain(linear, scenes, ["input_x_gradient", "exact_mask"])
    table = xe.score(found, ["pointing_game", "part_shapley"])
    assert (table["reason"] == "").any()
    truth = xe.worth(linear, scenes, value="logit")
    direct = attribute(linear, data.test.scenes(torch.tensor([0, 1, 2])), found.targets)
    assert torch.equal(truth.shapley, direct.shapley)
    assert torch.allclose(truth.shapley.sum(1), truth.whole - truth.empty, atol=1e-4)
    other = xe.worth(linear, scenes, targets=(found.targets + 1) % 4)
    assert not torch.allclose(other.shapley, truth.shapley)
    centred = valued(linear, "centred", scenes.render())
    wanted = attribute(centred, scenes, found.targets).shapley
    assert torch.allclose(xe.worth(linear, scenes).shapley, wanted)


def test_explainers_that_compare_get_their_references(network, images):
    found = xe.explain(
        network, images, ["expected_gradients", "deeplift_shap"], references=images.flip(0)
    )
    assert set(found) == {"expected_gradients", "deeplift_shap"}
    shap = xe.explain(network, images, "deeplift_shap", references=images.flip(0))
    assert torch.equal(shap["deeplift_shap"], found["deeplift_shap"])
    with pytest.raises(xe.InputError, match=r"explainer deeplift_shap: it needs .*references="):
        xe.explain(network, images, "deeplift_shap", references=3)
    with pytest.warns(UserWarning, match="expected_gradients is skipped: it needs reference"):
        some = xe.explain(network, images, ["gradient", "expected_gradients"])
    assert list(some) == ["gradient"]
    assert "references=" in some.skipped["expected_gradients"]
    with pytest.raises(xe.InputError, match="was skipped: it needs reference"):
        some["expected_gradients"]


def test_a_set_is_shown_and_saved(network, images, tmp_path, capsys):
    found = xe.explain(network, images, BOTH, masks=torch.ones(4, 10, 12), epsilon=1e-3)
    assert found._repr_html_().startswith('<img src="data:image/png;base64,iVBOR')
    assert found._ipython_key_completions_() == BOTH
    with Image.open(found.save(tmp_path / "a.png")) as drawn:
        assert drawn.size[0] > 100
    with np.load(found.save(tmp_path / "a.npz")) as saved:
        assert np.array_equal(saved["heatmaps/lrp"], found["lrp"].numpy())
        assert np.array_equal(saved["images"], images.numpy())
        assert saved["targets"].tolist() == found.targets.tolist()
        assert saved["masks"].shape == (4, 1, 10, 12)
        told = json.loads(str(saved["explainers"]))
        assert told["lrp"]["class"] == "LRP"
        assert told["lrp"]["epsilon"] == 1e-3
    found.show()
    with Image.open(capsys.readouterr().out.strip()) as drawn:
        assert drawn.format == "PNG"
    for wrong in ("a.jpg", "nowhere/a.png"):
        with pytest.raises(xe.InputError, match=r"allowed: .*\.png or \.npz"):
            found.save(tmp_path / wrong)


def test_a_network_trained_here_is_the_command_lines_and_found_again(tmp_path, capsys):
    fields = {
        "count": 300,
        "pixels": 32,
        "max_objects": 2,
        "validation_share": 0.2,
        "test_share": 0.3,
    }
    data = xe.dataset("counting", **fields)
    given = {
        "trainer": {"max_epochs": 1},
        "width": 2,
        "hidden": 8,
        "store": str(tmp_path),
        "device": "cpu",
    }
    network = xe.train("cnn", data, seed=3, **given)
    assert not network.training
    assert "trained in" in capsys.readouterr().out
    again = xe.train("cnn", data, seed=3, **given)
    assert "found trained" in capsys.readouterr().out
    shown = data.test.images([0, 1])
    assert torch.equal(network(shown), again(shown))
    arguments = [f"dataset.{name}={value}" for name, value in fields.items()]
    arguments += ["dataset=counting", "model=cnn", "model.width=2", "model.hidden=8", "seed=3"]
    arguments += ["trainer.max_epochs=1", f"models={tmp_path}", "tracking=off", "device=cpu"]
    run = xe.run(
        *arguments, "explainer=[gradient,random]", "metric=[sparseness,pointing_game]", "images=5"
    )
    assert "found trained" in capsys.readouterr().out
    assert len(run.scores) == 5 * 2 * 2
    assert list(run.scores.columns[:5]) == ["image", "explainer", "metric", "score", "reason"]
    assert run.means().shape == (2, 2)
    assert isinstance(run.objective, float)
    here = xe.explain(network, data.test.scenes(range(5)), ["gradient", "random"], seed=3)
    mine = xe.score(here, ["sparseness", "pointing_game"], seed=3)
    both = mine.merge(run.scores, on=["image", "explainer", "metric"])
    assert both["score_x"].to_numpy() == pytest.approx(
        both["score_y"].to_numpy(), nan_ok=True, rel=1e-6
    )


@pytest.mark.parametrize("name", ["counting", "digits", "triangles_squares", "nlesc/one_radius"])
def test_data_made_here_have_the_command_lines_key(name):
    from xai_exp.notebook.composing import composed, experiment

    line = experiment(composed(f"dataset={name}"))
    here = replace(experiment(composed("dataset=counting")), dataset=xe.dataset(name))
    assert here.data_key == line.data_key
    assert here.model_key == line.model_key


def test_a_tracked_run_found_again_gives_the_same_scores(tmp_path, capsys):
    arguments = ["dataset=digits", "model=mlp", "trainer.max_epochs=1", f"models={tmp_path}/models"]
    arguments += [f"tracking.root={tmp_path}/runs", "explainer=[gradient,sobel]", "images=4"]
    first = xe.run(*arguments, "metric=[sparseness]")
    again = xe.run(*arguments, "metric=[sparseness]")
    assert "2 of the runs were found finished" in capsys.readouterr().out.replace("\n", " ")
    pd.testing.assert_frame_equal(first.scores, again.scores)
    assert set(first.scores["explainer"]) == {"gradient", "sobel"}


def test_lists_name_everything_with_its_meaning_and_what_it_allows():
    assert xe.explainers is sys.modules["xai_exp.explainers"]
    assert str(xe.explainers()["gradient"]) == "The gradient of the target's logit, signed."
    assert {"lrp", "classic", "border/deeplift"} <= set(xe.explainers())
    assert "pixel_flipping" in xe.metrics()
    assert "counting" in xe.datasets()
    assert "cnn" in xe.models()
    for choices in (xe.explainers(), xe.metrics(), xe.datasets(), xe.models()):
        assert all(0 < len(one.meaning) <= 110 for one in choices.values())
        assert len(repr(choices).splitlines()) == len(choices)
        assert choices._repr_html_().count("<tr>") == len(choices)
        assert choices._ipython_key_completions_() == list(choices)
    told = repr(xe.explainers()["lrp"])
    assert told == xe.describe("lrp")
    assert "epsilon = 1e-06; allowed: a number > 0\n" in told
    assert "rule = epsilon_plus; allowed: one of z, epsilon, gamma" in told
    assert "root = (none: it must be given)" in xe.describe("image_folder")
    assert "A preset of 5: lrp, sensitivity" in xe.describe("classic")


def test_names_complete_and_explain_tells_of_them():
    assert {"explain", "score", "explainers", "Heatmaps", "InputError"} <= set(dir(xe))
    assert "lrp: Layer-wise relevance propagation" in xe.explain.__doc__
    assert "rule=epsilon_plus, epsilon=1.0e-6" in xe.explain.__doc__
    for name in xe._NAMES:
        assert inspect.getdoc(getattr(xe, name))
    with pytest.raises(AttributeError, match="no attribute 'explian'"):
        xe.explian  # noqa: B018


def wrong_calls():
    """Calls of wrong_calls.txt, each with the beginning of the line that it is answered by."""
    lines = (Path(__file__).parent / "wrong_calls.txt").read_text().splitlines()
    return dict(zip(lines[::2], (line.strip() for line in lines[1::2]), strict=True))


_SCRIPT = """
import json, sys
import numpy as np, torch, xai_exp as xe
from PIL import Image
from torch import nn
from torch.nn import functional as F

class Two(nn.Module):
    def forward(self, images, weights): ...

class Say(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer
    def forward(self, images):
        return self.answer(images)

torch.manual_seed(0)
net, x = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), torch.rand(2, 1, 8, 8)
maps = xe.explain(net, x, "gradient")
for line in json.loads(sys.argv[1]):
    try:
        said = f"nothing: {eval(line)!r}"
    except xe.InputError as error:
        said = str(error)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    print(json.dumps(said))
"""


def test_whatever_is_wrong_is_said_in_one_line(tmp_path, begun):
    # In a process of its own: here, types are checked before the API can.
    expected = wrong_calls()
    process = begun(tmp_path, json.dumps(list(expected)), code=_SCRIPT)
    out, err = process.communicate()
    assert process.returncode == 0, err[-3000:]
    found = dict(zip(expected, map(json.loads, out.splitlines()), strict=True))
    wrong = {
        call: said
        for call, said in found.items()
        if not said.startswith(expected[call]) or "\n" in said or "; allowed: " not in said
    }
    assert not wrong


def test_importing_the_package_imports_nothing_heavy():
    heavy = {"torch", "numpy", "hydra", "typing"}
    script = f"import sys, xai_exp; print({heavy} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-S", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_network_in_doubles_is_asked_in_doubles(network, images):
    found = xe.explain(network.double(), images, "gradient")
    single = xe.explain(network.float(), images, "gradient")
    assert found["gradient"].dtype == torch.float32
    assert torch.allclose(found["gradient"], single["gradient"], atol=1e-6)


def test_a_network_that_needs_nothing_is_asked_itself(network, images):
    assert networks.asked(network, images, None).network is network


def test_hydra_is_left_as_it_was(network, images):
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    xe.explain(network, images, "gradient")
    with pytest.raises(xe.InputError):
        xe.run("dataset=digit")
    assert not GlobalHydra.instance().is_initialized()
    assert not HydraConfig.initialized()
    assert pipeline.run is not None


def test_heatmaps_without_end_are_refused_and_some_of_them_are_said():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    images = torch.rand(3, 1, 8, 8)

    def plain(model, images, targets):  # noqa: ARG001
        return images[:, 0]

    def exploding(model, images, targets):  # noqa: ARG001
        return torch.full((len(images), 8, 8), torch.inf)

    def at_times(model, images, targets):  # noqa: ARG001
        heatmaps = images[:, 0].clone()
        heatmaps[1, 2, 3] = torch.nan
        return heatmaps

    with pytest.raises(InputError, match=r"explainer mine: .* got NaN or infinity in each of 3"):
        xe.explain(network, images, {"mine": exploding})
    with pytest.warns(UserWarning, match="explainer mine: 1 of 3 heatmaps hold NaN or infinity"):
        maps = xe.explain(network, images, {"mine": at_times})
    assert maps["mine"].isnan().sum() == 1
    with pytest.warns(UserWarning, match=r"explainer two is skipped: .* got NaN or infinity"):
        both = xe.explain(network, images, {"one": plain, "two": exploding})
    assert list(both) == ["one"]


def test_a_method_that_raises_ends_nothing_but_itself():
    def broken(*_):
        raise RuntimeError("of its own\n making")

    network, images = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), torch.rand(2, 1, 8, 8)
    both = {"broken": broken, "fine": lambda *given: given[1][:, 0]}
    with pytest.warns(UserWarning, match="broken is skipped: RuntimeError: of its own making"):
        found = xe.explain(network, images, both)
    assert list(found) == ["fine"]
    assert found.skipped["broken"] == "RuntimeError: of its own making"
    with pytest.raises(xe.InputError, match="broken: RuntimeError") as caught:
        xe.explain(network, images, {"broken": broken})
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_network_without_numbers_is_refused():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).to("meta")
    with pytest.raises(xe.InputError, match="device meta, which holds no numbers; allowed: "):
        xe.explain(network, torch.rand(2, 1, 8, 8), "gradient")
