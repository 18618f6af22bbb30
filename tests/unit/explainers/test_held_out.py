"""Networks that no rule was made on: zennit as the oracle, conservation, other activations."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from zennit import composites
from zennit.attribution import Gradient as ZennitGradient
from zennit.canonizers import SequentialMergeBatchNorm

from xai_exp.explainers.lrp.deep_taylor import DeepTaylor
from xai_exp.explainers.lrp.excitation import ExcitationBackprop
from xai_exp.explainers.lrp.lrp import LRP

TINY = 1e-9
TARGETS = torch.tensor([1, 0, 2])


def block(before, after, activation, *, bias=True, norm=False, **convolution):
    layers = [nn.Conv2d(before, after, 3, bias=bias, **convolution)]
    return [*layers, *([nn.BatchNorm2d(after)] if norm else []), activation()]


def network(kind):
    """Networks by what is unusual about them."""
    tail = [nn.Flatten(), nn.LazyLinear(3)]
    made = {
        "average pooling": [*block(2, 6, nn.ReLU, padding=1), nn.AvgPool2d(3, 2, 1), *tail],
        "global average": [*block(2, 6, nn.ReLU), nn.AdaptiveAvgPool2d(1), *tail],
        "uneven strides": [
            *block(2, 6, nn.ReLU, stride=(2, 3), padding=(0, 2)),
            *block(6, 6, nn.ReLU, dilation=(1, 2), groups=3, padding=1),
            *tail,
        ],
        "batch norm": [
            *block(2, 6, nn.ReLU, norm=True),
            *block(6, 6, nn.ReLU, norm=True, bias=False),
            *(nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(8), nn.BatchNorm1d(8), nn.ReLU()),
            nn.Linear(8, 3),
        ],
        "no bias": [
            *block(2, 6, nn.ReLU, bias=False),
            *(nn.Flatten(), nn.LazyLinear(8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False)),
        ],
    }
    for activation in (nn.GELU, nn.SiLU, nn.ELU, nn.Tanh, nn.Softplus, nn.Hardswish):
        made[activation.__name__] = [*block(2, 6, activation), nn.MaxPool2d(2), *tail]
    with torch.random.fork_rng():
        torch.manual_seed(7)
        chosen = nn.Sequential(*made[kind])
        chosen(torch.rand(3, 2, 12, 12))
        for module in chosen.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.uniform_(module.bias, -0.3, 0.3)
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.eps = 1e-12  # zennit's canoniser leaves the batch norm's own
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.2, 0.2)
    return chosen.double().eval().requires_grad_(False)


KINDS = ["average pooling", "global average", "uneven strides", "batch norm", "no bias"]
SMOOTH = ["GELU", "SiLU", "ELU", "Tanh", "Softplus", "Hardswish"]
COMPOSITES = {
    "epsilon_plus": composites.EpsilonPlus,
    "epsilon_plus_flat": composites.EpsilonPlusFlat,
    "epsilon_alpha2_beta1": composites.EpsilonAlpha2Beta1,
    "epsilon_alpha2_beta1_flat": composites.EpsilonAlpha2Beta1Flat,
    "epsilon_gamma_box": lambda **given: composites.EpsilonGammaBox(low=0.0, high=1.0, **given),
}


@pytest.fixture(scope="module")
def images():
    source = torch.Generator().manual_seed(2)
    return torch.rand(3, 2, 12, 12, dtype=torch.float64, generator=source)


@pytest.mark.parametrize("name", COMPOSITES)
@pytest.mark.parametrize("kind", KINDS + SMOOTH)
def test_composites_equal_zennits(images, kind, name):
    net = network(kind)
    canonizers = [SequentialMergeBatchNorm()]
    made = COMPOSITES[name](stabilizer=TINY, canonizers=canonizers)
    ours = LRP(rule=name)(net, images, TARGETS)
    chosen = torch.eye(3, dtype=torch.float64)[TARGETS] * net(images)
    with ZennitGradient(net, made) as attributor:
        _, theirs = attributor(images.clone(), chosen)
    theirs = theirs.sum(1)
    assert theirs.abs().max() > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6 * float(theirs.abs().max()))


def bias_free(net):
    for module in net.modules():
        for name in ("bias", "running_mean"):
            if getattr(module, name, None) is not None:
                getattr(module, name).zero_()
    return net


@pytest.mark.parametrize("rule", ["z", "flat", "w_square", "gamma"])
@pytest.mark.parametrize("kind", [*KINDS[1:], "Softplus"])
def test_every_layer_passes_on_what_it_got_where_there_are_no_biases(images, kind, rule):
    net = bias_free(network(kind))
    explain = LRP(rule=rule)
    for name, got, passed in explain.account(net, images, TARGETS):
        torch.testing.assert_close(passed, got, rtol=1e-5, atol=1e-9, msg=f"{rule} {name}")


class Written(nn.Module):
    """The network of modules as functions, with one activation module used everywhere."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.same = nn.ReLU()

    def forward(self, x):
        first, norm1, _, second, norm2, _, pool, _, hidden, norm3, _, last = self.net
        y = functional.conv2d(x, first.weight, first.bias)
        y = self.same(functional.batch_norm(y, *statistics(norm1)))
        y = functional.relu(functional.batch_norm(second(y), *statistics(norm2)))
        y = torch.max_pool2d(y, pool.kernel_size).reshape(len(x), -1)
        y = functional.linear(y, hidden.weight, hidden.bias)
        y = self.same(norm3(y))
        return last(y)


def statistics(norm):
    values = norm.running_mean, norm.running_var, norm.weight, norm.bias
    return *values, False, 0.0, norm.eps


@pytest.mark.parametrize(
    "explain",
    [
        *(LRP(rule=rule) for rule in LRP.__annotations__["rule"].__args__),
        *(LRP(rule="epsilon_plus_flat", until=1), DeepTaylor(), DeepTaylor(low=0.0, high=1.0)),
        ExcitationBackprop(),
    ],
    ids=str,
)
def test_modules_and_functions_have_the_same_relevance(images, explain):
    net = network("batch norm")
    expected = explain(net, images, TARGETS)
    found = explain(Written(net), images, TARGETS)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
