"""The value that is explained: its closed form, its gauge, and that every family explains it."""

import copy

import pytest
import torch
from torch import nn

from xai_exp.compute.values import Question, probabilities, valued
from xai_exp.config import InputError
from xai_exp.explainers.activation.full_grad import FullGrad
from xai_exp.explainers.activation.maps import GradCAM
from xai_exp.explainers.deeplift.deeplift import DeepLIFT
from xai_exp.explainers.gradients.gradients import Gradient, IntegratedGradients
from xai_exp.explainers.lrp import RAP, AttnLRP, ExcitationBackprop
from xai_exp.explainers.lrp.lrp import LRP
from xai_exp.explainers.modified import DeconvNet, GuidedBackprop
from xai_exp.explainers.perturbation.windows import Occlusion
from xai_exp.removal.imputers import Constant

GAUGE_FREE = ["centred", "pair", "log_odds", "probability"]


class Gauged(nn.Module):
    """A network and a second one whose single output is added to all logits."""

    def __init__(self, network, gauge):
        super().__init__()
        self.network, self.gauge = network, gauge

    def forward(self, images):
        return self.network(images) + self.gauge(images)


def drawn(classes, seed, head=nn.Linear):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        convolutions = nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        return nn.Sequential(*convolutions, head(6 * 16, classes)).double().eval()


@pytest.fixture
def network():
    return drawn(4, 0)


@pytest.fixture
def images(generator):
    return torch.rand(5, 2, 8, 8, dtype=torch.float64, generator=generator)


def oracle(logits, value, other):
    """By the definitions, one number at a time."""
    rows = []
    for z in logits.tolist():
        powers = [torch.tensor(one, dtype=torch.float64).exp().item() for one in z]
        whole = sum(powers)
        row = {
            "logit": z,
            "centred": [one - sum(z) / len(z) for one in z],
            "pair": [one - z[other] for one in z],
            "probability": [p / whole for p in powers],
            "log_odds": [torch.tensor(p / (whole - p)).double().log().item() for p in powers],
        }[value]
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("value", ["logit", *GAUGE_FREE])
def test_outputs_are_the_value_and_tell_the_same_probabilities(network, images, value):
    found = valued(network, value, images, 2)(images)
    torch.testing.assert_close(found, oracle(network(images), value, 2))
    told = probabilities(found, value)
    torch.testing.assert_close(told, network(images).softmax(1))


@pytest.mark.parametrize("value", GAUGE_FREE)
def test_a_function_added_to_all_logits_moves_no_value(network, images, value):
    gauged = Gauged(network, drawn(1, 7))
    torch.testing.assert_close(
        valued(gauged, value, images, 1)(images), valued(network, value, images, 1)(images)
    )
    assert not torch.allclose(gauged(images), network(images))


@pytest.mark.parametrize("value", ["centred", "pair"])
def test_linear_values_are_folded_into_the_last_layer_and_share_what_stays(network, images, value):
    found = valued(network, value, images, 3)
    assert [type(one) for one in found] == [type(one) for one in network]
    assert found[0].weight is network[0].weight
    before = [parameter.clone() for parameter in network.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


EXPLAINERS = [
    Gradient(),
    IntegratedGradients(steps=8),
    LRP(rule="epsilon_plus"),
    DeepLIFT(),
    GuidedBackprop(),
    DeconvNet(),
    GradCAM(layer="0"),
    Occlusion(imputer=Constant()),
]


@pytest.mark.parametrize("value", ["centred", "pair"])
@pytest.mark.parametrize("explainer", EXPLAINERS, ids=lambda e: type(e).__name__)
def test_no_family_sees_a_gauge_in_the_last_layer(network, images, explainer, value):
    """The same row added to the weights of every class is the gauge that a linear head can hold."""
    targets = torch.tensor([0, 1, 2, 3, 0])
    gauged = drawn(4, 0)
    with torch.no_grad():
        gauged[-1].weight += torch.randn(1, 96, dtype=torch.float64)
        gauged[-1].bias += 0.7
    both = [explainer(valued(one, value, images, 1), images, targets) for one in (network, gauged)]
    torch.testing.assert_close(*both)
    raw = [explainer(one, images, targets) for one in (network, gauged)]
    assert not torch.allclose(*raw)


def test_a_network_without_a_linear_head_is_explained_behind_one(network, images):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, images):
            return self.network(images).tanh()

    found = valued(Odd(), "centred", images)
    torch.testing.assert_close(found(images), oracle(Odd()(images), "centred", 0))


class Written(nn.Module):
    """The same network, its last layer written as a function of parameters."""

    def __init__(self, network):
        super().__init__()
        self.before, last = network[:-1], network[-1]
        self.matrix, self.shift = nn.Parameter(last.weight.data), nn.Parameter(last.bias.data)

    def forward(self, images):
        return nn.functional.linear(self.before(images), self.matrix, self.shift)


@pytest.mark.parametrize("value", ["centred", "pair"])
@pytest.mark.parametrize(
    "explainer",
    [
        *(one for one in EXPLAINERS if not isinstance(one, GradCAM)),
        *(LRP(rule=rule) for rule in ("gamma", "z_plus", "alpha_beta", "flat", "w_square")),
        AttnLRP(linear_gamma=0.2),
        ExcitationBackprop(),
        RAP(),
        DeepLIFT(rule="reveal_cancel"),
        FullGrad(),
    ],
    ids=lambda e: f"{type(e).__name__}-{getattr(e, 'rule', '')}",
)
@pytest.mark.parametrize("copied", [False, True])
def test_a_last_layer_that_is_a_function_is_explained_as_a_module(
    network, images, explainer, value, copied
):
    targets = torch.tensor([0, 1, 2, 3, 0])
    made = [valued(one, value, images, 1) for one in (network, Written(network))]
    made = [copy.deepcopy(one).double() for one in made] if copied else made
    torch.testing.assert_close(*(explainer(one, images, targets) for one in made))


def test_a_single_logit_has_no_other_class(images):
    network = drawn(1, 3)
    assert valued(network, "centred", images) is network


def test_question_names_the_target_and_its_rival():
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]])
    labels = torch.tensor([1, 1])
    assert Question().targets(logits, labels).tolist() == [0, 1]
    assert Question(target="label").targets(logits, labels).tolist() == [1, 1]
    assert Question(target="runner_up").targets(logits, labels).tolist() == [2, 2]
    assert Question(target=0).targets(logits, labels).tolist() == [0, 0]
    every = Question(target="all").targets(logits.repeat_interleave(3, 0), labels.repeat(3))
    assert every.tolist() == [0, 1, 2, 0, 1, 2]
    pair = Question(value="pair")
    assert pair.others(logits, torch.tensor([0, 1])).tolist() == [2, 2]
    assert pair.others(logits, torch.tensor([1, 2])).tolist() == [0, 1]
    assert Question(value="pair", against=1).others(logits, labels).tolist() == [1, 1]


def test_lrp_of_a_probability_is_refused_by_name(network, images):
    with pytest.raises(InputError, match="softmax"):
        LRP()(valued(network, "probability", images), images, torch.zeros(5, dtype=torch.long))


def test_a_network_that_can_not_be_copied_is_asked_as_it_is():
    class Whole(nn.Sequential):
        def __deepcopy__(self, memo):
            raise TypeError("can't be copied")

    network, images = Whole(nn.Flatten(), nn.Linear(4, 3)), torch.rand(2, 1, 2, 2)
    logits = network(images).detach()
    found = valued(network, "centred", images)(images)
    torch.testing.assert_close(found, logits - logits.mean(1, keepdim=True))
