"""Batch norm in training: as the paper writes it, in float64, and nothing else changed."""

import copy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from xai_exp.data.loading import TensorSplit
from xai_exp.models.cnn import CNN
from xai_exp.training import Trainer, loop
from xai_exp.training.norm import FusedNorm, fused

BACK = {
    "alone": nn.Sequential,
    "relu": lambda norm: nn.Sequential(norm, nn.ReLU()),
    "pooled": lambda norm: nn.Sequential(norm, nn.ReLU(), nn.MaxPool2d(2)),
}
RESIDUE = 3e-6  # of the largest: a few roundings of float32 in sums over 512 pixels and more


def source(seed=3):
    return torch.Generator().manual_seed(seed)


def norm_of(channels):
    """A batch norm that rises in some channels, falls in others, and has seen something."""
    norm = nn.BatchNorm2d(channels, momentum=0.3)
    with torch.no_grad():
        for values in (norm.weight, norm.bias, norm.running_mean):
            values.copy_(torch.randn(channels, generator=source()))
    return norm


def images_of(channels, size=(8, 8), batch=8):
    drawn = torch.randn(batch, channels, *size, generator=source()) * 3 + 5
    return drawn.contiguous(memory_format=torch.channels_last)


def by_the_paper(images, weight, bias, eps):
    """Algorithm 1 of Ioffe and Szegedy 2015, step by step."""
    mean = images.mean((0, 2, 3), keepdim=True)
    variance = ((images - mean) ** 2).mean((0, 2, 3), keepdim=True)
    normalised = (images - mean) / (variance + eps) ** 0.5
    return normalised * weight[:, None, None] + bias[:, None, None], mean, variance


def apart(found, right):
    found, right = found.detach().double(), right.detach().double()
    return float((found - right).abs().max() / right.abs().max())


@pytest.mark.parametrize("channels", [1, 2, 8, 12, 16, 64])
@pytest.mark.parametrize("steps", BACK)
def test_it_is_the_papers(steps, channels):
    norm, images = norm_of(channels), images_of(channels).requires_grad_()
    before = norm.running_mean.double(), norm.running_var.double()
    network = fused(BACK[steps](norm))
    assert type(network[0]) is FusedNorm
    given = network(images)
    asked = torch.randn(given.shape, generator=source(4))
    given.backward(asked)

    exact = [v.detach().double().requires_grad_() for v in (images, norm.weight, norm.bias)]
    right, mean, variance = by_the_paper(*exact, norm.eps)
    right = right if steps == "alone" else right.relu()
    right = functional.max_pool2d(right, 2) if steps == "pooled" else right
    right.backward(asked.double())
    assert apart(given, right) < RESIDUE
    for found, value in zip((images, norm.weight, norm.bias), exact, strict=True):
        assert apart(found.grad, value.grad) < RESIDUE
    count = images.numel() / channels
    unbiased = variance.flatten() * count / (count - 1)
    assert apart(norm.running_mean, 0.7 * before[0] + 0.3 * mean.flatten()) < RESIDUE
    assert apart(norm.running_var, 0.7 * before[1] + 0.3 * unbiased) < RESIDUE
    assert norm.num_batches_tracked == 1


def test_of_ties_the_first_gets_the_gradient_as_torch_has_it():
    images = images_of(8)
    images[:4] = 1  # a uniform background
    ours, theirs = norm_of(8), norm_of(8)
    theirs.weight.data, ours.weight.data = theirs.weight.data.abs(), ours.weight.data.abs()
    ours.bias.data += 2
    theirs.bias.data += 2
    grads = []
    for network in (fused(BACK["pooled"](ours)), BACK["pooled"](theirs)):
        given = images.clone().requires_grad_()
        functional.cross_entropy(network(given).flatten(1), torch.arange(8)).backward()
        grads.append(given.grad)
    assert apart(*grads) < RESIDUE


def test_a_far_mean_costs_no_digits():
    """Sums of squares would lose the variance beside a mean of a thousand deviations."""
    images = (images_of(8) / 3 + 1000).requires_grad_()
    norm = norm_of(8)
    exact = images.detach().double(), norm.weight.double(), norm.bias.double()
    right, *_ = by_the_paper(*exact, norm.eps)
    assert apart(fused(nn.Sequential(norm))(images), right) < 1000 * RESIDUE / 10


