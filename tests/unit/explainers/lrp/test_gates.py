"""Relevance through products, norms and linear bottlenecks: by hand, conserved, however written."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from xai_exp.config import InputError
from xai_exp.explainers.deeplift import DeepLIFT
from xai_exp.explainers.lrp.attention import AttnLRP
from xai_exp.explainers.lrp.deep_taylor import DeepTaylor
from xai_exp.explainers.lrp.excitation import ExcitationBackprop
from xai_exp.explainers.lrp.lrp import LRP

TARGETS = torch.tensor([0, 1, 2])
IMAGES = torch.rand(3, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


class Gated(nn.Module):
    """A convolution, a step, and a head; without biases all relevance reaches the pixels."""

    def __init__(self, step, *, bias=False):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.first = nn.Conv2d(2, 4, 3, padding=1, bias=bias)
            self.squeeze, self.head = nn.Linear(4, 4), nn.Linear(4, 3, bias=bias)
        self.step = step
        self.double().eval()

    def forward(self, x):
        return self.head(self.step(self, torch.relu(self.first(x))).mean((2, 3)))


def excited(network, x):
    return x * network.squeeze(x.mean((2, 3))).sigmoid()[..., None, None]


def hard_excited(network, x):
    scale = (network.squeeze(x.mean((2, 3))) + 3).clamp(0, 6) / 6
    return scale.view(len(x), 4, 1, 1).expand_as(x).mul(x)


def relued(network, x):
    return x * network.squeeze(x.mean((2, 3))).relu()[..., None, None]


@pytest.mark.parametrize("rule", ["z", "epsilon", "gamma"])
@pytest.mark.parametrize("step", [excited, hard_excited, relued])
def test_relevance_is_conserved_through_a_gate(rule, step):
    network = Gated(step)
    chosen = network(IMAGES)[torch.arange(3), TARGETS].detach()
    sums = LRP(rule=rule, epsilon=1e-12)(network, IMAGES, TARGETS).sum((1, 2))
    torch.testing.assert_close(sums, chosen, rtol=1e-5, atol=1e-9)


def test_the_signal_takes_all_as_if_the_gate_were_a_constant():
    network = Gated(excited)
    before = torch.relu(network.first(IMAGES))
    gate = network.squeeze(before.mean((2, 3))).sigmoid().detach()
    for image in range(3):
        fixed = Gated(lambda _, x, g=gate[image]: x * g[:, None, None])
        one = IMAGES[image : image + 1], TARGETS[image : image + 1]
        torch.testing.assert_close(LRP()(network, *one), LRP()(fixed, *one))
        halves = LRP(gates="half")(network, *one)
        assert not torch.allclose(halves, LRP()(network, *one))


def test_halves_are_those_of_a_product_by_hand():
    """f = (u . x) (v . x): each factor gets half of f and shares it by rule z."""

    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            with torch.random.fork_rng():
                torch.manual_seed(3)
                self.u, self.v = nn.Linear(72, 3, bias=False), nn.Linear(72, 3, bias=False)

        def forward(self, x):
            return self.u(x.flatten(1)) * self.v(x.flatten(1))

    network = Product().double()
    found = LRP(rule="z", gates="half")(network, IMAGES, TARGETS)
    u, v = network.u.weight[TARGETS], network.v.weight[TARGETS]
    x = IMAGES.flatten(1)
    first, other = (u * x).sum(1, keepdim=True), (v * x).sum(1, keepdim=True)
    wanted = (u * x * other + v * x * first) / 2
    torch.testing.assert_close(found, wanted.view(3, 2, 6, 6).sum(1).detach())


WAYS = [
    lambda _, x: functional.silu(x - 0.5),
    lambda _, x: (x - 0.5) * torch.sigmoid(x - 0.5),
]


@pytest.mark.parametrize("explain", [LRP(), LRP(gates="half"), DeepTaylor(), ExcitationBackprop()])
def test_a_function_in_pieces_is_explained_as_the_whole(explain):
    whole, pieces = (explain(Gated(way), IMAGES, TARGETS) for way in WAYS)
    torch.testing.assert_close(pieces, whole)
    hard = [
        lambda _, x: functional.hardswish(x - 0.5),
        lambda _, x: (x - 0.5) * functional.relu6(x + 2.5) / 6,
    ]
    whole, pieces = (explain(Gated(way), IMAGES, TARGETS) for way in hard)
    torch.testing.assert_close(pieces, whole, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("explain", [LRP(), LRP(gates="half"), ExcitationBackprop()])
def test_a_gated_linear_unit_is_a_product_with_a_sigmoid(explain):
    def glu(_, x):
        return functional.glu(torch.cat([x, x - 0.3], 1), 1)

    def pieces(_, x):
        return x * torch.sigmoid(x - 0.3)

    whole, apart = (explain(Gated(way), IMAGES, TARGETS) for way in (glu, pieces))
    torch.testing.assert_close(whole, apart)
    assert whole.flatten(1).std(1).min() > 1e-5


NORMS = {
    "group": lambda _, x: functional.group_norm(x, 2),
    "layer": lambda _, x: functional.layer_norm(x, x.shape[1:]),
    "instance": lambda _, x: functional.instance_norm(x)[..., :4, :4],
    "channels last": lambda _, x: functional.layer_norm(x.permute(0, 2, 3, 1), (4,)).permute(
        0, 3, 1, 2
    ),
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("explain", [LRP(rule="z", epsilon=1e-12), AttnLRP(epsilon=1e-12)])
def test_relevance_is_conserved_through_norms(name, explain):
    network = Gated(NORMS[name])
    chosen = network(IMAGES)[torch.arange(3), TARGETS].detach()
    sums = explain(network, IMAGES, TARGETS).sum((1, 2))
    torch.testing.assert_close(sums, chosen, rtol=1e-4, atol=1e-8)


def response_normed(_, x):
    """Global response norm of ConvNeXt V2 (Woo et al. 2023, eq. 1 to 3)."""
    size = x.norm(p=2, dim=(2, 3), keepdim=True)
    return x + x * (size / (size.mean(1, keepdim=True) + 1e-6))


SCALED = {
    "global response norm": response_normed,
    "unit length": lambda _, x: x / (x.norm(dim=1, keepdim=True) + 1e-6),
    "by its spread": lambda _, x: x / (torch.std(x, (2, 3), keepdim=True) + 0.1),
    "by its sum": lambda _, x: x / (x.sum(1, keepdim=True) + 1),
}


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("explain", [LRP(rule="z", epsilon=1e-12), LRP(rule="gamma")])
def test_what_is_divided_takes_all_and_sizes_nothing(name, explain):
    """As if the divisor, or the factor made of a norm, were a constant of the image."""
    network = Gated(SCALED[name])
    before = torch.relu(network.first(IMAGES)).detach()
    constant = (SCALED[name](network, before) / before.clamp(min=1e-300)).where(before > 0, 0)
    for image in range(3):
        one = IMAGES[image : image + 1], TARGETS[image : image + 1]
        fixed = Gated(lambda _, x, c=constant[image]: x * c)
        torch.testing.assert_close(explain(network, *one), explain(fixed, *one))
    chosen = network(IMAGES)[torch.arange(3), TARGETS].detach()
    if explain.rule == "z":
        sums = explain(network, IMAGES, TARGETS).sum((1, 2))
        torch.testing.assert_close(sums, chosen, rtol=1e-5, atol=1e-9)


def test_what_only_a_gate_is_made_of_needs_no_way_back():
    """The places' own scores beside those of others, as in MViT v2 (Li et al. 2022, sec. 4.1)."""

    def attended(_, x):
        tokens = x.flatten(2).transpose(1, 2)
        places = torch.rand(36, 36, 4, generator=torch.Generator().manual_seed(1)).to(x)
        scores = tokens @ tokens.mT + torch.einsum("bqc,qkc->bqk", tokens, places)
        scores = scores.unflatten(2, (6, 6)) + tokens.mean(2)[:, :, None, None]
        return (scores.flatten(2).softmax(-1) @ tokens).transpose(1, 2).view(x.shape)

    network = Gated(attended)
    chosen = network(IMAGES)[torch.arange(3), TARGETS].detach()
    sums = LRP(rule="z", epsilon=1e-12)(network, IMAGES, TARGETS).sum((1, 2))
    torch.testing.assert_close(sums, chosen, rtol=1e-5, atol=1e-9)


