"""Every rule of LRP against loops over single weights, written from the papers, in float64."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from xai_exp.explainers.lrp.lrp import LRP

LOW, HIGH, EPSILON, GAMMA = -0.6, 1.4, 0.07, 0.4


def share(numerators, denominator, relevance):
    """R_j = q_j / denominator R_k, nothing from a unit that nothing went into."""
    return [q / denominator * relevance if denominator else 0.0 for q in numerators]


def z(x, w, seen, b, relevance, bias):  # noqa: ARG001
    q = [xj * wj for xj, wj in zip(x, w, strict=True)]
    return share(q, sum(q) + (b if bias else 0), relevance)


def epsilon(x, w, seen, b, relevance, bias, size=EPSILON):  # noqa: ARG001
    q = [xj * wj for xj, wj in zip(x, w, strict=True)]
    total = sum(q) + (b if bias else 0)
    return share(q, total + size * (1 if total >= 0 else -1), relevance)


def gamma(x, w, seen, b, relevance, bias):  # noqa: ARG001
    terms = [*(xj * wj for xj, wj in zip(x, w, strict=True)), b]
    wanted = 1 if sum(terms) > 0 else -1
    q = [t + GAMMA * t if t * wanted > 0 else t for t in terms]
    return share(q[:-1], sum(q), relevance)


def alpha_beta(x, w, seen, b, relevance, bias, alpha=3.0, beta=2.0):  # noqa: ARG001
    terms = [xj * wj for xj, wj in zip(x, w, strict=True)]
    up, down = [max(t, 0) for t in terms], [min(t, 0) for t in terms]
    b = {"paper": (max(b, 0), min(b, 0)), "both": (b, b), "ignore": (0, 0)}[bias]
    first = share(up, sum(up) + b[0], alpha * relevance)
    second = share(down, sum(down) + b[1], beta * relevance)
    return [one - two for one, two in zip(first, second, strict=True)]


def alpha1(*given):
    return alpha_beta(*given, alpha=1.0, beta=0.0)


def alpha2(*given):
    return alpha_beta(*given, alpha=2.0, beta=1.0)


def flat(x, w, seen, b, relevance, bias):  # noqa: ARG001
    return share([float(s) for s in seen], sum(seen), relevance)


def w_square(x, w, seen, b, relevance, bias):  # noqa: ARG001
    q = [wj * wj for wj in w]
    return share(q, sum(q), relevance)


def z_box(x, w, seen, b, relevance, bias):  # noqa: ARG001
    q = [
        xj * wj - LOW * max(wj, 0) - HIGH * min(wj, 0) if s else 0
        for xj, wj, s in zip(x, w, seen, strict=True)
    ]
    return share(q, sum(q), relevance)


UNIFORM = [
    ("z", "paper", z, True),
    ("z", "ignore", z, False),
    ("epsilon", "paper", epsilon, True),
    ("epsilon", "ignore", epsilon, False),
    ("gamma", "paper", gamma, True),
    ("alpha_beta", "paper", alpha_beta, "paper"),
    ("alpha_beta", "both", alpha_beta, "both"),
    ("alpha_beta", "ignore", alpha_beta, "ignore"),
    ("z_plus", "paper", alpha1, "ignore"),
    ("flat", "paper", flat, True),
    ("w_square", "paper", w_square, True),
]
PAPER = [
    ("z_box", (z_box, True), (alpha1, "ignore"), (alpha1, "ignore")),
    ("epsilon_plus", (alpha1, "paper"), (alpha1, "paper"), (epsilon, True)),
    ("epsilon_plus_flat", (flat, True), (alpha1, "paper"), (epsilon, True)),
    ("epsilon_gamma_box", (z_box, True), (gamma, True), (epsilon, True)),
    ("epsilon_alpha2_beta1", (alpha2, "paper"), (alpha2, "paper"), (epsilon, True)),
    ("epsilon_alpha2_beta1_flat", (flat, True), (alpha2, "paper"), (epsilon, True)),
    ("epsilon_alpha1_beta0", (alpha1, "paper"), (alpha1, "paper"), (epsilon, True)),
]
CASES = [(name, bias, (rule, how), (rule, how), (rule, how)) for name, bias, rule, how in UNIFORM]
CASES += [(name, "paper", *rules) for name, *rules in PAPER]


@pytest.fixture(scope="module")
def network():
    """Two convolutions (strides, groups, padding, dilation) and two linear layers."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1),
            nn.LeakyReLU(0.3),
            nn.Conv2d(4, 4, 2, groups=2, dilation=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4, 3),
            nn.Tanh(),
            nn.Linear(3, 3),
        ).double()


