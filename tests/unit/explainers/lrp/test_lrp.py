"""LRP on whole networks: zennit as the oracle, the papers' laws, residual nets, batch norm."""

import copy
import itertools

import pytest
import torch
import torchvision
from torch import nn
from zennit import composites, rules
from zennit import torchvision as zennit_torchvision
from zennit.attribution import Gradient as ZennitGradient
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import LayerMapComposite
from zennit.layer import Sum
from zennit.types import Linear

from xai_exp.compute.layers import Add
from xai_exp.config import InputError
from xai_exp.explainers.gradients.gradients import Gradient, InputXGradient
from xai_exp.explainers.lrp.composed import ComposedLRP
from xai_exp.explainers.lrp.deep_taylor import DeepTaylor
from xai_exp.explainers.lrp.excitation import ExcitationBackprop
from xai_exp.explainers.lrp.lrp import LRP
from xai_exp.explainers.modified import BetaSmooth, DeconvNet, GuidedBackprop
from xai_exp.models.cnn import CNN
from xai_exp.models.resnet import ResNet18

TINY = 1e-9


def seeded(make, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return lively(make()).double().eval()


def lively(network):
    """Values of about one in every layer, so that stabilisers and biases have their true weight."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.uniform_(module.bias, -0.3, 0.3)
        if isinstance(module, nn.BatchNorm2d):
            # Zennit's canoniser leaves a batch norm that still divides by sqrt(1 + eps).
            module.eps = 1e-12
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return network


def plain():
    return nn.Sequential(
        *(nn.Conv2d(2, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, groups=2, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(8, 8, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)),
    )


@pytest.fixture(scope="module")
def images():
    source = torch.Generator().manual_seed(2)
    return torch.rand(3, 2, 12, 12, dtype=torch.float64, generator=source)


TARGETS = torch.tensor([0, 3, 1])


def of_zennit(network, composite, images, targets):
    with ZennitGradient(network, composite) as attributor:
        _, relevance = attributor(
            images.clone(),
            lambda out: torch.zeros_like(out).scatter_(
                1, targets[:, None], out.detach().gather(1, targets[:, None])
            ),
        )
    return relevance.sum(1)


def close(one, other, tolerance=1e-6):
    scale = other.abs().max()
    assert scale > 1e-3
    assert (one - other).abs().max() / scale < tolerance


def everywhere(rule):
    return lambda canonizers: LayerMapComposite(
        [*composites.layer_map_base(TINY), (Linear, rule)], canonizers=canonizers
    )


UNIFORM = {
    "epsilon": (LRP(rule="epsilon", epsilon=0.2), everywhere(rules.Epsilon(0.2))),
    "gamma": (LRP(rule="gamma", gamma=0.4), everywhere(rules.Gamma(0.4, stabilizer=TINY))),
    "alpha_beta": (
        LRP(rule="alpha_beta", alpha=3.0, beta=2.0),
        everywhere(rules.AlphaBeta(3.0, 2.0, stabilizer=TINY)),
    ),
    "z_plus": (
        LRP(rule="z_plus"),
        everywhere(rules.ZPlus(stabilizer=TINY, zero_params="bias")),
    ),
    "flat": (LRP(rule="flat"), everywhere(rules.Flat(stabilizer=TINY))),
    "w_square": (
        LRP(rule="w_square"),
        everywhere(rules.WSquare(stabilizer=TINY, zero_params="bias")),
    ),
}
COMPOSITES = {
    "epsilon_plus": composites.EpsilonPlus,
    "epsilon_plus_flat": composites.EpsilonPlusFlat,
    "epsilon_alpha2_beta1": composites.EpsilonAlpha2Beta1,
    "epsilon_alpha2_beta1_flat": composites.EpsilonAlpha2Beta1Flat,
    "epsilon_gamma_box": lambda **given: composites.EpsilonGammaBox(low=0.0, high=1.0, **given),
}


@pytest.mark.parametrize("name", UNIFORM)
def test_a_uniform_rule_equals_zennits(images, name):
    ours, theirs = UNIFORM[name]
    network = seeded(plain)
    expected = of_zennit(network, theirs([SequentialMergeBatchNorm()]), images, TARGETS)
    close(ours(network, images, TARGETS), expected)


@pytest.mark.parametrize("name", COMPOSITES)
def test_a_composite_equals_zennits(images, name):
    network = seeded(plain)
    composite = COMPOSITES[name](stabilizer=TINY, canonizers=[SequentialMergeBatchNorm()])
    expected = of_zennit(network, composite, images, TARGETS)
    close(LRP(rule=name)(network, images, TARGETS), expected)


FROM_ONE = {
    "excitation_backprop": (
        ExcitationBackprop(),
        lambda given: composites.ExcitationBackprop(
            stabilizer=TINY, zero_params="bias", canonizers=given
        ),
    ),
    "beta_smooth": (
        BetaSmooth(beta=3.0),
        lambda given: composites.BetaSmooth(beta_smooth=3.0, canonizers=given),
    ),
    "deconvnet": (DeconvNet(), lambda given: composites.DeconvNet(canonizers=given)),
    "guided_backprop": (
        GuidedBackprop(),
        lambda given: composites.GuidedBackprop(canonizers=given),
    ),
}


@pytest.mark.parametrize("name", FROM_ONE)
def test_a_composite_that_starts_from_one_equals_zennits(images, name):
    ours, theirs = FROM_ONE[name]
    network = seeded(plain)
    composite = theirs([SequentialMergeBatchNorm()])
    with ZennitGradient(network, composite) as attributor:
        _, expected = attributor(images.clone(), torch.eye(4, dtype=images.dtype)[TARGETS])
    close(ours(network, images, TARGETS), expected.sum(1))


def test_excitation_probabilities_add_up_to_one_and_very_sharp_slopes_are_relus(images):
    network = seeded(plain)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.uniform_(module.weight, 0.0, 1.0)  # no unit without excitation
    found = ExcitationBackprop()(network, images, TARGETS).sum((1, 2))
    torch.testing.assert_close(found, torch.ones_like(found), rtol=1e-5, atol=1e-5)
    sharp = BetaSmooth(beta=1e9)(network, images, TARGETS)
    close(sharp, Gradient()(network, images, TARGETS))


def test_alpha_beta_by_name_is_alpha_beta_by_number(images):
    network = seeded(plain)
    for bias in ("paper", "both", "ignore"):
        for name, alpha in (("alpha2_beta1", 2.0), ("alpha1_beta0", 1.0)):
            numbered = LRP(rule="alpha_beta", alpha=alpha, beta=alpha - 1, bias=bias)
            named = LRP(rule=name, bias=bias)
            assert torch.equal(named(network, images, TARGETS), numbered(network, images, TARGETS))


def test_the_first_rule_holds_until_the_layer_that_is_said(images):
    """Up to the last layer it is the uniform rule, whatever the composite."""
    network = seeded(plain)
    flat = LRP(rule="flat")(network, images, TARGETS)
    for rule in ("epsilon_plus_flat", "sequential_preset_b_flat"):
        assert torch.equal(LRP(rule=rule, until=4)(network, images, TARGETS), flat)
        parts = [LRP(rule=rule, until=until)(network, images, TARGETS) for until in range(5)]
        for one, other in itertools.pairwise(parts):
            assert (one - other).abs().max() > 1e-2 * one.abs().max()


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("epsilon_plus", {}),
        ("epsilon_plus_flat", {"first": "flat", "until": 1}),
        ("epsilon_gamma_box", {"convolution": "gamma", "first": "z_box", "until": 0}),
        ("epsilon_alpha2_beta1", {"convolution": "alpha2_beta1"}),
        ("z_box", {"convolution": "z_plus", "linear": "z_plus", "first": "z_box", "until": 2}),
        ("gamma", {"convolution": "gamma", "linear": "gamma"}),
    ],
)
def test_the_composites_of_papers_are_points_in_the_space_of_compositions(images, name, places):
    numbers = {"epsilon": 0.2, "gamma": 0.4, "until": places.get("until", 0)}
    named = LRP(rule=name, **numbers)(seeded(plain), images, TARGETS)
    own = ComposedLRP(**{**numbers, **places})(seeded(plain), images, TARGETS)
    assert torch.equal(own, named)


def test_deep_taylor_conserves_a_positive_logit_and_is_silent_about_others(images):
    network = seeded(plain)
    chosen = network(images).gather(1, TARGETS[:, None])[:, 0].detach()
    assert chosen.min() < 0 < chosen.max()
    for explain in (DeepTaylor(), DeepTaylor(low=-0.1, high=1.1)):
        found = explain(network, images, TARGETS)
        torch.testing.assert_close(found.sum((1, 2)), chosen.clamp(min=0), rtol=1e-4, atol=1e-6)
        assert not found[chosen <= 0].any()


def test_deep_taylor_needs_both_bounds_or_none():
    with pytest.raises(InputError, match=r"got low 0\.0 and high None; allowed: both or neither"):
        DeepTaylor(low=0.0)
    with pytest.raises(InputError, match="got 2; allowed: below high = 1"):
        DeepTaylor(low=2.0, high=1.0)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("epsilon_plus", torchvision.models.resnet18),
        ("epsilon_gamma_box", torchvision.models.resnet18),
        ("epsilon_alpha2_beta1", torchvision.models.resnet18),
        ("epsilon_plus_flat", torchvision.models.resnet18),
        ("epsilon_alpha2_beta1_flat", torchvision.models.resnet18),
        ("epsilon_plus", torchvision.models.resnet50),
    ],
)
def test_residual_nets_of_torchvision_equal_zennits(name, make):
    network = seeded(lambda: make(num_classes=4))
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator())
    canonizers = [zennit_torchvision.ResNetCanonizer()]
    composite = COMPOSITES[name](stabilizer=TINY, canonizers=canonizers)
    expected = of_zennit(network, composite, images, TARGETS[:2])
    close(LRP(rule=name)(network, images, TARGETS[:2]), expected, 1e-5)


def test_our_resnet_equals_zennits_rule_for_sums(images):
    """Its sums are modules of their own, for which zennit's rule is the proportional one."""
    network = seeded(lambda: ResNet18(width=4).build(2, (12, 12), 4))
    ours = LRP(rule="epsilon_plus")(network, images, TARGETS)

    for module in network.modules():
        if isinstance(getattr(module, "add", None), Add):
            module.add = nn.Module()
            module.add.inner = Sum()
            module.add.forward = lambda a, b, inner=module.add.inner: inner(torch.stack([a, b], -1))
    composite = composites.EpsilonPlus(stabilizer=TINY, canonizers=[SequentialMergeBatchNorm()])
    close(ours, of_zennit(network, composite, images, TARGETS))


@pytest.mark.parametrize("pooling", ["max", "avg", "stride"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_lrp_0_is_input_x_gradient_without_biases(images, pooling, activation):
    network = seeded(
        lambda: CNN(pooling=pooling, activation=activation, norm="none", head="gap").build(
            2, (12, 12), 4
        )
    )
    for module in network.modules():
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)
    ours = LRP(rule="z")(network, images, TARGETS)
    close(ours, InputXGradient()(network, images, TARGETS), 1e-6)


def test_lrp_0_is_input_x_gradient_in_a_residual_net_without_biases(images):
    network = seeded(lambda: ResNet18(width=4).build(2, (12, 12), 4))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.zero_()
            nn.init.zeros_(module.bias)
    ours = LRP(rule="z")(network, images, TARGETS)
    close(ours, InputXGradient()(network, images, TARGETS), 1e-4)


def residual(kind):
    """A residual network without biases, and the layers that lead straight to a sum."""
    make = {
        "ours": lambda: ResNet18(width=4).build(3, (32, 32), 4),
        "torchvision": lambda: torchvision.models.resnet18(weights=None, num_classes=4),
    }[kind]
    network = seeded(make).requires_grad_(False)
    for module in network.modules():
        for name in ("bias", "running_mean"):
            if getattr(module, name, None) is not None:
                getattr(module, name).zero_()
    return network, ("body.3", "shortcut.0", "conv2", "downsample.0")


@pytest.mark.parametrize("kind", ["ours", "torchvision"])
def test_residual_nets_conserve_where_rules_count_both_signs_and_else_lose_before_sums(kind):
    network, before_sums = residual(kind)
    source = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64, generator=source)
    targets = TARGETS[:2]
    logits = network(images)[range(2), targets]
    for rule in ("epsilon", "epsilon_gamma_box"):
        lrp = LRP(rule=rule, epsilon=1e-12)
        torch.testing.assert_close(lrp(network, images, targets).sum((1, 2)), logits)
        for name, got, passed in lrp.account(network, images, targets):
            torch.testing.assert_close(passed, got, rtol=1e-5, atol=1e-9, msg=f"{rule} {name}")
    account = LRP(rule="epsilon_plus", epsilon=1e-12).account(network, images, targets)
    lossy = {name for name, *both in account if not torch.allclose(*both, rtol=1e-5)}
    assert {name for name in lossy if not name.endswith(before_sums)} == set()
    assert lossy or kind == "torchvision"


@pytest.mark.parametrize("rule", ["z", "z_plus", "flat", "w_square", "gamma", "epsilon_plus"])
def test_relevance_is_conserved_from_layer_to_layer_without_biases(images, rule):
    network = seeded(plain).requires_grad_(False)
    # Flat rules also give relevance to inputs that are all zero, which an average can't pass on.
    network[5] = nn.MaxPool2d(2)
    for module in network:
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            module.bias.zero_()
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.zero_()
            module.bias.zero_()
    chosen = network(images).gather(1, TARGETS[:, None])[:, 0]
    rows = LRP(rule=rule, epsilon=1e-12).account(network, images, TARGETS)
    assert [name for name, _, _ in rows] == ["13", "11", "6", "3", "0"]
    for _, got, passed in rows:
        torch.testing.assert_close(got, chosen, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(passed, chosen, rtol=1e-4, atol=1e-7)


def test_batch_norm_folded_by_hand_gives_the_same_heatmap(images):
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    network = seeded(plain)
    folded = nn.Sequential(
        fuse_conv_bn_eval(network[0], network[1]),
        *network[2:6],
        fuse_conv_bn_eval(network[6], network[7]),
        *network[8:],
    )
    for rule in ("epsilon_plus", "epsilon_gamma_box", "flat", "alpha_beta"):
        explain = LRP(rule=rule)
        close(explain(network, images, TARGETS), explain(folded, images, TARGETS), 1e-9)


def test_a_convolution_with_two_uses_is_folded_for_the_batch_norm_alone(images):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 4, 3)
            self.norm = nn.BatchNorm2d(4)
            self.head = nn.Linear(400, 4)

        def forward(self, x):
            y = self.conv(x)
            return self.head((self.norm(y).relu() + y.relu()).flatten(1))

    class Written(Two):
        def forward(self, x):
            y = self.norm(self.conv(x))
            return self.head((y.relu() + self.conv(x).relu()).flatten(1))

    network = seeded(Two)
    written = seeded(Written)
    written.load_state_dict(network.state_dict())
    explain = LRP(rule="epsilon_plus")
    expected = explain(written, images, TARGETS)
    close(explain(network, images, TARGETS), expected, 1e-9)


def test_a_batch_norm_behind_an_activation_in_place_is_not_folded(images):
    class PreActivation(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
            self.head = nn.Linear(400, 4)

        def forward(self, x):
            y = self.conv(x)
            y.relu_()
            return self.head(self.norm(y).flatten(1))

    class Written(PreActivation):
        def forward(self, x):
            return self.head(self.norm(torch.relu(self.conv(x))).flatten(1))

    network, other = seeded(PreActivation), seeded(Written)
    other.load_state_dict(network.state_dict())
    explain = LRP(rule="epsilon_plus")
    close(explain(network, images, TARGETS), explain(other, images, TARGETS), 1e-9)


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions_and_their_batch_norm_are_linear_layers_too(images, groups):
    def make():
        return nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2),
            nn.ReLU(),
            nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=groups),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Flatten(),
            nn.LazyLinear(4),
        )

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make()
        network(torch.zeros(1, 2, 12, 12))
        lively(network).double().eval().requires_grad_(False)
    for module in network:
        if getattr(module, "bias", None) is not None:
            module.bias.zero_()
    network[3].running_mean.zero_()
    ours = LRP(rule="z")(network, images, TARGETS)
    close(ours, InputXGradient()(network, images, TARGETS), 1e-6)
    chosen = network(images).gather(1, TARGETS[:, None])[:, 0]
    for rule in ("z_plus", "w_square", "flat"):
        got = LRP(rule=rule)(network, images, TARGETS).sum((1, 2))
        torch.testing.assert_close(got, chosen, rtol=1e-4, atol=1e-6)


