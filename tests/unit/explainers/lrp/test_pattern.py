"""PatternNet and PatternAttribution: the paper's linear example, loops over data."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from xai_exp.config import InputError
from xai_exp.explainers.gradients.gradients import Gradient
from xai_exp.explainers.lrp.pattern import PatternAttribution, PatternNet, fitted
from xai_exp.models.vit import ViT

BOTH = [PatternNet(), PatternAttribution(), PatternNet(kind="linear")]
SIGNAL, DISTRACTOR = torch.tensor([1.0, -0.3]).double(), torch.tensor([0.7, -1.0]).double()


def test_of_a_linear_model_it_finds_the_signal_where_the_gradient_finds_the_filter(generator):
    """x = s SIGNAL + d DISTRACTOR: the filter is orthogonal to the distractor (paper, sec. 2)."""
    s, d = torch.randn(2, 100, generator=generator).double()
    s, d = s - s.mean(), d - d.mean()
    d = d - s * (s @ d) / (s @ s)  # uncorrelated in the sample, too
    images = (s[:, None] * SIGNAL + d[:, None] * DISTRACTOR).view(100, 1, 1, 2)
    weight = torch.stack([torch.tensor([1.0, 0.7]).double() / 0.79, DISTRACTOR])
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False).double())
    net[1].weight.data = weight
    targets = torch.zeros(100, dtype=torch.long)
    torch.testing.assert_close(net(images)[:, 0].detach(), s)
    found = PatternNet(kind="linear").fit(net, images)(net, images, targets)
    torch.testing.assert_close(found[:, 0], s[:, None] * SIGNAL)
    gradient = Gradient()(net, images, targets)[:, 0]
    assert abs(float(functional.cosine_similarity(gradient[0], SIGNAL, 0))) < 0.7
    shares = PatternAttribution(kind="linear").fit(net, images)(net, images, targets)[:, 0]
    torch.testing.assert_close(shares, s[:, None] * SIGNAL * weight[0])
    torch.testing.assert_close(shares.sum(1), s)  # w . a = 1


def network():
    with torch.random.fork_rng():
        torch.manual_seed(4)
        layers = nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(4), nn.ReLU()
        layers += nn.Conv2d(4, 3, (1, 2), dilation=(1, 2), bias=False), nn.ReLU(), nn.Flatten()
        net = nn.Sequential(*layers, nn.Linear(3 * 3 * 2, 3)).double().eval()
        net[1].running_mean.uniform_(-0.3, 0.3)
        net[1].running_var.uniform_(0.5, 1.5)
        net[1].bias.data.uniform_(-0.3, 0.3)
    return net


@pytest.fixture
def images():
    source = torch.Generator().manual_seed(2)
    return torch.rand(70, 2, 6, 8, generator=source, dtype=torch.float64)


def by_hand(rows, weights, biases, kind):
    """The paper's formula, neuron by neuron: rows[k] are the data that neuron k sees."""
    found = []
    for x, w, b in zip(rows, weights, biases, strict=True):
        y = np.array([row @ w for row in x])
        use = y + b > 0 if kind == "relu" else np.full(len(y), fill_value=True)
        together = np.mean([v * row for v, row in zip(y[use], x[use], strict=True)], 0)
        direction = together - x[use].mean(0) * y.mean()
        found.append(direction / (w @ direction))
    return np.array(found)


