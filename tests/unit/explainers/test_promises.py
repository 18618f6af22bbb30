"""Every method that promises a sum keeps its books, and a broken promise is said."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from xai_exp.explainers.activation.full_grad import FullGrad
from xai_exp.explainers.deeplift import DeepLIFT, DeepLIFTSHAP
from xai_exp.explainers.gradients import (
    BlurIG,
    ExpectedGradients,
    Gradient,
    GuidedIG,
    IntegratedGradients,
)
from xai_exp.explainers.lrp.deep_taylor import DeepTaylor
from xai_exp.explainers.lrp.excitation import ExcitationBackprop
from xai_exp.explainers.lrp.lrp import LRP
from xai_exp.explainers.lrp.pattern import PatternNet
from xai_exp.explainers.perturbation.lime import LIME
from xai_exp.explainers.perturbation.partition import PartitionSHAP
from xai_exp.explainers.perturbation.shapley import KernelSHAP, ShapleySampling
from xai_exp.explainers.perturbation.windows import Occlusion
from xai_exp.explainers.promises import BOUNDS, Promises, broken, evenness, gap, guards
from xai_exp.removal.imputers import Constant
from xai_exp.types import Diagnoses

GREY = Constant(value=0.5)
TARGETS = torch.tensor([0, 2, 1])
SUMS = [
    IntegratedGradients(method="midpoint", steps=400),
    IntegratedGradients(baseline=(0.0, "border"), steps=400, method="midpoint"),
    BlurIG(steps=400),
    DeepLIFT(),
    DeepLIFT(rule="reveal_cancel", baseline="border"),
    DeepLIFTSHAP(references=3),
    FullGrad(),
    ShapleySampling(imputer=GREY, segments=9),
    KernelSHAP(imputer=GREY, segments=9),
    KernelSHAP(imputer=GREY, segments=9, output="probability"),
    PartitionSHAP(imputer=GREY, evaluations=20),
]
NO_SUM = [
    Gradient(),
    FullGrad(postprocess="paper"),
    KernelSHAP(imputer=GREY, segments=9, shared=False),
    LIME(imputer=GREY, segments=9),
    Occlusion(imputer=GREY, size=3, stride=3),
]


def bound(explainer, network, images):
    return explainer.fit(network, images.flip(3)) if hasattr(explainer, "fit") else explainer


@pytest.mark.parametrize("explainer", SUMS, ids=lambda one: type(one).__name__)
def test_a_promised_sum_is_kept_and_a_spoilt_heatmap_is_found(network, images, explainer):
    explain = bound(explainer, network, images)
    assert isinstance(explain, Promises)
    assert isinstance(explain, Diagnoses)
    heatmaps = explain(network, images, TARGETS)
    found = explain.gaps(network, images, TARGETS, heatmaps)["completeness_gap"]
    assert found.shape == (3,)
    assert found.max() < 0.01
    torch.testing.assert_close(
        explain.diagnostics(network, images, TARGETS)["completeness_gap"], found
    )
    promised = explain.promised(network, images, TARGETS)
    spoilt = heatmaps.clone()
    spoilt[1, 0, 0] += 0.5 * promised[1]
    worse = explain.gaps(network, images, TARGETS, spoilt)["completeness_gap"]
    torch.testing.assert_close(worse[1], torch.tensor(0.5).to(worse), atol=0.02, rtol=0)
    assert len(broken({"completeness_gap": worse})) == 1
    assert "on 1 of 3 images" in broken({"completeness_gap": worse})[0]


@pytest.mark.parametrize("explainer", NO_SUM, ids=lambda one: type(one).__name__)
def test_who_promises_no_sum_says_nothing(network, images, explainer):
    heatmaps = explainer(network, images, TARGETS)
    assert guards(explainer, network, images, TARGETS, heatmaps) == {}
    if isinstance(explainer, Promises):
        assert explainer.diagnostics(network, images, TARGETS) == {}


def test_a_sum_over_draws_has_a_guard_of_its_own(network, images):
    explain = bound(ExpectedGradients(samples=500, sigma=0.1), network, images)
    found = explain.diagnostics(network, images, TARGETS)
    assert set(found) == {"sampling_gap"}
    assert found["sampling_gap"].max() < 0.1


def test_a_crude_way_is_seen_in_the_books(network, images):
    network.append(nn.Sigmoid())
    few = IntegratedGradients(steps=1, method="left")
    many = IntegratedGradients(steps=64)
    gaps = [one.diagnostics(network, images, TARGETS)["completeness_gap"] for one in (few, many)]
    assert gaps[0].min() > 0.1
    assert gaps[1].max() < 0.03


def test_guided_ig_says_what_is_missing(network, images):
    found = GuidedIG(steps=4, anchors=1).diagnostics(network, images, TARGETS)
    assert found["completeness_gap"].min() > 0


@pytest.mark.parametrize(
    ("explainer", "kept"),
    [
        (LRP(rule="flat"), True),
        (LRP(rule="w_square"), True),
        (LRP(rule="z", bias="ignore"), True),
        (LRP(rule="z_plus"), True),
        (DeepTaylor(), True),
        (LRP(), False),
        (LRP(rule="z"), False),
        (DeepTaylor(bias="paper"), False),
    ],
)
def test_relevance_without_biases_promises_its_sum(network, images, explainer, kept):
    network[0].bias.data.abs_()
    found = explainer.diagnostics(network, images, TARGETS)
    assert ("completeness_gap" in found) == kept
    if kept:
        assert found["completeness_gap"].max() < 1e-6
        assert broken(found) == []


def test_excitation_shares_out_a_probability(network, images):
    found = ExcitationBackprop().diagnostics(network, images, TARGETS)
    assert found["completeness_gap"].max() < 1e-6


@pytest.mark.parametrize("bend", [nn.SiLU(), nn.GELU(), nn.Tanh(), nn.Identity(), nn.ReLU()])
def test_excitation_says_what_share_of_activations_is_no_excitation(images, bend):
    """Zhang et al. 2016 take activations that are not negative; pixels may be, as there."""
    torch.manual_seed(2)
    layers = nn.Conv2d(images.shape[1], 4, 3, bias=False), nn.Conv2d(4, 3, 3, bias=False)
    chain = nn.Sequential(layers[0], bend, layers[1], nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    network = nn.Sequential(chain, nn.Flatten()).to(images)
    found = ExcitationBackprop().diagnostics(network, images - 0.5, TARGETS)
    inputs = bend(layers[0](images - 0.5)).flatten(1)
    expected = inputs.clamp(max=0).abs().sum(1) / inputs.abs().sum(1)
    torch.testing.assert_close(found["negative_activations"], expected.detach())
    said = any("negative activations" in line for line in broken(found))
    assert said == (not isinstance(bend, nn.ReLU))


def test_lost_relevance_is_marked(network, images):
    """Units that only their biases move have nothing to give relevance to."""
    network[0].bias.data.fill_(0.1)
    found = LRP(rule="z_plus").diagnostics(network, 0 * images, TARGETS)
    assert torch.equal(found["completeness_gap"], torch.ones(3).double())
    assert broken(found)[0] == "sum off by up to 100 % (bound 1 %) on 3 of 3 images"


@pytest.mark.parametrize("size", [0.0, 1.0, 300.0])
def test_what_relevance_loses_is_the_share_of_biases_and_nearly_all_of_it_is_marked(size):
    """By the z rule without epsilon each layer keeps its biases' share, and nothing else."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(64, 3)
    network = nn.Sequential(*layers[:2], nn.Hardswish(), nn.Flatten(), layers[2]).double().eval()
    for layer in layers:
        layer.bias.data = torch.full_like(layer.bias, size)
    layers[1].running_mean.zero_()
    images = torch.rand(3, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = LRP(rule="z").diagnostics(network, images, TARGETS)
    if not size:
        assert found["conservation_error"].max() < 1e-6
    said = [line for line in broken(found) if "relevance lost" in line]
    assert bool(said) == bool((found["conservation_error"] > 0.99).any()) == (size == 300)


def test_values_that_are_no_numbers_broke_their_promise():
    lines = broken({"completeness_gap": torch.tensor([0.0, torch.nan, torch.inf])})
    assert lines == ["sum off by more than numbers can say (bound 1 %) on 2 of 3 images"]


def test_conservation_is_said_once():
    values = torch.tensor([1045.0, 0.0])
    assert len(broken({"conservation_error": values})) == 1
    assert len(broken({"conservation_error": values, "completeness_gap": values})) == 1
    assert broken({"conservation_error": values / 2000, "distance": values}) == []


def test_a_gap_is_a_share_of_what_was_promised_unless_that_cancels():
    maps = torch.tensor([[[3.0, 1.0]], [[1e4, -1e4]], [[0.0, 0.0]], [[0.0, 0.0]]])
    found = gap(maps, torch.tensor([5.0, 0.0, 0.0, 2.0]))
    torch.testing.assert_close(found, torch.tensor([0.2, 0.0, 0.0, 1.0]))


def test_evenness_sees_a_method_that_looks_at_its_neighbours(network, images):
    images = images.float()
    network = network.float()

    def uneven(model, images, targets):  # noqa: ARG001
        return images.sum(1) * (1.0 if len(images) == 1 else 1.25)

    def even(model, images, targets):  # noqa: ARG001
        return images.sum(1)

    found = evenness(uneven, network, images, TARGETS)
    torch.testing.assert_close(found["evenness/alone"], torch.tensor([0.2]))
    assert "alone and in a batch 20 % apart (bound 0.1 %) on the first image" in broken(found)
    assert broken(evenness(even, network, images, TARGETS)) == []
    assert set(evenness(even, network, images[:1], TARGETS[:1])) == {
        "evenness/alone",
        "evenness/float64",
    }


class Residual(nn.Module):
    """Blocks whose branches nearly cancel, so that flat relevance depends on rounding."""

    def __init__(self, depth):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(depth))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(depth))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.stem(x).relu()
        for block, norm in zip(self.blocks, self.norms, strict=True):
            x = (x + norm(block(x))).relu()
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