def test_a_size_that_is_no_factor_is_refused():
    network = Gated(lambda _, x: x + x.norm(dim=1, keepdim=True).expand_as(x))
    with pytest.raises(InputError, match=r"norm\(\) that is not a factor or a divisor"):
        LRP()(network, IMAGES, TARGETS)


def sampled(_, x):
    turn = torch.tensor([[[0.8, 0.1, 0.05], [0.0, 0.9, -0.1]]]).to(x).repeat(len(x), 1, 1)
    places = functional.affine_grid(turn, x.shape, align_corners=False)
    return functional.grid_sample(x, places, align_corners=False)


def refolded(_, x):
    return functional.fold(functional.unfold(x, 3, padding=1), x.shape[2:], 3, padding=1)


@pytest.mark.parametrize("step", [sampled, refolded, lambda _, x: x.cumsum(2)])
def test_relevance_is_conserved_through_sums_with_fixed_weights(step):
    network = Gated(step)
    chosen = network(IMAGES)[torch.arange(3), TARGETS].detach()
    sums = LRP(rule="z", epsilon=1e-12)(network, IMAGES, TARGETS).sum((1, 2))
    torch.testing.assert_close(sums, chosen, rtol=1e-5, atol=1e-9)


def test_places_that_depend_on_the_image_are_refused():
    def told(_, x):
        return functional.grid_sample(x, x[:, :2].movedim(1, -1), align_corners=False)

    with pytest.raises(InputError, match=r"grid_sample.*depend"):
        LRP()(Gated(told), IMAGES, TARGETS)
    with pytest.raises(InputError, match="grid_sample"):
        DeepLIFT()(Gated(told), IMAGES, TARGETS)