def patches(images, out, groups, size, stride, padding, dilation):
    """What each of `out` neurons of a convolution sees, place by place."""
    padded = np.pad(images, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    inside = images.shape[1] // groups
    reach = [d * (s - 1) + 1 for d, s in zip(dilation, size, strict=True)]
    rows = []
    for k in range(out):
        first = k // (out // groups) * inside
        rows.append(
            np.array(
                [
                    image[
                        first : first + inside,
                        y : y + reach[0] : dilation[0],
                        x : x + reach[1] : dilation[1],
                    ].ravel()
                    for image in padded
                    for y in range(0, padded.shape[2] - reach[0] + 1, stride)
                    for x in range(0, padded.shape[3] - reach[1] + 1, stride)
                ]
            )
        )
    return rows


@pytest.mark.parametrize("kind", ["relu", "linear"])
def test_patterns_are_those_of_a_loop_over_data_and_neurons(images, kind):
    net = network()
    conv, norm = net[0], net[1]
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    folded = (scale.view(-1, 1, 1, 1) * conv.weight).detach().flatten(1).numpy()
    bias = (scale * (conv.bias - norm.running_mean) + norm.bias).detach().numpy()
    first = patches(images.numpy(), 4, 2, (3, 3), 2, 1, (1, 1))
    maps = net[:3](images).detach()
    second = patches(maps.numpy(), 3, 1, (1, 2), 1, 0, (1, 2))
    flat = net[:6](images).detach().numpy()
    expected = [
        by_hand(first, folded, bias, kind),
        by_hand(second, net[3].weight.detach().flatten(1).numpy(), np.zeros(3), kind),
        by_hand([flat] * 3, net[6].weight.detach().numpy(), net[6].bias.detach().numpy(), kind),
    ]
    for one, other in zip(fitted(net, images, kind), expected, strict=True):
        np.testing.assert_allclose(one.flatten(1), other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("explain", BOTH)
def test_the_way_back_is_the_gradient_of_a_network_with_patterns_for_weights(images, explain):
    net, few, targets = network(), images[:4], torch.tensor([0, 2, 1, 1])
    bound = explain.fit(net, images)
    patterns = bound.patterns(net)
    scale = net[1].weight / (net[1].running_var + net[1].eps).sqrt()
    weights = [scale.view(-1, 1, 1, 1) * net[0].weight, net[3].weight, net[6].weight]
    if isinstance(explain, PatternAttribution):
        patterns = [a * w for a, w in zip(patterns, weights, strict=True)]
    gates = [(layers(few) > 0).double() for layers in (net[:3], net[:5])]
    logits = net(few)[range(4), targets]
    back = patterns[2][targets] * logits[:, None]
    back = back.view(gates[1].shape) * gates[1]
    back = functional.conv_transpose2d(back, patterns[1], dilation=(1, 2)) * gates[0]
    back = functional.conv_transpose2d(
        back, patterns[0], stride=2, padding=1, groups=2, output_padding=1
    )
    torch.testing.assert_close(bound(net, few, targets), back.sum(1).detach())


class Residual(nn.Module):
    """A sum of branches and an average, one convolution used twice, in modules or functions."""

    def __init__(self, functions):
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 2, 3, padding=1), nn.Linear(2, 3)
        self.relu, self.functions = nn.ReLU(inplace=True), functions

    def forward(self, x):
        if self.functions:
            w, b = self.conv.weight, self.conv.bias
            x = functional.conv2d(x, w, b, padding=1).clamp(min=0)
            return functional.linear(
                (functional.conv2d(x, w, b, padding=1) + x).mean((2, 3)),
                self.head.weight,
                self.head.bias,
            )
        x = self.relu(self.conv(x))
        y = self.conv(x)
        y += x
        return self.head(functional.adaptive_avg_pool2d(y, 1).flatten(1))


@pytest.mark.parametrize("explain", BOTH)
def test_functions_and_reused_modules_are_the_same_to_it(images, explain):
    targets, maps = torch.tensor([0, 2, 1]), []
    for functions in (False, True):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = Residual(functions).double().eval()
        maps.append(explain.fit(net, images)(net, images[:3], targets))
    assert maps[0].abs().max() > 0
    torch.testing.assert_close(maps[0], maps[1])


def test_a_neuron_that_never_answers_has_no_pattern(images):
    net = network()
    net[1].bias.data[1] = -100
    found = fitted(net, images, "relu")
    assert not found[0][1].any()
    assert found[0][0].any()
    assert all(pattern.isfinite().all() for pattern in found)


@pytest.mark.parametrize("kind", ["relu", "linear"])
def test_data_without_variation_have_no_patterns(images, kind):
    found = fitted(network().float(), images[:1].float().repeat(40, 1, 1, 1), kind)
    assert not found[-1].any()


def test_a_network_with_other_weights_has_patterns_of_its_own(images):
    net, targets = network(), torch.tensor([0, 2, 1])
    other = deepcopy(net)
    other[3].weight.data.neg_()
    bound = PatternNet().fit(net, images)
    before = bound(net, images[:3], targets)
    expected = PatternNet().fit(other, images)(other, images[:3], targets)
    assert torch.equal(bound(other, images[:3], targets), expected)
    assert torch.equal(bound(net, images[:3], targets), before)
    assert not torch.allclose(before, expected)


def test_only_as_many_references_as_wanted_are_used(images):
    net, targets = network(), torch.tensor([0, 2, 1])
    few = PatternNet(references=20).fit(net, images)(net, images[:3], targets)
    assert torch.equal(few, PatternNet().fit(net, images[:20])(net, images[:3], targets))


@pytest.mark.parametrize("explain", BOTH[:2])
def test_bad_input_is_refused_in_one_line(images, explain):
    with pytest.raises(InputError, match="got no reference images; allowed: fit"):
        explain(network(), images, torch.zeros(70, dtype=torch.long))
    with pytest.raises(InputError, match="got 0 reference images"):
        explain.fit(network(), images[:0])
    vit = ViT(patch=2, depth=1, width=8, heads=2).build(2, (6, 8), 3).double().eval()
    with pytest.raises(InputError, match=r"^layer .* has no rule for \w+\(\)"):
        explain.fit(vit, images)
