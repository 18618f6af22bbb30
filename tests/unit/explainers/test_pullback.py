"""The gradient of the target's logit, on the network as it is or in fewer steps."""

import pytest
import torch
from torch import nn

from xai_exp.explainers import pullback as pulling
from xai_exp.explainers.gradients.averaged import SmoothGrad
from xai_exp.explainers.gradients.gradients import Gradient, IntegratedGradients
from xai_exp.explainers.gradients.paths import GuidedIG
from xai_exp.models.cnn import CNN

IMAGES = torch.rand(20, 1, 16, 16, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(20) % 4


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = CNN().build(1, (16, 16), 4)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, -1, 1)
            nn.init.uniform_(part.running_mean, -1, 1)
    return model.eval()


@pytest.mark.parametrize(
    "method", [Gradient(), IntegratedGradients(steps=4), SmoothGrad(samples=4), GuidedIG()]
)
def test_heatmaps_are_those_of_the_network_as_it_is(network, method, monkeypatch):
    found = method(network, IMAGES, TARGETS)
    monkeypatch.setattr(pulling, "_ENOUGH", 10**9)
    assert torch.equal(found, method(network, IMAGES, TARGETS))


def test_only_what_is_worth_it_takes_fewer_steps(network):
    same = pulling.in_fewer_steps
    assert same(network, IMAGES[:2]) is network
    assert same(network, IMAGES[:2], passes=8) is not network
    assert same(same(network, IMAGES), IMAGES).state_dict().keys() == (
        same(network, IMAGES).state_dict().keys()
    )
    assert network.training is False


def test_a_context_sees_every_layer_of_the_network_itself(network):
    seen = []
    for part in network.modules():
        part.register_forward_hook(lambda module, *_: seen.append(module))
    pulling.pullback(network, IMAGES, TARGETS)
    assert {id(one) for one in seen} == {id(one) for one in network.modules()}
