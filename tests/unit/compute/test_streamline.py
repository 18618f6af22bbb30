"""The same function in fewer steps, the model itself untouched."""

import copy

import pytest
import torch
from torch import nn
from torchvision.ops import Conv2dNormActivation

from xai_exp.compute.streamline import PairMaxima, streamlined
from xai_exp.models.cnn import CNN

IMAGES = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def unsettled(model):
    """The model in evaluation mode with batch norms that do something."""
    source = torch.Generator().manual_seed(0)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            learnt = [] if part.weight is None else [part.weight.data, part.bias.data]
            for values in (part.running_mean, *learnt):
                values.copy_(torch.rand(values.shape, generator=source) - 0.3)
            part.running_var.copy_(torch.rand(part.running_var.shape, generator=source) + 0.5)
    return model.eval().requires_grad_(False)


def names(model):
    return [type(part).__name__ for part in model.modules() if not list(part.children())]


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


class Tapped(nn.Module):
    """Takes a feature from between two layers of a Sequential, where another would stand."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.ReLU())

    def forward(self, images):
        return self.layers(images) + self.layers[0](images)


class Twice(nn.Sequential):
    """A Sequential that says itself what it does."""

    def forward(self, images):
        return self[1](self[0](self[0](images)))


MODELS = {
    "cnn": (lambda: CNN().build(3, (8, 8), 4), 0),
    "branches": (lambda: nn.Sequential(Branches(), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)), 1),
    "reversed": (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3)), 1),
    "none": (lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()), 0),
    "tapped": (Tapped, 1),
    "subclass": (lambda: Conv2dNormActivation(3, 4), 0),
    "own forward": (lambda: Twice(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)), 1),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_function_is_the_same_and_the_model_untouched(name):
    build, left = MODELS[name]
    model = unsettled(build())
    before = copy.deepcopy(model.state_dict())
    expected = copy.deepcopy(model).double()(IMAGES.double())
    found = streamlined(model, IMAGES[:1])
    assert norms(found) == left
    assert torch.allclose(found(IMAGES).double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.allclose(model(IMAGES).double(), expected, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_what_is_streamlined_stays_as_it_is():
    found = streamlined(unsettled(CNN().build(3, (8, 8), 4)), IMAGES[:1])
    assert streamlined(found, IMAGES[:1]) is found


def test_what_is_not_changed_is_shared():
    model = unsettled(CNN().build(3, (8, 8), 4))
    assert streamlined(model, IMAGES)[-1] is model[-1]
    plain = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())
    assert streamlined(plain, IMAGES) is plain


def test_modules_in_training_used_twice_or_with_hooks_stay():
    model = unsettled(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
    assert norms(streamlined(model, IMAGES)) == 0
    assert norms(streamlined(copy.deepcopy(model).train(), IMAGES)) == 1
    twice = nn.Sequential(model[0], model[1], model[0], model[1]).eval()
    assert torch.equal(streamlined(twice, IMAGES)(IMAGES), twice(IMAGES))
    assert streamlined(twice, IMAGES) is twice
    seen = []
    hook = model[0].register_forward_hook(lambda *given: seen.append(given[0]))
    assert streamlined(model, IMAGES) is model
    hook.remove()
    assert norms(streamlined(model, IMAGES)) == 0


def test_neighbours_are_told_by_place_though_one_module_stands_between_them_twice():
    act = nn.ReLU()
    model = unsettled(nn.Sequential(act, nn.Conv2d(3, 3, 1), act, nn.BatchNorm2d(3)))
    assert streamlined(model, IMAGES) is model


def test_hooks_on_the_model_see_no_image_more():
    model = unsettled(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
    seen = []
    model.register_forward_hook(lambda *given: seen.append(given[0]))
    found = streamlined(model, IMAGES)
    assert norms(found) == 0
    assert seen == []
    found(IMAGES)
    assert len(seen) == 1


def test_pooling_goes_before_its_relu():
    model = unsettled(CNN().build(3, (8, 8), 4))
    assert names(model)[:4] == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    found = streamlined(model, IMAGES)
    assert names(found)[:4] == ["Conv2d", "Identity", "PairMaxima", "ReLU"]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ((nn.ReLU(), nn.MaxPool2d(2)), ["PairMaxima", "ReLU"]),
        ((nn.MaxPool2d((2, 2), 2, (0, 0)), nn.ReLU()), ["PairMaxima", "ReLU"]),
        ((nn.ReLU(inplace=True), nn.MaxPool2d(2)), ["ReLU", "PairMaxima"]),
        ((nn.Tanh(), nn.MaxPool2d(2)), ["Tanh", "PairMaxima"]),
        ((nn.ReLU(), nn.AvgPool2d(2)), ["ReLU", "AvgPool2d"]),
        ((nn.ReLU(), nn.MaxPool2d(3)), ["ReLU", "MaxPool2d"]),
        ((nn.ReLU(), nn.MaxPool2d(2, 1)), ["ReLU", "MaxPool2d"]),
        ((nn.ReLU(), nn.MaxPool2d((2, 1))), ["ReLU", "MaxPool2d"]),
        ((nn.ReLU(), nn.MaxPool2d(2, padding=1)), ["ReLU", "MaxPool2d"]),
        ((nn.ReLU(), nn.MaxPool2d(2, dilation=2)), ["ReLU", "MaxPool2d"]),
        ((nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)), ["ReLU", "MaxPool2d"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value[0], str) else "",
)
def test_only_pooling_of_two_by_two_is_done_by_maxima(layers, expected):
    model = nn.Sequential(*layers)
    found = streamlined(model, IMAGES[:1])
    assert names(found) == expected
    assert torch.equal(found(IMAGES - 0.5), model(IMAGES - 0.5))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (2, 3)])
def test_maxima_of_pairs_are_max_pooling_bit_for_bit(layout, dtype, size):
    source = torch.Generator().manual_seed(2)
    images = torch.randn(3, 5, *size, generator=source).to(dtype)
    images[0, 0, 0, 0] = torch.nan
    images[1, 1, 1, 1] = torch.inf
    images = images.to(memory_format=layout)
    expected = nn.MaxPool2d(2)(images)
    assert torch.equal(PairMaxima(2)(images).nan_to_num(7), expected.nan_to_num(7))
    assert expected[0, 0, 0, 0].isnan()


def test_the_gradient_at_a_tie_is_that_of_max_pooling():
    images = torch.ones(1, 1, 2, 2, requires_grad=True)
    PairMaxima(2)(images).sum().backward()
    assert torch.equal(images.grad, torch.tensor([[[[1.0, 0], [0, 0]]]]))


def gradient(model, images):
    pixels = images.clone().requires_grad_()
    return torch.autograd.grad(model(pixels)[:, 1].sum(), pixels)[0]


def falling(bias, affine):
    """Two blocks whose batch norms rise, fall and stand still."""
    layers = [
        *(nn.Conv2d(3, 6, 3, bias=bias), nn.BatchNorm2d(6, affine=affine), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Conv2d(6, 4, 3, padding=1, bias=bias)),
        *(nn.BatchNorm2d(4, affine=affine), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)),
    ]
    model = unsettled(nn.Sequential(*layers))
    if affine:
        model[1].weight.data[:3] = torch.tensor([-0.7, 0.0, 0.4])
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("bias", "affine"), [(True, True), (False, True), (True, False)])
def test_with_norms_deferred_every_bit_of_outputs_and_gradients_stays(bias, affine, dtype):
    images = torch.randn(40, 3, 16, 17, generator=torch.Generator().manual_seed(3)).to(dtype)
    images[:5] = images[:5, :, :1, :1]  # all is a tie, which goes to the first
    model = falling(bias, affine).to(dtype)
    before = copy.deepcopy(model.state_dict())
    found = streamlined(model, images[:1], folded=False)
    expected = "Conv2d PairMaxima BatchNorm2d ReLU Conv2d PairMaxima BatchNorm2d Flatten Linear"
    assert names(found) == expected.split()
    assert torch.equal(found(images), model(images))
    assert torch.equal(gradient(found, images), gradient(model, images))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_norms_that_are_not_pooled_are_not_deferred():
    model = unsettled(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()))
    assert streamlined(model, IMAGES, folded=False) is model
    learning = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.MaxPool2d(2))
    first, norm, _ = names(learning)
    assert names(streamlined(learning, IMAGES, folded=False)) == [first, norm, "PairMaxima"]
