"""A layer is a first or last one by what lies before and behind it, not by when it is called."""

import pytest
import torch
from torch import nn

import xai_exp as xe

IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
BY_PLACE = (
    "lrp_epsilon_gamma_box", "lrp_sequential_preset_a_flat", "lrp_epsilon_alpha2_beta1_flat",
    "deep_taylor_bounded", "rap", "lrp_epsilon_plus_flat",
)  # fmt: skip


@pytest.fixture(scope="module")
def cnn():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = (nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        then = (nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return nn.Sequential(*first, *then, nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()


class Twice(nn.Module):
    """The mean answer to an image and its mirrored one, written in one of several ways."""

    def __init__(self, network, way):
        super().__init__()
        self.network, self.way = network, way

    def forward(self, images):
        return getattr(self, self.way)(images, images.flip(-1))

    def one_by_one(self, first, other):
        return (self.network(first) + self.network(other)) / 2

    def mirrored_first(self, first, other):
        mirrored = self.network(other)
        return (self.network(first) + mirrored) / 2

    def joined(self, first, other):
        both = self.network(torch.cat([first, other]))
        return (both[: len(first)] + both[len(first) :]) / 2

    def stacked(self, first, other):
        both = self.network(torch.stack([first, other], 1).flatten(0, 1))
        return both.unflatten(0, (len(first), 2)).mean(1)


@pytest.mark.parametrize("way", ["mirrored_first", "joined", "stacked"])
def test_an_image_and_its_copies_give_the_same_however_they_are_asked(cnn, way):
    expected = xe.explain(Twice(cnn, "one_by_one"), IMAGES, BY_PLACE)
    found = xe.explain(Twice(cnn, way), IMAGES, BY_PLACE)
    assert not found.skipped
    for name in BY_PLACE:
        near = 1e-4 * float(expected[name].abs().max())
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=near)


class Stems(nn.Module):
    """Two convolutions that see the pixels, called in one order or the other."""

    def __init__(self, turned):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.one, self.other = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 5, padding=2)
            self.last = nn.Linear(8, 3)
        self.turned = turned

    def forward(self, images):
        if self.turned:
            other = self.other(images).relu()
            one = self.one(images).relu()
        else:
            one, other = self.one(images).relu(), self.other(images).relu()
        return self.last(torch.cat([one, other], 1).mean((2, 3)))


def test_several_stems_are_first_layers_whichever_is_called_first():
    one, other = (xe.explain(Stems(turned).eval(), IMAGES, BY_PLACE) for turned in (False, True))
    for name in BY_PLACE:
        near = 1e-5 * float(one[name].abs().max())
        torch.testing.assert_close(other[name], one[name], rtol=0, atol=near)


@torch.no_grad()
def test_the_flat_rule_is_that_of_both_stems():
    """Each cell's relevance is shared evenly by the pixels of its window, whichever stem it is."""
    network = Stems(turned=False).eval()
    found = xe.explain(network, IMAGES, "lrp_epsilon_plus_flat")["lrp_epsilon_plus_flat"]
    one, other = network.one(IMAGES).relu(), network.other(IMAGES).relu()
    pooled = torch.cat([one, other], 1).mean((2, 3))
    logits = network.last(pooled)
    target = logits.argmax(1)
    weight = network.last.weight - network.last.weight.mean(0)
    total = (logits - logits.mean(1, keepdim=True)).gather(1, target[:, None])
    stabilised = total + 1e-6 * torch.where(total >= 0, 1.0, -1.0)
    share = pooled * weight[target] / stabilised * total
    wanted = torch.zeros_like(found)
    for values, layer, part in ((one, network.one, 0), (other, network.other, 4)):
        whole = values.sum((2, 3), keepdim=True).clamp(min=1e-12)
        relevance = (share[:, part : part + 4, None, None] * values / whole).sum(1, keepdim=True)
        ones = torch.ones(1, 1, *layer.kernel_size)
        counts = nn.functional.conv2d(torch.ones(1, 1, 16, 16), ones, padding=layer.padding)
        spread = nn.functional.conv_transpose2d(relevance / counts, ones, padding=layer.padding)
        wanted += spread[:, 0]
    near = 1e-3 * float(wanted.abs().max())
    torch.testing.assert_close(found, wanted, rtol=0, atol=near)
