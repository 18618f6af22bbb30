"""A method at a reference explains f(b + d) at d = x - b, and the shift is exact."""

import pytest
import torch
from torch import nn

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.data.land.settlements import Settlements
from xai_exp.explainers.deeplift.deeplift import DeepLIFT
from xai_exp.explainers.gradients.gradients import Gradient, InputXGradient, IntegratedGradients
from xai_exp.explainers.lrp.lrp import LRP
from xai_exp.explainers.perturbation.windows import Occlusion
from xai_exp.explainers.reference import Referred, Shifting, referred
from xai_exp.models.asked import Asked, Preprocessing
from xai_exp.removal.imputers import Constant

TARGETS = torch.tensor([0, 1, 2, 0])


def network(padding=1, groups=1, stride=1):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = nn.Conv2d(2, 6, 3, padding=padding, groups=groups, stride=stride)
        made = nn.Sequential(first, nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten())
        made.append(nn.Linear(54, 3))
        return made.double().eval()


@pytest.fixture
def images(generator):
    return torch.rand(4, 2, 9, 9, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("kind", [{}, {"padding": 0}, {"groups": 2}, {"stride": 2}])
@pytest.mark.parametrize("level", [[0.3, 0.3], [0.2, 0.7]])
def test_the_shifted_network_is_the_network(images, kind, level):
    model = network(**kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    b = torch.tensor(level, dtype=torch.float64).view(1, 2, 1, 1)
    torch.testing.assert_close(Shifting(model, b, images[:1])(b)(images - b), model(images))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_matrix_product_takes_the_level_too(images):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(162, 3)).double()
    b = torch.tensor([0.2, 0.7], dtype=torch.float64).view(1, 2, 1, 1)
    torch.testing.assert_close(Shifting(model, b, images[:1])(b)(images - b), model(images))


@pytest.mark.parametrize("size", [None, (9, 9), (12, 7)])
def test_units_and_sizes_in_front_of_a_network_are_shifted_with_it(images, size):
    before = Preprocessing(mean=(0.4, 0.5), std=(0.2, 0.3), size=(9, 9)).module(2).double()
    model = Asked(before, network())
    if size is not None:
        images = nn.functional.interpolate(images, size, mode="bilinear")
    levels = ops.border_level(images)
    shifting = Shifting(model, levels, images[:1])
    for row in range(4):
        b, image = levels[row : row + 1], images[row : row + 1]
        torch.testing.assert_close(shifting(b)(image - b), model(image), rtol=1e-6, atol=1e-6)
    found = Referred(DeepLIFT(), "border")(model, images, TARGETS).sum((1, 2))
    rows = torch.arange(4)
    wanted = (model(images) - model(levels.expand_as(images)))[rows, TARGETS]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_gradient_is_what_it_was_and_times_input_is_times_the_difference(images):
    model = network()
    plain = Gradient()(model, images, TARGETS)
    torch.testing.assert_close(Referred(Gradient(), "grey")(model, images, TARGETS), plain)
    level = images.mean((2, 3), keepdim=True)
    pixels = images.clone().requires_grad_()
    out = model(pixels)[torch.arange(4), TARGETS].sum()
    wanted = ((images - level) * torch.autograd.grad(out, pixels)[0]).sum(1)
    torch.testing.assert_close(Referred(InputXGradient(), "mean")(model, images, TARGETS), wanted)


@pytest.mark.parametrize("method", [IntegratedGradients(steps=200), DeepLIFT()])
def test_methods_with_a_baseline_sum_to_the_difference_from_the_reference(images, method):
    model, grey = network(), torch.full_like(images, 0.5)
    found = Referred(method, "grey")(model, images, TARGETS).sum((1, 2))
    rows = torch.arange(4)
    wanted = (model(images) - model(grey))[rows, TARGETS]
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def test_lrp_gives_nothing_to_pixels_at_the_reference(images):
    model = network()
    images[:, :, 3:, :] = 0.5
    found = Referred(LRP(rule="epsilon"), "grey")(model, images, TARGETS)
    assert found[:, 3:].abs().amax() < 1e-9 * found.abs().amax()
    assert LRP(rule="epsilon")(model, images, TARGETS)[:, 3:].abs().amax() > 0


def test_lrp_at_black_is_lrp(images):
    for rule in ("epsilon_plus", "epsilon_gamma_box"):
        method = LRP(rule=rule)
        found = Referred(method, "black")(network(), images, TARGETS)
        torch.testing.assert_close(found, method(network(), images, TARGETS))


def test_each_image_has_its_own_border(images):
    images[0], images[1] = 0.2, 0.9
    images[:2, :, 4, 4] = 0.5
    one_by_one = torch.cat(
        [
            Referred(LRP(), "border")(network(), images[i : i + 1], TARGETS[i : i + 1])
            for i in range(4)
        ]
    )
    together = Referred(LRP(), "border")(network(), images, TARGETS)
    torch.testing.assert_close(together, one_by_one)


def test_methods_with_something_of_their_own_in_place_of_pixels_keep_it():
    method = Occlusion(imputer=Constant())
    assert referred(method, "grey") is method
    assert referred(Gradient(), "own") == Gradient()


def test_what_can_not_be_shifted_is_refused(images):
    class Squared(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, images):
            return self.inner(images**2)

    with pytest.raises(InputError, match="reference=own"):
        Referred(LRP(), "grey")(Squared(), images, TARGETS)
    with pytest.raises(InputError, match="not rendered"):
        Referred(LRP(), "background")(network(), images, TARGETS)


def test_what_a_method_promises_is_held_against_the_reference(images):
    method = Referred(IntegratedGradients(steps=200), "border")
    heatmaps = method(network(), images, TARGETS)
    told = method.gaps(network(), images, TARGETS, heatmaps)
    assert told["completeness_gap"].shape == (4,)
    assert told["completeness_gap"].amax() < 0.01
    doubled = method.gaps(network(), images, TARGETS, 2 * heatmaps)
    torch.testing.assert_close(
        doubled["completeness_gap"], torch.ones(4, dtype=torch.float64), rtol=0, atol=0.03
    )


def test_only_the_background_asks_for_that_of_the_scenes():
    scenes = Settlements(count=30, pixels=48).test.scenes(torch.tensor([0, 1]))
    drawn = scenes.render()
    for reference in ("black", "grey", "mean", "border"):
        mine = Referred(Gradient(), reference)
        assert mine.with_scenes(drawn, scenes) is mine
    with pytest.raises(InputError, match="got a background that is no single level"):
        Referred(Gradient(), "background").with_scenes(drawn, scenes)