@pytest.mark.parametrize(
    "change",
    [
        lambda network, images: (network, images.contiguous()),
        lambda network, images: (network, images[..., :7, :]),
        lambda network, images: (network, images[:1, :, :2, :2]),
        lambda network, images: (network.double(), images.double()),
        lambda network, images: (network.eval(), images),
    ],
    ids=["channels first", "odd", "no whole row", "float64", "evaluation"],
)
def test_elsewhere_it_is_torchs_own_to_the_bit(change):
    plain, images = change(BACK["pooled"](norm_of(4)).train(), images_of(4))
    ours = copy.deepcopy(plain)
    assert torch.equal(fused(ours)(images), plain(images))
    for name, value in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


def test_what_it_does_not_know_stays():
    hooked = nn.BatchNorm2d(8)
    hooked.register_forward_hook(lambda *_: None)
    joined = nn.BatchNorm2d(8)
    joined.forward = joined.forward  # as the processes of one training have it
    stay = [
        hooked,
        joined,
        nn.BatchNorm2d(8, momentum=None),
        nn.BatchNorm2d(8, affine=False),
        nn.BatchNorm2d(8, track_running_stats=False),
        nn.BatchNorm2d(128),
        nn.SyncBatchNorm(8),
    ]
    for norm in stay:
        network = nn.Sequential(norm, nn.ReLU())
        assert fused(network) is network
    in_place = fused(nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(inplace=True)))
    assert [type(step) for step in in_place] == [FusedNorm, nn.ReLU]
    other = fused(nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3)))
    assert [type(step) for step in other] == [FusedNorm, nn.Identity, nn.MaxPool2d]


def test_the_network_stays_as_it_is_and_shares_its_weights():
    network = CNN().build(1, (32, 32), 4)
    names, kinds = list(network.state_dict()), [type(part) for part in network.modules()]
    view = fused(network)
    assert list(network.state_dict()) == names
    assert [type(part) for part in network.modules()] == kinds
    assert {id(p) for p in view.parameters()} == {id(p) for p in network.parameters()}


def test_training_learns_the_same(monkeypatch, tmp_path):
    """The same weights after a step, up to rounding, whether norms are fused or not."""
    pixels = torch.randint(256, (64, 1, 16, 16), dtype=torch.uint8, generator=source())
    split = TensorSplit(pixels=pixels, labels=torch.arange(64) % 4)
    data = SimpleNamespace(
        train=split, validation=split, test=split, classes=tuple("abcd"), channels=1, size=(16, 16)
    )
    seen = []

    def trained(way, folder):
        monkeypatch.setattr(loop, "fused", way)
        torch.manual_seed(0)
        network = CNN(width=8).build(1, (16, 16), 4)
        config = Trainer(max_epochs=1, batch_size=32, precision="32", learning_rate=1e-3)
        config.fit(data, network, seed=0, folder=folder, device=torch.device("cpu"), progress=False)
        return network.state_dict()

    def noting(network):
        view = fused(network)
        seen.extend(step for step in view.modules() if isinstance(step, FusedNorm))
        return view

    ours = trained(noting, tmp_path / "ours")
    theirs = trained(lambda network: network, tmp_path / "theirs")
    assert seen
    near = partial(torch.allclose, rtol=1e-3, atol=1e-4)
    assert all(near(ours[name].float(), theirs[name].float()) for name in theirs)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 64), (6, 4), (1, 8)])
@pytest.mark.parametrize("channels", [1, 8, 32])
def test_images_of_any_size_and_lie(channels, size):
    """Single rows and pixels, whose strides say nothing, and gradients that lie otherwise."""
    for steps in ("relu", "pooled") if min(size) > 1 else ("relu",):
        norm = norm_of(channels)
        theirs = copy.deepcopy(norm)
        given = [images_of(channels, size, 64).requires_grad_() for _ in range(2)]
        for network, images in zip(
            (fused(BACK[steps](norm)), BACK[steps](theirs)), given, strict=True
        ):
            asked = network(images)
            (asked.contiguous() * (1 + torch.arange(asked.shape[-1]))).square().sum().backward()
        assert apart(given[0].grad, given[1].grad) < 30 * RESIDUE
        assert apart(norm.weight.grad, theirs.weight.grad) < 30 * RESIDUE
