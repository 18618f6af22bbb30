"""Scores of Quantus 0.6 that explain anew, made by scripts/golden/from_quantus_model.py.

What is drawn by chance (changed images, random layers, another class) is Quantus' own.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from xai_exp.metrics import around, randomisation
from xai_exp.metrics.likeness import alike
from xai_exp.metrics.randomisation import (
    EfficientParameterRandomisation,
    ParameterRandomisation,
    RandomLogit,
)
from xai_exp.metrics.robustness import continuity as robustness
from xai_exp.metrics.robustness import relative_stability
from xai_exp.metrics.robustness.continuity import (
    Consistency,
    Continuity,
    LocalLipschitz,
    Sensitivity,
)
from xai_exp.metrics.robustness.relative_stability import RelativeStability
from xai_exp.types import Case

HERE = Path(__file__).parent
FOUND = json.loads((HERE / "quantus_model.json").read_text())
SCORES, RADII = FOUND["scores"], FOUND["radii"]
ARRAYS = dict(np.load(HERE / "quantus_model.npz"))
NOISES = torch.tensor(ARRAYS["draws"])


def explain(model, images, targets):
    given = images.clone().requires_grad_()
    picked = model(given)[range(len(given)), targets]
    return (torch.autograd.grad(picked.sum(), given)[0] * given).detach().sum(1)


@pytest.fixture
def case(golden_network):
    """The golden network and images, and gradient times input."""
    shared = dict(np.load(HERE / "innvestigate2_maxpool.npz"))
    network = golden_network(shared)
    images, targets = torch.tensor(shared["x"]), torch.tensor(shared["target"]).long()
    return Case(
        model=network.eval(),
        images=images,
        targets=targets,
        heatmaps=explain(network, images, targets),
        explain=explain,
        generator=torch.Generator().manual_seed(0),
    )


@pytest.fixture
def same_noise(monkeypatch):
    """The changed images that Quantus was given."""

    def noisy(case, rows, radius):
        return case.images[rows % len(case)] + radius * NOISES.flatten(0, 1)[rows]

    monkeypatch.setattr(around, "noisy", noisy)
    monkeypatch.setattr(relative_stability, "noisy", noisy)


AROUND = {
    "max_sensitivity": lambda more: Sensitivity(**more),
    "avg_sensitivity": lambda more: Sensitivity(score_by="mean", **more),
    "local_lipschitz": lambda more: LocalLipschitz(scale="none", **more),
    "input_stability": lambda more: RelativeStability(against="input", **more),
    "output_stability": lambda more: RelativeStability(against="output", **more),
    "representation_stability": lambda more: RelativeStability(against="representation", **more),
}


@pytest.mark.usefixtures("same_noise")
@pytest.mark.parametrize("distance", RADII)
@pytest.mark.parametrize("measure", AROUND)
def test_around_the_same_changed_images_robustness_is_quantus(case, measure, distance):
    more = {"samples": len(NOISES), "radius": RADII[distance]}
    ours = AROUND[measure](more)(case).numpy()
    theirs = np.array(SCORES[f"{measure}/{distance}"])
    known = np.isfinite(theirs)
    assert known.sum() >= 5
    slack = 1e-5 + (lost_digits(case, more["radius"]) if measure == "output_stability" else 0)
    assert (np.abs(ours - theirs) <= slack * theirs)[known].all()


def lost_digits(case, radius):
    """What float32 leaves open in the smallest difference of two logits, relative to it."""
    logits = case.model(case.images).detach()
    moved = case.model((case.images + radius * NOISES).flatten(0, 1)).detach()
    least = (moved.unflatten(0, (-1, len(case))) - logits).norm(dim=2).amin(0)
    return (4 * torch.finfo(torch.float32).eps * logits.norm(dim=1) / least).numpy()


@pytest.mark.usefixtures("same_noise")
def test_quantus_gives_no_relative_stability_where_one_neighbour_has_another_prediction(case):
    said = around.answers(case, len(NOISES), RADII["far"]).argmax(2)
    kept = said == case.model(case.images).argmax(1)[:, None]
    lost = np.isnan(SCORES["input_stability/far"])
    assert 0 < lost.sum() < len(case)
    np.testing.assert_array_equal(lost, ~kept.all(1).numpy())
    ours = RelativeStability(samples=len(NOISES), radius=RADII["far"])(case)
    assert ours[kept.any(1)].isfinite().all()


def test_continuity_is_quantus_if_black_comes_in_and_the_image_leaves_altogether(case, monkeypatch):
    def black(images, right, down):  # noqa: ARG001
        moved = images.flatten(1).amin(1)[:, None, None, None].expand_as(images).clone()
        width = images.shape[-1]
        if abs(right) < width:
            old = slice(max(0, -right), min(width, width - right))
            new = slice(max(0, right), min(width, width + right))
            moved[..., new] = images[..., old]
        return moved

    monkeypatch.setattr(robustness, "shifted", black)
    ours = Continuity(pixels=16, scale="none")(case).numpy()
    np.testing.assert_allclose(ours, SCORES["continuity"], rtol=1e-5)


def test_quantus_consistency_compares_the_signs_of_the_first_five_pixels(case):
    """In the upper left corner, whatever is relevant; with no other such image it gives 0."""
    signs = case.heatmaps.flatten(1)[:, :5].sign()
    same = (signs[:, None] == signs).all(2) & ~torch.eye(len(case), dtype=torch.bool)
    predictions = case.model(case.images).argmax(1)
    agree = (predictions[:, None] == predictions) & same
    theirs = agree.sum(1) / same.sum(1).clamp(min=1)
    np.testing.assert_allclose(theirs.numpy(), SCORES["consistency"], atol=1e-8)
    ours = Consistency(same_if="top_n_sign")(case).nan_to_num(0).numpy()
    assert not np.allclose(ours, SCORES["consistency"])


@pytest.fixture
def same_layers(monkeypatch):
    """Random layers as Quantus drew them."""

    def use(order):
        places = iter(["9", "7", "3", "0"])

        def randomise(module, generator):  # noqa: ARG001
            place = next(places)
            for name, parameter in module.named_parameters(recurse=False):
                parameter.data.copy_(torch.tensor(ARRAYS[f"random/{order}/{place}/{place}.{name}"]))

        monkeypatch.setattr(randomisation, "randomise", randomise)

    return use


@pytest.mark.parametrize("order", ["cascading", "independent"])
def test_parameter_randomisation_is_quantus_layer_by_layer(case, same_layers, order):
    same_layers(order)
    ours = ParameterRandomisation(order=order).similarities(case).numpy()
    theirs = np.array([SCORES[f"mprt/{order}"][layer] for layer in ("9", "7", "3", "0")]).T
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_quantus_mprt_averages_over_the_untouched_network_too(case, same_layers):
    """Its own correlation, always 1: with four layers every score is a fifth too high."""
    same_layers("cascading")
    ours = ParameterRandomisation()(case).numpy()
    np.testing.assert_allclose((4 * ours + 1) / 5, SCORES["mprt_average"], rtol=1e-5, atol=1e-5)


def test_efficient_parameter_randomisation_is_quantus(case, same_layers):
    same_layers("cascading")
    ours = EfficientParameterRandomisation()(case).numpy()
    np.testing.assert_allclose(ours, SCORES["efficient_mprt"], rtol=1e-5, atol=1e-5)


def test_random_logit_is_quantus_for_the_same_other_class(case, monkeypatch):
    other = torch.tensor(ARRAYS["other"])
    assert (other != case.targets).all()
    monkeypatch.setattr(RandomLogit, "_others", lambda self, case, count: [other])  # noqa: ARG005
    ours = RandomLogit()(case).numpy()
    np.testing.assert_allclose(ours, SCORES["random_logit"], rtol=1e-5, atol=1e-5)


def test_quantus_random_logit_takes_the_structural_similarity_of_rows_not_of_pictures(case):
    """It flattens both heatmaps first, so that a window is seven pixels of one row."""
    after = explain(case.model, case.images, torch.tensor(ARRAYS["other"]))
    rows = [
        structural_similarity(a, b, data_range=max(a.max(), b.max()) - min(a.min(), b.min()))
        for a, b in zip(case.heatmaps.flatten(1).numpy(), after.flatten(1).numpy(), strict=True)
    ]
    np.testing.assert_allclose(rows, SCORES["random_logit_ssim"], rtol=1e-5)
    assert not np.allclose(alike(case.heatmaps, after, "ssim").numpy(), rows, atol=0.05)