@pytest.fixture
def residual():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = Residual(8)
        made.train()(torch.rand(32, 3, 16, 16))
        return made.eval()


@pytest.mark.parametrize(
    "explainer",
    [LRP(rule="flat"), LRP(rule="w_square"), LRP(rule="epsilon"), LRP(rule="z", bias="ignore")],
    ids=lambda one: one.rule,
)
def test_relevance_of_residual_networks_can_be_made_again(residual, explainer):
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    targets = torch.tensor([0, 1, 2, 0])
    together = explainer(residual, images, targets)
    assert together.dtype == torch.float32
    for i in range(4):
        alone = explainer(residual, images[i : i + 1], targets[i : i + 1])[0]
        assert (alone - together[i]).abs().max() <= 1e-6 * together[i].abs().max()
    exact = explainer(residual.double(), images.double(), targets)
    assert (exact - together).abs().max() <= 1e-6 * exact.abs().max()


def test_patterns_of_residual_networks_can_be_made_again(residual):
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    targets = residual(images).argmax(1)
    explain = PatternNet().fit(residual, images)
    found = explain.diagnostics(residual, images, targets)
    assert found["growth"].shape == (8,)
    assert found["evenness/alone"].item() <= 1e-6
    assert found["evenness/float64"].item() <= 1e-5


def test_every_bound_has_words_for_one_value():
    assert all(one.words.count("{}") == 1 for one in BOUNDS.values())


class Faint(nn.Module):
    """A large logit that hardly depends on the image."""

    def forward(self, images):
        faint = 1e-9 * images.sum((1, 2, 3))
        return torch.stack([1 + faint, 1 - faint], 1)


def test_a_difference_below_rounding_is_no_broken_promise():
    images, targets = torch.rand(2, 1, 4, 4), torch.tensor([0, 1])
    exact = IntegratedGradients(steps=2)
    wanted = exact.promised(Faint(), images, targets)
    heatmaps = exact(Faint(), images, targets)
    assert (gap(heatmaps, wanted) > 0.1).all(), "in float32 the difference is all rounding"
    assert broken(exact.gaps(Faint(), images, targets, heatmaps)) == []
    found = exact.gaps(Faint(), images, targets, 1.5 * heatmaps)["completeness_gap"]
    torch.testing.assert_close(found, torch.full((2,), 0.5), rtol=1e-4, atol=0)