def test_a_norm_is_linear_once_its_deviation_is_a_constant():
    """Group norm of one group against the same with its statistics as numbers, by rule z."""
    network = Gated(NORMS["group"])
    one = IMAGES[:1], TARGETS[:1]
    values = torch.relu(network.first(one[0])).detach().view(1, 2, -1)
    scale = (values.var(-1, unbiased=False) + 1e-5).rsqrt().repeat_interleave(2, 1)

    def fixed(_, x):
        groups = x.view(1, 2, -1)
        centre = torch.eye(72).double() - 1 / 72
        return functional.linear(groups, centre).view_as(x) * scale[..., None, None]

    rule = LRP(rule="z", epsilon=1e-12)
    torch.testing.assert_close(rule(network, *one), rule(Gated(fixed), *one))


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "regnet_y_400mf", "convnext_tiny"])
def test_torchvisions_gated_networks_are_explained(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = getattr(torchvision.models, name)(weights=None).eval().double()
    images = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    for explain in (LRP(), LRP(rule="z"), LRP(gates="half"), ExcitationBackprop()):
        found = explain(network, images, torch.tensor([3]))
        assert found.isfinite().all()
        assert found.any()
    if name == "convnext_tiny":
        with pytest.raises(InputError, match=r"has no rule for layer_norm\(\)"):
            DeepTaylor()(network, images, torch.tensor([3]))
    else:
        assert DeepTaylor()(network, images, torch.tensor([3])).isfinite().all()


def test_windows_that_shift_are_explained_and_their_books_are_by_image():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.SwinTransformer(
            [4, 4], 16, [2, 2], [2, 2], [4, 4], num_classes=3
        ).eval()
    images = torch.rand(2, 3, 64, 64)
    together = AttnLRP()(network, images, TARGETS[:2])
    alone = AttnLRP()(network, images[1:], TARGETS[1:2])
    torch.testing.assert_close(alone[0], together[1], rtol=1e-3, atol=1e-6)
    books = AttnLRP().diagnostics(network, images, TARGETS[:2])
    by_image = {len(values) for name, values in books.items() if "evenness" not in name}
    assert by_image == {2}
