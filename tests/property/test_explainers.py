"""Laws that every explainer keeps on drawn networks, images and targets."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from xai_exp.explainers.activation.full_grad import FullGrad
from xai_exp.explainers.activation.maps import (
    EigenCAM,
    GradCAM,
    GradCAMPlusPlus,
    GuidedGradCAM,
    LayerCAM,
    ScoreCAM,
)
from xai_exp.explainers.controls import ExactMask, Laplacian, Random, Sobel
from xai_exp.explainers.deeplift.deeplift import DeepLIFT
from xai_exp.explainers.deeplift.shap import DeepLIFTSHAP
from xai_exp.explainers.gradients.expected import ExpectedGradients
from xai_exp.explainers.gradients.gradients import Gradient, InputXGradient, IntegratedGradients
from xai_exp.explainers.gradients.paths import BlurIG, GuidedIG
from xai_exp.explainers.lrp.attention import AttnLRP
from xai_exp.explainers.lrp.deep_taylor import DeepTaylor
from xai_exp.explainers.lrp.excitation import ExcitationBackprop
from xai_exp.explainers.lrp.lrp import LRP
from xai_exp.explainers.lrp.pattern import PatternAttribution, PatternNet
from xai_exp.explainers.modified import (
    BetaSmooth,
    DeconvNet,
    GuidedBackprop,
    RectGrad,
)
from xai_exp.explainers.perturbation.lime import LIME
from xai_exp.explainers.perturbation.masks import ExtremalPerturbation, MeaningfulPerturbation
from xai_exp.explainers.perturbation.partition import PartitionSHAP
from xai_exp.explainers.perturbation.shapley import KernelSHAP, ShapleySampling
from xai_exp.explainers.perturbation.windows import RISE, Occlusion
from xai_exp.explainers.untrained import Untrained
from xai_exp.removal.imputers import Border, Noise

SAME = {"alpha2_beta1", "alpha1_beta0", "epsilon_alpha1_beta0"}  # as others under another name
RULES = [rule for rule in LRP.__annotations__["rule"].__args__ if rule not in SAME]
EXPLAINERS = [
    Gradient(),
    Gradient(absolute=True),
    InputXGradient(),
    IntegratedGradients(steps=5),
    IntegratedGradients(steps=40, method="right"),
    DeconvNet(),
    GuidedBackprop(),
    RectGrad(),
    BetaSmooth(),
    ExcitationBackprop(),
    DeepTaylor(),
    DeepTaylor(low=0.0, high=1.0, bias="paper"),
    AttnLRP(epsilon=0.1),
    GradCAM(),
    GradCAM(relu=False),
    GradCAMPlusPlus(),
    LayerCAM(),
    EigenCAM(),
    ScoreCAM(maps=3),
    GuidedGradCAM(),
    FullGrad(),
    FullGrad(postprocess="paper"),
    Random(),
    Sobel(),
    Laplacian(),
    Untrained(),
    *(LRP(rule=rule, epsilon=0.1) for rule in RULES),
]
EXPLAINERS += [
    Occlusion(imputer=Border(), size=3, stride=2),
    RISE(imputer=Noise(), masks=12, cells=3),
    LIME(imputer=Noise(), segments=5, samples=12),
    KernelSHAP(imputer=Border(), segments=7, samples=20),
    ShapleySampling(imputer=Border(), segments=5, permutations=3),
    PartitionSHAP(imputer=Border(), evaluations=24, smallest=1),
    MeaningfulPerturbation(imputer=Border(), cells=4, steps=4),
    ExtremalPerturbation(imputer=Border(), cells=4, areas=(0.2, 0.5), steps=3),
    BlurIG(steps=4),
    GuidedIG(steps=6, anchors=2, fraction=0.3),
    ExpectedGradients(samples=5, sigma=0.1),
    DeepLIFT(),
    DeepLIFT(rule="reveal_cancel"),
    DeepLIFTSHAP(references=3),
]
# Not z+: it loses the relevance of a unit without positive contributions, as a negative branch of a
# residual sum may be.
CONSERVING = [LRP(rule=rule) for rule in ("z", "flat", "w_square")]


class Net(nn.Module):
    """A drawn network: strides, padding, groups, pooling, norm, bias, activation, residual sum."""

    def __init__(self, draw, channels, size):
        super().__init__()
        stride, bias = draw(st.integers(1, 2)), draw(st.booleans())
        groups = draw(st.sampled_from([1, 2]))
        self.body = nn.Sequential(
            nn.Conv2d(channels, 4, 3, stride=stride, padding=draw(st.integers(0, 2)), bias=bias),
            nn.BatchNorm2d(4) if draw(st.booleans()) else nn.Identity(),
            draw(st.sampled_from([nn.ReLU(), nn.LeakyReLU(), nn.ELU(), nn.ReLU(inplace=True)])),
        )
        self.branch = nn.Conv2d(4, 4, 3, padding=1, groups=groups, bias=bias)
        self.residual = draw(st.booleans())
        self.pool = draw(st.sampled_from([nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Identity()]))
        with torch.no_grad():
            width = self.pool(self.body(torch.zeros(1, channels, *size))).flatten(1).shape[1]
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(width, 3, bias=bias))

    def forward(self, x):
        x = self.body(x)
        y = self.branch(x)
        return self.head(self.pool(torch.relu(x + y if self.residual else y)))


@st.composite
def cases(draw, dtype=torch.float64):
    channels, size = draw(st.integers(1, 3)), draw(st.sampled_from([(6, 6), (7, 5), (8, 10)]))
    seed = draw(st.integers(0, 1000))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Net(draw, channels, size).to(dtype).eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)
        images = torch.rand(draw(st.integers(2, 4)), channels, *size, dtype=dtype)
        if draw(st.booleans()):
            images[0] = 0
        targets = torch.randint(3, (len(images),))
    return network, images, targets


def bound(explain, network, images):
    """An explainer with the references that it needs."""
    return explain.fit(network, images.flip(3)) if hasattr(explain, "fit") else explain


def same(one, other, tolerance=1e-7):
    scale = max(1e-6, float(other.abs().max()))
    return bool(((one - other).abs() <= tolerance * scale).all())


@settings(max_examples=2)
@given(case=cases())
def test_a_batch_equals_its_images_one_by_one_and_a_second_call_the_first(case):
    network, images, targets = case
    before = images.clone()
    for explain in EXPLAINERS:
        explain = bound(explain, network, images)
        maps = explain(network, images, targets)
        assert maps.shape == images[:, 0].shape
        assert maps.dtype == images.dtype
        assert maps.isfinite().all()
        assert torch.equal(explain(network, images, targets), maps), explain
        alone = [
            explain(network, images[i : i + 1], targets[i : i + 1]) for i in range(len(images))
        ]
        assert same(torch.cat(alone), maps), explain
        flipped = explain(network, images.flip(0), targets.flip(0)).flip(0)
        assert same(flipped, maps), explain
        assert torch.equal(images, before), explain


@settings(max_examples=4)
@given(case=cases())
def test_memory_format_does_not_change_a_heatmap(case):
    network, images, targets = case
    explainers = [bound(explain, network, images) for explain in EXPLAINERS]
    before = [explain(network, images, targets) for explain in explainers]
    network.to(memory_format=torch.channels_last)
    moved = images.contiguous(memory_format=torch.channels_last)
    for explain, maps in zip(explainers, before, strict=True):
        assert same(explain(network, moved, targets), maps, 1e-6), explain


@given(case=cases())
def test_integrated_gradients_sum_to_the_logit_difference(case):
    network, images, targets = case
    both = (network(images) - network(torch.zeros_like(images))).gather(1, targets[:, None])[:, 0]
    found = IntegratedGradients(steps=300, method="midpoint")(network, images, targets)
    torch.testing.assert_close(found.sum((1, 2)), both.detach(), rtol=1e-3, atol=1e-3)


@given(case=cases())
def test_the_full_gradient_sums_to_the_logit(case):
    network, images, targets = case
    logits = network(images).gather(1, targets[:, None])[:, 0].detach()
    found = FullGrad()(network, images, targets).sum((1, 2))
    torch.testing.assert_close(found, logits, rtol=1e-6, atol=1e-8)


def bias_free(network):
    for module in network.modules():
        for name in ("bias", "running_mean"):
            if getattr(module, name, None) is not None:
                getattr(module, name).data.zero_()
        # Make all activations ReLUs: input x gradient is no relevance behind others with an offset.
        if isinstance(module, nn.ELU):
            module.alpha = 0.0
        if isinstance(module, nn.LeakyReLU):
            module.negative_slope = 0.0
    return network


@given(case=cases())
def test_lrp_0_is_input_x_gradient_without_biases(case):
    network, images, targets = case
    network = bias_free(network)
    expected = InputXGradient()(network, images, targets)
    assert same(LRP(rule="z")(network, images, targets), expected, 1e-5)


@settings(max_examples=15)
@given(case=cases())
def test_every_layer_passes_on_what_it_gets_without_biases(case):
    network, images, targets = case
    network = bias_free(network)
    images = images + 0.1
    for lrp in CONSERVING:
        for name, got, passed in lrp.account(network, images, targets):
            torch.testing.assert_close(passed, got, rtol=1e-4, atol=1e-6, msg=f"{lrp} {name}")


@pytest.mark.parametrize("explain", EXPLAINERS, ids=str)
def test_float32_is_near_float64(explain):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            *(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(200, 3)),
        ).eval()
        images, targets = torch.rand(40, 1, 16, 16), torch.randint(3, (40,))
    explain = bound(explain, network, images)
    single = explain(network, images, targets)
    assert single.dtype == torch.float32
    double = explain(network.double(), images.double(), targets)
    # Rules of LRP divide by sums that can nearly cancel.
    tolerance = {LRP: 1e-3, AttnLRP: 1e-4}.get(type(explain), 1e-5)
    near = [same(one, other, tolerance) for one, other in zip(single.double(), double, strict=True)]
    # Of 1600 points on the ways of integrated gradients one lies at a kink, where rounding decides.
    assert near.count(False) <= isinstance(explain, IntegratedGradients)


@settings(max_examples=6)
@given(case=cases())
def test_patterns_keep_the_laws_too(case):
    network, images, targets = case
    for kind in (PatternNet, PatternAttribution):
        for pattern in ("relu", "linear"):
            bound = kind(kind=pattern).fit(network, images)
            maps = bound(network, images, targets)
            assert maps.isfinite().all()
            assert torch.equal(bound(network, images, targets), maps)
            given_alone = zip(images.split(1), targets.split(1), strict=True)
            alone = [bound(network, *one) for one in given_alone]
            assert same(torch.cat(alone), maps)
            again = kind(kind=pattern).fit(network, images.flip(0))
            assert same(again(network, images, targets), maps, 1e-5)


def test_masks_keep_the_laws_too(make_case):
    case = make_case()
    parts = torch.rand(6, 2, 12, 12)
    bound = ExactMask().with_parts(case.images, parts)
    maps = bound(case.model, case.images, case.targets)
    alone = [bound(case.model, case.images[i : i + 1], case.targets[i : i + 1]) for i in range(6)]
    assert torch.equal(torch.cat(alone), maps)