@pytest.fixture(scope="module")
def images():
    source = torch.Generator().manual_seed(5)
    return torch.rand(3, 2, 6, 5, dtype=torch.float64, generator=source) * 2 - 0.6


def matrices(network, shape):
    """Every linear layer as (weights, which inputs it sees, biases), by probing with units."""
    found = []
    for layer in network:
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            shape = layer(torch.zeros(1, *shape, dtype=torch.float64)).shape[1:]
            continue
        size = int(np.prod(shape))
        units = torch.eye(size, dtype=torch.float64).view(size, *shape)
        weights = []
        for weight in (layer.weight, torch.ones_like(layer.weight)):
            if isinstance(layer, nn.Linear):
                answer = functional.linear(units, weight)
            else:
                options = layer.stride, layer.padding, layer.dilation, layer.groups
                answer = functional.conv2d(units, weight, None, *options)
            weights.append(answer.flatten(1).detach().numpy())
        out = answer.shape[1:]
        bias = layer.bias.detach().view(-1, *[1] * (len(out) - 1)).expand(out).flatten()
        found.append((*weights, bias.numpy()))
        shape = out
    return found


def oracle(network, image, target, rules):
    """Relevance of every input of one image, unit by unit."""
    inputs, value = [], image[None]
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            inputs.append(value.flatten().detach().numpy())
        value = layer(value)
    relevance = np.zeros(value.shape[1])
    relevance[target] = float(value[0, target].detach())
    layers = list(zip(inputs, matrices(network, image.shape), strict=True))
    for place, (x, (weight, seen, bias)) in reversed(list(enumerate(layers))):
        rule, how = rules[0] if place == 0 else rules[1] if place < 2 else rules[2]
        passed = np.zeros(len(x))
        for k, given in enumerate(relevance):
            passed += rule(x, weight[:, k], seen[:, k], bias[k], given, how)
        relevance = passed
    return relevance.reshape(image.shape).sum(0)


@pytest.mark.parametrize(
    ("name", "bias", "first", "convolution", "linear"), CASES, ids=[f"{c[0]}-{c[1]}" for c in CASES]
)
def test_a_rule_equals_loops_over_single_weights(
    network, images, name, bias, first, convolution, linear
):
    small = 1e-6 if name.startswith("epsilon_") else EPSILON
    rules = [first, convolution, linear]
    if name.startswith("epsilon_"):
        rules[2] = (lambda *given: epsilon(*given, size=small)), True
    explainer = LRP(
        rule=name,
        bias=bias,
        epsilon=small,
        gamma=GAMMA,
        alpha=3.0,
        beta=2.0,
        low=LOW,
        high=HIGH,
    )
    targets = torch.tensor([2, 0, 1])
    heatmaps = explainer(network, images, targets)
    for image, target, heatmap in zip(images, targets.tolist(), heatmaps, strict=True):
        expected = oracle(network, image, target, rules)
        # Denominators are moved by a stabiliser of 1e-9, hence not 1e-12.
        np.testing.assert_allclose(heatmap, expected, rtol=1e-6, atol=1e-7 * abs(expected).max())


def test_infinite_gamma_is_z_plus_and_zero_is_z_behind_relus(images):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(2, 6, 3, bias=False), nn.ReLU(), nn.Flatten())
        net.append(nn.Linear(72, 3, bias=False))
    net.double()
    images, targets = images.clamp(min=0), torch.tensor([0, 1, 2])
    targets = net(images).argmax(1)
    chosen = net(images).max(1).values
    assert (chosen > 0).all()

    def close(one, other, tolerance):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)

    low, high = LRP(rule="gamma", gamma=0.0), LRP(rule="gamma", gamma=1e9)
    close(low(net, images, targets), LRP(rule="z")(net, images, targets), 1e-7)
    close(high(net, images, targets), LRP(rule="z_plus")(net, images, targets), 1e-6)
