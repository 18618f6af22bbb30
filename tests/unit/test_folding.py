"""Batch norm folded into convolutions: the same function, the model itself untouched."""

import copy

import pytest
import torch
from torch import nn

from xai_exp.folding import folded
from xai_exp.models.cnn import CNN


def unsettled(model):
    """The model in evaluation mode with batch norms that do something."""
    source = torch.Generator().manual_seed(0)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            for values in (part.running_mean, part.weight.data, part.bias.data):
                values.copy_(torch.rand(values.shape, generator=source) - 0.3)
            part.running_var.copy_(torch.rand(part.running_var.shape, generator=source) + 0.5)
    return model.eval().requires_grad_(False)


def norms(model):
    return sum(isinstance(part, nn.BatchNorm2d) for part in model.modules())


class Branches(nn.Module):
    """A residual block, whose first convolution is followed by a batch norm in name only."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(3)
        self.tail = nn.Sequential(nn.Conv2d(4, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())

    def forward(self, images):
        return images + self.tail(self.conv(self.norm(images)))


MODELS = {
    "cnn": (lambda: CNN().build(3, (8, 8), 4), 0),
    "branches": (lambda: nn.Sequential(Branches(), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)), 1),
    "reversed": (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3)), 1),
    "none": (lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()), 0),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_function_is_the_same_and_the_model_untouched(name):
    build, left = MODELS[name]
    model = unsettled(build())
    before = copy.deepcopy(model.state_dict())
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = copy.deepcopy(model).double()(images.double())
    found = folded(model)
    assert norms(found) == left
    assert torch.allclose(found(images).double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.allclose(model(images).double(), expected, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_what_is_not_folded_is_shared():
    model = unsettled(CNN().build(3, (8, 8), 4))
    assert folded(model)[-1] is model[-1]
    plain = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())
    assert folded(plain) is plain


def test_modules_in_training_used_twice_or_with_hooks_stay():
    model = unsettled(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
    assert norms(folded(model)) == 0
    assert norms(folded(copy.deepcopy(model).train())) == 1
    twice = nn.Sequential(model[0], model[1], model[0], model[1]).eval()
    images = torch.rand(2, 3, 4, 4)
    assert torch.equal(folded(twice)(images), twice(images))
    assert folded(twice) is twice
    seen = []
    hook = model[0].register_forward_hook(lambda *given: seen.append(given[0]))
    assert folded(model) is model
    hook.remove()
    assert norms(folded(model)) == 0


def test_neighbours_are_told_by_place_though_one_module_stands_between_them_twice():
    act = nn.ReLU()
    model = unsettled(nn.Sequential(act, nn.Conv2d(3, 3, 1), act, nn.BatchNorm2d(3)))
    images = torch.rand(2, 3, 4, 4)
    assert torch.equal(folded(model)(images), model(images))
    assert folded(model) is model
