"""Input invariance and non-sensitivity: closed forms, the border, the ways that they go wrong."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from xai_exp.explainers.controls import ExactMask, Sobel
from xai_exp.explainers.gradients.gradients import Gradient, InputXGradient
from xai_exp.explainers.lrp.lrp import LRP
from xai_exp.metrics.axioms import NonSensitivity
from xai_exp.metrics.robustness.invariance import InputInvariance, compensated
from xai_exp.removal.imputers import Constant, Noise


def network(padding_mode="zeros", padding=1, bias=True):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=padding, padding_mode=padding_mode, bias=bias),
            nn.ReLU(),
            nn.Conv2d(3, 3, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(48, 3),
        ).double()


def own_case(make_case, explain, model=None):
    case = make_case(dtype=torch.float64, size=(8, 8))
    model = model or network()
    heatmaps = explain(model, case.images, case.targets)
    return replace(case, model=model, explain=explain, heatmaps=heatmaps)


@pytest.mark.parametrize(
    "model",
    [
        network(),
        network("circular"),
        network("replicate"),
        network(padding=(0, 2), bias=False),
        network(padding="same"),
        nn.Sequential(nn.Flatten(), nn.Linear(128, 3)).double(),
        nn.Sequential(nn.Sequential(nn.Conv2d(2, 3, 8)), nn.Flatten()).double(),
    ],
)
def test_the_compensated_copy_undoes_the_shift_at_the_border_too(model):
    images = torch.rand(3, 2, 8, 8, dtype=torch.float64)
    before = copy.deepcopy(model.state_dict())
    shifted = compensated(model, images[:1], 0.7)(images + 0.7)
    assert torch.allclose(shifted, model(images), atol=1e-12)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


class Flat(nn.Linear):
    """A network that is its own first layer."""

    def forward(self, images):
        return super().forward(images.flatten(1))


def test_a_network_that_is_one_layer_is_compensated():
    layer, images = Flat(128, 3).double(), torch.rand(4, 2, 8, 8, dtype=torch.float64)
    shifted = compensated(layer, images[:1], -1.0)(images - 1)
    assert torch.allclose(shifted, layer(images), atol=1e-12)


def test_the_gradient_is_invariant_and_input_x_gradient_is_not(make_case):
    assert InputInvariance()(own_case(make_case, Gradient())).max() < 1e-12
    case = own_case(make_case, InputXGradient())
    gradient = Gradient()(case.model, case.images, case.targets)
    expected = (-0.5 * gradient).flatten(1).norm(dim=1) / case.heatmaps.flatten(1).norm(dim=1)
    assert torch.allclose(InputInvariance(shift=-0.5)(case), expected, atol=1e-12)


def test_relevance_propagation_reaches_through_the_padded_copy(make_case):
    scores = InputInvariance()(own_case(make_case, LRP(rule="epsilon")))
    assert scores.isfinite().all()
    assert (scores > 0.01).all()


@pytest.mark.parametrize("shift", [-1.0, 0.5])
def test_input_invariance_equals_its_definition_on_a_copy_written_out(make_case, shift):
    """The first layer by hand: padded with the shift, and b - c * W for its bias."""
    case = own_case(make_case, InputXGradient())
    first, *rest = case.model

    class Shifted(nn.Module):
        def forward(self, images):
            padded = functional.pad(images, (1, 1, 1, 1), value=shift)
            bias = first.bias - shift * first.weight.sum((1, 2, 3))
            return functional.conv2d(padded, first.weight, bias)

    network = nn.Sequential(Shifted(), *rest)
    heatmaps = InputXGradient()(network, case.images + shift, case.targets)
    for row, score in enumerate(InputInvariance(shift=shift)(case).tolist()):
        pairs = list(zip(heatmaps[row].flatten(), case.heatmaps[row].flatten(), strict=True))
        moved = sum(float(a - b) ** 2 for a, b in pairs) / sum(float(b) ** 2 for _, b in pairs)
        assert score == pytest.approx(moved**0.5)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_the_scale_of_a_heatmap_does_not_leave_it_without_a_score(make_case, factor):
    """In float32 the squares of such numbers are 0 or infinite."""

    def scaled(model, images, targets):
        return factor * InputXGradient()(model, images, targets)

    def score(explain):
        case = replace(make_case(size=(8, 8)), model=network().float(), explain=explain)
        heatmaps = explain(case.model, case.images, case.targets)
        return InputInvariance()(replace(case, heatmaps=heatmaps))

    plain = score(InputXGradient())
    assert plain.isfinite().sum() >= 5
    torch.testing.assert_close(score(scaled), plain, rtol=1e-4, atol=0, equal_nan=True)


def test_small_heatmaps_do_not_pass_for_invariant_ones(make_case):
    """Quantus compares within 1e-4, which any heatmap of small numbers is."""
    small = own_case(make_case, lambda *given: 1e-6 * InputXGradient()(*given))
    large = own_case(make_case, InputXGradient())
    assert torch.allclose(InputInvariance()(small), InputInvariance()(large))
    assert (InputInvariance()(small) > 0.1).all()


class Twice(nn.Module):
    """The image has two ways in."""

    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, images):
        return self.inner(images) + images.mean((1, 2, 3))[:, None]


def test_where_the_first_layer_cannot_undo_the_shift_there_is_no_score(make_case):
    normed = nn.Sequential(nn.BatchNorm2d(2), network()).double().eval()
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    for model in (Twice(), normed, pooled):
        assert InputInvariance()(own_case(make_case, Sobel(), model)).isnan().all()


def test_an_explainer_that_knows_its_images_only_has_no_invariance(make_case):
    parts = torch.rand(6, 1, 8, 8, dtype=torch.float64)
    case = own_case(make_case, Sobel())
    bound = ExactMask().with_parts(case.images, parts)
    assert InputInvariance()(replace(case, explain=bound)).isnan().all()


def half_blind(make_case, heatmaps):
    """A linear model that sees the left half of the image only."""
    weights = torch.ones(2, 2, 6, 8, dtype=torch.float64)
    weights[..., 4:] = 0
    layer = nn.Linear(96, 2, bias=False).double()
    layer.weight.data = weights.flatten(1)
    case = make_case(dtype=torch.float64, size=(6, 8))
    model = nn.Sequential(nn.Flatten(), layer)
    return replace(case, model=model, targets=case.targets % 2, heatmaps=heatmaps)


def left(value):
    heatmaps = torch.zeros(6, 6, 8, dtype=torch.float64)
    heatmaps[..., :4] = value
    return heatmaps


@pytest.mark.parametrize("imputer", [Constant(value=0.0), Noise()])
def test_a_heatmap_of_what_the_network_uses_has_no_disagreement(make_case, imputer):
    metric = NonSensitivity(imputer=imputer, region=2)
    zero = torch.zeros(6, dtype=torch.float64)
    assert torch.equal(metric(half_blind(make_case, left(1.0))), zero)
    assert torch.equal(metric(half_blind(make_case, left(-1.0))), zero), "sign is no insensitivity"
    assert torch.equal(metric(half_blind(make_case, 1e-9 * left(1.0))), zero), "nor is a factor"
    rounding = left(1.0) + 1e-9
    assert torch.equal(metric(half_blind(make_case, rounding)), zero), "nor is rounding relevance"
    inverted = 1 - left(1.0)
    assert torch.equal(metric(half_blind(make_case, inverted)), zero + 1)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_non_sensitivity_equals_its_definition_one_region_at_a_time(make_case, size):
    source = torch.Generator().manual_seed(5)
    heatmaps = torch.randn(6, 6, 8, generator=source, dtype=torch.float64)
    heatmaps[heatmaps.abs() < 1.2] = 0
    case = half_blind(make_case, heatmaps)
    scores = NonSensitivity(imputer=Constant(value=0.0), region=size)(case)
    for row in range(6):
        differ, count = 0, 0
        for top in range(0, 6, size):
            for side in range(0, 8, size):
                place = (slice(top, top + size), slice(side, side + size))
                image = case.images[row : row + 1].clone()
                image[(..., *place)] = 0
                change = (case.model(image) - case.model(case.images[row : row + 1])).abs().max()
                differ += (change > 1e-9) != bool((heatmaps[row][place] != 0).any())
                count += 1
        assert scores[row].item() == pytest.approx(differ / count)


def test_more_wrong_relevance_is_worse_step_by_step(make_case):
    metric = NonSensitivity(imputer=Constant(value=0.0), region=1)
    means = []
    for columns in range(4, 9):
        heatmaps = torch.zeros(6, 6, 8, dtype=torch.float64)
        heatmaps[..., :columns] = 1
        means.append(metric(half_blind(make_case, heatmaps)).mean().item())
    assert means == pytest.approx([0, 1 / 8, 2 / 8, 3 / 8, 4 / 8])


def test_default_regions_are_those_of_region_perturbation(make_case):
    assert NonSensitivity(imputer=Noise())(make_case(size=(20, 16))).isfinite().all()
    case = make_case()
    case.heatmaps[2, 0, 0] = torch.nan
    scores = NonSensitivity(imputer=Noise(), repeats=2)(case)
    assert scores.isnan().nonzero().flatten().tolist() == [2]