def test_constants_in_the_network_pass_relevance_through(images):
    class Normalised(nn.Module):
        def __init__(self, body):
            super().__init__()
            self.body = body

        def forward(self, x):
            return 2 * self.body((x - 0.4) / 0.5)

    body = seeded(plain)
    explain = LRP(rule="epsilon_plus")
    inner = explain(body, (images - 0.4) / 0.5, TARGETS)
    close(explain(Normalised(body), images, TARGETS), 2 * inner, 1e-9)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"rule": "nothing"}, "LRP.rule: got 'nothing'; allowed: one of z, epsilon"),
        ({"epsilon": 0.0}, "LRP.epsilon: got 0.0; allowed: a number > 0"),
        ({"gamma": -1.0}, "LRP.gamma: got -1.0; allowed: a number >= 0"),
        ({"alpha": 3.0}, "LRP.alpha: got alpha 3 and beta 1; allowed: alpha - beta = 1"),
        ({"low": 1.0}, "LRP.low: got 1; allowed: below high = 1"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(given, told):
    with pytest.raises(InputError) as error:
        LRP(**given)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_place_takes_only_rules_that_fit_it():
    with pytest.raises(InputError, match=r"ComposedLRP\.linear: got 'z_box'; allowed: one of"):
        ComposedLRP(linear="z_box")
    with pytest.raises(InputError, match="below high = 1"):
        ComposedLRP(low=1.0)


def test_diagnostics_say_where_relevance_was_lost_and_how_near_input_x_gradient_is(images):
    """By hand: R -> R z / (z + epsilon) at the output, and biases take their share."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(288, 3), nn.ReLU(), nn.Linear(3, 4)).double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for module in (network[1], network[3]):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    found = LRP(rule="z").diagnostics(network, images, TARGETS)
    assert list(found) == [
        "conservation_error/01 3",
        "conservation_error/00 1",
        "conservation_error",
        "distance_to_input_x_gradient",
        "evenness/alone",
    ]
    chosen = network(images).gather(1, TARGETS[:, None])[:, 0]
    bias = network[3].bias[TARGETS]
    torch.testing.assert_close(found["conservation_error/01 3"], (bias / chosen).abs().detach())
    sums = LRP(rule="z")(network, images, TARGETS).sum((1, 2))
    total = ((sums - chosen) / chosen).abs().detach()
    torch.testing.assert_close(found["conservation_error"], total)
    gradient = InputXGradient()(network, images, TARGETS)
    torch.testing.assert_close(sums, gradient.sum((1, 2)))
    assert found["distance_to_input_x_gradient"].max() < 1e-6

    far = LRP(rule="epsilon_plus").diagnostics(seeded(plain), images, TARGETS)
    assert far["distance_to_input_x_gradient"].min() > 0.3
    ours, theirs = (
        explain(seeded(plain), images, TARGETS).flatten(1)
        for explain in (LRP(rule="epsilon_plus"), InputXGradient())
    )
    expected = (ours - theirs).norm(dim=1) / (ours.norm(dim=1) + theirs.norm(dim=1))
    torch.testing.assert_close(far["distance_to_input_x_gradient"], expected)


def test_a_refused_step_is_named_with_its_layer_and_what_can_be_done(images):
    network = nn.Sequential(nn.Flatten(), nn.Linear(288, 6), nn.Softmax(1), nn.Linear(6, 4))
    with pytest.raises(InputError) as error:
        LRP()(network.double(), images, TARGETS)
    assert str(error.value).startswith(
        "this explainer has no rule for softmax() that is not a factor of a product"
    )
    assert str(error.value).endswith(
        "use a gradient or perturbation method, for transformers attn_lrp"
    )
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_relevance_of_a_network_in_half_precision_is_that_of_its_weights(kind):
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(64, 3)).to(kind)
    images, targets = torch.rand(2, 1, 8, 8).to(kind), torch.tensor([0, 1])
    wide = copy.deepcopy(network).double()
    for rule in ("z_plus", "epsilon", "flat"):
        expected = LRP(rule=rule)(wide, images.double(), targets)
        found = LRP(rule=rule)(network, images, targets)
        assert found.dtype == kind
        apart = (found.double() - expected).abs() / expected.abs().clamp_min(1e-4)
        assert apart.max() < torch.finfo(kind).eps
